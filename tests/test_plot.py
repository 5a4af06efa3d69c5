"""The picture of a transport problem."""

import sys

import numpy as np
import pytest

from sparsenum import ot
from sparsenum.plot import transport_figure


@pytest.fixture
def solution():
    place = np.arange(9.0)
    return ot.solve(np.subtract.outer(place, place) ** 2, reg=0.5)


def draw(path, solution):
    image = np.arange(9.0).reshape(3, 3)
    curves = {"one": solution.log, "other": {"seconds": [0.1, 0.2], "err": [1.0, 1e-3]}}
    transport_figure(path, image, image.T, solution.sparse_plan, curves, tol=1e-9)


def test_a_picture_is_written(tmp_path, solution):
    from matplotlib.image import imread

    draw(tmp_path / "plan.png", solution)
    pixels = imread(tmp_path / "plan.png")
    height, width = pixels.shape[:2]
    assert width > height > 500
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50
    # Something is drawn in each of the three panels.
    assert all(panel.min() < 0.5 for panel in np.array_split(pixels, 3, axis=1))


def test_no_global_state_is_touched(tmp_path, solution):
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw(tmp_path / "plan.png", solution)
    assert dict(matplotlib.rcParams) == before
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )


def test_without_matplotlib_the_extra_is_named(tmp_path, solution, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"sparsenum\[plot\]"):
        draw(tmp_path / "plan.png", solution)
