"""The made-up shop: the same for a seed, of the law it states, dirty, and worth learning from."""

import numpy as np
import polars as pl
import pytest
import scipy.sparse.linalg

from recsys.data.interactions import Interactions, read_pairs
from recsys.data.split import leave_last
from recsys.datasets import shop

NAMES = {"user": "customer", "item": "product"}


@pytest.fixture(scope="module")
def table():
    return shop()


def test_a_seed_fixes_the_table(table):
    assert shop().equals(table)
    assert not shop(seed=1).head(100).equals(table.head(100))


def test_columns_and_ids(table):
    assert table.schema == {
        "customer": pl.String,
        "product": pl.String,
        "quantity": pl.Int64,
        "price": pl.Float64,
        "time": pl.Datetime("ms"),
    }
    assert table["customer"].drop_nulls().str.contains(r"^C\d{5}$").all()
    assert table["product"].drop_nulls().str.contains(r"^[A-Z]{3,4}-\d{4}$").all()
    assert table["customer"].n_unique() == 2001
    assert table["time"].is_sorted()
    assert (table["price"] > 0).all()
    assert (
        table.drop_nulls().group_by("product").agg(pl.col("price").n_unique())["price"].max() == 1
    )


def test_activity_and_popularity_are_skewed(table):
    activity = table.drop_nulls("customer").group_by("customer").len()["len"]
    assert 20 < activity.mean() < 30
    assert activity.median() < 0.8 * activity.mean()
    sales = table.drop_nulls("product").group_by("product").len()["len"].sort(descending=True)
    assert sales[:150].sum() > 0.35 * sales.sum()


def test_the_dirt_is_there(table):
    share = table.select(
        customer=pl.col("customer").is_null().mean(),
        product=pl.col("product").is_null().mean(),
        returns=(pl.col("quantity") < 0).mean(),
        zeros=(pl.col("quantity") == 0).mean(),
        repeated=pl.struct(pl.all()).is_duplicated().mean(),
    ).row(0)
    np.testing.assert_allclose(share, [0.005, 0.003, 0.01, 0.005, 0.004], rtol=0.4)
    report = Interactions.read(table, **NAMES, weight="quantity", time="time").report
    assert 0 < report.duplicates < report.pairs
    assert min(report.null_ids, report.touched) > 0


def test_week_has_a_rhythm(table):
    by_day = table.group_by(table["time"].dt.weekday()).len().sort("time")["len"]
    assert by_day[5] > 1.5 * by_day[1]


def recall_at_20(scores, seen, test):
    scores = np.where(seen.toarray() > 0, -np.inf, scores)
    best = np.argpartition(-scores, 20, axis=1)[:, :20]
    held = test.to_dense()
    hits, total = np.take_along_axis(held, best, axis=1).sum(1), held.sum(1)
    return (hits[total > 0] / total[total > 0]).mean()


def test_taste_can_be_learned(table):
    first, second = leave_last(table, **NAMES, time="time", fraction=0.2)
    train = Interactions.read(first, **NAMES, weight="quantity")
    test, *_ = read_pairs(second, **NAMES, users=train.users, items=train.items)
    seen = train.matrix.with_data(np.ones_like(train.matrix.data)).to_scipy()
    popular = np.tile(np.asarray(seen.sum(axis=0)), (train.n_users, 1))
    u, s, vt = scipy.sparse.linalg.svds(seen, k=12, v0=np.ones(train.n_items, np.float32))
    assert recall_at_20(u * s @ vt, seen, test) > 2 * recall_at_20(popular, seen, test) > 0.1


def test_small_shops_and_bad_sizes():
    tiny = shop(1, 12, seed=5)
    assert tiny.height >= 5
    with pytest.raises(ValueError, match="n_products must be at least 12"):
        shop(10, 11)
    with pytest.raises(ValueError, match="n_customers must be at least 1"):
        shop(0)
    with pytest.raises(TypeError, match="seed must be a whole number"):
        shop(seed=0.5)
