"""The command `recsys split`, and the options of `recsys train` that say what becomes of rows."""

import json

import polars as pl
import pytest

from recsys import leave_last
from recsys.cli import main
from recsys.data.split import by_time, held_out_users, random_per_user

NAMES = ("--user", "user", "--item", "item")
COLUMNS = {"user": "user", "item": "item"}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "events.csv"
    rows = [
        (f"{user:02d}", f"i{(user * item) % 7}", item) for user in range(20) for item in range(8)
    ]
    pl.DataFrame(rows, ["user", "item", "when"], orient="row").write_csv(path)
    return path


@pytest.mark.parametrize(
    ("options", "split", "arguments"),
    [
        ([], leave_last, {}),
        (["--time", "when", "--k", "2"], leave_last, {"time": "when", "k": 2}),
        (["--by", "random", "--seed", "3"], random_per_user, {"seed": 3}),
        (["--by", "time", "--time", "when", "--cut", "6"], by_time, {"time": "when", "cut": 6}),
        (["--by", "users", "--hide", "0.5"], held_out_users, {"hide": 0.5}),
    ],
)
def test_every_way_writes_what_the_function_returns(
    tmp_path, table, capsys, options, split, arguments
):
    out = tmp_path / "parts"
    for _ in range(2):  # also into a folder that is there
        assert main(["split", str(table), *NAMES, *options, "--out", str(out)]) == 0
    parts = split(table, **COLUMNS, **arguments)
    names = ("train", "test") if len(parts) == 2 else ("train", "known", "hidden")
    said = capsys.readouterr().out
    for name, part in zip(names, parts, strict=True):
        assert pl.read_parquet(out / f"{name}.parquet").equals(part)
        assert f"{part.height:,} rows in {out / name}.parquet\n" in said
    assert sorted(path.stem for path in out.iterdir()) == sorted(names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cut", "3"], "--cut has no meaning with --by last"),
        (["--by", "random", "--k", "3"], "--k has no meaning with --by random"),
        (["--by", "time", "--fraction", "0.5"], "--by time needs --time"),
        (["--by", "random", "--fraction", "2"], "fraction must lie between 0 and 1"),
        (["--out", "/none/x"], "--out must be a folder"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    tmp_path, table, capsys, options, message
):
    out = tmp_path / "parts"
    assert main(["split", str(table), *NAMES, "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_train_drops_rare_users_and_says_so(tmp_path, table, capsys):
    command = [
        "train",
        str(table),
        *NAMES,
        "--model",
        "popularity",
        "--out",
        str(tmp_path / "m.npz"),
    ]
    assert main([*command, "--min-user", "2", "--duplicates", "max", "--json"]) == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)["rows"]
    # Users 0, 7 and 14 took one item only.
    assert (rows["rare"], rows["users"], rows["policy"]) == (3, 17, "max")
    assert "fewer than 2" in said.err
    assert main([*command, "--duplicates", "error"]) == 2
    assert "duplicates='error'" in capsys.readouterr().err
    table.write_text(table.read_text("utf-8") + ",x,1\n", "utf-8")
    assert main([*command, "--bad-rows", "error"]) == 2
    assert "bad_rows='error'" in capsys.readouterr().err
