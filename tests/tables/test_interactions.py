"""Reading tables: against a slow twin, over sources and id types, and what bad input is told."""

import datetime
import gzip
import math
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.interactions import Interactions, lookup, read_pairs

NAMES = {"user": "user", "item": "item"}


def entries(interactions, matrix=None):
    """The matrix, or one like it, as a dict from (user id, item id) to weight."""
    matrix = (matrix or interactions.matrix).to_scipy().tocoo()
    users, items = interactions.users.to_list(), interactions.items.to_list()
    return {
        (users[i], items[j]): float(w)
        for i, j, w in zip(matrix.row, matrix.col, matrix.data, strict=True)
    }


def twin(rows, policy):
    """What reading should give, one row at a time: rows are (user, item, weight, time).

    Returns the liked pairs, those that are only touched, and what was dropped.
    """
    counts = dict.fromkeys(["null_ids", "bad_weights", "null_times", "duplicates"], 0)
    groups = {}
    for user, item, weight, time in rows:
        if user in (None, "") or item in (None, ""):
            counts["null_ids"] += 1
        elif weight is None or not math.isfinite(weight):
            counts["bad_weights"] += 1
        elif time is None:
            counts["null_times"] += 1
        else:
            counts["duplicates"] += (user, item) in groups
            groups.setdefault((user, item), []).append((time, weight))
    merge = {
        "sum": lambda group: sum(weight for _, weight in group),
        "max": lambda group: max(weight for _, weight in group),
        "last": lambda group: sorted(group, key=lambda row: row[0])[-1][1],
    }[policy]
    merged = {pair: merge(group) for pair, group in groups.items()}
    liked = {pair: weight for pair, weight in merged.items() if weight > 0}
    return liked, set(merged) - set(liked), counts


ids = st.sampled_from([None, "", "a", "B", "007", "7", "é", "e\u0301"])
weights = st.sampled_from([None, math.nan, math.inf, -math.inf, -1.0, 0.0, 0.5, 1.0, 2.0, 8.0])
rows = st.lists(st.tuples(ids, ids, weights, st.none() | st.integers(0, 3)), max_size=40)
SCHEMA = {"user": pl.String, "item": pl.String, "weight": pl.Float64, "time": pl.Int64}


@settings(deadline=None, max_examples=150)
@given(rows, st.sampled_from(["sum", "max", "last"]))
def test_reading_equals_the_slow_twin(rows, policy):
    frame = pl.DataFrame(rows, SCHEMA, orient="row")
    expected, others, counts = twin(rows, policy)
    read = {**NAMES, "weight": "weight", "time": "time", "duplicates": policy}
    if not expected:
        match = "weight must be above zero" if others else "source must have rows"
        with pytest.raises(ValueError, match=match):
            Interactions.read(frame, **read)
        return
    got = Interactions.read(frame, **read)
    assert entries(got) == expected
    report = got.report
    assert {name: getattr(report, name) for name in counts} == counts
    assert report.rows == len(rows) == sum(counts.values()) + report.touched + report.pairs
    assert report.touched == len(others)
    known = {(u, i) for u, i in others if u in set(got.users) and i in set(got.items)}
    assert set(entries(got, got.touched)) == known
    assert (report.pairs, report.users, report.items) == (got.nnz, got.n_users, got.n_items)
    assert got.users.to_list() == sorted({user for user, _ in expected})
    assert got.items.to_list() == sorted({item for _, item in expected})


@pytest.mark.parametrize("policy", ["sum", "max", "last"])
def test_row_order_has_no_part_in_the_result(policy):
    rng = np.random.default_rng(3)
    n = 3000
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, 60, n),
            "item": [f"item{code}" for code in rng.integers(0, 40, n)],
            "weight": rng.random(n),
            "time": rng.permutation(n),
        }
    )
    read = {**NAMES, "weight": "weight", "time": "time", "duplicates": policy}
    first = Interactions.read(frame, **read)
    second = Interactions.read(frame.sample(fraction=1.0, shuffle=True, seed=1), **read)
    assert first.users.equals(second.users)
    assert first.items.equals(second.items)
    for part in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(first.matrix, part), getattr(second.matrix, part))
    assert first.report == second.report


def test_matrix_is_laid_out_as_the_kernels_want_it():
    got = Interactions.read(pl.DataFrame({"user": [2, 1, 2], "item": [9, 9, 4]}), **NAMES)
    matrix = got.matrix
    assert matrix.shape == (2, 2)
    assert [part.dtype for part in (matrix.indptr, matrix.indices, matrix.data)] == [
        np.uint64,
        np.uint32,
        np.float32,
    ]
    assert matrix.indices.tolist() == [1, 0, 1]
    assert matrix.indptr.tolist() == [0, 1, 3]


days = [datetime.date(2024, 2, 1), datetime.date(2023, 5, 9), datetime.date(2024, 1, 1)]
uuids = [str(uuid.UUID(int=number)) for number in (2**127, 5, 2**64)]
ID_COLUMNS = [
    pl.Series([3, -1, 2], dtype=pl.Int8),
    pl.Series([2**64 - 1, 0, 5], dtype=pl.UInt64),
    pl.Series(["b", "a", "c"]),
    pl.Series(uuids),
    pl.Series(["z", "b", "m"], dtype=pl.Categorical),
    pl.Series(["z", "b", "m"], dtype=pl.Enum(["z", "m", "b", "unused"])),
    pl.Series(days),
    pl.Series([b"\xff", b"\x00", b"k"]),
    pl.Series([1.5, -0.5, 2.0]),
]


@pytest.mark.parametrize("column", ID_COLUMNS, ids=lambda column: str(column.dtype))
def test_ids_keep_their_type_and_are_sorted(column):
    # The item column shares its texts with the user column, in another order of appearance.
    frame = pl.DataFrame({"user": column, "item": column.reverse()})
    got = Interactions.read(frame, **NAMES)
    assert got.users.dtype == got.items.dtype == column.dtype
    assert got.users.to_list() == got.items.to_list() == sorted(column.to_list())
    assert entries(got) == dict.fromkeys(frame.rows(), 1.0)
    assert lookup(got.users, got.users.reverse()).tolist() == [2, 1, 0]


FRAME = pl.DataFrame(
    {
        "user": ["b", "a", "b", None],
        "item": ["x", "y", "x", "y"],
        "n": [1, 2, 3, 4],
        "more": [0] * 4,
    }
)
PAIRS = {("a", "y"): 2.0, ("b", "x"): 4.0}


def write_csv(path, frame=FRAME, separator=","):
    text = frame.write_csv(separator=separator).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


SOURCES = {
    "polars": lambda folder: FRAME,
    "lazy": lambda folder: FRAME.lazy(),
    "pandas": lambda folder: FRAME.to_pandas(),
    "pandas with an index": lambda folder: FRAME.to_pandas().iloc[::-1],
    "arrow": lambda folder: FRAME.to_arrow(),
    "csv": lambda folder: write_csv(folder / "t.csv"),
    "csv with odd name": lambda folder: write_csv(folder / "t[1]*.csv"),
    "str": lambda folder: str(write_csv(folder / "t.csv")),
    "csv.gz": lambda folder: write_csv(folder / "t.csv.gz"),
    "tsv": lambda folder: write_csv(folder / "t.tsv", separator="\t"),
    "txt": lambda folder: write_csv(folder / "t.txt", separator="\t"),
    "parquet": lambda folder: (
        FRAME.write_parquet(folder / "t[1].parquet") or folder / "t[1].parquet"
    ),
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES.keys())
def test_every_source_reads_the_same(make, tmp_path):
    got = Interactions.read(make(tmp_path), **NAMES, weight="n")
    assert entries(got) == PAIRS
    assert got.report.null_ids == 1
    assert got.columns == {"user": "user", "item": "item", "weight": "n", "time": None}


def test_pandas_categories_and_missing_numbers():
    frame = pd.DataFrame({"user": pd.Categorical(["z", None, "a"]), "item": [1.0, 2.0, np.nan]})
    got = Interactions.read(frame, **NAMES)
    assert entries(got) == {("z", 1.0): 1.0}
    assert got.report.null_ids == 2


def test_text_files_keep_leading_zeros_and_count_what_is_no_number(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        'user,item,w\n007,1,2\n7,1,2.5\n7,01,x\n"",1,1\n7,1e3,\n8,2,1e39\n', "utf-8-sig"
    )
    got = Interactions.read(path, **NAMES, weight="w")
    assert entries(got) == {("007", "1"): 2.0, ("7", "1"): 2.5}
    assert (got.report.null_ids, got.report.bad_weights) == (1, 3)


@pytest.mark.parametrize(
    ("times", "latest"),
    [
        (["9", "10"], 2.0),
        (["9.5", "10"], 2.0),
        (["2024-01-09", "2023-12-10"], 1.0),
        (["5", "5"], 2.0),
    ],
)
def test_text_times_compare_as_numbers_if_all_are(tmp_path, times, latest):
    frame = pl.DataFrame({"user": "a", "item": "x", "w": [1, 2], "t": times})
    path = write_csv(tmp_path / "t.csv", frame)
    got = Interactions.read(path, **NAMES, weight="w", time="t", duplicates="last")
    assert entries(got) == {("a", "x"): latest}


@pytest.mark.parametrize(
    ("policy", "weighted", "plain"), [("sum", 6.0, 3.0), ("last", 1.0, 1.0), ("max", 3.0, 1.0)]
)
def test_policies_without_times(policy, weighted, plain):
    frame = pl.DataFrame({"user": 1, "item": 2, "w": [2, 3, 1]})
    for weight, expected in (("w", weighted), (None, plain)):
        got = Interactions.read(frame, **NAMES, weight=weight, duplicates=policy)
        assert entries(got) == {(1, 2): expected}
        assert repr(policy) in got.report.summary()
        assert "Merged 2 rows" in got.report.summary()


def test_policy_error_counts_and_shows_an_example():
    frame = pl.DataFrame({"user": ["a", "b", "b", "b"], "item": ["x", "x", "y", "y"]})
    with pytest.raises(ValueError, match=r"got 1 repeated rows.*user 'b' with item 'y'"):
        Interactions.read(frame, **NAMES, duplicates="error")
    assert Interactions.read(frame[:3], **NAMES, duplicates="error").nnz == 3


def test_sums_beyond_float32_are_refused():
    frame = pl.DataFrame({"user": 1, "item": 2, "w": [3e38, 3e38]})
    with pytest.raises(ValueError, match="weight must add up"):
        Interactions.read(frame, **NAMES, weight="w")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user": "usr"}, r"user must name a column of the table: got 'usr'; columns are \['user'"),
        ({"item": "user"}, "item must name another column than user"),
        ({"weight": "price"}, "weight must name a column"),
        ({"time": "when"}, "time must name a column"),
        ({"duplicates": "mean"}, "Unknown duplicates 'mean'"),
    ],
)
def test_bad_names_are_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        Interactions.read(FRAME, **{**NAMES, **arguments})


@pytest.mark.parametrize(
    "column",
    [pl.Series([[1], [2]]), pl.Series([{"a": 1}, {"a": 2}]), pl.Series([object(), object()])],
    ids=["list", "struct", "object"],
)
def test_ids_that_are_not_plain_are_refused(column):
    with pytest.raises(TypeError, match="item must name a column of plain values"):
        Interactions.read(pl.DataFrame({"user": [1, 2], "item": column}), **NAMES)


def test_weights_that_are_dates_are_refused():
    frame = pl.DataFrame({"user": [1, 2, 3], "item": [1, 2, 3], "day": days})
    with pytest.raises(TypeError, match="weight must name a column of numbers"):
        Interactions.read(frame, **NAMES, weight="day")


@pytest.mark.parametrize("source", [None, {"user": [1]}, [1, 2], 7])
def test_what_is_no_table_is_refused(source):
    with pytest.raises(TypeError, match="source must be a polars, pandas or pyarrow table"):
        Interactions.read(source, **NAMES)


def test_pandas_columns_of_mixed_types_are_refused():
    frame = pd.DataFrame({"user": [1, "x"], "item": [1, 2]}, dtype=object)
    with pytest.raises(TypeError, match="source must have columns of one plain type"):
        Interactions.read(frame, **NAMES)


def test_missing_files_folders_and_unknown_kinds(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"source must be the path.*none\.csv"):
        Interactions.read(tmp_path / "none.csv", **NAMES)
    with pytest.raises(FileNotFoundError, match="source must stand for files of tables"):
        Interactions.read(tmp_path, **NAMES)
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(ValueError, match=r"source must end in \.parquet.*'t\.xlsx'"):
        Interactions.read(tmp_path / "t.xlsx", **NAMES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "user,item\ncaf\u00e9,x\n".encode("latin1"), "source must be UTF-8 text.*iconv"),
        ("t.csv", b"", "source must be a readable table"),
        ("t.csv", b"user,item\na,x,1\n", "source must be a readable table.*as many fields"),
        ("t.csv", b"user,item\n", "source must have rows to learn from: got 0 rows"),
        ("t.csv", b"user,item\n,x\na,\n", "got 2 rows, 2 without user"),
        (
            "t.csv.gz",
            gzip.compress(b"user,item\n" + b"a,x\n" * 999, mtime=0)[:-20],
            "source must be a read",
        ),
        ("t.parquet", b"PAR1 no more", "source must be a readable table"),
    ],
)
def test_bad_files_are_explained(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Interactions.read(tmp_path / name, **NAMES)


def test_pairs_in_given_vocabularies(tmp_path):
    frame = pl.DataFrame(
        {
            "user": ["7", "7", "7", "9", "5", None, "x"],
            "item": ["b", "b", "a", "a", "zz", "a", "zz"],
        }
    )
    users, items = pl.Series([5, 7], dtype=pl.Int32), pl.Series(["a", "b"], dtype=pl.Categorical)
    read = {**NAMES, "users": users, "items": items}
    for source in (frame, write_csv(tmp_path / "t.csv", frame)):
        matrix, unknown_users, unknown_items, _ = read_pairs(source, **read)
        assert matrix.to_dense().tolist() == [[0, 0], [1, 1]]
        assert matrix.data.dtype == np.float32
        assert (unknown_users, unknown_items) == (2, 1)
    matrix, *_ = read_pairs(frame.clear(), **read)
    assert (matrix.shape, matrix.nnz) == ((2, 2), 0)


def test_bad_rows_can_be_refused():
    with pytest.raises(ValueError, match=r"bad_rows='error': got 4 rows, 1 without user"):
        Interactions.read(FRAME, **NAMES, bad_rows="error")
    assert Interactions.read(FRAME[:3], **NAMES, bad_rows="error").nnz == 2


def test_long_tables_keep_their_order_where_it_counts():
    # Long enough for several threads to share it.
    rng = np.random.default_rng(7)
    users, items = rng.integers(0, 300, (2, 300_000))
    frame = pl.DataFrame({"user": users, "item": items, "w": np.arange(1, users.size + 1)})
    got = Interactions.read(frame, **NAMES, weight="w", duplicates="last")
    last = frame.group_by("user", "item").agg(pl.col("w").last()).sort("user", "item")
    np.testing.assert_array_equal(got.matrix.data, last["w"].to_numpy().astype(np.float32))


def test_a_lazy_frame_that_changes_is_refused():
    calls = []

    def grow(batch):
        calls.append(batch)
        return pl.DataFrame({"user": range(len(calls)), "item": range(len(calls))})

    frame = pl.DataFrame({"user": [1], "item": [1]}).lazy()
    changing = frame.map_batches(grow, schema={"user": pl.Int64, "item": pl.Int64})
    with pytest.raises(ValueError, match="source must give the same rows whenever"):
        Interactions.read(changing, **NAMES)


def test_uuids_of_arrow_are_ids():
    values = [uuid.UUID(int=n) for n in (2**127, 5)]
    got = Interactions.read(pd.DataFrame({"user": values, "item": values}), **NAMES)
    assert got.users.to_list() == [value.bytes for value in reversed(values)]
