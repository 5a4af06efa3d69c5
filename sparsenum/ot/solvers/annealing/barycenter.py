"""Plans that must agree on their columns: Newton's method for barycenters, annealed in reg."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.dense import UNDERFLOW, Iterate, Problem, Vector, gather
from sparsenum.ot.problems.support import Restricted
from sparsenum.ot.solvers.monitor import GOAL, Monitor
from sparsenum.ot.solvers.newton import (
    CG_LEAST,
    CG_MOST,
    CG_PER_ERROR,
    DAMPING_PER_ERROR,
    DROP_MOST,
    DROP_PER_ERROR,
    SWEEP_MOST,
    Pace,
    backtrack,
)
from sparsenum.sparse import CSR, cg, spmv, transpose

Rows = NDArray[np.float64]  # one row for each histogram, shape (k, m)

START, FACTOR = 0.05, 4.0  # reg of the annealing: the first, in units of the spread of M; its steps
FACTOR_IN_NEED = 2.0  # after a level that took more than one support
# Left out is what carries less than e^-COARSE of its row and of its column, and at the end less
# than a hundredth of the tolerance in all; the room is for potentials to move in.
COARSE, ROOM, DROPPED = 12.0, 4.0, 1e-2
STRAYED = 30.0  # reg by which potentials may move on one support: it may mislead by then
SWEEPS, SWEEP_GOAL = 6, 0.05  # Bregman projections before Newton's method, and what they are for
SPARSE = 0.28  # density from which a level has Newton steps, too
LEVEL_GOAL, TAIL_GOAL = 2e-3, 1e-4  # errors at which a level, and a coarse support, are left
LEVEL_STEPS, LEVEL_ROUNDS, TARGET_ROUNDS = 12, 10, 20
CG_MAX_ITER = 500


class Point(NamedTuple):
    """Potentials of the columns, one row for each histogram, and the plans with exact rows.

    Attributes
    ----------
    g : ndarray, shape (k, m)
        Potentials in cost units; their weighted sum over the histograms is zero.
    plans : list of Iterate
        Potentials of the rows, column sums, entries.
    columns : ndarray, shape (k, m)
        Column sums of all plans.
    mean : ndarray, shape (m,)
        Their weighted mean: the barycenter, once they agree.
    error : float
        Weighted 1-norm of what the columns differ from their mean.
    value : float
        Dual objective, up to a constant.
    """

    g: Rows
    plans: list[Iterate]
    columns: Rows
    mean: Vector
    error: float
    value: float


@dataclass(frozen=True, slots=True)
class Agreement:
    r"""Maximise :math:`\sum_k w_k a_k \cdot f_k(g_k)` over g with :math:`\sum_k w_k g_k = 0`.

    :math:`f_k(g_k)` makes the rows of :math:`P_k = \exp((f_k + g_k - M) / reg)` sum to
    :math:`a_k`. The slope in :math:`g_k` is minus :math:`w_k` times the columns of :math:`P_k`, so
    at the maximum the columns of all plans are the same: the barycenter.
    """

    parts: Sequence[Problem | Restricted]
    weights: Vector
    reg: float

    def point(self, g: Rows) -> Point:
        """Eliminate the rows of each plan."""
        plans = [part.iterate(row) for part, row in zip(self.parts, g, strict=True)]
        columns = np.array([plan.column_sums for plan in plans])
        mean = self.weights @ columns
        error = float(self.weights @ np.abs(columns - mean).sum(axis=1))
        worth = [part.a @ plan.f for part, plan in zip(self.parts, plans, strict=True)]
        return Point(g, plans, columns, mean, error, float(self.weights @ np.array(worth)))

    def sweep(self, at: Point) -> Point:
        """Scale all columns to their geometric mean: one iterative Bregman projection [1]_.

        References
        ----------
        .. [1] Benamou, Carlier, Cuturi, Nenna, Peyre, "Iterative Bregman Projections for
           Regularized Transportation Problems", SIAM J. Sci. Comput. 2015, section 3.2.
        """
        logs = np.log(np.maximum(at.columns, UNDERFLOW))
        change = np.clip(self.weights @ logs - logs, -SWEEP_MOST, SWEEP_MOST)
        change[:, at.columns.min(axis=0) <= UNDERFLOW] = 0.0  # nobody knows what these lack
        return self.point(at.g + self.reg * self.balanced(change))

    def balanced(self, x: Rows) -> Rows:
        """Return x without its weighted mean over the histograms."""
        return x - self.weights @ x


def newton_step(view: Agreement, at: Point, pace: Pace, goal: float) -> Point | None:
    """Return the next point, or None if nothing along the direction was acceptable."""
    x = direction(view, at, pace, goal)
    x -= np.median(x, axis=1)[:, None]
    reach = float(np.abs(x).max())
    x = view.balanced(np.clip(x, -pace.cap, pace.cap))
    slope = -view.reg * float(view.weights @ (at.columns * x).sum(axis=1))
    whole = view.reg * x
    return backtrack(at, lambda t: view.point(at.g + t * whole), slope, view.reg, pace, reach)


@np.errstate(over="ignore", invalid="ignore")  # a step that overflows is refused
def direction(view: Agreement, at: Point, pace: Pace, goal: float) -> Rows:
    """Solve (diag(c_k (1 + damping)) - P_k' diag(1/a_k) P_k) x_k = y - c_k, sum_k w_k x_k = 0.

    The Newton system of the dual in g / reg with a multiplier y for the constraint. In the unknowns
    sqrt(w_k mean) x_k the constraint is orthogonality to the unit vector sqrt(w) in each column,
    and conjugate gradients stay in its complement.
    """
    drop = min(DROP_MOST, DROP_PER_ERROR * at.error)
    pairs = [
        (Q, transpose(Q))
        for Q in (
            _hessian(part, plan, drop) for part, plan in zip(view.parts, at.plans, strict=True)
        )
    ]
    unit = np.sqrt(view.weights)[:, None]
    scale = 1.0 / np.sqrt(np.maximum(at.mean, UNDERFLOW))
    weight = np.maximum(at.columns, UNDERFLOW) * (1.0 + pace.damping)

    def projected(y: Rows) -> Vector:
        inside: Vector = (y - unit * (unit * y).sum(axis=0)).ravel()
        return inside

    def apply(y: Vector) -> Vector:
        x = scale * y.reshape(weight.shape)
        through = np.array([spmv(Qt, spmv(Q, row)) for (Q, Qt), row in zip(pairs, x, strict=True)])
        return projected(scale * (weight * x - through))

    differ = projected(scale * unit * (at.mean - at.columns))
    rtol = min(CG_MOST, max(CG_PER_ERROR * at.error, CG_LEAST, 0.1 * goal / at.error))
    result = cg(apply, differ, rtol=rtol, max_iter=CG_MAX_ITER)
    pace.cg += result.n_iter
    x: Rows = scale * result.x.reshape(weight.shape) / unit
    return x


def _hessian(part: Problem | Restricted, plan: Iterate, drop: float) -> CSR:
    Q = part.hessian(plan, drop)
    assert isinstance(Q, CSR)  # Newton steps are taken on supports only
    return Q


@dataclass(slots=True)
class Descent:
    """The state of a descent in reg: the point reached, and the view it was reached in."""

    problems: list[Problem]
    weights: Vector
    monitor: Monitor
    view: Agreement = field(init=False)
    at: Point = field(init=False)
    start: Rows = field(init=False)
    density: float = 1.0
    pace: Pace = field(default_factory=lambda: Pace(0.0))

    def whole(self, reg: float) -> Agreement:
        """Return the problems at another reg, on all pairs."""
        parts = [Problem(p.M, p.a, p.b, reg) for p in self.problems]
        return Agreement(parts, self.weights, reg)

    def begin(self, reg: float) -> None:
        """Start from potentials of zero."""
        self.view = self.whole(reg)
        self.start = np.zeros((self.weights.size, self.problems[0].b.size))
        self.at = self.view.point(self.start)

    def cut(self, reg: float, width: float) -> None:
        """Go on at `reg` on the pairs that have a share e^-width of their row or their column."""
        self.start = self.at.g
        supports = []
        for p, plan in zip(self.problems, self.whole(reg).point(self.start).plans, strict=True):
            row_slack = reg * (width - np.log(p.a))
            column_slack = reg * (width - np.log(np.maximum(plan.column_sums, UNDERFLOW)))
            supports.append(gather(p.M, plan.f, plan.g, row_slack, column_slack))
        parts = [Restricted(s, p.a, p.b, reg) for s, p in zip(supports, self.problems, strict=True)]
        self.density = sum(s.nnz for s in supports) / sum(p.M.size for p in self.problems)
        self.view = Agreement(parts, self.weights, reg)
        self.at = self.view.point(self.start)

    def strayed(self) -> bool:
        """Return whether potentials that matter have left where the supports were cut for them."""
        alive = self.at.mean > DROPPED * self.monitor.tol / self.at.mean.size
        moved = float(np.ptp((self.at.g - self.start)[:, alive], axis=1).max())
        return moved > STRAYED * self.view.reg

    def step(self, goal: float) -> None:
        """Take a Newton step, then a sweep.

        Newton's method lowers the logarithm of a column that is far too heavy by one a step, and
        a barycenter has many columns of hardly any mass; a sweep sets them right at once.
        """
        at = newton_step(self.view, self.at, self.pace, goal) or self.at
        swept = self.view.sweep(at)
        self.at = swept if at is self.at or swept.error < at.error else at

    def refine(self, goal: float, max_steps: int) -> bool:
        """Sweep, then take Newton steps on the supports; return whether the goal was reached."""
        sweeps = 0
        while self.at.error > SWEEP_GOAL and sweeps < SWEEPS and self.monitor.tick(self.at.error):
            self.at = self.view.sweep(self.at)
            sweeps += 1
        self.pace.damping = DAMPING_PER_ERROR * self.at.error
        for _ in range(max_steps):
            if self.at.error <= goal or self.strayed() or not self.monitor.tick(self.at.error):
                break
            self.step(goal)
        return self.at.error <= goal

    def finish(self) -> None:
        """Solve on the supports to the tolerance."""
        while not self.strayed() and self.monitor.proceed(self.at.error):
            self.step(0.5 * GOAL * self.monitor.tol)


def annealed_agreement(
    problems: list[Problem], weights: Vector, monitor: Monitor
) -> tuple[Point, dict[str, int]]:
    """Return the point that meets the monitor's tolerance, on the whole plans, and its step counts.

    Newton's method is annealed in reg, on supports that shrink with it; the last ones are checked
    against the whole cost, and cut again around the better potentials where they missed something.
    """
    target = problems[0].reg
    spread = max(float(np.ptp(p.M)) for p in problems)
    descent = Descent(problems, weights, monitor)
    descent.begin(max(target, START * spread))
    _lower(descent, target)
    whole = descent.whole(target)
    full = math.log(1.0 / (DROPPED * monitor.tol))
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
            at = whole.point(descent.at.g)
            if at.error <= monitor.tol:
                return at, descent.pace.counts()
            monitor.status = "max_iter"  # what the supports left out matters after all: go on
    if monitor.wants_more():
        monitor.status = "stalled"
    return whole.point(descent.at.g), descent.pace.counts()


def _lower(descent: Descent, target: float) -> None:
    """Follow the solution from a large reg down to the last level above the target."""
    reg, more = descent.view.reg, descent.monitor.wants_more
    while reg > target and more():
        sparse = descent.density < SPARSE
        rounds, reached = 1, descent.refine(LEVEL_GOAL, LEVEL_STEPS if sparse else 0)
        while sparse and not reached and rounds < LEVEL_ROUNDS and more():
            descent.cut(reg, COARSE + ROOM)
            rounds, reached = rounds + 1, descent.refine(LEVEL_GOAL, LEVEL_STEPS)
        reg /= FACTOR if rounds == 1 else FACTOR_IN_NEED
        if reg > target:
            descent.cut(reg, COARSE + ROOM)
