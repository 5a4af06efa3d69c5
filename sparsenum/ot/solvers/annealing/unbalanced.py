"""Newton's method for transport whose marginals are held by penalties: sparse, annealed in reg."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sparsenum.ot.problems import _cpu_support
from sparsenum.ot.problems.dense import UNDERFLOW, Iterate, Problem, Vector, gather
from sparsenum.ot.problems.support import Restricted
from sparsenum.ot.solvers.annealing.descent import Descent
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.solvers.newton import (
    CG_LEAST,
    CG_MAX_ITER,
    CG_MOST,
    CG_PER_ERROR,
    DROP_MOST,
    DROP_PER_ERROR,
    Pace,
    backtrack,
)
from sparsenum.sparse import CSR, schur_cg

START, FACTOR = 0.02, 5.0  # reg of the annealing: the first, in units of the spread of M; its steps
STRAYED = 100.0  # reg by which potentials may move on one support: it may mislead by then
DEAR = 1e3  # cost, in units of the penalties, that nobody pays
TINY = float(np.finfo(np.float64).tiny)
MOST, MISSED = 700.0, 1e300  # logarithms beyond which, and an error from which, all is said
NEAR = 0.02  # error of a given start from which there is nothing to anneal


class Point(NamedTuple):
    """Potentials (f, g), of which f is the best for this g, and what follows from them.

    Attributes
    ----------
    f, g : ndarray
        Potentials in cost units; phi = f - reg log a and psi = g - reg log b.
    rows, columns : ndarray
        Sums of the plan; the rows are what they should be, a exp(-phi / rho_a).
    wanted : ndarray
        What the columns should be, b exp(-psi / rho_b).
    error : float
        1-norm of columns - wanted, relative to the mass of the plan.
    value : float
        Dual objective, up to a constant.
    entries : ndarray
        Entries of the plan on the support.
    """

    f: Vector
    g: Vector
    rows: Vector
    columns: Vector
    wanted: Vector
    error: float
    value: float
    entries: Vector


@dataclass(frozen=True, slots=True)
class Relaxed:
    """Maximise -F_a(-phi) - F_b(-psi) - reg sum P over the potentials, on a support.

    F is what the penalty rho KL(. | mass) is conjugate to, and P = exp((f + g - M) / reg).
    """

    problem: Problem
    support: CSR
    reg: float
    rho_a: float
    rho_b: float

    @property
    def a(self) -> Vector:
        """Masses that the rows should have."""
        return self.problem.a

    @property
    def b(self) -> Vector:
        """Masses that the columns should have."""
        return self.problem.b

    @property
    def density(self) -> float:
        """Share of all pairs that are in the support."""
        return self.support.nnz / self.problem.M.size

    @property
    def kappa_a(self) -> float:
        """Share of a change of the cost that the potential of the rows follows."""
        return 1.0 / (1.0 + self.reg / self.rho_a)

    @property
    def kappa_b(self) -> float:
        """Share of a change of the cost that the potential of the columns follows."""
        return 1.0 / (1.0 + self.reg / self.rho_b)

    def phi(self, at: Point) -> Vector:
        """Return the potential of the rows relative to their masses."""
        return at.f - self.reg * np.log(self.a)

    def psi(self, at: Point) -> Vector:
        """Return the potential of the columns relative to their masses."""
        return at.g - self.reg * np.log(self.b)

    def point(self, psi: Vector) -> Point:
        """Eliminate the rows: one pass over the support."""
        s, g = self.support, psi + self.reg * np.log(self.b)
        f, rows, columns = np.empty_like(self.a), np.empty_like(self.a), np.empty_like(self.b)
        P = np.empty(s.nnz)
        _cpu_support.relaxed_row_update(
            *s.arrays, self.a, g, self.reg, self.kappa_a, f, P, rows, columns
        )
        with np.errstate(over="ignore", invalid="ignore"):  # far from the solution
            wanted, mass = held(self.b, psi, self.rho_b), float(rows.sum())
            value = (
                conjugate(self.a, f - self.reg * np.log(self.a), self.rho_a)
                + conjugate(self.b, psi, self.rho_b)
                - self.reg * mass
            )
            error = float(np.abs(columns - wanted).sum()) / max(mass, TINY)
        return Point(f, g, rows, columns, wanted, error, value, P)

    def sweep(self, at: Point) -> Point:
        """Maximise over psi, then over what moves mass between phi and psi, then over phi [1]_.

        References
        ----------
        .. [1] Sejourne, Vialard, Peyre, "Faster Unbalanced Optimal Transport: Translation
           Invariant Sinkhorn and 1-D Frank-Wolfe", AISTATS 2022.
        """
        log_b = np.log(self.b)
        missing = np.log(np.maximum(at.columns, UNDERFLOW)) - log_b
        psi = self.kappa_b * (self.psi(at) - self.reg * missing)
        wanted = log_sum(np.log(self.a) - self.phi(at) / self.rho_a)
        surplus = wanted - log_sum(log_b - psi / self.rho_b)
        return self.point(psi - surplus / (1.0 / self.rho_a + 1.0 / self.rho_b))

    def step(self, at: Point, pace: Pace, goal: float) -> Point:
        """Take a Newton step, or sweep where it led nowhere."""
        return newton_step(self, at, pace, goal) or self.sweep(at)

    def cut(self, at: Point, reg: float, width: float) -> tuple["Relaxed", Point]:
        """Go on at `reg` on the pairs that may have a share e^-width of their row or column.

        A row that gives up most of its mass has no pair of small slack, hence its own slack; it
        is that of the reg before, which keeps the best pair of each row and column.
        """
        phi, psi = self.phi(at), self.psi(at)
        total = float(max(self.a.sum(), self.b.sum(), 1.0))
        row_slack = reg * width + self.reg * (math.log(total) + phi / self.rho_a)
        short = np.log(self.b) - np.log(np.maximum(at.columns, UNDERFLOW))
        column_slack = reg * width + self.reg * (math.log(total) + short)
        support = gather(self.problem.M, phi, psi, row_slack, column_slack)
        view = replace(self, support=support, reg=reg)
        return view, view.point(psi)

    def strayed(self, at: Point, start: Point) -> bool:
        """Return whether the potentials have left where the support was cut for them."""
        return bool(np.ptp(at.g - start.g) > STRAYED * self.reg)


def whole(problem: Problem, rho: tuple[float, float], reg: float) -> Relaxed:
    """Return the problem at another reg, on all pairs."""
    n, m = problem.M.shape
    everything = gather(problem.M, np.zeros(n), np.zeros(m), np.full(n, np.inf), np.full(m, np.inf))
    return Relaxed(problem, everything, reg, *rho)


def held(mass: Vector, potential: Vector, rho: float) -> Vector:
    """Return the optimal marginal of a penalty at a potential: the mass itself if rho is inf."""
    held: Vector = mass * np.exp(-potential / rho)
    return held


def conjugate(mass: Vector, potential: Vector, rho: float) -> float:
    """Return -F(-potential): rho sum mass (1 - exp(-potential / rho)), linear if rho is inf."""
    if math.isinf(rho):
        return float(mass @ potential)
    return -rho * float(mass @ np.expm1(-potential / rho))


def newton_step(view: Relaxed, at: Point, pace: Pace, goal: float) -> Point | None:
    """Return the next point, or None if nothing along the direction was acceptable."""
    x = direction(view, at, pace, goal)
    reach = float(np.abs(x).max())
    x = np.clip(x, -pace.cap, pace.cap)
    slope = view.reg * float((at.wanted - at.columns) @ x)
    psi, whole = view.psi(at), view.reg * x
    return backtrack(at, lambda t: view.point(psi + t * whole), slope, view.reg, pace, reach)


@np.errstate(over="ignore", invalid="ignore")  # a step that overflows is refused
def direction(view: Relaxed, at: Point, pace: Pace, goal: float) -> Vector:
    """Solve (diag(c (1 + damping) + w reg / rho_b) - kappa_a P' diag(1/r) P) x = w - c.

    The Newton system of the dual in psi / reg with the rows eliminated; r, c and w are the rows,
    the columns and what is wanted of them. Penalties make it definite; P is sparsified.
    """
    c = np.maximum(at.columns, UNDERFLOW)
    weight = (c * (1.0 + pace.damping) + at.wanted * (view.reg / view.rho_b)) / view.kappa_a
    missing = (at.wanted - at.columns) / view.kappa_a
    exact = Iterate(at.f, at.g, at.columns, at.error)
    held = Restricted(view.support, at.rows, view.b, view.reg, exact)
    held.entries[:] = at.entries  # a copy: it is written over, and the step may be refused
    Q = held.hessian(exact, min(DROP_MOST, DROP_PER_ERROR * at.error))
    rtol = min(CG_MOST, max(CG_PER_ERROR * at.error, CG_LEAST, 0.1 * goal / at.error))
    result = schur_cg(Q, weight, missing, rtol=rtol, max_iter=CG_MAX_ITER)
    pace.cg += result.n_iter
    return result.x


def annealed_relaxed(
    problem: Problem, rho: tuple[float, float], psi: Vector, monitor: Monitor
) -> tuple[Vector, Vector, dict[str, int]]:
    """Return the potentials f and g that meet the monitor's tolerance, and the counts of the steps.

    Rows are eliminated, so Newton's method works on the columns. It is annealed in reg, on
    supports that shrink with it; the last one is checked against the whole cost, and cut again
    around the better potentials where it missed something.
    """
    target, warm = problem.reg, bool(psi.any())
    costs = problem.M[np.isfinite(problem.M)]
    # Whoever would pay more goes without, so costs far above the penalties need no annealing.
    dear = DEAR * (target + sum(x for x in rho if not math.isinf(x)))
    first = max(target, START * min(float(np.ptp(costs)), dear))
    view = whole(problem, rho, target if warm else first)
    at, none = view.point(psi), np.zeros_like(psi)
    if warm and not at.error < NEAR:
        psi = psi if at.error < view.point(none).error else none  # a start may be worse than none
        view = replace(view, reg=first)
        at = view.point(psi)
    descent = Descent(view, at, monitor, FACTOR)
    descent.reach(target, lambda at: violation(problem, rho, at.f, at.g)[0])
    view, at = descent.view, descent.at
    counts = descent.pace.counts() | {"support": view.support.nnz}
    if monitor.status == "converged":
        return at.f, at.g, counts
    return *eliminated(problem, rho, view.psi(at)), counts


def violation(
    problem: Problem, rho: tuple[float, float], f: Vector, g: Vector
) -> tuple[float, float, Vector, Vector]:
    """Return the error of the marginals of the whole plan, and the marginals.

    All is relative to a mass whose logarithm comes second, for the mass itself may underflow.
    """
    reg = problem.reg
    logs = [
        np.log(mass) - (x - reg * np.log(mass)) / penalty
        for mass, x, penalty in zip((problem.a, problem.b), (f, g), rho, strict=True)
    ]
    scale = log_sum(logs[0])
    rows, columns = problem.marginals(f - reg * scale, g)
    total = float(rows.sum())
    wanted = (np.exp(np.minimum(x - scale, MOST)) for x in logs)
    off = sum(float(np.abs(x - y).sum()) for x, y in zip((rows, columns), wanted, strict=True))
    if not total > 0.0:
        return MISSED, scale, rows, columns
    return min(off / total, MISSED), scale + math.log(total), rows / total, columns / total


def log_sum(logs: Vector) -> float:
    """Return the logarithm of the sum of numbers given by theirs."""
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))


def eliminated(problem: Problem, rho: tuple[float, float], psi: Vector) -> tuple[Vector, Vector]:
    """Return f and g at which the rows of the whole plan are what is wanted of them.

    Before that mass is moved between the potentials until both sides want the same.
    """
    reg, log_a, log_b = problem.reg, np.log(problem.a), np.log(problem.b)
    kappa = 1.0 / (1.0 + reg / rho[0])

    def followed(psi: Vector) -> Vector:
        lacking = log_a - problem.iterate(psi + reg * log_b).f / reg
        return -kappa * reg * lacking

    surplus = log_sum(log_a - followed(psi) / rho[0]) - log_sum(log_b - psi / rho[1])
    psi = psi - surplus / (1.0 / rho[0] + 1.0 / rho[1])
    return followed(psi) + reg * log_a, psi + reg * log_b
