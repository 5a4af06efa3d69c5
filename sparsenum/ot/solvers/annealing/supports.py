"""Newton's method on sparse supports, level by level of reg down to the target, certified."""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.dense import SAMPLE, Iterate, Masses, Vector
from sparsenum.ot.problems.support import Pattern, Restricted, bare_columns, is_full, narrow
from sparsenum.ot.solvers.annealing.stages import Stage
from sparsenum.ot.solvers.monitor import GOAL, Monitor
from sparsenum.ot.solvers.newton import DAMPING_PER_ERROR, Pace, newton_step, sinkhorn_sweep
from sparsenum.sparse import CSR

# Entries with slack M - phi - psi above L reg carry less than a_i b_j e^-L. Between levels 12 is
# plenty; at the target the last digits take log(100 / tol), which leaves out tol / 100 in all.
COARSE = 12.0
ROOM = 4.0  # reg by which potentials may move before a support has to be cut again
DROPPED = 1e-2  # share of the tolerance that the certified support may leave out
WIDTHS = (4.0, 2.5, 1.6, 1.0)  # one wide support serves several levels, if it is sparse enough
WIDE_DENSITY, WIDE_MOST = 0.12, 2**23  # and does not hold too many entries
REPAIRS = 5

LEVEL_GOAL = 2e-3  # error at which a level is left
TAIL_GOAL = 1e-4  # error at the target below which the full width is taken
LEVEL_STEPS, TARGET_STEPS = 12, 80  # Newton steps on one support
LEVEL_ROUNDS, TARGET_ROUNDS = 30, 200  # supports in one level
PRE_SWEEPS = 8
ROUGH_ERROR, ROUGH_RATIO = 0.15, 20.0  # where Newton's method had better wait for Sinkhorn's
FORESIGHT = 50.0  # reg by which extrapolated potentials may move


class Cost(Masses, Protocol):
    """The operations that the levels need of a problem, whose cost need not be a matrix."""

    def row_costs(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some rows of the cost."""

    def column_costs(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return some columns of the cost."""

    def within(self, f: Vector, g: Vector, width: float) -> CSR | Pattern:
        """Return the costs of the entries with M - f - g < width."""


@dataclass(slots=True)
class Cut:
    """A support, and the potentials at which it is known to hold every slack below `width`."""

    support: CSR | Pattern
    phi: Vector
    psi: Vector
    width: float

    def reaches(self, phi: Vector, psi: Vector) -> float:
        """Return the slack up to which it misses no entry at other potentials."""
        return self.width - float((phi - self.phi).max() + (psi - self.psi).max())

    def misses(self, phi: Vector, psi: Vector, reg: float) -> float:
        """Bound the mass of all entries it misses: each has at most a_i b_j exp(-reach / reg)."""
        return math.exp(min(-self.reaches(phi, psi) / reg, 0.0))


@dataclass(slots=True)
class Levels:
    """The state of a descent in reg."""

    problem: Cost
    monitor: Monitor
    phi: Vector
    psi: Vector
    pace: Pace
    wide: Cut | None = None
    cut: Cut | None = None
    scans: int = 0
    largest: int = 0
    rows: NDArray[np.int64] = field(init=False)
    log_a: Vector = field(init=False)
    log_b: Vector = field(init=False)

    def __post_init__(self) -> None:
        n = self.problem.a.size
        self.rows = np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)
        self.log_a, self.log_b = np.log(self.problem.a), np.log(self.problem.b)

    def support(self, width: float) -> Cut:
        """Return a support without empty rows or columns that misses no slack below `width`."""
        if self.wide is None or self.wide.reaches(self.phi, self.psi) < width:
            wide = self._widest(width)
            self.wide = None  # makes room for the next
            self.wide = Cut(self._scan(wide), self.phi, self.psi, wide)
            self.largest = max(self.largest, self.wide.support.nnz)
        support = narrow(self.wide.support, self.phi, self.psi, width)
        if support is self.wide.support or not is_full(support):
            return self.wide
        return Cut(support, self.phi, self.psi, width)

    def missed(self, reg: float) -> float:
        """Bound the mass that the support in use may miss."""
        return 1.0 if self.cut is None else self.cut.misses(self.phi, self.psi, reg)

    def _widest(self, width: float) -> float:
        """Return the largest multiple of a width that looks sparse enough to be worth a scan."""
        slack = self.problem.row_costs(self.rows) - self.phi[self.rows, None] - self.psi
        pairs = self.problem.a.size * self.problem.b.size
        most = min(WIDE_DENSITY, WIDE_MOST / pairs) * slack.size
        return next(
            (c * width for c in WIDTHS if np.count_nonzero(slack < c * width) < most), width
        )

    def _scan(self, width: float) -> CSR | Pattern:
        """Read the cost once; give rows and columns that came out empty their best entry."""
        problem = self.problem
        for _ in range(REPAIRS):
            support = problem.within(self.phi, self.psi, width)
            self.scans += 1
            bare = bare_columns(support)
            if bare.size:
                self.psi = self.psi.copy()
                self.psi[bare] = (problem.column_costs(bare) - self.phi[:, None]).min(axis=0)
            empty = np.flatnonzero(support.row_counts == 0)
            if empty.size:
                self.phi = self.phi.copy()
                self.phi[empty] = (problem.row_costs(empty) - self.psi).min(axis=1)
            if not (bare.size or empty.size):
                break
        return support

    def refine(self, reg: float, width: float, goal: float, max_steps: int) -> tuple[str, Iterate]:
        """Take Newton steps at `reg` on one support; say why they ended, and where."""
        self.cut = None
        self.cut = self.support(width)
        view = Restricted(self.cut.support, self.problem.a, self.problem.b, reg)
        at = view.iterate(self.psi + reg * self.log_b)
        for _ in range(PRE_SWEEPS):
            rough = (view.b > ROUGH_RATIO * at.column_sums).any()
            if (at.error < ROUGH_ERROR and not rough) or not self.monitor.tick(at.error):
                break
            at = sinkhorn_sweep(view, at)
        self.pace.damping = DAMPING_PER_ERROR * at.error
        why = "steps"
        for _ in range(max_steps):
            if at.error <= goal:
                why = "goal"
            elif self.cut.misses(*self._relative(at, reg), reg) > at.error:
                why = "moved"
            elif not self.monitor.tick(at.error):
                why = "stop"
            if why != "steps":
                break
            better, settled = newton_step(view, at, self.pace, goal)
            if better is None:
                if self.pace.damping > 1e3:
                    why = "refused"
                    break
                continue
            at = better
            if settled and reg > self.problem.reg:
                why = "goal"
                break
        self.phi, self.psi = self._relative(at, reg)
        return why, at

    def _relative(self, at: Iterate, reg: float) -> tuple[Vector, Vector]:
        """Return the potentials relative to the masses."""
        return at.f - reg * self.log_a, at.g - reg * self.log_b


def descend(
    problem: Cost, monitor: Monitor, warm: Stage, factor: float
) -> tuple[Iterate, dict[str, int], bool]:
    """Follow the solution from `warm` down to the problem's reg; return whether it is certified.

    At each level Newton's method runs on a support that provably misses nothing that matters, so
    the dense cost is read again only where potentials have moved far. Levels start from a linear
    extrapolation in reg, and are not left before a full Newton step changes little.
    """
    levels = Levels(problem, monitor, warm.phi, warm.psi, Pace(0.0))
    reg = max(problem.reg, warm.reg / factor)
    done: list[tuple[float, Vector, Vector]] = []
    extra = 2.0 * warm.reg
    while reg > problem.reg:
        newton, rounds, why = levels.pace.newton, 0, ""
        _foresee(levels, done, reg)
        while rounds < LEVEL_ROUNDS and why not in ("goal", "stop"):
            why, at = levels.refine(reg, (COARSE + ROOM) * reg + extra, LEVEL_GOAL, LEVEL_STEPS)
            extra = 0.0
            rounds += 1
        if why == "stop":
            return at, _counts(levels), False
        done = [*done[-1:], (reg, levels.phi, levels.psi)] if why == "goal" else []
        if levels.pace.newton - newton > 3 or rounds > 1:
            factor = 2.0  # a hard problem: go down in smaller steps
        reg = max(problem.reg, reg / factor)
    _foresee(levels, done, problem.reg)
    at, certified = _finish(levels, extra)
    return at, _counts(levels), certified


def _finish(levels: Levels, extra: float) -> tuple[Iterate, bool]:
    """Solve at the target: first on a coarse support, then on one that certifies the result."""
    reg, tol = levels.problem.reg, levels.monitor.tol
    full = math.log(1.0 / (DROPPED * tol))
    error = 1.0
    for _ in range(TARGET_ROUNDS):
        last = error <= TAIL_GOAL
        width = ((full if last else COARSE) + ROOM) * reg + extra
        extra = 0.0
        goal = GOAL * tol if last else TAIL_GOAL
        why, at = levels.refine(reg, width, 0.5 * goal if last else goal, TARGET_STEPS)
        error = at.error
        if why == "stop":
            break
        if last and levels.missed(reg) <= DROPPED * tol and error <= goal:
            levels.monitor.tick(error)
            levels.monitor.status = "converged"
            return at, True
    return at, False


def _foresee(levels: Levels, done: list[tuple[float, Vector, Vector]], reg: float) -> None:
    """Extrapolate the potentials linearly in reg from the last two levels that went well."""
    if len(done) < 2:
        return
    (reg0, phi0, psi0), (reg1, phi1, psi1) = done
    ahead = (reg - reg1) / (reg1 - reg0)

    def moved(now: Vector, before: Vector) -> Vector:
        change = now - before
        limit = FORESIGHT * reg
        return now + np.clip(ahead * (change - np.median(change)), -limit, limit)

    levels.phi, levels.psi = moved(phi1, phi0), moved(psi1, psi0)


def _counts(levels: Levels) -> dict[str, int]:
    return levels.pace.counts() | {"scans": levels.scans, "support": levels.largest}
