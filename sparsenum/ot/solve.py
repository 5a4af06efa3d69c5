"""The modern door: `solve` checks a problem, solves it and reports what was reached."""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import choice, positive, real_array, whole
from sparsenum.errors import ConvergenceWarning, DeviceError
from sparsenum.ot.auto import annealed_newton
from sparsenum.ot.feasibility import is_feasible
from sparsenum.ot.monitor import Callback, Monitor, Status
from sparsenum.ot.paper import sinkhorn_newton_sparse
from sparsenum.ot.points import PointProblem
from sparsenum.ot.problem import Problem, Vector
from sparsenum.ot.scaling import sinkhorn
from sparsenum.ot.solution import Solution, Support
from sparsenum.ot.unbalanced import penalties, relaxed_solution

Method = Literal["auto", "sns", "sns-paper", "sinkhorn"]
MAX_ITER = {"auto": 1000, "sns": 1000, "sns-paper": 1000, "sinkhorn": 100_000}
ROUNDINGS = 100.0  # an error below this many roundings of an entry is as good as it gets
MASS_MISMATCH = 1e-6  # relative difference of the totals of a and b that is taken for rounding


def solve(
    M: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    reg: float | None = None,
    *,
    tol: float = 1e-9,
    max_iter: int | None = None,
    method: Method = "auto",
    potentials_init: tuple[ArrayLike, ArrayLike] | None = None,
    n_threads: int | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    callback: Callback | None = None,
    time_limit: float | None = None,
    unbalanced: float | tuple[float, float] | None = None,
    unbalanced_type: Literal["KL"] = "KL",
) -> Solution:
    r"""Solve the entropic optimal transport problem between two histograms.

    .. math:: \min_{P \ge 0} \langle P, M \rangle + reg \, KL(P \,|\, a b^T)
              \quad \text{s.t.} \quad P 1 = a, \; P^T 1 = b

    The plan is :math:`P_{ij} = \exp((f_i + g_j - M_{ij}) / reg)`. Rows and columns of zero mass
    are left out of the computation; an infinite cost forbids a pair.

    With `unbalanced` the marginals need not be met, and the totals may differ [3]_:

    .. math:: \min_{P \ge 0} \langle P, M \rangle + reg \, KL(P \,|\, a b^T)
              + \rho_1 KL(P 1 \,|\, a) + \rho_2 KL(P^T 1 \,|\, b)

    where :math:`KL(p | q) = \sum p \log(p / q) - p + q`.

    Parameters
    ----------
    M : array_like, shape (n, m)
        Cost of moving one unit of mass, in any unit; ``inf`` forbids a pair. A float64,
        C-contiguous matrix is read in place.
    a : array_like, shape (n,), optional
        Masses of the rows, not negative; uniform (sum 1) by default.
    b : array_like, shape (m,), optional
        Masses of the columns, with the same total as `a` up to a relative 1e-6.
    reg : float
        Strength of the entropy, in the unit of `M`; positive.
    tol : float, default 1e-9
        Largest 1-norm of the violation of both marginals, relative to the total mass.
    max_iter : int, optional
        Cap on the iterations; 100,000 for "sinkhorn" and 1,000 for the others by default.
    method : {"auto", "sns", "sns-paper", "sinkhorn"}, default "auto"
        "auto" (or "sns"): easy problems by Sinkhorn's method, all others by annealing `reg` with
        Newton steps on certified sparse supports; robust down to reg = 3e-5 of the spread of M.
        "sns-paper": Sinkhorn-Newton-Sparse at one `reg` [1]_, for comparison.
        "sinkhorn": fixed-point scaling [2]_, cheap iterations, many of them at small `reg`.
    potentials_init : tuple of array_like, optional
        Start (f, g) in cost units, as in ``Solution.potentials``; zeros by default.
    n_threads : int, optional
        Threads for passes over more than a million costs; 1 by default. The result does not
        depend on it. Small products and everything on sparse supports stay on one thread.
    device : {"cpu", "cuda"}, default "cpu"
        Where to run. There is no CUDA backend in this version.
    callback : callable, optional
        Called as ``callback(step)`` at the start and after each iteration with the number of
        iterations, the marginal error (at the `reg` of the moment, while that is annealed) and
        the seconds passed; a true return value stops the solve.
    time_limit : float, optional
        Seconds after which no further iteration is begun.
    unbalanced : float or tuple of float, optional
        Strengths (rho_1, rho_2) of the penalties on the marginals, one number for both; ``inf``
        keeps that marginal exact. By default both are exact.
    unbalanced_type : {"KL"}, default "KL"
        Divergence of the penalties; POT has others.

    Returns
    -------
    Solution
        Potentials, value, status, errors, and the plan on access. "auto" reads `M` some 5 to 20
        times and holds, beside it, half its size at first and then the sparse support; "sns-paper"
        costs O(n m) for each iteration; "sinkhorn" too, and holds another n m numbers.

    Raises
    ------
    ValueError
        If an argument is NaN, negative, of the wrong shape or out of range; if the totals of `a`
        and `b` differ or are zero; if infinite costs leave no plan with these marginals.
    TypeError
        If an argument is not numeric.
    DeviceError
        If `device` is "cuda".

    Warns
    -----
    ConvergenceWarning
        If the tolerance was not met; the result carries the error that was.

    Notes
    -----
    The error of the result is recomputed in float64 from the potentials before it is called
    converged. float64 cannot represent plans to better than about ``1e-16 max(M) / reg``; where
    `tol` asks for more the status is "precision".

    Unbalanced, rows should sum to ``a exp(-phi / rho_1)`` with ``phi = f - reg log a``, columns
    likewise, and `tol` bounds the violation of that relative to the mass of the plan. The plan is
    that of POT's ``ot.solve(M, a, b, reg, unbalanced=...)``; for its ``reg_type="entropy"`` add
    ``reg * log(outer(a, b))`` to `M`. POT's value lacks the masses in KL, without which it is zero
    at every optimum; ours is the minimum above.

    References
    ----------
    .. [1] Tang et al., "Accelerating Sinkhorn Algorithm with Sparse Newton Iterations", ICLR 2024.
    .. [2] Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", NeurIPS 2013.
    .. [3] Chizat, Peyre, Schmitzer, Vialard, "Scaling Algorithms for Unbalanced Optimal Transport
       Problems", Mathematics of Computation 2018.

    Examples
    --------
    >>> from sparsenum import ot
    >>> result = ot.solve([[0.0, 1.0], [1.0, 0.0]], reg=0.5)
    >>> result.plan.round(3).tolist()
    [[0.44, 0.06], [0.06, 0.44]]
    >>> result.converged
    True
    """
    options = (tol, max_iter, method, potentials_init, n_threads, device, callback, time_limit)
    solution = attempt(M, a, b, reg, *options, unbalanced, unbalanced_type)
    if not solution.converged:
        warnings.warn(shortfall(solution), ConvergenceWarning, stacklevel=2)
    return solution


def attempt(
    M: ArrayLike,
    a: ArrayLike | None,
    b: ArrayLike | None,
    reg: float | None,
    tol: float,
    max_iter: int | None,
    method: Method,
    potentials_init: tuple[ArrayLike, ArrayLike] | None,
    n_threads: int | None,
    device: Literal["cpu", "cuda"],
    callback: Callback | None,
    time_limit: float | None,
    unbalanced: float | tuple[float, float] | None = None,
    unbalanced_type: str = "KL",
) -> Solution:
    """Do what `solve` does, but leave the warning to the caller: filters are not thread-safe."""
    choice(method, "method", MAX_ITER)
    if choice(device, "device", ("cpu", "cuda")) == "cuda":
        raise DeviceError("device='cuda' is not part of this version; use device='cpu'")
    threads = 1 if n_threads is None else whole(n_threads, "n_threads", lower=1)
    if reg is None:
        raise ValueError("reg must be given; for unregularised transport use POT's ot.emd")
    reg = positive(reg, "reg", "it is the strength of the entropy, in the unit of M")
    tol = positive(tol, "tol", "it bounds the violation of the marginals")
    limit = MAX_ITER[method] if max_iter is None else whole(max_iter, "max_iter", lower=0)
    if time_limit is not None:
        time_limit = positive(time_limit, "time_limit", "it is in seconds")
    M = _cost(M)
    sides = masses(a, "a", M.shape[0]), masses(b, "b", M.shape[1])
    rho = None if unbalanced is None else penalties(unbalanced, unbalanced_type)
    if rho is not None:
        monitor = Monitor(tol, limit, time_limit, callback)
        return relaxed_solution(M, *sides, reg, rho, method, potentials_init, monitor, threads)
    problem, support = _canonical(M, *sides, reg, threads)

    monitor = Monitor(tol, limit, time_limit, callback)
    start = _start(potentials_init, support)
    log: dict[str, Any] = {"method": method, "tol": tol}
    if method == "sinkhorn":
        at = sinkhorn(problem, start, monitor)
    else:
        algorithm = sinkhorn_newton_sparse if method == "sns-paper" else annealed_newton
        at, counts = algorithm(problem, start, monitor)
        log |= counts
    solution = report(problem, support, at.f, at.g, monitor, log)
    if solution.status in ("max_iter", "stalled", "precision") and not is_feasible(problem):
        raise ValueError(
            "M forbids too many pairs: no plan that avoids its infinite costs has marginals "
            "a and b; make some of those costs finite or change the masses"
        )
    return solution


def _cost(M: ArrayLike) -> NDArray[np.float64]:
    cost = real_array(M, "M", 2)
    if 0 in cost.shape:
        raise ValueError(f"M must have at least one row and one column: got shape {cost.shape}")
    lowest = float(cost.min())
    if not np.isfinite(lowest):
        fact = "NaN" if np.isnan(lowest) else "a row of" if lowest > 0 else "minus"
        raise ValueError(
            f"M must hold numbers or plus infinity: got {fact} {'infinity' * (fact != 'NaN')}; "
            "clean the cost first"
        )
    return cost


def masses(x: ArrayLike | None, name: str, length: int) -> Vector:
    """Return masses for one side of a problem: checked, uniform if there are none."""
    if x is None or np.size(x) == 0:
        return np.full(length, 1.0 / length)
    mass = real_array(x, name, 1)
    if mass.size != length:
        side = "row" if name == "a" else "column"
        raise ValueError(
            f"{name} must have one mass for each {side} of M, {length}: got {mass.size}"
        )
    if not (np.isfinite(mass).all() and (mass >= 0).all()):
        raise ValueError(
            f"{name} must hold finite masses, not negative: got values from {mass.min()} to "
            f"{mass.max()}; clean it, or clip what rounding made negative"
        )
    if not mass.sum() > 0:
        raise ValueError(f"{name} must have positive total mass: got 0; is the histogram empty?")
    return mass


def shared_mass(a: Vector, b: Vector) -> float:
    """Return the total mass, once it is the same on both sides."""
    total_a, total_b = float(a.sum()), float(b.sum())
    if abs(total_a - total_b) > MASS_MISMATCH * max(total_a, total_b):
        raise ValueError(
            f"a must sum to the same total as b: got {total_a:.9g} and {total_b:.9g}; divide each "
            "by its sum, or use unbalanced transport"
        )
    return total_a


def _canonical(
    M: NDArray[np.float64], a: Vector, b: Vector, reg: float, n_threads: int
) -> tuple[Problem, Support]:
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    support = Support(rows, columns, M.shape, shared_mass(a, b))
    if M.shape != (rows.size, columns.size):
        M = M[np.ix_(rows, columns)]
    sides = ((1, "row", rows), (0, "column", columns)) if M.max() == np.inf else ()
    for axis, side, index in sides:
        closed = np.flatnonzero(M.min(axis=axis) == np.inf)
        if closed.size:
            raise ValueError(
                f"M must leave each {side} with mass a finite cost: got only infinite costs in "
                f"{side} {index[closed[0]]}; make one finite or set its mass to zero"
            )
    return Problem(M, a[rows] / a.sum(), b[columns] / b.sum(), reg, n_threads), support


def _start(potentials: tuple[ArrayLike, ArrayLike] | None, support: Support) -> Vector:
    """Return the start of g; f follows from it, since rows are exact at every iterate."""
    if potentials is None:
        return np.zeros(support.columns.size)
    if len(potentials) != 2:
        raise ValueError(f"potentials_init must be a pair (f, g): got {len(potentials)} items")
    f, g = (real_array(x, "potentials_init", 1) for x in potentials)
    if (f.size, g.size) != support.shape:
        raise ValueError(
            f"potentials_init must have lengths {support.shape}: got ({f.size}, {g.size})"
        )
    g = g[support.columns]
    return np.where(np.isfinite(g), g, 0.0)


def report(
    problem: Problem | PointProblem,
    support: Support,
    f: Vector,
    g: Vector,
    monitor: Monitor,
    log: dict[str, Any],
) -> Solution:
    """Recompute both marginals and build the result on them."""
    rows, columns = problem.marginals(f, g)
    error = float(np.abs(rows - problem.a).sum() + np.abs(columns - problem.b).sum())
    converged = error <= monitor.tol
    status: Status = "converged" if converged else monitor.status
    rounding = _rounding(problem, f, g)
    # From 1 on no digit of the plan is right, and nothing bounds the error; both may be NaN.
    at_floor = rounding >= 1.0 or not error >= ROUNDINGS * rounding
    if not converged and (
        status == "converged" or (status in ("max_iter", "stalled") and at_floor)
    ):
        status = "precision"
    mass, reg = support.mass, problem.reg
    f = f + reg * np.log(mass)
    # <P, M> + reg sum P log P = f.P1 + g.P'1 because log P = (f + g - M) / reg.
    logs = rows @ np.log(problem.a * mass) + columns @ np.log(problem.b * mass)
    value = mass * float(rows @ f + columns @ g - reg * logs)
    n_iter = len(monitor.errors) - 1
    log |= {"err": monitor.errors, "seconds": monitor.seconds, "niter": n_iter}
    log["sinkhorn"] = n_iter - log.get("newton", 0) - log.get("refused", 0)
    return Solution(
        potentials=(support.expand(f, 0, -np.inf), support.expand(g, 1, -np.inf)),
        value=value,
        marginals=(support.expand(mass * rows, 0, 0.0), support.expand(mass * columns, 1, 0.0)),
        marginal_error=error,
        converged=converged,
        status=status,
        n_iter=n_iter,
        log=log,
        _problem=problem,
        _support=support,
    )


def _rounding(problem: Problem | PointProblem, f: Vector, g: Vector) -> float:
    """Return the relative error that float64 leaves in the entries of the plan."""
    largest = float(np.abs(f).max() + np.abs(g).max())
    return float(np.finfo(np.float64).eps) * largest / problem.reg


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
