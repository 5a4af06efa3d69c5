"""Unbalanced transport for `solve`: the meaning of its penalties, and its result."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsenum._check import moderate, shape_of
from sparsenum.ot.problems.checks import RegType, refuse_total
from sparsenum.ot.problems.dense import Matrix, Problem, Vector
from sparsenum.ot.problems.offsets import EPS, LOST, Offsets
from sparsenum.ot.problems.reduction import Reduction, completed, start_of
from sparsenum.ot.solutions.certify import verdict
from sparsenum.ot.solutions.optimum import Optimum
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solvers.annealing.unbalanced import annealed_relaxed, eliminated, violation
from sparsenum.ot.solvers.monitor import Monitor

Penalties = tuple[float, float]

FAINTEST = 1e-13  # penalty, in units of reg, below which it bends no plan that float64 can hold
FAINT = 100.0  # logarithm of the mass of a plan that is worth being kept from underflow
MOST = math.log(float(np.finfo(np.float64).max)) - 1.0


def penalties(unbalanced: Any, unbalanced_type: str) -> Penalties | None:
    """Return the strengths of the two penalties, or None if both marginals are constraints."""
    if str(unbalanced_type).upper() != "KL":
        raise NotImplementedError(
            f"unbalanced_type must be 'KL': got {unbalanced_type!r}, which is not part of this "
            "version; use POT's ot.solve for it"
        )
    pair = list(unbalanced) if shape_of(unbalanced, "unbalanced") else [unbalanced]
    if len(pair) not in (1, 2):
        raise ValueError(f"unbalanced must be a number or a pair of them: got {len(pair)} items")
    rho_a, rho_b = (_penalty(rho) for rho in (pair[0], pair[-1]))
    return None if math.isinf(rho_a) and math.isinf(rho_b) else (rho_a, rho_b)


def _penalty(rho: Any) -> float:
    if isinstance(rho, float | np.floating) and rho == math.inf:
        return math.inf
    return moderate(rho, "unbalanced", "it is the strength of a penalty; inf for an exact marginal")


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
    """Return the solution of a checked problem with penalties, judged on the whole plan.

    The entropy is the divergence from ab' of a problem whose cost has reg log(ab') added.
    """
    if method in ("sinkhorn", "sns-paper"):
        raise ValueError(f"method must be 'auto' where unbalanced is given: got {method!r}")
    rho_a, rho_b = (max(x, FAINTEST * reg) for x in rho)
    rho = rho_a, rho_b
    reduction, own = Reduction.relaxed(M, a, b, reg, rho, reg_type == "entropy")
    mass_a, mass_b = reduction.masses
    log_a, log_b = reg * np.log(mass_a), reg * np.log(mass_b)
    prior = 0.0 if reg_type == "KL" else log_a[:, None] + log_b
    cost = own if reg_type == "KL" else own + prior
    offsets, shift, shrunk = balanced_offsets(cost, mass_a, mass_b, reg, rho)
    if offsets is not None:
        own = (own - offsets[0][:, None]) - offsets[1]
        cost = own if reg_type == "KL" else own + prior
    problem = Problem(cost, mass_a, mass_b, reg, n_threads)
    psi = start_of(potentials_init, reduction, reg)
    if psi.any():
        psi = psi - shift[1] - (log_b if reg_type == "KL" else 0.0)
    f, g, counts = annealed_relaxed(problem, rho, psi, monitor)

    error, log_mass, row_sums, column_sums = violation(problem, rho, f, g)
    if log_mass - shrunk > MOST and error > monitor.tol:  # stopped where no plan is
        f, g = eliminated(problem, rho, np.zeros_like(g))
        error, log_mass, row_sums, column_sums = violation(problem, rho, f, g)
    converged = error <= monitor.tol
    status = verdict(error, f, g, reg, monitor)
    mass = held_mass(log_mass - shrunk)
    if M.dtype == np.float32:
        refuse_total(mass, M.size, "unbalanced")
    row_sums, column_sums = mass * row_sums, mass * column_sums
    reduction = replace(reduction, mass=mass, offsets=offsets)
    marginals = reduction.expand(row_sums, 0, 0.0), reduction.expand(column_sums, 1, 0.0)
    phi, psi = f - log_a + shift[0], g - log_b + shift[1]
    # <P, M> + reg sum P log(P/ab') = phi.P1 + psi.P'1, since log(P/ab') = (phi + psi - M) / reg
    value = float(row_sums @ phi + column_sums @ psi) - reg * mass
    if reg_type == "KL":
        value += reg * float(a.sum() * b.sum())
        inner = f - reg * log_mass, g
        f, g = phi + log_a, psi + log_b
    else:  # the potentials of the caller's cost
        inner = f - log_a - reg * log_mass, g - log_b
        f, g = phi, psi
    value += divergence(marginals[0], a, rho[0]) + divergence(marginals[1], b, rho[1])
    optimum = Optimum(
        Problem(own, mass_a, mass_b, reg, n_threads),
        reduction,
        followed(reduction, f, g, reg, rho, reg_type),
        inner,
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


def balanced_offsets(
    cost: Matrix, a: Vector, b: Vector, reg: float, rho: Penalties
) -> tuple[Offsets | None, tuple[Any, Any], float]:
    """Return what to take off a cost, how that shifts phi and psi, and what it shrinks the mass by.

    A constant c on all costs shrinks the plan by c / (reg + rho_a + rho_b) in its logarithm, and
    shifts the potentials by rho times that; where a marginal is exact its potential takes each
    row's or column's own constant instead. Nothing is taken off, and the offsets are None, where
    the mass is far from underflow and no digits are to be gained.
    """
    exact = [math.isinf(x) for x in rho]
    if any(exact):
        least = cost.min(axis=exact.index(False)).astype(np.float64)
        if EPS * float(np.abs(least).max()) <= LOST * reg:
            return None, (0.0, 0.0), 0.0
        zeros = np.zeros(a.size if exact[1] else b.size)
        shift = (zeros, least) if exact[1] else (least, zeros)
        return shift, shift, 0.0
    strength, c = reg + rho[0] + rho[1], float(cost.min())
    # The logarithm of the mass that a pair would have without all the others, times the strength.
    worth = (rho[0] + reg) * np.log(a)[:, None] + (rho[1] + reg) * np.log(b) - cost
    best = float(worth.max())
    if best + c < -FAINT * strength:  # the cheapest pairs have hardly any mass
        c = -best
    elif abs(c) <= FAINT * strength and EPS * abs(c) <= LOST * reg:
        return None, (0.0, 0.0), 0.0
    shrunk = c / strength
    return (np.full(a.size, c), np.zeros(b.size)), (rho[0] * shrunk, rho[1] * shrunk), shrunk


def held_mass(log_mass: float) -> float:
    """Return the mass of a plan, zero where that is all float64 can say."""
    if log_mass > MOST:
        raise ValueError(
            f"M must not be so negative that float64 cannot hold the mass of the plan: got "
            f"e^{log_mass:.0f}; raise M, unbalanced or reg"
        )
    return math.exp(log_mass)


def followed(
    reduction: Reduction, f: Vector, g: Vector, reg: float, rho: Penalties, reg_type: RegType
) -> tuple[Vector, Vector]:
    """Return the caller's potentials at full length, also of what was left out of the solve."""
    pair = completed(reduction, f, g, reg, reduction.costs)
    sides = zip(pair, reduction.left_out, (reduction.a, reduction.b), rho, strict=True)
    for potential, some, mass, penalty in sides:
        kappa = 1.0 / (1.0 + reg / penalty)
        own = reg * np.log(mass[some]) if reg_type == "KL" else 0.0
        potential[some] = own + kappa * (potential[some] - own)
    return pair


def divergence(sums: Vector, mass: Vector, rho: float) -> float:
    """Return rho KL(sums | mass) with its mass terms; zero if rho is inf, where they are equal."""
    if math.isinf(rho):
        return 0.0
    some = sums > 0
    logs = sums[some] @ (np.log(sums[some]) - np.log(mass[some]))
    return rho * float(logs - sums.sum() + mass.sum())
