"""Recommenders to compare: what they learn from, ours, and peers; all judged by one function."""

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix, diags_array
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

from recsys import EASE, SANSA, Interactions, ItemBlend, Popularity, SparseMF, dense_mf, leave_last
from recsys.datasets import shop
from recsys.interactions import read_pairs
from recsys.items.graph import GraphRule, learn_graph
from recsys.items.parts import Plan
from recsys.items.scoring import HistoryScores, ItemTables
from recsys.split import random_per_user
from recsys.toplists import Scores
from sparsenum.sparse import CSR

NAMES = {"user": "user", "item": "item"}
SHOP = {"user": "customer", "item": "product"}
WIDE = 256  # columns of the widest peers
PLAIN = 1e6  # a ridge under which a graph counts and no longer solves


class Problem(NamedTuple):
    """What to learn from, what to be judged by, what to choose by, and what to call it."""

    name: str
    train: Interactions
    held: CSR
    valid: Any


class Outcome(NamedTuple):
    """Scores of items for users, and the numbers and bytes they are made of."""

    scores: Scores
    weights: int
    bytes: int


Learner = Callable[[Problem], Outcome]


@cache
def problem(name: str) -> Problem:
    """Return a public set if SPARSENUM_DATA has it; the made-up shop is always there.

    Gowalla's files keep the order of each user's visits: the last tenth is what to choose by, as
    its test set is later, too. Elsewhere it is a random tenth.
    """
    if name == "shop":
        train, test = leave_last(shop(), **SHOP, time="time", fraction=0.2)
        return _read("made-up shop, last fifth held out", train, test, None, SHOP)
    folder = Path(os.environ.get("SPARSENUM_DATA", ""), "recsys")
    train, test = (folder / f"{name}_{part}.parquet" for part in ("train", "test"))
    if not train.is_file():
        pytest.skip(f"no record: SPARSENUM_DATA names no folder with recsys/{train.name}")
    late = partial(leave_last, fraction=0.1) if name == "gowalla" else random_per_user
    options = {} if name == "gowalla" else {"fraction": 0.1}
    return _read(name, train, test, late(train, **NAMES, **options)[1], NAMES)


def _read(title: str, train: Any, test: Any, valid: Any, names: dict[str, str]) -> Problem:
    read = Interactions.read(train, **names)
    held = read_pairs(test, **names, users=read.users, items=read.items)[0]
    return Problem(title, read, held, valid)


PLANS: dict[str, Plan] = {}  # by name of the problem, once chosen


def plan(name: str) -> Plan:
    """Return what the blend chooses at a quarter of the weights, for other budgets to use."""
    some = problem(name)
    if some.name not in PLANS:
        blend(some)
    return PLANS[some.name]


def outcome(model: Any) -> Outcome:
    """Return what a fitted model of ours is made of."""
    report = model.report()
    size = sum(report.get(f"bytes_{what}", 0) for what in ("values", "indices", "rows"))
    return Outcome(model.scorer, report["weights"], size)


def blend(some: Problem, *, chosen: Plan | None = None, **options: Any) -> Outcome:
    """Learn the default model, with what to choose included unless it is given."""
    if chosen is None:
        model = ItemBlend(**options).fit(some.train, valid=some.valid)
        PLANS[some.name] = model.plan_
        return outcome(model)
    return outcome(ItemBlend(**options).fit(some.train, plan=chosen))


def ours(kind: Any, some: Problem, **options: Any) -> Outcome:
    """Learn another model of ours."""
    return outcome(kind(**options).fit(some.train))


def dense_equal(some: Problem, share: float = 0.25) -> Outcome:
    """Learn dense tables by SGD that take the bytes of that share of sparse weights."""
    return outcome(dense_mf(some.train, budget=f"{100 * share}%", dim=64).fit(some.train))


def plain_graph(some: Problem, share: float = 0.25) -> Outcome:
    """Return a graph of the items most often taken together, of a share of the weights."""
    matrix = some.train.matrix
    graph = learn_graph(matrix, round(share * 64 * sum(matrix.shape)), GraphRule(ridge=PLAIN))
    size = graph.data.nbytes + graph.indices.nbytes
    return Outcome(HistoryScores(matrix, ItemTables(graph, None)), graph.nnz, size)


def als(some: Problem, columns: int, reg: float, alpha: float) -> Outcome:
    """Learn by implicit's alternating least squares."""
    package = pytest.importorskip(
        "implicit.cpu.als", reason="no record: the peer `implicit` is not installed"
    )
    with threadpool_limits(1):
        model = package.AlternatingLeastSquares(
            factors=columns, regularization=reg, alpha=alpha, num_threads=1, random_state=0
        )
        model.fit(csr_matrix(some.train.matrix.to_scipy()), show_progress=False)
    users, items = model.user_factors, model.item_factors
    return Outcome(products(users, items), users.size + items.size, users.nbytes + items.nbytes)


def svd(some: Problem, columns: int) -> Outcome:
    """Return the truncated SVD of the normalised interactions, popularity put back."""
    A, root = normalised(some.train.matrix)
    with threadpool_limits(1):
        U, s, Vt = svds(A, k=columns, rng=np.random.default_rng(0))
    users, items = (U * s).astype(np.float32), (Vt.T * root[:, None]).astype(np.float32)
    return Outcome(products(users, items), users.size + items.size, users.nbytes + items.nbytes)


def gf_cf(some: Problem, columns: int = 256, share: float = 0.3) -> Outcome:
    """Return GF-CF: the linear filter A A'A and a share of the ideal low pass."""
    A, root = normalised(some.train.matrix)
    X = csr_array(A.shape, dtype=np.float32) + (some.train.matrix.to_scipy() > 0)
    with threadpool_limits(1):
        V = svds(A, k=columns, rng=np.random.default_rng(0))[2].T
        linear = (A.T @ A).tocsr()
    down, up = (V / root[:, None]).astype(np.float32), (V * root[:, None]).astype(np.float32)

    def scores(rows: np.ndarray) -> np.ndarray:
        block = (A[rows] @ linear).toarray()
        block += np.float32(share) * ((X[rows] @ down) @ up.T)
        return np.ascontiguousarray(block, np.float32)

    size = linear.data.nbytes + linear.indices.nbytes + up.nbytes
    return Outcome(scores, linear.nnz + up.size, size)


def normalised(matrix: CSR) -> tuple[csr_array, np.ndarray]:
    """Return D_u^-1/2 X D_i^-1/2, and the roots of the numbers of users of the items."""
    X = csr_array(matrix.to_scipy().astype(np.float32))
    X.data[:] = 1.0
    root = np.sqrt(np.maximum(matrix.column_counts, 1)).astype(np.float32)
    users = np.sqrt(np.maximum(matrix.row_counts, 1)).astype(np.float32)
    return (diags_array(1 / users) @ X @ diags_array(1 / root)).tocsr().astype(np.float32), root


def products(users: np.ndarray, items: np.ndarray) -> Scores:
    """Return the scores that two dense tables give."""
    return lambda rows: np.ascontiguousarray(users[rows] @ items.T)


# The settings of ALS are the best of a handful, as its users would find them.
ALS = {"ml1m_ultragcn": (5.0, 10.0), "gowalla": (20.0, 40.0)}
COMMON: dict[str, Learner] = {
    "popularity": partial(ours, Popularity),
    "plain graph, 25 %": plain_graph,
    "dense MF of equal bytes": dense_equal,
    "SparseMF, dynamic": partial(ours, SparseMF),
    f"SVD, {WIDE} columns": partial(svd, columns=WIDE),
    "GF-CF": gf_cf,
}
SMALL: dict[str, Learner] = {
    "EASE, dense": partial(ours, EASE, budget="100%"),
    "SANSA, 1 % of EASE": partial(ours, SANSA, budget="1%"),
}


def learners(name: str) -> dict[str, Learner]:
    """Return what is to be compared on a problem."""
    reg, alpha = ALS.get(name, (0.01, 1.0))
    found = {"blend, 25 %, with choosing": blend} | {
        f"blend, {share} %": lambda some, share=share: blend(
            some, chosen=plan(name), budget=f"{share}%"
        )
        for share in (12.5, 25, 50, 100)
    }
    found["blend, 25 %, int8"] = lambda some: blend(
        some, chosen=plan(name), budget="25%", values="int8"
    )
    for columns in (64, WIDE):
        found[f"implicit ALS, {columns} columns"] = partial(
            als, columns=columns, reg=reg, alpha=alpha
        )
    return found | COMMON | (SMALL if name in ("shop", "ml1m_ultragcn") else {})
