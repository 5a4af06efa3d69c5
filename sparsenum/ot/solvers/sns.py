"""Sinkhorn-Newton-Sparse as published: Sinkhorn sweeps, then Newton steps, at one reg."""

from typing import Any

from sparsenum.ot.problems.dense import UNDERFLOW
from sparsenum.ot.solvers.annealing.dense import Step
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.solvers.newton import DAMPING_PER_ERROR, Pace, newton_step

WARM_UP = 20  # Sinkhorn sweeps before the first Newton step: N1 of the paper's experiments
RECOVERY = 5  # Sinkhorn sweeps after a refused Newton step


def sinkhorn_newton_sparse(
    problem: Any, g: Any, monitor: Monitor, step: Step = newton_step
) -> tuple[Any, dict[str, int]]:
    """Maximise the dual by Sinkhorn sweeps and sparse Newton steps until the monitor stops it.

    The two stages of [1]_, with the row potential eliminated: rows are exact at every iterate, so
    the plan is bounded by a, the Hessian is the Schur complement of the paper's, half its size,
    and of the null direction (1, -1) only a constant in g is left, which conjugate gradients never
    enter. A refused step falls back to Sinkhorn sweeps.

    References
    ----------
    .. [1] Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao, Ying, "Accelerating Sinkhorn
       Algorithm with Sparse Newton Iterations", ICLR 2024.
    """
    at, sweeps_left = problem.iterate(g), WARM_UP
    pace: Pace | None = None
    while monitor.proceed(at.error):
        if sweeps_left > 0 or at.least <= UNDERFLOW:
            sweeps_left -= 1
            at = problem.sinkhorn_sweep(at)
            continue
        pace = pace or Pace(DAMPING_PER_ERROR * at.error)
        better, _ = step(problem, at, pace, monitor.tol)
        if better is not None:
            at = better
        else:
            sweeps_left = RECOVERY
    return at, (pace or Pace(0.0)).counts()
