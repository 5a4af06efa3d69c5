"""Neighbours of items: counted as the naive twin counts them, stored and read back."""

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest

from recsys import Interactions, ItemKNN, load

N_ITEMS = 30


def pairs():
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {"user": rng.integers(60, size=500), "item": rng.integers(N_ITEMS, size=500)}
    )


@pytest.fixture(scope="module")
def train():
    return Interactions.read(pairs(), user="user", item="item")


LIKENESS = {
    "cosine": lambda c, a, b: c / (np.sqrt(a * b) + 3),
    "tversky": lambda c, a, b: c / (c + 0.5 * (a - c) + 2 * (b - c) + 3),
}


@pytest.mark.parametrize("likeness", LIKENESS)
def test_neighbours_equal_their_twin(train, likeness, tmp_path):
    model = ItemKNN(neighbours=6, likeness=likeness, shrink=3, alpha=0.5, beta=2).fit(train)
    taken = {row: naive.taken(train.matrix, row) for row in range(train.n_users)}
    near = naive.neighbours(taken, N_ITEMS, 6, LIKENESS[likeness])
    dense = np.array([[near[i].get(j, 0) for j in range(N_ITEMS)] for i in range(N_ITEMS)])
    np.testing.assert_allclose(model.table_.to_dense(), dense, 1e-5)
    scores = np.array([dense[sorted(taken[row])].sum(axis=0) for row in taken])
    np.testing.assert_allclose(model.scores(np.arange(train.n_users)), scores, 1e-5, 1e-6)
    model.save(tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").parameters() == model.parameters()


@pytest.mark.parametrize("options", [{"neighbours": 0}, {"likeness": "dice"}, {"shrink": -1}])
def test_neighbours_refuse_what_makes_no_sense(train, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ItemKNN(**options).fit(train)
