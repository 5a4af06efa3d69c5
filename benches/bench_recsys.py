"""Recommenders against their peers: training time, beside the quality and size it buys.

All learn from one matrix of users by items on one thread and are judged by one function, on all
items but those seen. Then the best items of all users are listed, ours against a dense product.
"""

import os
from functools import partial
from importlib.metadata import version

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from benches.recommenders import Problem, learners, plan, problem, products
from recsys import ItemBlend
from recsys.ranking import ranking_metrics
from recsys.toplists import top_items

K = 20
COLUMNS = 64  # of the dense tables that lists are compared with
PROBLEMS = ("ml1m_ultragcn", "gowalla")
MORE = ("yelp2018", "amazon_sports", "amazon_book_kgat")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Compare on two public sets, under --full on five, and on a made-up one without data."""
    if "learner" in metafunc.fixturenames:
        names = PROBLEMS + MORE * metafunc.config.getoption("full")
        names = names if "SPARSENUM_DATA" in os.environ else ("shop",)
        cases = [(name, learner) for name in names for learner in learners(name)]
        metafunc.parametrize(("name", "learner"), cases)


def test_training(benchmark, name: str, learner: str) -> None:
    some, learn = problem(name), learners(name)[learner]
    if "choosing" not in learner:
        plan(name)  # what is chosen once is not timed again
    learn(problem("shop"))  # compiles
    benchmark.group = group("recsys", some)
    outcome = benchmark.pedantic(partial(learn, some), rounds=1)
    metrics = ranking_metrics(outcome.scores, some.held, some.train.matrix, K)

    benchmark.extra_info |= {"solver": learner, "threads": 1, "timed": "training"}
    benchmark.extra_info |= {"weights": outcome.weights, "bytes": outcome.bytes, **metrics}
    if learner.startswith("implicit"):
        benchmark.extra_info["implicit"] = version("implicit")


@pytest.mark.parametrize("solver", ["blend, 25 %", "dense product, 64 columns"])
def test_listing(benchmark, solver: str) -> None:
    name = "gowalla" if "SPARSENUM_DATA" in os.environ else "shop"
    some = problem(name)
    matrix = some.train.matrix
    if solver.startswith("blend"):
        model = ItemBlend().fit(some.train, plan=plan(name))
        scores, weights = model.scorer, model.report()["weights"]
    else:
        rng = np.random.default_rng(0)
        tables = [rng.standard_normal((n, COLUMNS), np.float32) for n in matrix.shape]
        scores, weights = products(*tables), sum(table.size for table in tables)

    def lists() -> int:
        with threadpool_limits(1):
            users = np.arange(matrix.shape[0])
            return sum(len(rows) for rows, _ in top_items(scores, users, K, matrix))

    benchmark.group = group("listing", some)
    assert benchmark.pedantic(lists, rounds=3, warmup_rounds=1) == matrix.shape[0]
    benchmark.extra_info |= {"solver": solver, "threads": 1, "timed": "lists of all users"}
    benchmark.extra_info |= {"weights": weights}


def group(section: str, some: Problem) -> str:
    """Return the heading that results on a problem stand under."""
    train = some.train
    return f"{section}/{some.name}, {train.n_users} x {train.n_items}, {train.nnz} pairs"
