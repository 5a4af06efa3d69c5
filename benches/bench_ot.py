"""Entropic transport against its peers, at an equal error that is verified for every plan.

All are timed from the arrays to the dense plan, on one thread: ours uses one, and POT's linear
algebra on all cores is many times slower as soon as another process wants one of them.
`ot.sinkhorn` is POT's as shipped; `ot.emd` solves the problem without entropy, exactly, and is the
honest reference at small `reg`.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import ot as pot
import ot.batch
import pytest
from threadpoolctl import threadpool_limits

from benches.problems import PROBLEMS, REG, TOL, Problem, stack
from sparsenum import ot

THREADS = 1
POT_MAX_ITER = 40_000  # about half a minute on the largest problem


class Outcome(NamedTuple):
    """A plan and the iterations it took, where a solver counts them."""

    plan: np.ndarray
    n_iter: int | None


def ours(problem: Problem, method: Any = "auto") -> Outcome:
    solution = ot.solve(problem.M, problem.a, problem.b, REG, tol=TOL, method=method)
    return Outcome(solution.plan, solution.n_iter)


def pot_sinkhorn(problem: Problem) -> Outcome:
    # POT bounds the 2-norm of the columns' violation. This makes it bound the 1-norm by TOL too,
    # at the price of some iterations too many where the violation is not spread out.
    stop = TOL / np.sqrt(problem.b.size)
    with warnings.catch_warnings():
        # Stopping short is no failure here: the error is on record.
        warnings.filterwarnings("ignore", "Sinkhorn did not converge", UserWarning)
        plan, log = pot.sinkhorn(
            problem.a, problem.b, problem.M, REG, numItermax=POT_MAX_ITER, stopThr=stop, log=True
        )
    return Outcome(plan, log["niter"] + 1)  # POT logs the index of the last one


def pot_exact(problem: Problem) -> Outcome:
    return Outcome(pot.emd(problem.a, problem.b, problem.M, numItermax=10_000_000), None)


class Solver(NamedTuple):
    """A way to a plan, and how often to time it."""

    name: str
    run: Callable[[Problem], Outcome]
    rounds: int


SOLVERS = (
    Solver("ours, auto", ours, 15),
    Solver("ours, SNS as published", partial(ours, method="sns-paper"), 15),
    Solver("ours, Sinkhorn", partial(ours, method="sinkhorn"), 5),
    Solver("POT ot.sinkhorn", pot_sinkhorn, 3),
    Solver("POT ot.emd, no entropy", pot_exact, 15),
)
SMALL = Problem("small", np.eye(3), np.full(3, 1 / 3), np.full(3, 1 / 3))


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
@pytest.mark.parametrize("problem", [make() for make in PROBLEMS], ids=lambda p: p.name)
def test_transport(benchmark, problem: Problem, solver: Solver) -> None:
    n, m = problem.M.shape
    solver.run(SMALL)  # compiles
    benchmark.group = f"ot/{problem.name}, {n} x {m}, reg 1/{1 / REG:.0f}"
    with threadpool_limits(THREADS):
        plan, n_iter = benchmark.pedantic(solver.run, args=(problem,), rounds=solver.rounds)

    violation = np.abs(plan.sum(axis=1) - problem.a).sum()
    violation += np.abs(plan.sum(axis=0) - problem.b).sum()
    benchmark.extra_info |= {"solver": solver.name, "n": n, "m": m, "reg": REG, "tol": TOL}
    benchmark.extra_info |= {"error": float(violation), "iterations": n_iter, "threads": THREADS}


BATCH_TOL = 1e-6
POT_BATCH_ITER = 300  # half a minute in the log domain, which is POT's default


def ours_batch(M: np.ndarray, reg: float) -> Outcome:
    solution = ot.solve_batch(M, reg=reg, tol=BATCH_TOL, n_threads=THREADS)
    return Outcome(solution.plan, int(solution.n_iter.max()))


def pot_batch(M: np.ndarray, reg: float, method: str) -> Outcome:
    # POT bounds the largest 2-norm of the rows' violation, as `pot_sinkhorn` explains.
    result = pot.batch.solve_batch(
        M,
        reg,
        max_iter=POT_BATCH_ITER,
        tol=BATCH_TOL / np.sqrt(M.shape[1]),
        method=method,
        grad="detach",
    )
    return Outcome(result.plan, result.log["n_iter"] + 1)


BATCH_SOLVERS = (
    ("ours, solve_batch", ours_batch, 7),
    ("POT solve_batch", partial(pot_batch, method="log_sinkhorn"), 1),
    ("POT solve_batch, sinkhorn", partial(pot_batch, method="sinkhorn"), 3),
)


@pytest.mark.parametrize("solver", BATCH_SOLVERS, ids=lambda solver: solver[0])
@pytest.mark.parametrize("reg", [1e-1, 1e-2, 1e-3])
def test_batch(benchmark, reg: float, solver: tuple[str, Callable[..., Outcome], int]) -> None:
    name, run, rounds = solver
    M = stack()
    B, n, m = M.shape
    run(M[:4], reg)  # compiles
    benchmark.group = f"ot/{B} problems, {n} x {m}, reg 1/{1 / reg:.0f}"
    with threadpool_limits(THREADS):
        plans, n_iter = benchmark.pedantic(run, args=(M, reg), rounds=rounds)

    violation = np.abs(plans.sum(axis=2) - 1 / n).sum(axis=1)
    violation += np.abs(plans.sum(axis=1) - 1 / m).sum(axis=1)
    benchmark.extra_info |= {"solver": name, "n": n, "m": m, "reg": reg, "tol": BATCH_TOL}
    benchmark.extra_info |= {"problems": B, "solved": int((violation <= BATCH_TOL).sum())}
    benchmark.extra_info |= {"error": float(violation.max()), "iterations": n_iter}
    benchmark.extra_info["threads"] = THREADS
