"""One solve from checked or unchecked arguments to a result, for all doors, without a warning."""

from typing import Any, Literal, cast

from numpy.typing import ArrayLike

from sparsenum._check import choice, positive, whole
from sparsenum._device import on_cuda
from sparsenum.ot.problems.checks import cost_matrix, masses, strength, tolerance, value_type
from sparsenum.ot.problems.dense import Problem
from sparsenum.ot.problems.feasibility import is_feasible
from sparsenum.ot.problems.reduction import Reduction, start_of
from sparsenum.ot.problems.seal import Seal
from sparsenum.ot.solutions.certify import certify
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solutions.unbalanced import penalties, relaxed_solution
from sparsenum.ot.solvers.annealing.auto import annealed_newton, hastened_sinkhorn
from sparsenum.ot.solvers.monitor import Callback, Monitor
from sparsenum.ot.solvers.sinkhorn import sinkhorn
from sparsenum.ot.solvers.sns import sinkhorn_newton_sparse

Method = Literal["auto", "sns", "sns-paper", "sinkhorn"]
MAX_ITER = {"auto": 1000, "sns": 1000, "sns-paper": 1000, "sinkhorn": 100_000}
HASTENED = "sinkhorn-newton"  # what POT's doors mean by "sinkhorn": slow sweeps are cut short
ALGORITHMS: dict[str, Any] = {
    "auto": annealed_newton,
    "sns": annealed_newton,
    "sns-paper": sinkhorn_newton_sparse,
    HASTENED: hastened_sinkhorn,
}


def attempt(
    M: ArrayLike,
    a: ArrayLike | None,
    b: ArrayLike | None,
    reg: float | None,
    *,
    reg_type: str = "KL",
    tol: float | None = None,
    max_iter: int | None = None,
    method: str | None = None,
    potentials_init: tuple[ArrayLike, ArrayLike] | None = None,
    n_threads: int | None = None,
    device: str = "cpu",
    callback: Callback | None = None,
    time_limit: float | None = None,
    unbalanced: float | tuple[float, float] | None = None,
    unbalanced_type: str = "KL",
) -> Solution:
    """Return the solution of `solve` without its warning: filters are not thread-safe."""
    if not (isinstance(method, str) and method == HASTENED):
        method = choice("auto" if method is None else method, "method", MAX_ITER)
    kind = value_type(reg_type)
    threads = 1 if n_threads is None else whole(n_threads, "n_threads", lower=1)
    reg = strength(reg)
    tol = tolerance(tol)
    limit = (
        MAX_ITER.get(method, MAX_ITER["auto"])
        if max_iter is None
        else whole(max_iter, "max_iter", lower=0)
    )
    if time_limit is not None:
        time_limit = positive(time_limit, "time_limit", "it is in seconds")
    monitor = Monitor(tol, limit, time_limit, callback)  # its clock starts here
    rho = None if unbalanced is None else penalties(unbalanced, unbalanced_type)
    if on_cuda(device):
        if rho is not None:
            raise NotImplementedError("unbalanced must be None with device='cuda'; use 'cpu'")
        from sparsenum.ot.solutions.on_cuda import device_solution

        return feasible(device_solution(M, a, b, reg, method, potentials_init, monitor, kind))
    M, seal = Seal.on(cost_matrix(M), M)
    sides = masses(a, "a", M.shape[0]), masses(b, "b", M.shape[1])
    if rho is not None:
        found = relaxed_solution(
            M, *sides, reg, rho, method, potentials_init, monitor, threads, kind
        )
        return found.sealed(seal)
    reduction, cost = Reduction.of(M, *sides, reg)
    problem = Problem(cost, *reduction.shares, reg, threads)
    start = start_of(potentials_init, reduction, reg)
    log: dict[str, Any] = {"method": method, "tol": tol}
    if method == "sinkhorn":
        at = sinkhorn(problem, start, monitor.proceed)
    else:
        at, counts = ALGORITHMS[method](problem, start, monitor)
        log |= counts
    return feasible(certify(problem, reduction, at.f, at.g, monitor, log, kind)).sealed(seal)


def feasible(solution: Solution) -> Solution:
    """Return a solution; raise if it failed because no feasible plan exists."""
    problem = cast(Problem, solution._optimum.problem)
    if solution.status in ("max_iter", "stalled", "precision") and not is_feasible(problem):
        raise ValueError(
            "M forbids too many pairs: no plan that avoids its infinite costs has marginals "
            "a and b; make some of those costs finite or change the masses"
        )
    return solution
