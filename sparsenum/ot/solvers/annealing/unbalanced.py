"""Newton's method for transport whose marginals are held by penalties: sparse, annealed in reg."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sparsenum.ot.problems import _cpu_support
from sparsenum.ot.problems.dense import UNDERFLOW, Iterate, Problem, Vector, gather
from sparsenum.ot.problems.support import Restricted
from sparsenum.ot.solvers.monitor import GOAL, Monitor
from sparsenum.ot.solvers.newton import (
    CG_LEAST,
    CG_MAX_ITER,
    CG_MOST,
    CG_PER_ERROR,
    DAMPING_PER_ERROR,
    DROP_MOST,
    DROP_PER_ERROR,
    Pace,
    backtrack,
)
from sparsenum.sparse import CSR, schur_cg

START, FACTOR = 0.02, 5.0  # reg of the annealing: the first, in units of the spread of M; its steps
FACTOR_IN_NEED = 2.0  # after a level that was left before its goal
# Left out is what carries less than e^-COARSE of its row and of its column, and at the end less
# than a hundredth of the tolerance in all; the room is for potentials to move in.
COARSE, ROOM, DROPPED = 12.0, 4.0, 1e-2
SWEEPS, SWEEP_GOAL = 6, 0.05  # alternating maximisation before Newton's method, and what it is for
SPARSE = 0.28  # density from which a level has Newton steps, too
LEVEL_GOAL, TAIL_GOAL = 2e-3, 1e-4  # errors at which a level, and a coarse support, are left
LEVEL_STEPS, LEVEL_ROUNDS, TARGET_ROUNDS = 12, 10, 60
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

    support: CSR
    a: Vector
    b: Vector
    reg: float
    rho_a: float
    rho_b: float

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


@dataclass(slots=True)
class Descent:
    """The state of a descent in reg: the point reached, and the view it was reached in."""

    problem: Problem
    rho: tuple[float, float]
    monitor: Monitor
    view: Relaxed = field(init=False)
    at: Point = field(init=False)
    start: Vector = field(init=False)
    pace: Pace = field(default_factory=lambda: Pace(0.0))

    def begin(self, psi: Vector, reg: float) -> None:
        """Start from a potential of the columns, with all pairs in the support."""
        n, m = self.problem.M.shape
        everything = gather(
            self.problem.M, np.zeros(n), np.zeros(m), np.full(n, np.inf), np.full(m, np.inf)
        )
        self.view = Relaxed(everything, self.problem.a, self.problem.b, reg, *self.rho)
        self.at = self.view.point(psi)
        self.start = self.at.g

    def cut(self, reg: float, width: float) -> None:
        """Go on at `reg` on the pairs that may have a share e^-width of their row or column.

        A row that gives up most of its mass has no pair of small slack, hence its own slack; it
        is that of the reg before, which keeps the best pair of each row and column.
        """
        view, at = self.view, self.at
        phi, psi = view.phi(at), view.psi(at)
        total = float(max(view.a.sum(), view.b.sum(), 1.0))
        row_slack = reg * width + view.reg * (math.log(total) + phi / view.rho_a)
        short = np.log(view.b) - np.log(np.maximum(at.columns, UNDERFLOW))
        column_slack = reg * width + view.reg * (math.log(total) + short)
        support = gather(self.problem.M, phi, psi, row_slack, column_slack)
        self.move(support, reg)

    def move(self, support: CSR, reg: float) -> None:
        """Go on from the same potentials on another support, at another reg."""
        psi = self.view.psi(self.at)
        self.view = Relaxed(support, self.problem.a, self.problem.b, reg, *self.rho)
        self.at = self.view.point(psi)
        self.start = self.at.g

    def strayed(self) -> bool:
        """Return whether the potentials have left where the support was cut for them."""
        return bool(np.ptp(self.at.g - self.start) > STRAYED * self.view.reg)

    def refine(self, goal: float, max_steps: int) -> bool:
        """Sweep, then take Newton steps on the support; return whether the goal was reached."""
        view, monitor, sweeps = self.view, self.monitor, 0
        while self.at.error > SWEEP_GOAL and sweeps < SWEEPS and monitor.tick(self.at.error):
            self.at = view.sweep(self.at)
            sweeps += 1
        self.pace.damping = DAMPING_PER_ERROR * self.at.error
        for _ in range(max_steps):
            if self.at.error <= goal or self.strayed() or not monitor.tick(self.at.error):
                break
            better = newton_step(view, self.at, self.pace, goal)
            self.at = better or view.sweep(self.at)
        return self.at.error <= goal

    def finish(self) -> None:
        """Solve on the support to the tolerance."""
        goal = GOAL * self.monitor.tol
        while not self.strayed() and self.monitor.proceed(self.at.error):
            better = newton_step(self.view, self.at, self.pace, 0.5 * goal)
            self.at = better or self.view.sweep(self.at)


def annealed_relaxed(
    problem: Problem, rho: tuple[float, float], psi: Vector, monitor: Monitor
) -> tuple[Vector, Vector, dict[str, int]]:
    """Return the potentials f and g that meet the monitor's tolerance, and the counts of the steps.

    Rows are eliminated, so Newton's method works on the columns. It is annealed in reg, on
    supports that shrink with it; the last one is checked against the whole cost, and cut again
    around the better potentials where it missed something.
    """
    M, target, tol = problem.M, problem.reg, monitor.tol
    spread = float(np.ptp(M[np.isfinite(M)]))
    # Whoever would pay more goes without, so costs far above the penalties need no annealing.
    spread = min(spread, DEAR * (target + sum(x for x in rho if not math.isinf(x))))
    descent, first = Descent(problem, rho, monitor), max(target, START * spread)
    descent.begin(psi, target if psi.any() else first)
    if not (psi.any() and descent.at.error < NEAR):
        _lower(descent, first)
    full = math.log(1.0 / (DROPPED * tol))
    for _ in range(TARGET_ROUNDS):
        if not monitor.wants_more():
            break
        if descent.at.error > TAIL_GOAL or descent.view.reg > target:
            descent.cut(target, COARSE + ROOM)
            if not descent.refine(TAIL_GOAL, 2 * LEVEL_STEPS):
                continue
        descent.cut(target, full + ROOM)
        descent.finish()
        if monitor.status == "converged":
            if violation(problem, rho, descent.at.f, descent.at.g)[0] <= tol:
                counts = descent.pace.counts() | {"support": descent.view.support.nnz}
                return descent.at.f, descent.at.g, counts
            monitor.status = "max_iter"  # what the support left out matters after all: go on
    if monitor.wants_more():
        monitor.status = "stalled"
    counts = descent.pace.counts() | {"support": descent.view.support.nnz}
    return *eliminated(problem, rho, descent.view.psi(descent.at)), counts


def _lower(descent: Descent, reg: float) -> None:
    """Follow the solution from a large reg down to the last level above the target."""
    target, pairs = descent.problem.reg, descent.problem.M.size
    if descent.view.reg != reg:
        descent.move(descent.view.support, reg)
    while reg > target and descent.monitor.wants_more():
        sparse = descent.view.support.nnz < SPARSE * pairs
        rounds, reached = 1, descent.refine(LEVEL_GOAL, LEVEL_STEPS if sparse else 0)
        while sparse and not reached and rounds < LEVEL_ROUNDS and descent.monitor.wants_more():
            descent.cut(reg, COARSE + ROOM)
            rounds, reached = rounds + 1, descent.refine(LEVEL_GOAL, LEVEL_STEPS)
        reg /= FACTOR if rounds == 1 else FACTOR_IN_NEED
        if reg > target:
            descent.cut(reg, COARSE + ROOM)


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
