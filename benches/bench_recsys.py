"""Recommenders against their peers: training time, beside the quality and size it buys.

All learn from one matrix of users by items on one thread and are judged by one function, on all
items but those seen. Each keeps its defaults, apart from the 64 columns of the peers' factors.
"""

import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys import Interactions, Popularity, SparseMF, leave_last
from recsys.datasets import shop
from recsys.interactions import read_pairs
from recsys.ranking import ranking_metrics
from recsys.toplists import Scores
from sparsenum.sparse import CSR

K = 20


class Problem(NamedTuple):
    """What to learn from, what to be judged by, and what to call it."""

    name: str
    train: Interactions
    held: CSR


class Outcome(NamedTuple):
    """Scores of items for users, and the numbers they are made of."""

    scores: Scores
    weights: int
    bytes: int


@cache
def problem() -> Problem:
    """Return MovieLens 1M as UltraGCN splits it if SPARSENUM_DATA has it, else the made-up shop."""
    folder = Path(os.environ.get("SPARSENUM_DATA", ""), "recsys")
    names = {"user": "user", "item": "item"}
    if (folder / "ml1m_ultragcn_train.parquet").is_file():
        name = "ML-1M, split of UltraGCN"
        train, test = (folder / f"ml1m_ultragcn_{part}.parquet" for part in ("train", "test"))
    else:
        name = "made-up shop, last fifth held out"
        names = {"user": "customer", "item": "product"}
        train, test = leave_last(shop(), **names, time="time", fraction=0.2)
    read = Interactions.read(train, **names)
    return Problem(name, read, read_pairs(test, **names, users=read.users, items=read.items)[0])


def sparse(**options: Any) -> Callable[[Interactions], Outcome]:
    def fit(train: Interactions) -> Outcome:
        model = SparseMF(**options).fit(train)
        report = model.report()
        size = sum(report[f"bytes_{what}"] for what in ("values", "indices", "rows"))
        return Outcome(model.scores, report["weights"], size)

    return fit


def popularity(train: Interactions) -> Outcome:
    model = Popularity().fit(train)
    return Outcome(model.scores, model.counts_.size, model.counts_.nbytes)


def peer(module: str, name: str, columns: int) -> Callable[[Interactions], Outcome]:
    def fit(train: Interactions) -> Outcome:
        # Loaded at the first call, which is not timed.
        package = pytest.importorskip(
            f"implicit.cpu.{module}", reason="no record: the peer `implicit` is not installed"
        )
        with threadpool_limits(1):
            model: Any = getattr(package, name)(factors=columns, num_threads=1, random_state=0)
            model.fit(csr_matrix(train.matrix.to_scipy()), show_progress=False)
        users, items = model.user_factors, model.item_factors
        return Outcome(
            lambda rows: np.ascontiguousarray(users[rows] @ items.T),
            users.size + items.size,
            users.nbytes + items.nbytes,
        )

    return fit


MODELS = {
    "SparseMF, dynamic": sparse(),
    # With the default decay its weights in places of no use fade, and the baseline is a strawman.
    "SparseMF, static": sparse(recipe="static", weight_decay=0.0),
    "Popularity": popularity,
    "implicit ALS, 64 columns": peer("als", "AlternatingLeastSquares", 64),
    "implicit ALS, 12 columns": peer("als", "AlternatingLeastSquares", 12),
    "implicit BPR, 64 columns": peer("bpr", "BayesianPersonalizedRanking", 64),
}


@pytest.mark.parametrize("name", MODELS)
def test_training(benchmark, name: str) -> None:
    title, train, held = problem()
    benchmark.group = f"recsys/{title}, {train.n_users} x {train.n_items}, {train.nnz} pairs"
    MODELS[name](small())  # compiles
    outcome = benchmark.pedantic(MODELS[name], args=(train,), rounds=3)
    metrics = ranking_metrics(outcome.scores, held, train.matrix, K)

    benchmark.extra_info |= {"solver": name, "threads": 1, "timed": "training"}
    benchmark.extra_info |= {"weights": outcome.weights, "bytes": outcome.bytes, **metrics}
    if name.startswith("implicit"):
        benchmark.extra_info["implicit"] = version("implicit")


@cache
def small() -> Interactions:
    """Return a table so small that training on it takes no time."""
    return Interactions.read(shop(20, 12), user="customer", item="product")
