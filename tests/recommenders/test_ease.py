"""EASE: the closed form by hand, the weights that stay, what is refused."""

import numpy as np
import polars as pl
import pytest

from recsys import EASE, Interactions, load
from recsys.items import ease

NAMES = {"user": "user", "item": "item"}


def interactions(n_items=12, seed=0):
    rng = np.random.default_rng(seed)
    pairs = {"user": rng.integers(40, size=300), "item": rng.integers(n_items, size=300)}
    return Interactions.read(pl.DataFrame(pairs), **NAMES)


def by_hand(train, reg, user_power, item_power):
    """Return all weights: each item's column solved on all others, in the scaled problem."""
    X = (train.matrix.to_dense() > 0).astype(float)
    users, items = X.sum(1), X.sum(0)
    Y = X * users[:, None] ** (-user_power / 2) / items**item_power
    n = len(items)
    ridge = reg * (Y**2).sum() / n
    B = np.zeros((n, n))
    for j in range(n):
        rest = np.arange(n) != j
        A = Y[:, rest].T @ Y[:, rest] + ridge * np.eye(n - 1)
        B[rest, j] = np.linalg.solve(A, Y[:, rest].T @ Y[:, j])
    return B / items[:, None] ** item_power * items**item_power


@pytest.mark.parametrize("block", [5, 512])
@pytest.mark.parametrize(("reg", "user_power", "item_power"), [(0.5, 0, 0), (4, 0.5, 0.25)])
def test_the_largest_weights_of_the_closed_form_stay(
    monkeypatch, block, reg, user_power, item_power
):
    monkeypatch.setattr(ease, "BLOCK", block)
    train = interactions()
    expected = by_hand(train, reg, user_power, item_power)
    options = {"reg": reg, "user_power": user_power, "item_power": item_power}
    everything = EASE(budget="100%", **options).fit(train)
    np.testing.assert_allclose(everything.table_.to_dense(), expected, 1e-3, 1e-5)
    model = EASE(budget=40, **options).fit(train)
    assert model.table_.nnz == 40 == model.report()["weights"]
    least = np.sort(np.abs(expected).ravel())[-40]
    kept = np.where(np.abs(expected) >= least * (1 - 1e-5), expected, 0)
    np.testing.assert_allclose(model.table_.to_dense(), kept, 1e-3, 1e-5)
    taken = train.matrix.to_dense() > 0
    np.testing.assert_allclose(model.scores(np.arange(40)), taken @ kept, 1e-3, 1e-4)


def test_it_serves_new_users_and_comes_back_from_a_file(tmp_path):
    model = EASE(budget="30%").fit(interactions())
    model.save(tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    assert back.get_params() == model.get_params()
    assert back.recommend("all", 5).equals(model.recommend("all", 5))
    guests = back.fold_in(pl.DataFrame({"user": [900, 900], "item": [2, 5]}))
    rows = model.table_.to_dense()
    np.testing.assert_allclose(guests.scores(np.array([0]))[0], rows[2] + rows[5], 1e-5)
    parts = model.explain(3, 7)
    assert parts.score == pytest.approx(model.scores(np.array([3]))[0, 7], abs=1e-6)


def test_a_matrix_beyond_memory_is_refused_before_it_is_made():
    n = 400_000  # items: over a terabyte
    pairs = pl.DataFrame({"user": np.arange(n) % 10, "item": np.arange(n)})
    with pytest.raises(MemoryError, match="choose SANSA"):
        EASE(budget=n).fit(Interactions.read(pairs, **NAMES))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reg": 0}, "reg must be positive"),
        ({"user_power": -1}, "user_power must be at least 0"),
        ({"item_power": float("nan")}, "item_power must be at least 0"),
        ({"budget": 3}, "budget must buy"),
    ],
)
def test_bad_parameters_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        EASE(**{"budget": "50%"} | options).fit(interactions())
