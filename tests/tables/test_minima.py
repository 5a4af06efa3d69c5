"""Users and items with a minimum of pairs: against dropping them one at a time."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.interactions import Interactions

NAMES = {"user": "user", "item": "item"}


def entries(interactions):
    """The matrix as a dict from (user id, item id) to weight."""
    matrix = interactions.matrix.to_scipy().tocoo()
    users, items = interactions.users.to_list(), interactions.items.to_list()
    triples = zip(matrix.row, matrix.col, matrix.data, strict=True)
    return {(users[i], items[j]): float(w) for i, j, w in triples}


def naive_core(pairs, min_user, min_item):
    """Drop one user or item at a time, until none has too few pairs."""
    pairs = set(pairs)
    while True:
        users, items = ([pair[side] for pair in pairs] for side in (0, 1))
        rare = [p for p in pairs if users.count(p[0]) < min_user or items.count(p[1]) < min_item]
        if not rare:
            return pairs
        gone = 0 if users.count(rare[0][0]) < min_user else 1
        pairs = {pair for pair in pairs if pair[gone] != rare[0][gone]}


letters = st.sampled_from("abcdefgh")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(letters, letters), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_minima_leave_the_largest_part_that_keeps_them(pairs, min_user, min_item):
    frame = pl.DataFrame(pairs, {"user": pl.String, "item": pl.String}, orient="row")
    read = {**NAMES, "min_user": min_user, "min_item": min_item}
    expected = naive_core(pairs, min_user, min_item)
    if not expected:
        with pytest.raises(ValueError, match="min_user and min_item must leave"):
            Interactions.read(frame, **read)
        return
    got = Interactions.read(frame, **read)
    assert entries(got) == {pair: pairs.count(pair) for pair in expected}
    assert got.report.rare == len(set(pairs)) - len(expected)
    assert got.report.rows == got.report.duplicates + got.report.rare + got.report.pairs
    assert (got.report.users, got.report.items) == (got.n_users, got.n_items)


def test_minima_are_told_and_checked():
    frame = pl.DataFrame({"user": ["a", "a", "b"], "item": ["x", "y", "x"]})
    got = Interactions.read(frame, **NAMES, min_user=2)
    assert entries(got) == {("a", "x"): 1.0, ("a", "y"): 1.0}
    assert "Dropped 1 pairs of users with fewer than 2" in got.report.summary()
    assert "fewer than" not in Interactions.read(frame, **NAMES).report.summary()
    with pytest.raises(ValueError, match="min_item must be at least 1"):
        Interactions.read(frame, **NAMES, min_item=0)
