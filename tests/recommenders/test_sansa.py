"""SANSA: the sparse factor of the inverse by hand, its budget, its scores against EASE's."""

import numpy as np
import polars as pl
import pytest

from recsys import EASE, SANSA, Interactions, load
from recsys.items import sansa
from recsys.items.ease import normalised
from sparsenum.sparse import transpose
from sparsenum.topology import allocate

NAMES = {"user": "user", "item": "item"}


def interactions(n_items=14, n_events=250):
    rng = np.random.default_rng(0)
    item = (n_items * rng.random(n_events) ** 2).astype(int)
    pairs = {"user": rng.integers(40, size=n_events), "item": item}
    return Interactions.read(pl.DataFrame(pairs), **NAMES)


def by_hand(X, reg, room):
    """Return K: row i solves A k = e_i on i and those before it that alone explain the most."""
    A = X.T @ X
    n = len(A)
    A += reg * np.trace(A) / n * np.eye(n)
    K = np.zeros((n, n))
    for i in range(n):
        met = [j for j in range(i) if (X[:, i] * X[:, j]).any()]
        best = sorted(met, key=lambda j: -(A[i, j] ** 2) / A[j, j])
        support = [*best[: room[i] - 1], i]
        k = np.linalg.solve(A[np.ix_(support, support)], np.eye(len(support))[-1])
        K[i, support] = k / np.sqrt(k[-1])
    return K


@pytest.mark.parametrize("head", [0, 3, 4096])
@pytest.mark.parametrize("weights", [14, 50, 105])
def test_rows_are_solved_as_by_hand(monkeypatch, head, weights):
    monkeypatch.setattr(sansa, "HEAD", head)
    X, _ = normalised(interactions().matrix, 0.5, 0.25)
    K = sansa.inverse_factor(X, 0.7, weights)
    room = allocate(weights, np.ones(14), lower=1, upper=np.arange(1, 15))
    expected = by_hand(X.to_dense().astype(float), 0.7, room)
    np.testing.assert_allclose(K.to_dense(), expected, 1e-3, 1e-5)
    assert K.nnz == (expected != 0).sum() <= weights


def test_with_room_for_all_it_is_ease():
    train = interactions(n_events=900)  # any two items share a user
    options = {"reg": 0.6, "user_power": 0.3, "item_power": 0.4}
    model, dense = (kind(budget="100%", **options).fit(train) for kind in (SANSA, EASE))
    rows = np.arange(train.n_users)
    np.testing.assert_allclose(model.scores(rows), dense.scores(rows), 1e-3, 1e-5)
    for user, item in [(3, 7), (4, int(train.matrix.indices[train.matrix.indptr[4]]))]:
        parts, same = model.contributions(user, item), dense.contributions(user, item)
        score = model.scores(np.array([user]))[0, item]
        assert parts["contribution"].sum() == pytest.approx(score, abs=1e-5)
        assert parts["contribution"].sum() == pytest.approx(same["contribution"].sum(), abs=1e-5)
    others = np.arange(14) != 5
    np.testing.assert_allclose(
        model.similarities(5)[others], dense.similarities(5)[others], 1e-3, 1e-5
    )


def test_the_budget_is_used_up_and_a_file_gives_the_same_lists(tmp_path):
    train = interactions()
    model = SANSA(budget=60).fit(train)
    assert model.report()["weights"] == model.table_.nnz == 60
    W = model.table_.to_dense().astype(float)
    X = (train.matrix.to_dense() > 0).astype(float)
    B = np.eye(14) - W.T @ W / (W**2).sum(0)
    np.testing.assert_allclose(model.scores(np.arange(train.n_users)), X @ B, 1e-3, 1e-5)
    assert transpose(model.table_).row_counts.min() >= 1

    model.save(tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    assert back.get_params() == model.get_params()
    assert back.recommend("all", 5).equals(model.recommend("all", 5))
    guests = back.fold_in(pl.DataFrame({"user": [900, 900], "item": [2, 5]}))
    np.testing.assert_allclose(guests.scores(np.array([0]))[0], B[2] + B[5], 1e-3, 1e-5)


def test_an_item_that_meets_no_other_stands_alone():
    pairs = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": [0, 1, 0, 1, 2]})
    model = SANSA(budget="100%").fit(Interactions.read(pairs, **NAMES))
    assert model.table_.nnz == 4  # of six: nothing joins item 2 to the others
    assert not model.scores(np.array([2])).any()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"reg": -1}, "reg must be positive"), ({"budget": 3}, "budget must buy")],
)
def test_bad_parameters_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        SANSA(**{"budget": "50%"} | options).fit(interactions())
