"""Commands that use a model, pipes, plans, and messages in the words of the command line."""

import io
import json
import subprocess
import sys
import types

import numpy as np
import polars as pl
import pytest

from recsys import load
from recsys.cli import main
from recsys.cli.words import as_said

NAMES = ["--user", "who", "--item", "what"]


def events(seed=0):
    rng = np.random.default_rng(seed)
    days = pl.Series(rng.integers(0, 360, 500)).cast(pl.Int32).cast(pl.Date)
    return pl.DataFrame(
        {
            "who": rng.integers(30, size=500).astype(str),
            "what": [f"i{item}" for item in np.minimum(rng.geometric(0.15, 500), 19)],
            "n": rng.integers(0, 4, 500),
            "when": days.dt.strftime("%d.%m.%Y"),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("use")
    events().write_csv(folder / "events.csv")
    options = ["--weight", "n", "--time", "when", "--trials", "2", "--budget", "300"]
    out = ["--out", str(folder / "m.npz")]
    assert main(["train", str(folder / "events.csv"), *NAMES, *options, *out]) == 0
    return folder


def said(capsys, *arguments):
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 0
    return capsys.readouterr()


def test_the_choice_is_compared_with_popularity_and_recent_popularity(folder):
    looks = load(folder / "m.npz").history_
    assert [look["part"] for look in looks[-2:]] == ["popularity", "recent popularity"]
    assert {key for look in looks for key in look if "@" in key} == {"recall@1", "ndcg@1"}


def test_popularity_that_does_better_is_told(folder):
    from recsys.cli.train import _in_short

    model = types.SimpleNamespace(
        history_=[
            {"part": "mix", "recall@2": 0.1, "ndcg@2": 0.1},
            {"part": "popularity", "recall@2": 0.3, "ndcg@2": 0.2},
        ]
    )
    result = {"out": "m.npz", "weights": 9, "model": "m", "seconds_training": 1, "file_bytes": 9}
    told = _in_short(result, model)
    assert "On pairs held back: recall@2 0.1000, ndcg@2 0.1000." in told
    assert "There popularity alone has recall@2 0.3000, ndcg@2 0.2000." in told
    assert "Popularity does better here" in told
    model.history_[1]["ndcg@2"] = 0.05
    assert "does better" not in _in_short(result, model)


def test_the_plan_of_an_earlier_model_is_used_at_once(folder, capsys):
    out = folder / "again.npz"
    table = folder / "events.csv"
    said(capsys, "train", table, *NAMES, "--plan", folder / "m.npz", "--out", out)
    assert load(out).plan_ == load(folder / "m.npz").plan_
    assert load(out).history_ == []
    said(capsys, "train", table, *NAMES, "--model", "popularity", "--out", folder / "p.npz")
    assert (
        main(["train", str(table), *NAMES, "--plan", str(folder / "p.npz"), "--out", str(out)]) == 2
    )
    assert "--plan must be a model" in capsys.readouterr().err


def test_several_lengths_of_lists_at_once(folder, capsys):
    events(1).write_csv(folder / "test.csv")
    both = json.loads(
        said(capsys, "evaluate", folder / "m.npz", folder / "test.csv", "--k", "3,5", "--json").out
    )
    model = load(folder / "m.npz")
    assert both == model.evaluate(events(1), 3) | model.evaluate(events(1), 5)
    assert main(["evaluate", str(folder / "m.npz"), str(folder / "test.csv"), "--k", "3,x"]) == 2
    assert "--k must be a number" in capsys.readouterr().err


def test_tables_are_piped_in_and_lists_out(folder, capsys, monkeypatch):
    class Piped:
        buffer = io.BytesIO((folder / "events.csv").read_bytes())

    monkeypatch.setattr(sys, "stdin", Piped)
    said(capsys, "train", "-", *NAMES, "--model", "popularity", "--out", folder / "piped.npz")
    lists = said(capsys, "recommend", folder / "piped.npz", "--k", 2, "--out", "-").out
    expected = load(folder / "piped.npz").recommend(k=2)
    assert pl.read_csv(io.StringIO(lists), infer_schema=False)["item"].equals(expected["item"])


def test_what_was_seen_may_be_recommended_and_histories_name_their_columns(folder, capsys):
    model = load(folder / "m.npz")
    user = model.users_[0]
    arguments = ["recommend", folder / "m.npz", "--users", user, "--k", 3, "--out", "-"]
    seen = said(capsys, *arguments, "--include-seen").out
    expected = model.recommend([user], 3, exclude_seen=False)["item"].to_list()
    assert pl.read_csv(io.StringIO(seen))["item"].to_list() == expected
    (folder / "h.csv").write_text("u;i\nnew;i1\nnew;i2\n")
    options = [
        "--unknown",
        "fold_in",
        "--histories",
        folder / "h.csv",
        "--user",
        "u",
        "--item",
        "i",
    ]
    arguments[3] = "new"
    lists = said(capsys, *arguments, *options, "--separator", ";").out
    expected = model.recommend_from(["i1", "i2"], 3)["item"].to_list()
    assert pl.read_csv(io.StringIO(lists))["item"].to_list() == expected


def test_similar_explain_and_inspect(folder, capsys):
    model = load(folder / "m.npz")
    alike = json.loads(said(capsys, "similar", folder / "m.npz", "i1", "--k", 3, "--json").out)
    assert [row["item"] for row in alike["similar"]] == model.similar_items("i1", 3)[
        "item"
    ].to_list()
    user = model.users_[0]
    whole = json.loads(said(capsys, "explain", folder / "m.npz", user, "i1", "--json").out)
    assert whole["score"] == pytest.approx(model.explain(user, "i1").score)
    assert said(capsys, "explain", folder / "m.npz", user, "i1").out.startswith("score ")
    parts = json.loads(said(capsys, "inspect", folder / "m.npz", "--json").out)
    assert 0.7 * parts["file_bytes"] < sum(parts["file"].values()) < parts["file_bytes"]
    assert min(parts["file"].values()) > 0


def test_a_bad_budget_is_told_before_the_table_is_read(tmp_path, capsys):
    out = str(tmp_path / "m.npz")
    assert main(["train", "none.csv", *NAMES, "--budget", "lots", "--out", out]) == 2
    assert capsys.readouterr().err.startswith("recsys: error: --budget must be a number of weights")


@pytest.mark.parametrize(
    ("rows", "options", "reason"),
    [
        ("a,x\nb,y\n", [], "each user has one row"),
        ("a,x\na,y\na,x\n", [], "repeats a pair"),
        ("a,x\na,y\na,z\n", ["--fraction", "0.2"], "is less than one"),
    ],
)
def test_a_split_that_holds_nothing_back_says_why(tmp_path, capsys, rows, options, reason):
    (tmp_path / "t.csv").write_text("who,what\n" + rows)
    shown = said(capsys, "split", tmp_path / "t.csv", *NAMES, *options, "--out", tmp_path / "parts")
    assert "nothing was held back: " in shown.err
    assert reason in shown.err


def test_messages_are_in_the_words_of_the_command_line():
    assert as_said("source must be a table") == "TABLE must be a table"
    assert as_said("min_user and min_item must leave") == "--min-user and --min-item must leave"
    assert as_said("time_format must be left out") == "--time-format must be left out"
    assert as_said("all is lost") == "all is lost"
    assert len(as_said("x" * 10**6)) < 1100


@pytest.mark.parametrize("package", ["recsys", "sparsenum"])
def test_packages_are_commands_and_tell_their_version(package):
    done = subprocess.run(
        [sys.executable, "-m", package, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [package, "0.1.0"]


def test_a_panic_is_told_in_one_line(capsys, monkeypatch):
    from polars.exceptions import PanicException

    def panic(path):
        raise PanicException("index out of bounds")

    monkeypatch.setattr("recsys.load", panic)
    assert main(["inspect", "m.npz"]) == 2
    assert capsys.readouterr().err == "recsys: error: index out of bounds\n"
