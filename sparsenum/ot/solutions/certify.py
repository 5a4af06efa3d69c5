"""The verdict on a solve: both marginals are recomputed before it is called converged."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sparsenum.ot.problems.checks import RegType
from sparsenum.ot.problems.clouds.points import PointProblem
from sparsenum.ot.problems.dense import Problem, Vector
from sparsenum.ot.problems.reduction import Costs, Reduction, completed
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
    costs: Costs | None = None,
) -> Solution:
    """Return the result of a solve, with both marginals recomputed from its potentials."""
    if not (np.isfinite(f).all() and np.isfinite(g).all()):
        raise ValueError(
            f"M and reg must be of sizes that float64 can bring together: got potentials that are "
            f"no numbers at reg {problem.reg:.3g}; rescale M and reg, or raise reg"
        )
    f, g = in_gauge(f, g)
    rows, columns = problem.marginals(f, g)
    mass, reg = reduction.mass, problem.reg
    masses = reduction.masses
    error = off(rows, columns, masses[0] / mass, masses[1] / mass)
    # Totals that differ by rounding leave no plan whose error is smaller.
    met = off(rows, columns, problem.a, problem.b)
    converged = met <= monitor.tol
    status = verdict(met, f, g, problem.reg, monitor)
    inner = f, g
    if reduction.offsets is not None:
        f, g = in_gauge(f + reduction.offsets[0], g + reduction.offsets[1])
    half = reg * np.log(mass) / 2
    f, g = f + half, g + half
    # <P, M> + reg sum P log P = f.P1 + g.P'1 because log P = (f + g - M) / reg.
    value = mass * float(rows @ f + columns @ g)
    if reg_type == "KL":
        logs = rows @ np.log(masses[0]) + columns @ np.log(masses[1])
        value -= mass * reg * float(logs)
    optimum = Optimum(
        problem,
        reduction,
        completed(reduction, f, g, reg, costs or reduction.costs),
        inner,
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


def in_gauge(f: Vector, g: Vector) -> tuple[Vector, Vector]:
    """Return potentials with equal means, the gauge in which their derivatives are defined."""
    shift = (g.mean() - f.mean()) / 2
    return f + shift, g - shift


def off(rows: Vector, columns: Vector, a: Vector, b: Vector) -> float:
    """Return the 1-norm of what both marginals are off."""
    return float(np.abs(rows - a).sum() + np.abs(columns - b).sum())


def verdict(error: float, f: Vector, g: Vector, reg: float, monitor: Monitor) -> Status:
    """Return the status of a solve, given the error of its potentials."""
    if error <= monitor.tol:
        return "converged"
    status = monitor.status
    largest = float(np.abs(f).max() + np.abs(g).max())
    rounding = float(np.finfo(np.float64).eps) * largest / reg  # of an entry of the plan, relative
    # From 1 on no digit of the plan is right, and nothing bounds the error.
    at_floor = rounding >= 1.0 or error < ROUNDINGS * rounding
    if status == "converged" or (status in ("max_iter", "stalled") and at_floor):
        return "precision"
    return status


def shortfall(solution: Solution) -> str:
    """Return a warning about a solution that missed its tolerance."""
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
