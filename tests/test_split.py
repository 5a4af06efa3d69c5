"""Holding back the last rows: against a slow twin, at the edges, and what bad input is told."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.split import leave_last

NAMES = {"user": "user", "item": "item"}


def twin(rows, hold):
    """Row numbers of both parts; `hold` tells how many of c rows to hold back."""
    complete = [n for n, row in enumerate(rows) if row[0] and row[1] and row[2] is not None]
    held = set()
    for user in {rows[n][0] for n in complete}:
        own = sorted((n for n in complete if rows[n][0] == user), key=lambda n: (rows[n][2], n))
        count = min(hold(len(own)), len(own) - 1)
        held.update(own[len(own) - count :])
    first = [n for n in range(len(rows)) if n not in held]
    seen = {rows[n][:2] for n in first if n in complete}
    return first, [n for n in sorted(held) if rows[n][:2] not in seen]


ids = st.sampled_from([None, "", "a", "b", "c"])
table = st.lists(st.tuples(ids, ids, st.none() | st.integers(0, 5)), max_size=40)
SCHEMA = {"user": pl.String, "item": pl.String, "time": pl.Int64}


@settings(deadline=None, max_examples=150)
@given(table, st.integers(1, 4), st.none() | st.sampled_from([0.1, 0.29, 0.5, 0.9]))
def test_split_equals_the_slow_twin(rows, k, fraction):
    frame = pl.DataFrame(rows, SCHEMA, orient="row").with_row_index("n")
    if fraction is None:
        parts = leave_last(frame, **NAMES, time="time", k=k)
        expected = twin(rows, lambda count: k)
    else:
        parts = leave_last(frame, **NAMES, time="time", fraction=fraction)
        expected = twin(rows, lambda count: math.floor(count * fraction + 1e-9))
    assert tuple(part["n"].to_list() for part in parts) == expected
    assert all(part.schema == frame.schema for part in parts)


def test_row_order_counts_without_times():
    frame = pl.DataFrame({"user": [1, 2, 1, 1], "item": [4, 4, 3, 2], "time": [3, 2, 1, 0]})
    first, second = leave_last(frame, **NAMES)
    assert second.rows() == [(1, 2, 0)]
    assert first.height == 3
    _, latest = leave_last(frame, **NAMES, time="time")
    assert latest.rows() == [(1, 4, 3)]


def test_text_files_with_number_times_and_other_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("user,item,when,note\n01,x,9,p\n01,y,10,q\n1,z,1,r\n", "utf-8")
    first, second = leave_last(path, **NAMES, time="when")
    assert second.rows() == [("01", "y", "10", "q")]
    assert first["user"].to_list() == ["01", "1"]


def test_pairs_seen_before_are_in_neither_part():
    frame = pl.DataFrame({"user": 1, "item": ["x", "y", "x"]})
    first, second = leave_last(frame, **NAMES)
    assert first["item"].to_list() == ["x", "y"]
    assert second.is_empty()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be at least 1"),
        ({"k": 1.5}, TypeError, "k must be a whole number"),
        ({"fraction": 0.0}, ValueError, "fraction must lie between"),
        ({"fraction": math.nan}, ValueError, "fraction must lie between"),
        ({"k": 2, "fraction": 0.5}, ValueError, "k must be left out"),
        ({"time": "when"}, ValueError, "time must name a column"),
        ({"table": [1]}, TypeError, "table must be a polars"),
        ({"table": "none.csv"}, FileNotFoundError, "table must be the path"),
    ],
)
def test_bad_arguments_are_explained(arguments, error, message):
    frame = pl.DataFrame({"user": [1], "item": [2]})
    with pytest.raises(error, match=message):
        leave_last(**{"table": frame, **NAMES, **arguments})


def test_bytes_that_are_no_text_are_explained(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"user,item\n\xe9,x\n")
    with pytest.raises(ValueError, match="table must be UTF-8"):
        leave_last(tmp_path / "t.csv", **NAMES)
