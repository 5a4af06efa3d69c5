"""Validation cuts, early stopping, and what scikit-learn's tools ask of a model."""

import itertools

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

from recsys import Interactions, LightGCN, Popularity, SparseMF
from recsys.evaluation.hold_out import cut
from recsys.training.monitor import Monitor

NAMES = {"user": "user", "item": "item"}


@pytest.fixture(scope="module")
def train():
    rng = np.random.default_rng(0)
    table = {"user": rng.integers(60, size=900), "item": rng.integers(30, size=900) ** 2 // 30}
    return Interactions.read(pl.DataFrame(table), **NAMES)


def entries(matrix):
    rows = np.repeat(np.arange(matrix.shape[0]), matrix.row_counts)
    return set(zip(rows.tolist(), matrix.indices.tolist(), matrix.data.tolist(), strict=True))


def test_a_cut_takes_interactions_apart_and_leaves_each_user_one(train):
    rest, held = cut(train.matrix, 0.3, np.random.default_rng(0))
    assert entries(rest) | entries(held) == entries(train.matrix)
    assert not entries(rest) & entries(held)
    assert rest.shape == held.shape == train.matrix.shape
    assert (rest.row_counts > 0).all()
    assert held.nnz == pytest.approx(0.3 * (train.nnz - train.n_users), rel=0.2)
    everything = cut(train.matrix, 1.0, np.random.default_rng(0))
    assert (everything[0].row_counts == 1).all()


def test_training_stops_after_patience_and_keeps_the_best(train):
    # What is watched is met by chance only, so that sooner or later it gets worse.
    rng = np.random.default_rng(1)
    valid = pl.DataFrame({"user": rng.integers(60, size=60), "item": rng.integers(30, size=60)})
    valid = valid.with_columns(item=pl.col("item") ** 2 // 30)
    options = {"budget": "30%", "dim": 16, "epochs": 40, "seed": 2}
    model = SparseMF(**options, patience=2).fit(train, valid=valid)
    looks = {e["epoch"]: e["ndcg@20"] for e in model.history_ if "ndcg@20" in e}
    best = max(looks, key=looks.get)
    assert list(looks)[-3:] == [best, best + 4, best + 8]
    assert model.history_[-1]["epoch"] == best + 8 < 40
    assert model.evaluate(valid)["ndcg@20"] == pytest.approx(looks[best])
    # The way there was the same as without patience.
    plain = SparseMF(**options).fit(train, valid=valid)
    assert len(plain.history_) == 40
    for one, other in zip(model.history_, plain.history_, strict=False):
        assert one["loss"] == other["loss"]


@pytest.mark.parametrize("make", [SparseMF, LightGCN])
def test_a_cut_inside_fit_is_not_learned_from_but_remembered(train, make, monkeypatch):
    seen = []
    see = Monitor.see
    monkeypatch.setattr(Monitor, "see", lambda self, *a: seen.append(self) or see(self, *a))
    model = make(budget="30%", dim=16, epochs=3, validation=0.3, patience=3).fit(train)
    learned, held = seen[0].seen, seen[0].held
    assert entries(learned) | entries(held) == entries(train.matrix)
    assert 0.1 * train.nnz < held.nnz < 0.3 * train.nnz
    assert model.seen_ is train.matrix
    assert all("ndcg@20" in entry for entry in model.history_)
    with pytest.raises(ValueError, match="validation must be left out where valid is given"):
        model.fit(train, valid=pl.DataFrame({"user": [1], "item": [1]}))


@pytest.mark.parametrize("make", [SparseMF, LightGCN, Popularity])
def test_scikit_learn_can_clone_and_set(train, make):
    model = make()
    if model.get_params():
        model.set_params(seed=7, budget="30%", dim=16, epochs=2)
        with pytest.raises(ValueError, match="'depth' is no parameter: expected one of budget"):
            model.set_params(depth=3)
    twin = clone(model.fit(train))
    assert type(twin) is make
    assert twin is not model
    assert twin.get_params() == model.get_params() == model.parameters()
    assert not hasattr(twin, "users_")
    assert twin.fit(train).recommend("all", 5).equals(model.recommend("all", 5))


@pytest.mark.parametrize("loss", ["bpr", "bce", "softmax", "ccl"])
@pytest.mark.parametrize("optimizer", ["adagrad", "adam", "sgd"])
def test_every_loss_with_every_optimizer_learns_blocks(loss, optimizer):
    rows = [(f"{b}-{u}", f"{b}-{i}") for b, u, i in itertools.product("ab", range(12), range(8))]
    kept = [row for e, row in enumerate(rows) if e % 5]
    train = Interactions.read(pl.DataFrame(kept, ["user", "item"], orient="row"), **NAMES)
    rate = {"adagrad": 0.1, "adam": 0.02, "sgd": 0.1}[optimizer]
    model = SparseMF(
        budget="50%",
        dim=16,
        epochs=30,
        loss=loss,
        optimizer=optimizer,
        learning_rate=rate,
        weight_decay=0.003,
    ).fit(train)
    lists = model.recommend("all", 8, exclude_seen=False)
    own = pl.col("user").str.head(1) == pl.col("item").str.head(1)
    assert lists.filter(own).height >= 0.95 * lists.height
    numbers = {"adagrad": 1, "adam": 3, "sgd": 0}[optimizer]
    assert {e["optimizer_floats"] for e in model.history_} == {numbers * model.n_weights_}
