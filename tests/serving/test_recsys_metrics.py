"""Evaluating: every metric against its twin, what is left out, and the metrics of each user."""

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest
from judged import MAKERS, N_ITEMS, N_USERS, NAMES, all_pairs, random_pairs, sets

from recsys import Interactions

METRICS = ("recall", "ndcg", "recall_capped", "hit_rate", "mrr", "precision", "map", "novelty")


@pytest.fixture(scope="module")
def table():
    return all_pairs()


@pytest.fixture(scope="module")
def train(table):
    return Interactions.read(table, **NAMES)


@pytest.fixture(scope="module")
def fitted(train):
    return {name: make().fit(train) for name, make in MAKERS.items()}


@pytest.fixture(params=MAKERS)
def model(request, fitted):
    return fitted[request.param]


@pytest.mark.parametrize("k", [1, 5, 25])
def test_metrics_equal_their_twin(model, table, k):
    test = pl.concat([random_pairs(1, 500), table[:100]])
    strangers = pl.DataFrame({"user": [777, 777, 1, 2], "item": [1, 99, 99, None]})
    test = pl.concat([test, strangers, test[:50]])
    scores = dict(zip(model.users_, model.scores(np.arange(model.users_.len())), strict=True))
    held = sets(test.filter(pl.col("item") < N_ITEMS, pl.col("user").is_in(model.users_.implode())))
    of, coverage = naive.ranking_metrics(scores, sets(table), held, k)
    n_strangers = test.filter(~pl.col("user").is_in(model.users_.implode()))["item"].count()
    means = {f"{name}@{k}": pytest.approx(np.mean(of[name]), rel=1e-12) for name in of}
    assert model.evaluate(test, k) == means | {
        f"coverage@{k}": coverage,
        "users": len(of["recall"]),
        "unknown_users": n_strangers,
        "unknown_items": 1,
        "not_liked": 0,
    }
    assert 0 < np.mean(of["recall"]) <= 1
    assert 100 < len(of["recall"]) < N_USERS


def test_metrics_of_each_user(model):
    test = random_pairs(1, 500)
    result = model.evaluate(test, 5, per_user=True)
    each = result.pop("per_user")
    assert result == model.evaluate(test, 5)
    assert each.height == result["users"]
    for name in METRICS:
        assert each[f"{name}@5"].mean() == pytest.approx(result[f"{name}@5"], rel=1e-12)
    assert each["user"].is_in(test["user"].implode()).all()
    known = test.filter(pl.col("user").is_in(model.users_.implode())).unique()
    new = known.join(pl.DataFrame(model_pairs(model)), on=["user", "item"], how="anti")
    assert dict(each.select("user", "held").rows()) == dict(new.group_by("user").len().rows())


def model_pairs(model):
    row = np.repeat(np.arange(model.users_.len()), model.seen_.row_counts)
    return {"user": model.users_.gather(row), "item": model.items_.gather(model.seen_.indices)}


def test_evaluation_of_nothing_is_refused(model, table):
    strangers = pl.DataFrame({"user": [777, 1], "item": [1, 99]})
    for test, fact in (
        (table, "none, with 0 rows of unknown users, 0 of unknown items, and 0 pairs not liked"),
        (table.clear(), "none, with 0 rows of unknown users"),
        (strangers, "none, with 1 rows of unknown users, 1 of unknown items"),
    ):
        with pytest.raises(ValueError, match=f"test must hold liked pairs of known .* got {fact}"):
            model.evaluate(test, 5)


def test_evaluation_of_what_is_no_table_is_refused(model, table):
    train = Interactions.read(table, user="user", item="item")
    for test in (train, train.matrix.to_scipy(), table.to_numpy(), [[1, 2]], None):
        with pytest.raises(TypeError, match=r"test must be .* got .*; (make|pass)"):
            model.evaluate(test, 5)
    with pytest.raises(TypeError, match="valid must be a table or a path: got Interactions; pass"):
        model.evaluate(random_pairs(1), 5, valid=train)


def test_evaluation_names_its_columns(model):
    test = random_pairs(1)
    renamed = test.rename({"user": "who", "item": "what"})
    assert model.evaluate(renamed, user="who", item="what") == model.evaluate(test)
    assert model.evaluate(test.cast(pl.String)) == model.evaluate(test)
    with pytest.raises(ValueError, match="user must name a column of the table: got 'user'"):
        model.evaluate(renamed)


def test_several_lengths_are_judged_by_the_same_lists(model):
    test = random_pairs(1, 500)
    several = model.evaluate(test, [1, 5, 25], per_user=True)
    each = several.pop("per_user")
    for k in (1, 5, 25):
        alone = model.evaluate(test, k, per_user=True)
        for name in (*METRICS, "coverage"):
            assert several[f"{name}@{k}"] == alone[f"{name}@{k}"]
        names = [f"{name}@{k}" for name in METRICS]
        assert each.select("user", "held", *names).equals(alone["per_user"])
    with pytest.raises(ValueError, match="k must be from 1 to 25: got 26"):
        model.evaluate(test, [5, 26])
