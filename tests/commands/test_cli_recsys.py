"""The command line: what it writes, what it says, and how it refuses."""

import json
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from recsys import load
from recsys.cli import main
from recsys.cli.train import MODELS

TRAIN = ["--user", "who", "--item", "what"]
QUICK = ["--model", "dsl-mf", "--budget", "50%", "--dim", "8", "--epochs", "4"]
OPTIONS = {
    **dict.fromkeys(("ease", "sansa"), ("--budget", "50%")),
    **dict.fromkeys(("itemknn", "userknn", "rp3beta", "popularity"), ()),
    "sparse-ae": ("--budget", "60", "--dim", "8", "--epochs", "4"),
    "auto": ("--budget", "200", "--trials", "2"),
}


def events(seed=0, n=300):
    """Events of users 000..039 with 12 items; ids keep their zeros only as text."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "who": [f"{user:03d}" for user in rng.integers(40, size=n)],
            "what": [f"i{item}" for item in rng.integers(12, size=n)],
            "n": rng.integers(1, 5, n),
            "when": rng.permutation(n),
        }
    )


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "events.csv"
    events().write_csv(path)
    return str(path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    events().write_csv(folder / "events.csv")
    path = str(folder / "trained.npz")
    assert main(["train", str(folder / "events.csv"), *TRAIN, *QUICK, "--out", path]) == 0
    return path


@pytest.fixture
def run(capsys):
    """Run a command that succeeds and return what it wrote to stdout and stderr."""

    def run(*arguments):
        capsys.readouterr()
        assert main(list(map(str, arguments))) == 0
        return capsys.readouterr()

    return run


@pytest.fixture
def refuse(capsys):
    """Run a command that is refused and return the one line that says why."""

    def refuse(*arguments):
        capsys.readouterr()
        assert main(list(map(str, arguments))) == 2
        out, err = capsys.readouterr()
        assert (out, err[-1:]) == ("", "\n")
        *before, said = err.splitlines()
        assert said.startswith("recsys: error: ")
        assert all(
            line.startswith(("Read ", "Dropped ", "Merged ", "Set aside ", "Weights "))
            for line in before
        )
        assert "Errno" not in said
        return said

    return refuse


# What works.


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_from_every_kind_of_table(tmp_path, run, kind, name):
    path, out = tmp_path / f"events.{kind}", tmp_path / "model.npz"
    (events().write_csv if kind == "csv" else events().write_parquet)(path)
    options = [*OPTIONS.get(name, QUICK), "--model", name]
    said = run("train", path, *TRAIN, *options, "--weight", "n", "--out", out, "--json")
    result = json.loads(said.out)
    assert said.out.count("\n") == 1
    assert "Read 300 rows" in said.err
    assert result["out"] == str(out)
    assert result["file_bytes"] == out.stat().st_size
    assert result["rows"]["rows"] == 300
    assert result["seconds_training"] >= 0
    weights = {"popularity": 12, "itemknn": 12 * 11, "dense-mf": 6 * 52}  # 6 of 8 columns
    weights |= {"rp3beta": 12 * 11, "ease": 6 * 12, "sansa": 6 * 12, "auto": 200, "sparse-ae": 60}
    weights |= {"userknn": events().unique(["who", "what"]).height}
    if name in weights:
        assert result["weights"] == weights[name]
        assert (result["history"] == []) == (name not in ("auto", "dense-mf", "sparse-ae"))
    else:
        recipe = {"static-mf": "static", "sparse-als": None}.get(name, "dsl")
        assert result.get("recipe") == recipe
        assert result["weights"] == result["budget"] == round(0.5 * 52 * 8)
        epochs = 4 + 8 * (name == "sparse-als")
        assert [entry["epoch"] for entry in result["history"]] == [*range(1, epochs + 1)]
    assert load(out).users_.to_list() == [f"{user:03d}" for user in range(40)]
    lists = tmp_path / f"lists.{kind}"
    run("recommend", out, "--users", "007,031", "--k", 3, "--out", lists)
    got = pl.read_parquet(lists) if kind == "parquet" else pl.read_csv(lists, infer_schema=False)
    assert got.columns == ["user", "item", "score", "rank"]
    assert got["user"].unique(maintain_order=True).to_list() == ["007", "031"]
    assert got["item"].to_list() == load(out).recommend(["007", "031"], 3)["item"].to_list()


def test_what_train_says_to_people(tmp_path, table, run):
    out = tmp_path / "model.npz"
    valid = tmp_path / "valid.csv"
    events(1).write_csv(valid)
    said = run("train", table, *TRAIN, *QUICK, "--valid", valid, "--time", "when", "--out", out)
    assert "validation recall " in said.err
    assert "208 weights; with ids and histories " in said.out
    assert "On pairs held back: recall@12 " in said.out
    assert f"Next: recsys recommend {out} --out lists.csv" in said.out
    assert said.out.count("\n") <= 6
    assert run("inspect", out).out.count("dense_weights") == 1


def test_early_stopping_on_a_part_held_back(tmp_path, table, run, refuse):
    out = tmp_path / "model.npz"
    options = [*QUICK, "--epochs", "40", "--learning-rate", "1.0"]
    said = run("train", table, *TRAIN, *options, "--validation", 0.2, "--patience", 1, "--out", out)
    assert "validation recall " in said.err
    assert len(load(out).history_) < 40
    said = refuse("train", table, *TRAIN, *QUICK, "--patience", 1, "--out", out)
    assert "patience must have something to look at" in said


def test_users_who_were_not_in_training_from_the_command_line(tmp_path, table, run, refuse):
    out, lists, more = (tmp_path / name for name in ("m.npz", "lists.parquet", "more.csv"))
    run("train", table, *TRAIN, *QUICK, "--out", out)
    events()[:2].with_columns(who=pl.lit("new")).write_csv(more)
    asked = ["recommend", out, "--users", "new,007", "--k", 3, "--out", lists]
    for unknown in (["popular"], ["fold_in", "--histories", more]):
        assert "6 recommendations for 2 users" in run(*asked, "--unknown", *unknown).out
        assert pl.read_parquet(lists)["user"].to_list() == ["007"] * 3 + ["new"] * 3
    assert "histories must be given" in refuse(*asked, "--unknown", "fold_in")


def test_seeds_and_options_reach_the_model(tmp_path, table, run):
    out = tmp_path / "model.npz"
    options = [*QUICK[:2], "--budget", "1KB", "--dim", "9", "--epochs", "3", "--seed", "5"]
    run("train", table, *TRAIN, *options, "--out", out)
    parameters = json.loads(run("inspect", out, "--json").out)["parameters"]
    assert parameters == load(out).parameters()
    wanted = {"budget": "1KB", "dim": 9, "epochs": 3, "seed": 5, "recipe": "dsl"}
    assert parameters.items() >= wanted.items()
    run("train", table, *TRAIN, *QUICK[:2], "--out", out)
    assert load(out).parameters()["epochs"] == 30


def test_evaluate_reports_what_the_model_does(tmp_path, trained, run, refuse):
    test = tmp_path / "test.csv"
    events(1).write_csv(test)
    said = run("evaluate", trained, test, "--k", 3, "--json")
    result = json.loads(said.out)
    assert said.err == ""
    assert result == load(trained).evaluate(events(1), 3)
    assert list(result)[:2] == ["recall@3", "ndcg@3"]
    assert list(result)[-4:] == ["users", "unknown_users", "unknown_items", "not_liked"]
    shown = run("evaluate", trained, test, "--k", 3).out
    assert f"recall@3       {result['recall@3']:.4f}\n" in shown
    events(1).rename({"who": "u", "what": "i"}).write_csv(test)
    again = run("evaluate", trained, test, "--k", 3, "--json", "--user", "u", "--item", "i")
    assert json.loads(again.out) == result
    test.write_text("who,what\nstranger,i1\n")
    assert "got none, with 1 rows of unknown users" in refuse("evaluate", trained, test, "--k", 3)


def test_text_tables_fit_models_with_number_ids(tmp_path, run):
    numbers = events().with_columns(pl.col("who").cast(pl.Int64))
    path, out = tmp_path / "events.parquet", tmp_path / "model.npz"
    numbers.write_parquet(path)
    run("train", path, *TRAIN, *QUICK, "--out", out)
    events(1).write_csv(tmp_path / "test.csv")
    result = json.loads(run("evaluate", out, tmp_path / "test.csv", "--k", 3, "--json").out)
    assert result == load(out).evaluate(events(1).with_columns(pl.col("who").cast(pl.Int64)), 3)
    assert result["unknown_users"] == 0
    lists = tmp_path / "lists.parquet"
    run("recommend", out, "--users", "7,31", "--k", 2, "--out", lists)
    assert pl.read_parquet(lists)["user"].to_list() == [7, 7, 31, 31]


def test_users_come_from_everybody_a_list_or_a_file(tmp_path, trained, run):
    out, names = tmp_path / "lists.csv", tmp_path / "names.txt"

    def users(*arguments):
        said = run("recommend", trained, "--k", 2, "--out", out, *arguments)
        assert str(out) in said.out
        return pl.read_csv(out, infer_schema=False)["user"].unique(maintain_order=True).to_list()

    everybody = [f"{user:03d}" for user in range(40)]
    assert users() == users("--users", "all") == everybody
    assert users("--users", "031,007") == ["031", "007"]
    assert users("--users", ",".join(everybody * 3)) == everybody  # longer than a file name may be
    for content in (b"031\n007\n", b"031\r\n\r\n007", b"\xef\xbb\xbf031\n007\n"):
        names.write_bytes(content)
        assert users("--users", names) == ["031", "007"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lists.csv", "names.txt"]


def test_inspect_tells_what_a_model_holds(trained, run):
    result = json.loads(run("inspect", trained, "--json").out)
    model = load(trained)
    assert result.items() >= model.report().items()
    assert (result["users"], result["items"]) == (40, 12)
    assert result["interactions"] == model.seen_.nnz
    assert result["columns"] == {"user": "who", "item": "what", "weight": None, "time": None}
    assert re.search(r"^density +0\.5$", run("inspect", trained).out, re.M)


def test_a_process_of_its_own(tmp_path, table):
    out = tmp_path / "model.npz"
    command = [sys.executable, "-m", "recsys.cli", "train", table, *TRAIN, *QUICK, "--json"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["weights"] == 208
    assert load(out).users_.len() == 40
    done = subprocess.run([*command, "--out", "/none/m.npz"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("recsys: error: --out must lie in an existing folder")


# What is refused: one line, exit code 2, and what was there before stays.


def csv(content):
    def write(folder):
        path = folder / "bad.csv"
        path.write_bytes(content)
        return path

    return write


def no_file(folder):
    return folder / "none.csv"


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (None, ["--user", "name"], "user must name a column of the table: got 'name'; columns are"),
        (None, ["--weight", "what"], "weight must name another column than item"),
        (csv(b"who,what\n"), [], "TABLE must have rows to learn from: got 0 rows"),
        (csv(b""), [], "TABLE must be a readable table"),
        (csv("who,what\ncaf\u00e9,x\n".encode("latin1")), [], "TABLE must be UTF-8 text"),
        (csv(b"who,what\na,b,c\n"), [], "TABLE must be a readable table"),
        (csv(b"who,what\na,x\nb,x\n"), [], "TABLE must have at least two items"),
        (no_file, [], "TABLE must be the path of a file"),
        (None, ["--budget", "0"], "budget must buy from 52 weights"),
        (None, ["--budget", "110%"], "budget must buy from 52 weights"),
        (None, ["--budget", "1e400"], "budget must buy from 52 weights"),
        (None, ["--budget", "lots"], "write it like 500000, '10%' or '4MB'"),
        (None, ["--epochs", "0"], "epochs must be at least 1"),
        (None, ["--dim", "0"], "dim must be from 1 to 65536"),
        (None, ["--seed", "-1"], "seed must be at least 0"),
        (None, ["--valid", "none.csv"], "must be the path of a file"),
    ],
)
def test_train_refuses_and_leaves_the_old_model(tmp_path, table, refuse, make, options, message):
    out = tmp_path / "model.npz"
    out.write_bytes(b"precious")
    source = table if make is None else make(tmp_path)
    said = refuse("train", source, *TRAIN, *QUICK, *options, "--out", out)
    assert message in said
    assert out.read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) <= 3


def test_train_refuses_where_it_cannot_write_before_it_reads(tmp_path, refuse):
    none = tmp_path / "none"
    said = refuse("train", "none.csv", *TRAIN, "--out", none / "model.npz")
    assert f"--out must lie in an existing folder: got '{none}" in said
    said = refuse("train", "none.csv", *TRAIN, "--out", tmp_path)
    assert f"--out must be a file to write: got the folder '{tmp_path}'" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--users", "777"], "users must have been in training: got 1 unknown, like '777'"),
        (["--users", "007,x,y"], "got 2 unknown, like 'x', 'y'"),
        (["--users", ","], "users must name at least one user: got none"),
        (["--k", "13"], "k must be from 1 to 12: got 13"),
        (["--k", "0"], "k must be from 1 to 12: got 0"),
        (["--users", "LATIN1"], "--users must be UTF-8 text"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_recommend_refuses_and_leaves_the_old_lists(
    tmp_path, trained, refuse, monkeypatch, options, message, suffix
):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / f"lists{suffix}"
    out.write_bytes(b"precious")
    (tmp_path / "LATIN1").write_bytes("caf\u00e9\n".encode("latin1"))
    assert message in refuse("recommend", trained, "--k", 2, *options, "--out", out)
    assert out.read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lists.xlsx", "--out must end in .parquet or .csv"),
        ("lists", "--out must end in .parquet or .csv"),
        ("none/lists.csv", "--out must lie in an existing folder"),
    ],
)
def test_recommend_refuses_where_it_cannot_write(tmp_path, trained, refuse, name, message):
    (tmp_path / "lists.xlsx").write_bytes(b"precious")
    assert message in refuse("recommend", trained, "--k", 2, "--out", tmp_path / name)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


def test_ids_that_a_csv_cannot_hold_are_refused(tmp_path, run, refuse):
    path, out = tmp_path / "events.parquet", tmp_path / "model.npz"
    events().with_columns(pl.col("who").cast(pl.Binary)).write_parquet(path)
    run("train", path, *TRAIN, "--model", "popularity", "--out", out)
    run("recommend", out, "--k", 2, "--out", tmp_path / "lists.parquet")
    said = refuse("recommend", out, "--k", 2, "--out", tmp_path / "lists.csv")
    assert "--out must be of a kind that holds the ids" in said
    assert not (tmp_path / "lists.csv").exists()


def truncated(path, whole):
    path.write_bytes(whole[: len(whole) // 2])


def foreign(path, whole):
    np.savez(path, weights=np.ones(3))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path, whole: None, "MODEL.npz must be that of a model file"),
        (truncated, "not a complete .npz archive"),
        (foreign, "it has no header"),
        (lambda path, whole: path.write_text("who,what\n"), "not a complete .npz archive"),
        (lambda path, whole: path.mkdir(), "MODEL.npz must be that of a model file"),
    ],
    ids=["missing", "truncated", "foreign", "table", "folder"],
)
def test_files_that_are_no_models_are_refused(tmp_path, trained, table, refuse, spoil, message):
    path = tmp_path / "bad.npz"
    with open(trained, "rb") as file:
        spoil(path, file.read())
    for command in (
        ["evaluate", path, table],
        ["recommend", path, "--out", tmp_path / "lists.csv"],
        ["inspect", path],
    ):
        said = refuse(*command)
        assert message in said
        assert str(path) in said
    assert not (tmp_path / "lists.csv").exists()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"user,what\n1,2\n", [], "user must name a column of the table: got 'who'"),
        (b"who,what\n1,2\n", ["--item", "x"], "item must name a column of the table: got 'x'"),
        (b"who,what\n\xe9,2\n", [], "TABLE must be UTF-8 text"),
        (b"who,what\n1,2\n", ["--k", "13"], "k must be from 1 to 12: got 13"),
    ],
)
def test_evaluate_refuses(tmp_path, trained, refuse, content, options, message):
    test = csv(content)(tmp_path)
    assert message in refuse("evaluate", trained, test, "--k", 3, *options)


def test_interrupting_is_no_error(monkeypatch, capsys, trained):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("recsys.load", interrupt)
    assert main(["inspect", trained]) == 130
    assert capsys.readouterr().err == "recsys: interrupted\n"
