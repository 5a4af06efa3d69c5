"""How far apart costs are that matter: where annealing starts, whatever the outliers among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.dense import UNDERFLOW, Matrix
from sparsenum.ot.solvers.annealing.dense import Step
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.solvers.newton import DAMPING_PER_ERROR, Pace

GAP = 10  # powers of two between neighbouring costs: the upper ones may be outliers or sentinels
# Iterations that are to show that outliers can be avoided, how many of them are sweeps before
# Newton's method takes over, and the error at which that is shown.
TRIALS, TRIAL_SWEEPS, TRIAL_GOAL = 40, 15, 1e-5


def scales(sample: Matrix, reg: float) -> list[float]:
    """Return what the spread of the costs that matter may be, ascending, from some rows of them.

    The last is the spread of all finite costs. Before it come those of what lies below each wide
    gap: they will do if the pairs above it can be avoided.
    """
    finite = np.isfinite(sample)
    if not finite.any():
        return [0.0]
    whole = float(np.ptp(sample[finite]))
    if whole <= 2.0**GAP * reg:
        return [whole]
    slack = (sample - sample.min(axis=1, keepdims=True, initial=np.inf, where=finite))[finite]
    power = np.frexp(np.maximum(slack, reg))[1].astype(np.int64)
    taken = np.flatnonzero(np.bincount(power - power.min())) + power.min()
    below = taken[:-1][np.diff(taken) > GAP]
    return [*np.ldexp(1.0, below).tolist(), whole]


def typical(sample: NDArray[np.float64], candidates: list[float]) -> float:
    """Return the standard deviation of some rows of costs, but for what may be avoided."""
    some = np.isfinite(sample)
    if len(candidates) > 1:
        least = sample.min(axis=1, keepdims=True)
        sample = sample - least
        some &= sample <= candidates[0]
    costs = sample[some] - sample[some].min()
    top = float(costs.max()) or 1.0
    return top * float((costs / top).std())  # squares may be out of range


def without_outliers(
    problem: Any, candidates: list[float], monitor: Monitor, step: Step
) -> tuple[Any | None, float]:
    """Return a plan at the least spread that has one, None if none was tried; and that spread."""
    for spread in candidates[:-1]:
        view = problem.at(spread)
        at = view.iterate(np.zeros(problem.b.size))
        pace: Pace | None = None
        for trial in range(TRIALS):
            if at.error <= TRIAL_GOAL or not monitor.tick(at.error):
                break
            better = None
            if trial >= TRIAL_SWEEPS and at.least > UNDERFLOW:
                pace = pace or Pace(DAMPING_PER_ERROR * at.error)
                better, _ = step(view, at, pace, TRIAL_GOAL)
            at = better or view.sinkhorn_sweep(at)
        if at.error <= TRIAL_GOAL:
            return at, spread
    return None, candidates[-1]
