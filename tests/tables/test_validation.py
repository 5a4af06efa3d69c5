"""The pairs that parameters are chosen by are late where a table tells what is late."""

import numpy as np
import polars as pl
import pytest

from recsys.data.validation import pairs_to_choose_by, rising_share

NAMES = {"user": "user", "item": "item"}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(50)[:20] for _ in range(30)])
    return pl.DataFrame({"user": np.repeat(np.arange(30), 20), "item": items})


def test_half_of_the_users_give_their_latest_by_time(table):
    timed = table.with_columns(at=pl.Series(np.tile(np.arange(20)[::-1], 30)))
    held, how = pairs_to_choose_by(timed, **NAMES, time="at")
    assert how == "time"
    assert held.group_by("user").len()["len"].to_list() == [2] * 30
    late = held.group_by("user").agg((pl.col("at") >= 18).all())["at"].sum()
    assert 8 < late < 22


def test_half_of_the_users_give_their_latest_by_order(table):
    numbered = table.with_row_index("row")
    held, how = pairs_to_choose_by(table, **NAMES)
    assert how == "order"
    places = held.join(numbered, on=["user", "item"])["row"].to_numpy() % 20
    late = (places.reshape(30, 2) >= 18).all(axis=1).sum()
    assert 8 < late < 22


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("kind", [pl.Int64, pl.String])
def test_an_order_by_id_says_nothing(table, descending, kind):
    ordered = table.with_columns(pl.col("item").cast(kind)).sort(
        "user", "item", descending=[False, descending]
    )
    drawn, how = pairs_to_choose_by(ordered, **NAMES)
    assert how == "chance"
    assert drawn.height == 60
    assert drawn.unique().height == 60
    assert drawn.group_by("user").len()["len"].to_list() == [2] * 30


def test_numbers_sorted_before_they_became_text_are_seen_through(table):
    ordered = table.sort("user", "item").with_columns(pl.col("item").cast(pl.String))
    assert rising_share(ordered, **NAMES) > 0.7


def test_a_table_without_steps_and_rows_without_ids():
    table = pl.DataFrame({"user": ["a", "b", None], "item": ["x", None, "y"]})
    assert pairs_to_choose_by(table, **NAMES)[0].is_empty()


def test_users_of_few_rows_give_one_in_ten_of_them():
    table = pl.DataFrame(
        {"user": np.repeat(np.arange(2000), 4), "item": np.tile([7, 3, 9, 1], 2000)}
    )
    held, how = pairs_to_choose_by(table, **NAMES)
    assert how == "order"
    assert held.group_by("user").len()["len"].max() == 1
    assert 680 < held.height < 920
    assert (held["item"] == 1).mean() > 0.5  # late, or at random
    other = pairs_to_choose_by(table, **NAMES, seed=1)[0]
    assert not held.equals(other)
    assert held.equals(pairs_to_choose_by(table, **NAMES)[0])
