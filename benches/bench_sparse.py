"""Sparse computations beside scipy, dense BLAS, numpy and the memory itself, by density.

All run on one thread and are timed by its own clock. What peers find is compared with a dense
computation. The floor copies as many bytes as an operation has to read and write: nothing that is
limited by memory can be faster.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg
from scipy.sparse import csr_array, diags_array
from threadpoolctl import threadpool_limits

from benches.reporting.figures import DENSE
from benches.reporting.records import FLOOR
from sparsenum.sparse import CSR, cg, row_top_k, spmm, spmv, spmv_t
from sparsenum.topology import rewire

# Rounds of a millisecond: shorter ones would measure the clock.
pytestmark = pytest.mark.benchmark(
    timer=time.process_time, min_time=0.001, max_time=0.25, min_rounds=5
)

N = 4000
DENSITIES = (0.001, 0.01, 0.05, 0.2, 0.5)
BLOCK = 64  # columns of a dense block, as many as tables of a recommender have
EXACT = 1e-12  # relative error that another order of sums explains
OURS, SCIPY, COPY = "ours", "scipy", f"{FLOOR}, copying the bytes"


class Case(NamedTuple):
    """Ways to compute one thing, what it should be, and the bytes it cannot do without."""

    group: str
    ways: dict[str, Callable[[], Any]]
    error: Callable[[Any], float]
    tol: float
    moved: int
    facts: dict[str, Any]


class Matrix(NamedTuple):
    """One random matrix in three forms."""

    ours: CSR
    scipy: csr_array
    dense: np.ndarray


def judge(benchmark: Any, peak: Any, case: Case, way: str) -> None:
    """Time one way, and put on record how far it is from what it should be."""
    run = copying(case.moved) if way == COPY else case.ways[way]
    with threadpool_limits(1):
        found = run()  # compiles
        benchmark.group = f"sparse/{case.group}"
        benchmark(run)
        peak.start()
        run()
        benchmark.extra_info |= peak.facts()
    benchmark.extra_info |= {"solver": way, "threads": 1, **case.facts}
    if way != COPY:
        benchmark.extra_info |= {"error": float(case.error(found)), "tol": case.tol}
        assert benchmark.extra_info["error"] <= case.tol
        if hasattr(found, "n_iter"):
            benchmark.extra_info["iterations"] = found.n_iter


def copying(moved: int) -> Callable[[], None]:
    """Return what reads half of that many bytes and writes the other half."""
    source = np.zeros(moved // 2, np.uint8)
    target = np.ones_like(source)
    return lambda: np.copyto(target, source)


@cache
def matrix(density: float) -> Matrix:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((N, N)) < density, rng.standard_normal((N, N)), 0.0)
    ours = CSR.from_dense(dense)
    return Matrix(ours, ours.to_scipy(), dense)


def relative(wanted: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return what measures how far a result is from the one wanted."""
    return lambda found: np.abs(found - wanted).max() / np.abs(wanted).max()


def times_vector(density: float) -> Case:
    A, S, D = matrix(density)
    x = np.random.default_rng(1).standard_normal(N)
    ways = {OURS: lambda: spmv(A, x), SCIPY: lambda: S @ x, DENSE: lambda: D @ x}
    return product("spmv", density, ways, relative(D @ x), 2 * x.nbytes)


def transposed_times_vector(density: float) -> Case:
    A, S, D = matrix(density)
    y = np.random.default_rng(1).standard_normal(N)
    ways = {OURS: lambda: spmv_t(A, y), SCIPY: lambda: S.T @ y, DENSE: lambda: D.T @ y}
    return product("spmv_t", density, ways, relative(D.T @ y), 2 * y.nbytes)


def times_block(density: float) -> Case:
    A, S, D = matrix(density)
    X = np.random.default_rng(1).standard_normal((N, BLOCK))
    ways = {OURS: lambda: spmm(A, X), SCIPY: lambda: S @ X, DENSE: lambda: D @ X}
    return product(f"spmm with {BLOCK} columns", density, ways, relative(D @ X), 2 * X.nbytes)


def product(
    name: str, density: float, ways: dict[str, Callable[[], Any]], error: Any, vectors: int
) -> Case:
    A = matrix(density).ours
    facts = {"density": density, "nnz": A.nnz}
    group = f"{name}, {N} x {N}, {100 * density:g} %"
    return Case(group, ways, error, EXACT, A.nbytes + vectors, facts)


PRODUCTS = (times_vector, transposed_times_vector, times_block)


@pytest.mark.parametrize("way", [OURS, SCIPY, DENSE, COPY])
@pytest.mark.parametrize("make", PRODUCTS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("density", DENSITIES)
def test_product(benchmark, peak, density: float, make: Callable, way: str) -> None:
    judge(benchmark, peak, make(density), way)


RTOL = 1e-8
N_SYSTEM = 2000


class Solved(NamedTuple):
    """A solution, and the products it took."""

    x: np.ndarray
    n_iter: int | None


@cache
def system(density: float) -> Case:
    """Return a graph's Laplacian with random weights and some weight on the diagonal."""
    rng = np.random.default_rng(2)
    W = np.where(rng.random((N_SYSTEM, N_SYSTEM)) < density / 2, rng.random((N_SYSTEM,) * 2), 0.0)
    W = W + W.T
    np.fill_diagonal(W, 0.0)
    diagonal = W.sum(axis=0) + 0.01
    D = np.diag(diagonal) - W
    A = CSR.from_dense(D)
    S, b = A.to_scipy(), rng.standard_normal(N_SYSTEM)
    scale = diags_array(1 / diagonal)

    def by_scipy() -> Solved:
        products = []
        x, _ = scipy.sparse.linalg.cg(S, b, rtol=RTOL, M=scale, callback=products.append)
        return Solved(x, len(products))

    ways = {
        OURS: lambda: cg(A, b, diagonal=diagonal, rtol=RTOL),
        SCIPY: by_scipy,
        "dense Cholesky": lambda: Solved(scipy.linalg.solve(D, b, assume_a="pos"), None),
    }
    group = f"cg to {RTOL:.0e}, {N_SYSTEM} x {N_SYSTEM}, {100 * density:g} %"
    # The recurrence's residual, which stops the solver, and the true one differ by rounding.
    error, tol = lambda found: np.linalg.norm(b - D @ found.x) / np.linalg.norm(b), 1.01 * RTOL
    return Case(group, ways, error, tol, A.nbytes, {"density": density, "nnz": A.nnz})


@pytest.mark.parametrize("way", [OURS, SCIPY, "dense Cholesky"])
@pytest.mark.parametrize("density", [0.01, 0.05, 0.2])
def test_system(benchmark, peak, density: float, way: str) -> None:
    judge(benchmark, peak, system(density), way)


@cache
def lists(k: int) -> Case:
    scores = np.random.default_rng(3).random((1000, 10_000), np.float32)
    wanted = -np.sort(-scores, axis=1)[:, :k]

    def by_numpy() -> np.ndarray:
        best = np.argpartition(-scores, k, axis=1)[:, :k]
        values = np.take_along_axis(scores, best, axis=1)
        return np.take_along_axis(values, np.argsort(-values, axis=1), axis=1)

    ways = {OURS: lambda: row_top_k(scores, k).data, "numpy argpartition": by_numpy}
    group = f"row top-{k}, {scores.shape[0]} x {scores.shape[1]}"
    return Case(group, ways, relative(wanted), 0.0, scores.nbytes, {})


@pytest.mark.parametrize("way", [OURS, "numpy argpartition", COPY])
@pytest.mark.parametrize("k", [20, 100])
def test_lists(benchmark, peak, k: int, way: str) -> None:
    judge(benchmark, peak, lists(k), way)


ROWS = 1024  # of a block of scores
EXCHANGE = 0.1  # share of the entries


@cache
def exchange(density: float) -> Case:
    """Return the exchange of a table's weakest entries, ours and as masks of dense tables do it."""
    rng = np.random.default_rng(4)
    shape = 20_000, BLOCK
    mask = rng.random(shape) < density
    W = np.where(mask, rng.standard_normal(shape), 0.0).astype(np.float32)
    grow = np.abs(rng.standard_normal(shape)).astype(np.float32)
    table, worth = CSR.from_dense(W), np.abs(W[W != 0])
    n = round(EXCHANGE * table.nnz)

    def by_rewire() -> np.ndarray:
        blocks = ((row, grow[row : row + ROWS].copy()) for row in range(0, shape[0], ROWS))
        found = rewire(table, worth, n, blocks, rng=np.random.default_rng(0))
        return CSR(found.indptr, found.indices, np.ones(found.indices.size), shape)

    def by_masks() -> np.ndarray:
        kept = W != 0
        kept.ravel()[np.argpartition(np.where(kept, np.abs(W), np.inf).ravel(), n)[:n]] = False
        new = kept.copy()
        new.ravel()[np.argpartition(np.where(kept, np.inf, -grow).ravel(), n)[:n]] = True
        return new

    wanted = by_masks()
    ways = {OURS: by_rewire, "dense masks, numpy": by_masks}

    def error(found: Any) -> float:
        pattern = found.to_dense() != 0 if isinstance(found, CSR) else found
        return float((pattern != wanted).mean())

    group = f"prune and grow {EXCHANGE:.0%}, {shape[0]} x {shape[1]}, {100 * density:g} %"
    return Case(group, ways, error, 0.0, grow.nbytes, {"density": density, "nnz": table.nnz})


@pytest.mark.parametrize("way", [OURS, "dense masks, numpy", COPY])
@pytest.mark.parametrize("density", [0.05, 0.2, 0.5])
def test_exchange(benchmark, peak, density: float, way: str) -> None:
    judge(benchmark, peak, exchange(density), way)
