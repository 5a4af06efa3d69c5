"""A small table, and models of three kinds that serve it."""

import numpy as np
import polars as pl

from recsys import ItemKNN, Popularity, SparseMF

NAMES = {"user": "user", "item": "item"}
N_ITEMS = 30


def pairs(seed=0, users=60, n=500, first=0):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {"user": first + rng.integers(users, size=n), "item": rng.integers(N_ITEMS, size=n)}
    )


MAKERS = {
    "sparse": lambda: SparseMF(budget="30%", dim=16, epochs=3),
    "itemknn": lambda: ItemKNN(neighbours=8),
    "popularity": Popularity,
}
