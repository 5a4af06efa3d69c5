"""Move one handwritten digit onto another with three solvers, and see who is there first.

Run as ``python examples/transport.py --out demo-output``.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

# One thread for every solver: ours uses one, and POT's linear algebra on all cores is faster on an
# idle machine but many times slower on a busy one.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import ot as pot
from scipy.ndimage import zoom

from sparsenum import ot
from sparsenum.plot import transport_figure

# Numbers 3 and 8 of the UCI optical digits (CC BY 4.0): 8 x 8 pixels, ink from 0 to g = 16.
THREE = "007fd100 08d6f400 021dd000 002fb100 0001cc10 00001a80 00845e90 007dd900"
EIGHT = "009e8100 00ceec00 009a0f40 003gce20 004gg200 03g8ad20 01f13g80 00bgfb10"
SIDE = 28  # pixels, as in MNIST
FLOOR = 1e-6  # share of the ink in an empty pixel, so that no mass is zero

REG = 1 / 1200  # of the largest cost
TOL = 1e-9  # 1-norm of the violation of both marginals
POT_MAX_ITER = 10_000
REPEATS = 3

Problem = tuple[np.ndarray, np.ndarray, np.ndarray]  # cost, masses of rows and of columns


class Run(NamedTuple):
    """A plan and what it took to get it."""

    name: str
    plan: np.ndarray
    seconds: float
    n_iter: int
    log: dict[str, Any]


def image(digit: str) -> np.ndarray:
    """Return a digit as an image that sums to one."""
    pixels = np.array([[float(int(level, 17)) for level in row] for row in digit.split()])
    framed = np.pad(pixels, 1)
    ink = zoom(framed, SIDE / len(framed), order=1)
    ink = ink / ink.sum() + FLOOR
    return ink / ink.sum()


def squared_distances() -> np.ndarray:
    """Return the squared distances between all pixels, the largest of them 1."""
    row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
    cost = np.subtract.outer(row, row) ** 2 + np.subtract.outer(column, column) ** 2
    return cost / cost.max()


def fastest(run: Callable[[], Run]) -> Run:
    """Return the fastest of some runs, the first of which also compiles."""
    return min((run() for _ in range(REPEATS)), key=lambda result: result.seconds)


def run_ours(name: str, method: Any, problem: Problem) -> Run:
    start = time.perf_counter()
    solution = ot.solve(*problem, REG, tol=TOL, method=method)
    plan = solution.plan
    return Run(name, plan, time.perf_counter() - start, solution.n_iter, solution.log)


def run_pot(problem: Problem, max_iter: int = POT_MAX_ITER) -> Run:
    M, a, b = problem
    # POT bounds the 2-norm of the columns' violation; this makes it bound the 1-norm by TOL.
    stop = TOL / np.sqrt(b.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it stopped short is said below, with the error
        start = time.perf_counter()
        plan, log = pot.sinkhorn(a, b, M, REG, numItermax=max_iter, stopThr=stop, log=True)
        seconds = time.perf_counter() - start
    return Run("Sinkhorn (POT)", plan, seconds, log["niter"] + 1, {})


def trace_pot(last: Run, problem: Problem) -> dict[str, list[float]]:
    """Return POT's error against time from runs cut short, since its log has another norm."""
    cuts = [10 * 2**k for k in range(20) if 10 * 2**k < last.n_iter]
    runs = [*(fastest(partial(run_pot, problem, cut)) for cut in cuts), last]
    errors = [violation(run.plan, problem) for run in runs]
    return {"seconds": [run.seconds for run in runs], "err": errors}


def violation(plan: np.ndarray, problem: Problem) -> float:
    """Return by how much the marginals of a plan miss a and b, in the 1-norm."""
    _, a, b = problem
    return float(np.abs(plan.sum(axis=1) - a).sum() + np.abs(plan.sum(axis=0) - b).sum())


def show(runs: list[Run], problem: Problem) -> None:
    """Print who took how long, and what that means."""
    default, newton, scaling, peer = runs
    n, m = newton.plan.shape
    print(f"Moving a 3 onto an 8: {n} x {m} pixels, squared distance, reg 1/{1 / REG:.0f}\n")
    print(f"{'solver':24}{'time':>10}{'iterations':>12}{'error':>10}{'speed-up':>10}")
    for run in runs:
        error, gain = violation(run.plan, problem), peer.seconds / run.seconds
        print(f"{run.name:24}{1e3 * run.seconds:7.0f} ms{run.n_iter:12,}{error:10.1e}{gain:8.1f} x")
    print(f"\ntime: best of {REPEATS}, one thread; error: what the plan's marginals miss (1-norm)")
    reached = violation(peer.plan, problem)
    if reached > TOL:
        print(f"POT stopped short at {reached:.1e}: its time and the speed-ups are lower bounds.")
    gap = max(np.abs(newton.plan - other.plan).sum() for other in (default, scaling, peer))
    print(
        f"The same plan (to {gap:.0e}) from {newton.n_iter} iterations instead of "
        f"{scaling.n_iter:,}: Newton's method finishes what Sinkhorn's begins."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for pictures")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    source, target = image(THREE), image(EIGHT)
    problem = squared_distances(), source.ravel(), target.ravel()
    default = fastest(partial(run_ours, "ot.solve, by default", "auto", problem))
    newton = fastest(partial(run_ours, "Sinkhorn-Newton-Sparse", "sns-paper", problem))
    scaling = fastest(partial(run_ours, "Sinkhorn (ours)", "sinkhorn", problem))
    peer = fastest(partial(run_pot, problem))
    show([default, newton, scaling, peer], problem)

    # Without the default: its log has the errors of the larger regs that it comes down from.
    curves = {run.name: run.log for run in (newton, scaling)}
    curves[peer.name] = trace_pot(peer, problem)
    plan = ot.solve(*problem, REG, tol=TOL).sparse_plan
    transport_figure(out / "transport.png", source, target, plan, curves, tol=TOL)
    print(f"Picture: {out / 'transport.png'}")


if __name__ == "__main__":
    main()
