"""The examples, run on small tables and pictures of one's own."""

import importlib.util
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread, imsave

from recsys import load
from recsys.datasets import shop

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOP = EXAMPLES / "shop.py"


def loaded(path):
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(f"{path.stem}_example", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


@pytest.fixture
def main(monkeypatch):
    """Return the example's main, which takes its options as arguments here."""
    example = loaded(SHOP)

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["shop.py", *map(str, arguments)])
        example.main()

    return main


@pytest.fixture
def table():
    names = {"customer": "CustomerID", "product": "StockCode", "time": "InvoiceDate"}
    return shop(200, 120).rename(names)


def test_a_table_whose_columns_have_usual_names(main, table, tmp_path, capsys):
    path, out = tmp_path / "sales.csv", tmp_path / "new" / "folder"
    table.write_csv(path)
    main("--data", path, "--out", out)

    said = capsys.readouterr().out
    assert "Read " in said
    for name in ("popularity", "static random mask", "dynamic sparse"):
        (line,) = (line for line in said.splitlines() if line.startswith(name))
        assert 0 < float(line.split()[-2]) <= 1
    assert "took last" in said
    assert "suggested" in said

    assert sorted(file.name for file in out.iterdir()) == ["shop-model.npz", "shop.png"]
    model = load(out / "shop-model.npz")
    assert model.columns_["user"] == "CustomerID"
    assert model.users_.to_list() == sorted(table["CustomerID"].drop_nulls().unique())
    assert f"exactly {model.report()['weights']:,} weights" in said
    picture = imread(out / "shop.png")
    assert min(picture.shape[:2]) > 500
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 100


def test_columns_can_be_named(main, table, tmp_path):
    path = tmp_path / "sales.parquet"
    table.rename({"CustomerID": "a", "StockCode": "b", "InvoiceDate": "c"}).write_parquet(path)
    main("--data", path, "--out", tmp_path, "--user", "a", "--item", "b", "--time", "c")
    assert load(tmp_path / "shop-model.npz").columns_["time"] == "c"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--user and --item must name columns of the table: it has .*'a', 'b'"),
        (["--user", "a", "--item", "x"], "item must name a column of the table: got 'x'"),
        (["--user", "a", "--item", "a"], "item must name another column than user"),
        (["--user", "a", "--item", "b", "--time", "x"], "time must name a column"),
    ],
)
def test_columns_that_are_not_there_are_explained(tmp_path, monkeypatch, options, message):
    path = tmp_path / "sales.csv"
    path.write_text("a,b\n1,2\n")
    arguments = ["shop.py", "--data", str(path), "--out", str(tmp_path), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="shop.py: error: " + message):
        runpy.run_path(str(SHOP), run_name="__main__")


def test_a_table_that_is_not_there_is_explained(main, tmp_path):
    with pytest.raises(FileNotFoundError, match="source must be the path of a file"):
        main("--data", tmp_path / "none.csv", "--out", tmp_path)


# Colours


@pytest.fixture
def colours(monkeypatch):
    """Return the example of the colours, and its main with options as arguments."""
    example = loaded(EXAMPLES / "colours.py")

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["colours.py", *map(str, arguments)])
        example.main()

    return example, main


def test_a_picture_takes_the_colours_of_another(colours, tmp_path, capsys):
    example, main = colours
    blue = example.gradient((0.1, 0.2, 0.5), (0.8, 0.9, 1.0))[::2, ::2]
    red = example.gradient((0.5, 0.1, 0.0), (1.0, 0.8, 0.2))[::2, ::3]
    imsave(tmp_path / "blue.png", blue)
    imsave(tmp_path / "red.png", red)
    files = ("--picture", tmp_path / "blue.png", "--colours", tmp_path / "red.png")
    drawn = {}
    keep = example.draw
    example.draw = lambda path, pictures: (drawn.update(pictures), keep(path, pictures))
    main(*files, "--palette", 40, "--out", tmp_path / "out")

    said = capsys.readouterr().out
    before, after = (float(said.split(word)[0].split()[-1]) for word in (" before", " after"))
    assert after < 0.05 * before
    result = drawn["Result"]
    assert result.shape == blue.shape
    np.testing.assert_allclose(result.mean(axis=(0, 1)), red.mean(axis=(0, 1)), rtol=0, atol=0.02)
    assert np.corrcoef(result[..., 1].ravel(), blue[..., 1].ravel())[0, 1] > 0.95  # same picture
    assert min(imread(tmp_path / "out" / "colours.png").shape[:2]) > 300


def test_without_the_photographs_there_are_gradients(colours, monkeypatch):
    example, _ = colours
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    for picture in example.photographs():
        assert picture.shape[2] == 3
        assert 0 <= picture.min() < picture.max() <= 1


def test_one_picture_alone_is_not_enough(colours, tmp_path, capsys):
    with pytest.raises(SystemExit):
        colours[1]("--picture", tmp_path / "a.png")
    assert "--picture and --colours must be given together" in capsys.readouterr().err
