"""Holding back the last rows: against a slow twin, at the edges, and what bad input is told."""

import datetime
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsys.data.split import by_time, held_out_users, leave_last, random_per_user

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
    seen = {rows[n][:2] for n in first}
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


def pairs(part):
    return {row[:2] for row in part.select("user", "item").rows() if row[0] and row[1]}


FRACTIONS = st.sampled_from([0.1, 0.29, 0.5, 0.9])
SPLITS = {
    "last": lambda frame, f: leave_last(frame, **NAMES, time="time", fraction=f),
    "random": lambda frame, f: random_per_user(frame, **NAMES, fraction=f, seed=3),
    "time": lambda frame, f: by_time(frame, **NAMES, time="time", fraction=f),
    "users": lambda frame, f: held_out_users(frame, **NAMES, time="time", fraction=f, hide=0.5),
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS.keys())
@settings(deadline=None, max_examples=50)
@given(rows=table, fraction=FRACTIONS)
def test_no_row_and_no_pair_is_in_two_parts(split, rows, fraction):
    frame = pl.DataFrame(rows, SCHEMA, orient="row").with_row_index("n")
    assume(len({row[0] for row in rows if row[0]}) > 1)  # the split by users needs two of them
    parts = split(frame, fraction)
    seen = set()
    for part in parts:
        assert part["n"].is_sorted()
        assert not seen & pairs(part)
        seen |= pairs(part)
    assert seen == pairs(frame)
    numbers = [n for part in parts for n in part["n"]]
    assert len(numbers) == len(set(numbers))


@settings(deadline=None, max_examples=50)
@given(table, FRACTIONS, st.integers(0, 9))
def test_a_random_part_of_each_user_leaves_one_row(rows, fraction, seed):
    rows = [(row[0], n, row[2]) for n, row in enumerate(rows)]  # no pair twice
    frame = pl.DataFrame(rows, {**SCHEMA, "item": pl.Int64}, orient="row")
    first, second = random_per_user(frame, **NAMES, fraction=fraction, seed=seed)
    for user in {row[0] for row in rows if row[0]}:
        count = sum(row[0] == user for row in rows)
        held = min(math.floor(count * fraction + 1e-9), count - 1)
        assert [(part["user"] == user).sum() for part in (first, second)] == [count - held, held]
    assert first.equals(random_per_user(frame, **NAMES, fraction=fraction, seed=seed)[0])


def test_a_pair_seen_without_time_is_not_held_back():
    frame = pl.DataFrame({"user": 1, "item": ["x", "y", "x"], "time": [None, 0, 1]})
    for split in (leave_last, by_time):
        first, second = split(frame, **NAMES, time="time", fraction=0.5)
        assert first["item"].to_list() == ["x", "y"]
        assert second.is_empty()


def test_seeds_draw_different_parts():
    frame = pl.DataFrame({"user": [1] * 50, "item": range(50)})
    parts = [random_per_user(frame, **NAMES, seed=seed)[1]["item"].to_list() for seed in range(20)]
    assert len(set(map(tuple, parts))) == 20
    # Each of 50 items is drawn 4 times in 20 draws of 10, give or take.
    counts = [sum(item in part for part in parts) for item in range(50)]
    assert max(counts) < 12
    assert sum(count == 0 for count in counts) < 5


@settings(deadline=None, max_examples=50)
@given(table, st.integers(0, 5))
def test_a_moment_parts_the_table(rows, cut):
    frame = pl.DataFrame(rows, SCHEMA, orient="row").with_row_index("n")
    first, second = by_time(frame, **NAMES, time="time", cut=cut)
    late = [n for n, (u, i, t) in enumerate(rows) if u and i and t is not None and t >= cut]
    expected = [n for n in range(len(rows)) if n not in late]
    seen = {rows[n][:2] for n in expected}
    assert first["n"].to_list() == expected
    assert second["n"].to_list() == [n for n in late if rows[n][:2] not in seen]


def test_a_part_of_the_time_holds_back_all_rows_of_its_first_moment():
    frame = pl.DataFrame({"user": 1, "item": range(10), "time": [5, 1, 2, 3, 4, 5, 5, 6, 7, 8]})
    _, second = by_time(frame, **NAMES, time="time", fraction=0.5)
    assert second["time"].to_list() == [5, 5, 5, 6, 7, 8]


day = datetime.datetime(2024, 1, 2)


@pytest.mark.parametrize(
    ("times", "cut"),
    [
        ([day, day.replace(day=1)], day),
        ([day, day.replace(day=1)], day.date()),
        ([day, day.replace(day=1)], "2024-01-02"),
        ([day.date(), day.date().replace(day=1)], "2024-01-02"),
        (["2024-01-02", "2024-01-01"], "2024-01-02"),
        (["10", "9"], 10),
        (["10", "9"], "9.5"),
        ([10, 9], 9.5),
    ],
)
def test_cuts_of_every_type(times, cut):
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": times})
    if cut == "9.5":
        frame = frame.with_columns(pl.Series("time", ["10.0", "9"]))
    first, second = by_time(frame, **NAMES, time="time", cut=cut)
    assert (first["item"].to_list(), second["item"].to_list()) == ([2], [1])


@pytest.mark.parametrize(
    ("times", "cut"), [([1, 2], "noon"), ([1, 2], day), ([day, day], 5), (["2020-01-01"] * 2, 5)]
)
def test_cuts_that_are_no_moments_are_refused(times, cut):
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": times})
    with pytest.raises(TypeError, match="cut must be of a type like that of the times"):
        by_time(frame, **NAMES, time="time", cut=cut)


def test_users_held_out_are_new_to_training_and_partly_known():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"user": np.repeat(np.arange(50), 10), "item": np.tile(np.arange(10), 50)}
    ).with_columns(time=rng.permutation(500))
    train, known, hidden = held_out_users(frame, **NAMES, time="time", fraction=0.2, hide=0.3)
    assert [train["user"].n_unique(), known["user"].n_unique()] == [40, 10]
    assert set(hidden["user"]) == set(known["user"])
    assert not set(train["user"]) & set(known["user"])
    assert known.group_by("user").len()["len"].unique().to_list() == [7]
    latest = known.group_by("user").agg(pl.col("time").max())
    assert (
        (hidden.join(latest, on="user").select(pl.col("time") > pl.col("time_right")))
        .to_series()
        .all()
    )
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    again = held_out_users(shuffled, **NAMES, time="time", fraction=0.2, hide=0.3)
    assert set(again[1].rows()) == set(known.rows())
    assert held_out_users(frame, **NAMES, fraction=0.2)[2].height == 20


@pytest.mark.parametrize(
    ("split", "arguments", "message"),
    [
        (random_per_user, {"fraction": 1.0}, "fraction must lie between"),
        (random_per_user, {"seed": -1}, "seed must be at least 0"),
        (by_time, {"time": "t"}, "one of cut and fraction"),
        (by_time, {"time": "t", "cut": 1, "fraction": 0.5}, "one of cut and fraction"),
        (by_time, {"time": "t", "fraction": 2}, "fraction must lie between"),
        (held_out_users, {"hide": 0}, "hide must lie between"),
        (held_out_users, {}, "table must have two users or more: got 1"),
    ],
)
def test_bad_arguments_of_the_other_splits(split, arguments, message):
    frame = pl.DataFrame({"user": [1], "item": [2], "t": [3]})
    with pytest.raises(ValueError, match=message):
        split(frame, **NAMES, **arguments)
