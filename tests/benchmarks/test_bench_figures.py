"""What figures are made of: names that do not overlap, looks told apart, laws and break-evens."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

from benches.memory import Peak
from benches.recommending.peers import missing
from benches.reporting.growth import break_even, growths
from benches.reporting.labels import End, name_ends, name_points
from benches.reporting.palette import OURS, looks

NAMES = ["ours, auto", "ours, SNS", "POT sinkhorn", "POT log", "RegOT ssns", "floor, copying"]


def axes_with(draw):
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    figure.draw_without_rendering()
    return axes, {text.get_text(): text for text in axes.texts if text.get_text()}


def overlapping(texts):
    boxes = [text.get_window_extent().padded(-1) for text in texts]
    return [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


@pytest.mark.parametrize("heights", [[1.0] * 6, [0.0] * 6, [0, 1, 1, 1, 0.5, 0.49]])
def test_names_of_ends_stand_apart_in_the_order_of_the_ends(heights):
    ends = {n: End(1.0, y, looks(NAMES)[n]) for n, y in zip(NAMES, heights, strict=True)}

    def draw(axes):
        axes.set(xlim=(0, 1), ylim=(0, 1))
        name_ends(axes, ends)

    _, texts = axes_with(draw)
    assert set(texts) == set(NAMES)
    assert overlapping(texts.values()) == []
    heard = sorted(NAMES, key=lambda name: -texts[name].get_window_extent().y0)
    assert heard == sorted(NAMES, key=lambda name: -ends[name].y)  # of equals the first on top


def test_names_of_points_cover_neither_each_other_nor_points():
    rng = np.random.default_rng(0)
    points = {f"model number {k}": tuple(rng.random(2)) for k in range(10)}

    def draw(axes):
        axes.set(xlim=(-0.2, 1.2), ylim=(-0.2, 1.2))
        name_points(axes, points, dict.fromkeys(points, "black"))

    axes, texts = axes_with(draw)
    assert set(texts) == set(points)
    assert overlapping(texts.values()) == []
    places = [axes.transData.transform(at) for at in points.values()]
    assert not any(t.get_window_extent().contains(*at) for t in texts.values() for at in places)


def test_a_package_has_one_colour_and_its_variants_have_other_dashes():
    found = looks(NAMES)
    assert found["ours, auto"].colour == OURS == found["ours, SNS"].colour
    colours = {found[name].colour for name in ("ours, auto", *NAMES[2:])}
    assert len(colours) == 4  # two of POT
    assert len({(look.colour, str(look.style)) for look in found.values()}) == len(NAMES)


def record(solver, size, median, **info):
    info |= {"solver": solver, "size": size, "quantity": "n"}
    return {"name": solver, "stats": {"median": median}, "extra_info": info}


def test_a_power_law_is_found_again_and_misses_are_left_out():
    some = [record("ours", n, 3e-9 * n**1.7) for n in (800, 100, 400, 200)]
    some.append(record("ours", 1600, 1.0, status="missed"))
    (law,) = growths(some)
    assert law.exponent == pytest.approx(1.7)
    assert law.factor == pytest.approx(3e-9)
    assert law.sizes == [100, 200, 400, 800]


def test_break_even_lies_where_the_line_crosses_one():
    assert break_even([1, 10, 100], [100.0, 10.0, 0.1]) == pytest.approx(10**1.5)
    assert break_even([1, 10], [4.0, 2.0]) is None
    assert break_even([1, 10], [0.5, 0.25]) is None


def test_memory_is_that_of_the_call():
    peak = Peak()
    peak.start()
    np.ones(10_000_000).sum()
    much = peak.facts()
    peak.start()
    np.ones(10).sum()
    little = peak.facts()
    assert 0.9 * 80e6 < much["peak_bytes"] < 2 * 80e6
    if much["peak_by"] == "resident set":  # elsewhere only new records show
        assert little["peak_bytes"] < 8e6


def test_a_peer_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("benches.recommending.peers.find_spec", lambda name: None)
    assert missing("Cornac BPR, 64 columns") == "cornac"
    assert missing("implicit ALS, 64 columns") == "implicit"
    assert missing("blend, 25 %") is None
