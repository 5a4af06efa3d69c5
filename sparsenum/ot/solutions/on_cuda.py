"""The steps of `solve` on a CUDA device, from the caller's cost to a result."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsenum import _cuda as device
from sparsenum._device import host, operand
from sparsenum.ot.problems.checks import RegType, masses, refuse_cost
from sparsenum.ot.problems.dense import SAMPLE, Vector
from sparsenum.ot.problems.offsets import EPS, LOST
from sparsenum.ot.problems.reduction import SENTINEL, Reduction, start_of
from sparsenum.ot.solutions.certify import certify
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solvers.annealing import dense
from sparsenum.ot.solvers.annealing.spread import GAP, scales, without_outliers
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.solvers.on_cuda import DeviceProblem, extent, take
from sparsenum.ot.solvers.sns import sinkhorn_newton_sparse

TYPES = (np.float64, np.float32)


def device_solution(
    M: Any,
    a: ArrayLike | None,
    b: ArrayLike | None,
    reg: float,
    method: str,
    potentials: tuple[ArrayLike, ArrayLike] | None,
    monitor: Monitor,
    reg_type: RegType,
) -> Solution:
    """Solve one problem on the device; arguments are those of `solve`, numbers checked."""
    cost = device_cost(M)
    found = extent(cost)
    refuse_cost(found.low)
    sides = masses(host(a), "a", cost.shape[0]), masses(host(b), "b", cost.shape[1])
    regular = found.high <= SENTINEL and not found.endless
    regular &= EPS * max(found.high, -found.low) <= LOST * reg  # no offsets to be taken off
    reduction, left = _reduced(cost, regular, *sides, reg)
    problem = DeviceProblem(left, *reduction.shares, reg)
    start = start_of(potentials, reduction, reg)
    log: dict[str, Any] = {"method": method, "tol": monitor.tol}
    if method == "sinkhorn":
        at = dense.sinkhorn(problem, start, monitor)
    elif method == "sns-paper":
        step = DeviceProblem.newton_step
        at, counts = sinkhorn_newton_sparse(problem, start, monitor, step)
        log |= counts
    else:
        if problem.cost is not cost:  # without what has no mass, or is forbidden
            found = extent(problem.cost)
        start, spread = _without_outliers(problem, start, found.high - found.low, monitor)
        at, counts = dense.annealed(problem, start, spread, monitor)
        log |= counts
    f, g = at.f.copy_to_host(), at.g.copy_to_host()
    return certify(problem, reduction, f, g, monitor, log, reg_type)


def _without_outliers(
    problem: DeviceProblem, g: Any, spread: float, monitor: Monitor
) -> tuple[Any, float]:
    """Return a start, and from which spread of the cost to anneal, whatever its outliers."""
    if spread <= 2.0**GAP * problem.reg:
        return g, spread
    rows = np.linspace(0, problem.a.size - 1, min(problem.a.size, SAMPLE)).astype(np.int64)
    candidates = [*scales(problem.row_costs(rows), problem.reg)[:-1], spread]
    step = DeviceProblem.newton_step
    at, spread = without_outliers(problem, candidates, monitor, step)
    return (g if at is None else problem.relative(at.g, problem.reg - spread)), spread


def device_cost(M: Any) -> Any:
    """Return a cost on the device, without a copy if it is there already."""
    cost = operand(M, "M", 2, *TYPES)
    if 0 in cost.shape:
        raise ValueError(f"M must have rows and columns: got shape {cost.shape}")
    return cost


def _reduced(cost: Any, regular: bool, a: Vector, b: Vector, reg: float) -> tuple[Reduction, Any]:
    """Return what `Reduction.of` does, with the cost that is left on the device."""
    if not regular:  # forbidden pairs, or offsets: what to do needs the cost on the host
        reduction, left = Reduction.of(cost.copy_to_host(), a, b, reg)
        return reduction, device.to_device(left)
    reduction = Reduction.between(a, b, cost)
    if not reduction.is_whole:
        cost = take(cost, *map(device.to_device, reduction.sides))
    return reduction, cost
