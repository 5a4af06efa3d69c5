"""The command that trains: the model it takes by itself, and what goes with what."""

import json

import numpy as np
import polars as pl
import pytest

from recsys import ItemBlend, load
from recsys.blend import blend
from recsys.cli import main

TRAIN = ["--user", "who", "--item", "what"]


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    rows = {"who": rng.integers(40, size=400), "what": rng.integers(30, size=400)}
    path = tmp_path / "events.parquet"
    pl.DataFrame(rows | {"when": rng.permutation(400)}).unique(
        ["who", "what"], maintain_order=True
    ).write_parquet(path)
    return str(path)


def train(table, out, *options):
    return main(["train", table, *TRAIN, "--out", str(out), *map(str, options)])


def test_the_model_by_default_chooses_by_late_and_other_pairs(table, tmp_path, monkeypatch, capsys):
    kept = []

    def spied(train, valid, rng):
        kept.append(valid)
        return cuts_of(train, valid, rng)

    cuts_of = blend.cuts_of
    monkeypatch.setattr(blend, "cuts_of", spied)
    out = tmp_path / "m.npz"
    assert train(table, out, "--time", "when", "--trials", 2, "--budget", 300, "--json") == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["model"], result["weights"]) == ("item-blend", 300)
    assert " tried, validation recall " in said.err
    (valid,) = kept
    assert 0.04 * 300 < valid.height < 0.12 * 400
    assert isinstance(load(out), ItemBlend)


@pytest.mark.parametrize("what", [[1, 1, 1], [1, 2, 3]])
def test_tables_without_a_pair_to_spare_are_learned_all_the_same(tmp_path, capsys, what):
    path = tmp_path / "lonely.csv"
    pl.DataFrame({"who": [1, 2, 3], "what": what}).write_csv(path)
    assert train(str(path), tmp_path / "m.npz", "--json") == 0
    assert json.loads(capsys.readouterr().out)["history"] == []


def test_pairs_to_choose_by_may_be_given(table, tmp_path, capsys):
    valid = tmp_path / "valid.parquet"
    pl.read_parquet(table).sample(40, seed=0).write_parquet(valid)
    options = ["--trials", 2, "--budget", "2KB", "--values", "int8", "--valid", valid]
    assert train(table, tmp_path / "m.npz", *options, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    taken = sum(result[f"bytes_{what}"] for what in ("values", "indices", "rows"))
    assert 1000 < taken <= 2000


@pytest.mark.parametrize(
    ("model", "option"),
    [
        ("auto", "--dim=8"),
        ("auto", "--epochs=3"),
        ("dsl-mf", "--trials=3"),
        ("dsl-mf", "--values=int8"),
        ("ease", "--dim=8"),
        ("itemknn", "--budget=5%"),
        ("popularity", "--learning-rate=0.1"),
    ],
)
def test_options_that_a_model_has_no_use_for_are_refused(table, tmp_path, capsys, model, option):
    assert train(table, tmp_path / "m.npz", "--model", model, option) == 2
    name = option.partition("=")[0]
    assert capsys.readouterr().err == (
        f"recsys: error: {name} does not go with --model {model}: leave it out\n"
    )


@pytest.mark.parametrize("model", ["auto", "sparse-als", "popularity"])
def test_checkpoints_are_refused_where_there_are_none(table, tmp_path, capsys, model):
    options = ["--model", model, "--checkpoint", tmp_path / "kept"]
    assert train(table, tmp_path / "m.npz", *options) == 2
    assert f"--resume do not go with --model {model}" in capsys.readouterr().err


def test_a_budget_may_grow_by_itself(table, tmp_path, capsys):
    assert train(table, tmp_path / "m.npz", "--trials", 1, "--budget", "auto", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["budget"] >= result["weights"] > 0
    assert "budget" in [entry["part"] for entry in result["history"]]
