"""How times grow: with the size of a problem, with its entries, its rows, and with accuracy.

One thread, by its own clock. The report fits a power law to each series.
"""

import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import ot as pot
import polars as pl
import pytest
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from benches.memory import Peak
from recsys import Interactions, ItemBlend, SparseMF
from recsys.datasets import shop
from sparsenum import ot
from sparsenum.sparse import CSR, spmv

pytestmark = pytest.mark.benchmark(timer=time.process_time)

IDS = {"user": "customer", "item": "product"}


def judge(benchmark: Any, solver: str, run: Callable[[], Any], rounds: int = 3) -> Any:
    """Time a way to a result and return it."""
    peak = Peak()
    with threadpool_limits(1):
        found = benchmark.pedantic(run, setup=peak.start, rounds=rounds)
    benchmark.extra_info |= {"solver": solver, "threads": 1, **peak.facts()}
    return found


def at(benchmark: Any, group: str, quantity: str, size: int) -> None:
    """Say where on which curve a record stands."""
    benchmark.group = f"scale/{group}"
    benchmark.extra_info |= {"quantity": quantity, "size": size}


# Transport

REG, TOL = 1 / 1200, 1e-9
POT_MAX_ITER = 40_000


@cache
def costs(n: int) -> np.ndarray:
    """Return the costs of an assignment problem, the largest one 1."""
    M = np.random.default_rng(0).random((n, n))
    return M / M.max()


def pot_sinkhorn(M: np.ndarray, reg: float, tol: float) -> tuple[np.ndarray, int]:
    n = len(M)
    a = np.full(n, 1 / n)
    # POT bounds a 2-norm; this makes it bound the 1-norm, too.
    P, log = pot.sinkhorn(a, a, M, reg, stopThr=tol / np.sqrt(n), numItermax=POT_MAX_ITER, log=True)
    return P, log["niter"] + 1


def ours(M: np.ndarray, reg: float, tol: float, method: Any = "auto") -> tuple[np.ndarray, int]:
    solution = ot.solve(M, reg=reg, tol=tol, method=method)
    return solution.plan, solution.n_iter


SLOW = ("ours, Sinkhorn", "POT ot.sinkhorn")
SOLVERS: dict[str, Callable[..., tuple[np.ndarray, int]]] = {
    "ours, auto": ours,
    "ours, SNS as published": lambda *problem: ours(*problem, method="sns-paper"),
    "ours, Sinkhorn": lambda *problem: ours(*problem, method="sinkhorn"),
    "POT ot.sinkhorn": pot_sinkhorn,
}


@cache
def compiled(solver: str) -> None:
    """Solve something once."""
    SOLVERS[solver](costs(100), REG, 1e-4)


def transport(benchmark: Any, solver: str, n: int, reg: float, tol: float) -> None:
    solve = SOLVERS[solver]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what missed: the error is on record
        compiled(solver)
        rounds = 1 if reg < 1 / 100 and solver in SLOW else 5
        P, n_iter = judge(benchmark, solver, lambda: solve(costs(n), reg, tol), rounds)
    error = np.abs(P.sum(axis=0) - 1 / n).sum() + np.abs(P.sum(axis=1) - 1 / n).sum()
    benchmark.extra_info |= {"error": float(error), "tol": tol, "iterations": n_iter}


# Plain Sinkhorn would take minutes at the small `reg`.
SIZES = {
    (REG, "ours, auto"): (250, 500, 1000, 2000, 4000),
    (1 / 100, "ours, auto"): (250, 500, 1000, 2000),
    (1 / 100, "POT ot.sinkhorn"): (250, 500, 1000, 2000),
}


@pytest.mark.parametrize(
    ("reg", "solver", "n"), [(*key, n) for key, sizes in SIZES.items() for n in sizes]
)
def test_size(benchmark, reg: float, solver: str, n: int) -> None:
    costs(n)
    at(benchmark, f"assignment, reg 1/{1 / reg:.0f}, to {TOL:.0e}", "n", n)
    transport(benchmark, solver, n, reg, TOL)


N, MIDDLE = 500, 1 / 800


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("solver", SOLVERS)
def test_accuracy(benchmark, solver: str, tol: float) -> None:
    benchmark.group = f"accuracy/assignment, {N} x {N}, reg 1/{1 / MIDDLE:.0f}"
    transport(benchmark, solver, N, MIDDLE, tol)


# Sparse products

IN_ROW = 50


@cache
def graph(nnz: int) -> csr_array:
    """Return a matrix with as many entries in each row."""
    rng = np.random.default_rng(0)
    n = nnz // IN_ROW
    indptr = np.arange(0, nnz + 1, IN_ROW)
    matrix = csr_array((rng.standard_normal(nnz), rng.integers(n, size=nnz), indptr), shape=(n, n))
    matrix.sum_duplicates()
    return matrix


# Rounds of a millisecond: shorter ones would measure the clock, and the pages that are new to it.
@pytest.mark.benchmark(min_time=0.001, max_time=0.25, min_rounds=9)
@pytest.mark.parametrize("nnz", [50_000, 500_000, 5_000_000])
@pytest.mark.parametrize("solver", ["ours", "scipy"])
def test_products(benchmark, peak, solver: str, nnz: int) -> None:
    S = graph(nnz)
    A, x = CSR.from_scipy(S), np.random.default_rng(1).standard_normal(S.shape[1])
    at(benchmark, f"spmv, {IN_ROW} entries a row", "nnz", nnz)
    run = {"ours": lambda: spmv(A, x), "scipy": lambda: S @ x}[solver]
    with threadpool_limits(1):
        run()  # compiles
        benchmark(run)
        peak.start()
        y = run()
    error = np.abs(y - S @ x).max() / np.abs(y).max()
    benchmark.extra_info |= {"solver": solver, "threads": 1, **peak.facts()}
    benchmark.extra_info |= {"error": float(error), "tol": 1e-12, "nnz": A.nnz}


# Recommenders

ROWS = (100_000, 300_000, 1_000_000, 3_000_000)
ALL_ROWS = 20_000_000


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return what writes tables of events with ids of text, as shops keep them."""
    folder = tmp_path_factory.mktemp("tables")

    @cache
    def table(rows: int) -> Path:
        rng = np.random.default_rng(0)
        users = rng.integers(rows // 20, size=rows)
        items = np.minimum(rng.pareto(1.0, rows) * rows / 2000, rows // 100).astype(np.int64)
        path = folder / f"{rows}.parquet"
        frame = pl.DataFrame({"customer": users, "product": items})
        frame.select(
            pl.format("C{}", "customer").alias("customer"),
            pl.format("P{}", "product").alias("product"),
        ).write_parquet(path)
        return path

    return table


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Read 20 million rows under --full only."""
    if "rows" in metafunc.fixturenames:
        more = (ALL_ROWS,) if metafunc.config.getoption("full") else ()
        metafunc.parametrize("rows", ROWS + more)


@pytest.mark.parametrize("reader", ["recsys", "polars alone"])
def test_reading(benchmark, tables: Callable[[int], Path], reader: str, rows: int) -> None:
    path = tables(rows)
    ways = {"recsys": lambda: Interactions.read(path, **IDS)}
    run = ways.get(reader, lambda: pl.read_parquet(path))
    at(benchmark, "reading events from Parquet", "rows", rows)
    found = judge(benchmark, reader, run, rounds=1 if rows == ALL_ROWS else 3)
    if reader == "recsys":
        assert found.matrix.data.sum() == rows
        benchmark.extra_info["nnz"] = found.nnz


EPOCHS = 2
MODELS = {
    "ours, ItemBlend without choosing": lambda: ItemBlend(trials=0),
    f"ours, SparseMF, {EPOCHS} epochs": lambda: SparseMF(epochs=EPOCHS),
}
CUSTOMERS, PRODUCTS = (1000, 4000, 16_000), 3000


@cache
def purchases(n_customers: int) -> Interactions:
    return Interactions.read(shop(n_customers, PRODUCTS), **IDS)


@pytest.mark.parametrize("n_customers", CUSTOMERS)
@pytest.mark.parametrize("model", MODELS)
def test_training(benchmark, model: str, n_customers: int) -> None:
    MODELS[model]().fit(purchases(100))  # compiles
    train = purchases(n_customers)
    at(benchmark, f"training on a made-up shop, {PRODUCTS} products", "pairs", train.nnz)
    fitted = judge(benchmark, model, lambda: MODELS[model]().fit(train), rounds=1)
    benchmark.extra_info["nnz"] = fitted.report()["weights"]
