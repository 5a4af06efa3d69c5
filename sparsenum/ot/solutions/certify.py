"""The verdict on a solve: both marginals are computed afresh before it is called converged."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsenum.ot.problems.checks import RegType
from sparsenum.ot.problems.clouds.points import PointProblem
from sparsenum.ot.problems.dense import Problem, Vector
from sparsenum.ot.problems.reduction import Reduction
from sparsenum.ot.solutions.optimum import Optimum
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solvers.monitor import Monitor, Status

if TYPE_CHECKING:
    from sparsenum.ot.solvers.on_cuda import DeviceProblem

ROUNDINGS = 100.0  # an error below this many roundings of an entry is as good as it gets


def certify(
    problem: "Problem | PointProblem | DeviceProblem",
    reduction: Reduction,
    f: Vector,
    g: Vector,
    monitor: Monitor,
    log: dict[str, Any],
    reg_type: RegType = "KL",
) -> Solution:
    """Recompute both marginals and build the result on them."""
    shift = (g.mean() - f.mean()) / 2  # the gauge in which derivatives of f and g are defined
    f, g = f + shift, g - shift
    rows, columns = problem.marginals(f, g)
    error = float(np.abs(rows - problem.a).sum() + np.abs(columns - problem.b).sum())
    converged = error <= monitor.tol
    status = verdict(error, f, g, problem.reg, monitor)
    mass, reg = reduction.mass, problem.reg
    half = reg * np.log(mass) / 2
    f, g = f + half, g + half
    # <P, M> + reg sum P log P = f.P1 + g.P'1 because log P = (f + g - M) / reg.
    value = mass * float(rows @ f + columns @ g)
    if reg_type == "KL":
        logs = rows @ np.log(problem.a * mass) + columns @ np.log(problem.b * mass)
        value -= mass * reg * float(logs)
    optimum = Optimum(
        problem,
        reduction,
        (reduction.expand(f, 0, -np.inf), reduction.expand(g, 1, -np.inf)),
        (reduction.expand(mass * rows, 0, 0.0), reduction.expand(mass * columns, 1, 0.0)),
        reg_type,
    )
    n_iter = len(monitor.errors) - 1
    log |= {"err": monitor.errors, "seconds": monitor.seconds, "niter": n_iter}
    log["sinkhorn"] = n_iter - log.get("newton", 0) - log.get("refused", 0)
    return Solution(
        value=value,
        marginal_error=error,
        converged=converged,
        status=status,
        n_iter=n_iter,
        log=log,
        _optimum=optimum,
    )


def verdict(error: float, f: Vector, g: Vector, reg: float, monitor: Monitor) -> Status:
    """Return how a solve ended, now that the error of its potentials is known."""
    if error <= monitor.tol:
        return "converged"
    status = monitor.status
    largest = float(np.abs(f).max() + np.abs(g).max())
    rounding = float(np.finfo(np.float64).eps) * largest / reg  # of an entry of the plan, relative
    # From 1 on no digit of the plan is right, and nothing bounds the error; both may be NaN.
    at_floor = rounding >= 1.0 or not error >= ROUNDINGS * rounding
    if status == "converged" or (status in ("max_iter", "stalled") and at_floor):
        return "precision"
    return status


def shortfall(solution: Solution) -> str:
    """Return what to tell about a solution that missed its tolerance."""
    remedy = {
        "max_iter": "raise max_iter or reg",
        "time_limit": "raise time_limit or reg",
        "stopped": "the callback stopped it",
        "stalled": "no more progress; raise tol or reg",
        "precision": "float64 has no more at this cost and reg; raise tol or reg",
        "converged": "",
    }[solution.status]
    return (
        f"Transport did not converge: marginal error {solution.marginal_error:.1e} after "
        f"{solution.n_iter} iterations, tolerance {solution.log['tol']:.1e} ({remedy})."
    )
