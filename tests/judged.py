"""A table of pairs, and the models that are judged on it."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import polars as pl

from recsys import (
    EASE,
    SANSA,
    Interactions,
    ItemBlend,
    ItemKNN,
    LightGCN,
    Popularity,
    RP3beta,
    SparseAE,
    SparseALS,
    SparseMF,
    UserKNN,
    dense_mf,
)
from recsys.blend import GraphRule, LatentRule, Plan, WalkRule

NAMES = {"user": "user", "item": "item"}
MAKERS = {
    "dsl": lambda: SparseMF(budget="30%", dim=16, epochs=4),
    "static": lambda: SparseMF(budget="30%", dim=16, epochs=4, recipe="static"),
    "dense": lambda: dense_mf(judged(), budget="30%", dim=16, epochs=4),
    "als": lambda: SparseALS(budget="30%", dim=16, epochs=3, polish=2),
    "lightgcn": lambda: LightGCN(budget="30%", dim=16, epochs=4),
    "popularity": Popularity,
    "itemknn": lambda: ItemKNN(neighbours=5),
    "userknn": lambda: UserKNN(neighbours=30),
    "rp3beta": lambda: RP3beta(neighbours=5),
    "ease": lambda: EASE(budget="20%"),
    "sansa": lambda: SANSA(budget="20%"),
    "autoencoder": lambda: SparseAE(budget=300, dim=32, epochs=6),
    "blend": lambda: ItemBlend(budget=300, trials=3),
}
N_USERS, N_ITEMS = 300, 25
WALKS = Plan(GraphRule(), LatentRule(dim=16), 0.5, 0.4, WalkRule(), 0.3, 0.2)


def walking():
    """Something to fit: a blend of which walks and popularity are parts."""
    return SimpleNamespace(fit=partial(ItemBlend(budget=2000).fit, plan=WALKS))


def random_pairs(seed, n=1200):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {"user": rng.integers(N_USERS, size=n), "item": rng.integers(N_ITEMS, size=n)}
    )


def sets(table):
    """The items of each user."""
    by_user = {}
    for user, item in table.select("user", "item").rows():
        by_user.setdefault(user, set()).add(item)
    return by_user


def all_pairs():
    """Random pairs, and two special users."""
    # User -1 takes everything, user -2 one item.
    special = pl.DataFrame({"user": [-1] * N_ITEMS + [-2], "item": [*range(N_ITEMS), 3]})
    return pl.concat([random_pairs(0), special])


def judged():
    """The table that models are judged on, read."""
    return Interactions.read(all_pairs(), **NAMES)
