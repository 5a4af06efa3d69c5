"""Unbalanced transport for the door `solve`: what its penalties mean, and what it reports."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsenum._check import positive, real_array
from sparsenum.ot.problems.checks import RegType
from sparsenum.ot.problems.dense import Matrix, Problem, Vector
from sparsenum.ot.problems.reduction import Reduction
from sparsenum.ot.solutions.certify import verdict
from sparsenum.ot.solutions.optimum import Optimum
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solvers.annealing.unbalanced import annealed_relaxed, violation
from sparsenum.ot.solvers.monitor import Monitor

Penalties = tuple[float, float]


def penalties(unbalanced: Any, unbalanced_type: str) -> Penalties | None:
    """Return the strengths of the two penalties, or None if both marginals are to be exact."""
    if str(unbalanced_type).upper() != "KL":
        raise NotImplementedError(
            f"unbalanced_type must be 'KL': got {unbalanced_type!r}, which is not part of this "
            "version; use POT's ot.solve for it"
        )
    pair = list(unbalanced) if np.ndim(unbalanced) else [unbalanced]
    if len(pair) not in (1, 2):
        raise ValueError(f"unbalanced must be a number or a pair of them: got {len(pair)} items")
    rho_a, rho_b = (_penalty(rho) for rho in (pair[0], pair[-1]))
    return None if math.isinf(rho_a) and math.isinf(rho_b) else (rho_a, rho_b)


def _penalty(rho: Any) -> float:
    if isinstance(rho, float | np.floating) and rho == math.inf:
        return math.inf
    return positive(rho, "unbalanced", "it is the strength of a penalty; inf for an exact marginal")


def relaxed_solution(
    M: Matrix,
    a: Vector,
    b: Vector,
    reg: float,
    rho: Penalties,
    method: str,
    potentials_init: tuple[ArrayLike, ArrayLike] | None,
    monitor: Monitor,
    n_threads: int,
    reg_type: RegType,
) -> Solution:
    """Solve a checked problem with penalties, and report on the whole plan.

    The entropy is the divergence from ab' of a problem whose cost has reg log(ab') added.
    """
    if method not in ("auto", "sns"):
        raise ValueError(f"method must be 'auto' where unbalanced is given: got {method!r}")
    reduction, own = Reduction.relaxed(M, a, b, reg, rho)
    mass_a, mass_b = reduction.masses
    cost = own
    if reg_type == "entropy":
        cost = own + reg * np.log(np.outer(mass_a, mass_b))
    problem = Problem(cost, mass_a, mass_b, reg, n_threads)
    psi = _start(potentials_init, reduction, reg * np.log(problem.b))
    f, g, counts = annealed_relaxed(problem, rho, psi, monitor)

    error, row_sums, column_sums = violation(problem, rho, f, g)
    converged = error <= monitor.tol
    status = verdict(error, f, g, reg, monitor)
    mass = float(row_sums.sum())
    reduction = replace(reduction, mass=mass)
    marginals = reduction.expand(row_sums, 0, 0.0), reduction.expand(column_sums, 1, 0.0)
    # <P, M> + reg sum P log(P/ab') = phi.P1 + psi.P'1, since log(P/ab') = (phi + psi - M) / reg
    phi, psi = f - reg * np.log(problem.a), g - reg * np.log(problem.b)
    value = float(row_sums @ phi + column_sums @ psi) - reg * mass
    if reg_type == "KL":
        value += reg * float(a.sum() * b.sum())
    else:  # the potentials of the caller's cost
        f, g = phi, psi
    value += divergence(marginals[0], a, rho[0]) + divergence(marginals[1], b, rho[1])
    optimum = Optimum(
        Problem(own, problem.a, problem.b, reg, n_threads),
        reduction,
        (reduction.expand(f, 0, -np.inf), reduction.expand(g, 1, -np.inf)),
        marginals,
        reg_type,
        rho,
    )
    n_iter = len(monitor.errors) - 1
    log: dict[str, Any] = {"method": "auto", "tol": monitor.tol, "unbalanced": rho, **counts}
    log |= {"err": monitor.errors, "seconds": monitor.seconds, "niter": n_iter}
    log["sinkhorn"] = n_iter - counts["newton"] - counts["refused"]
    return Solution(
        value=value,
        marginal_error=error,
        converged=converged,
        status=status,
        n_iter=n_iter,
        log=log,
        _optimum=optimum,
    )


def divergence(sums: Vector, mass: Vector, rho: float) -> float:
    """Return rho KL(sums | mass) with its mass terms; zero if rho is inf, where they are equal."""
    if math.isinf(rho):
        return 0.0
    some = sums > 0
    logs = sums[some] @ np.log(sums[some] / mass[some])
    return rho * float(logs - sums.sum() + mass.sum())


def _start(
    potentials: tuple[ArrayLike, ArrayLike] | None, reduction: Reduction, reg_log_b: Vector
) -> Vector:
    """Return the start of psi; phi follows from it."""
    if potentials is None:
        return np.zeros(reduction.columns.size)
    f, g = (real_array(x, "potentials_init", 1) for x in potentials)
    if (f.size, g.size) != reduction.shape:
        raise ValueError(
            f"potentials_init must have lengths {reduction.shape}: got ({f.size}, {g.size})"
        )
    psi = g[reduction.columns] - reg_log_b
    return np.where(np.isfinite(psi), psi, 0.0)
