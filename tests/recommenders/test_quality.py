"""Every model learns who goes with whom, as well as it can at its size."""

import numpy as np
import polars as pl
import pytest
from judged import MAKERS

from recsys import Interactions

# Recall of lists of four, where chance and popularity find about 0.16 and a perfect model finds 1.
FLOORS = {
    "dsl": 0.7,
    "static": 0.25,
    "dense": 0.75,
    "als": 0.7,
    "lightgcn": 0.85,
    "popularity": 0.1,
    "itemknn": 0.9,
    "userknn": 0.9,
    "rp3beta": 0.9,
    "ease": 0.9,
    "sansa": 0.9,
    "autoencoder": 0.9,
    "blend": 0.85,
}


def clustered(n_users=400, n_items=24, groups=4):
    """Users like nearly all items of one kind; half of these and one other item are known."""
    rng = np.random.default_rng(1)
    kind = np.arange(n_users) % groups
    liked = (np.arange(n_items) % groups == kind[:, None]) & (rng.random((n_users, n_items)) < 0.9)
    train = liked & (rng.random(liked.shape) < 0.6)
    train[np.arange(n_users), rng.integers(n_items, size=n_users)] = True
    pairs = [np.nonzero(part) for part in (train, liked & ~train)]
    return [pl.DataFrame({"user": user, "item": item}) for user, item in pairs]


@pytest.mark.parametrize("name", MAKERS)
def test_what_goes_together_is_learned(name):
    table, test = clustered()
    train = Interactions.read(table, user="user", item="item")
    assert MAKERS[name]().fit(train).evaluate(test, 4)["recall@4"] > FLOORS[name]
