"""Recommenders against their peers: training time, beside the quality and size it buys.

All learn from one matrix of users by items on one thread and are judged by one function, on all
items but those seen. Then the best items of all users are listed, ours against a dense product.
"""

import os
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from benches.recommending.peers import missing, products
from benches.recommending.public_sets import Outcome, Problem, problem
from benches.recommending.recommenders import learners, plan
from benches.reporting.records import ABSENT
from recsys import ItemBlend
from recsys.evaluation.metrics import ranking_metrics
from recsys.scores.toplists import top_items

pytestmark = pytest.mark.benchmark(timer=time.process_time)

K = 20
COLUMNS = 64  # of the dense tables that lists are compared with
PROBLEMS = ("ml1m_ultragcn", "gowalla")
MORE = ("yelp2018", "amazon_sports", "amazon_book_kgat")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Compare on two public sets, under --full all on five, and on a made-up one without data."""
    if "learner" in metafunc.fixturenames:
        full = metafunc.config.getoption("full")
        names = PROBLEMS + MORE * full
        names = names if "SPARSENUM_DATA" in os.environ else ("shop",)
        cases = [(name, learner) for name in names for learner in learners(name, full=full)]
        metafunc.parametrize(("name", "learner"), cases)


def test_training(benchmark, peak, name: str, learner: str) -> None:
    some, learn = problem(name), learners(name)[learner]
    benchmark.group = group("recsys", some)
    benchmark.extra_info |= {"solver": learner, "threads": 1, "timed": "training"}
    package = missing(learner)
    if package is not None:
        benchmark.pedantic(lambda: None)
        benchmark.extra_info |= {"status": ABSENT, "remedy": f"pip install {package}"}
        return
    if "choosing" in learner:
        ItemBlend(trials=2).fit(problem("shop").train)  # compiles
    else:
        if learner.startswith("blend"):
            plan(name)  # what is chosen once is not timed again
        learn(problem("shop"))
    outcome = benchmark.pedantic(partial(learn, some), setup=peak.start, rounds=1)
    benchmark.extra_info |= peak.facts() | judged(outcome, some)


def judged(outcome: Outcome, some: Problem) -> dict[str, Any]:
    """Return what a model is made of and what it finds."""
    facts = outcome._asdict()
    metrics = ranking_metrics(facts.pop("scores"), some.held, some.train.matrix, K)
    return {name: fact for name, fact in facts.items() if fact is not None} | metrics


@pytest.mark.parametrize("solver", ["blend, 25 %", "dense product, 64 columns"])
def test_listing(benchmark, peak, solver: str) -> None:
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
    rounds = 3 if solver.startswith("blend") else 1  # of seconds
    assert benchmark.pedantic(lists, setup=peak.start, rounds=rounds) == matrix.shape[0]
    benchmark.extra_info |= {"solver": solver, "threads": 1, "timed": "lists of all users"}
    benchmark.extra_info |= {"weights": weights, **peak.facts()}


def group(section: str, some: Problem) -> str:
    """Return the heading that results on a problem stand under."""
    train = some.train
    return f"{section}/{some.name}, {train.n_users} x {train.n_items}, {train.nnz} pairs"
