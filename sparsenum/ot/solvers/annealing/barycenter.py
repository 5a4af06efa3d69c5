"""Plans that must agree on their columns: Newton's method for barycenters, annealed in reg."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.dense import UNDERFLOW, Iterate, Problem, Vector, gather
from sparsenum.ot.problems.support import Restricted
from sparsenum.ot.solvers.annealing.descent import DROPPED, Descent
from sparsenum.ot.solvers.annealing.spread import scales
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.solvers.newton import (
    CG_LEAST,
    CG_MOST,
    CG_PER_ERROR,
    DROP_MOST,
    DROP_PER_ERROR,
    SWEEP_MOST,
    Pace,
    backtrack,
)
from sparsenum.sparse import CSR, cg, spmv, transpose

Rows = NDArray[np.float64]  # one row for each histogram, shape (k, m)

START, FACTOR = 0.05, 4.0  # reg of the annealing: the first, in units of the spread of M; its steps
STRAYED = 30.0  # reg by which potentials may move on one support: it may mislead by then
CG_MAX_ITER = 500
TRIALS, TRIAL_GOAL = 40, 1e-2  # sweeps that are to show that outliers can be avoided, and how well


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

    problems: Sequence[Problem]
    parts: Sequence[Problem | Restricted]
    weights: Vector
    reg: float
    least: float  # share of the barycenter from which a column matters

    @classmethod
    def whole(
        cls, problems: Sequence[Problem], weights: Vector, reg: float, least: float
    ) -> "Agreement":
        """Return the problems at another reg, on all pairs."""
        parts = [Problem(p.M, p.a, p.b, reg) for p in problems]
        return cls(problems, parts, weights, reg, least)

    @property
    def density(self) -> float:
        """Share of all pairs that are in the supports."""
        kept = [p.support.nnz if isinstance(p, Restricted) else p.M.size for p in self.parts]
        return sum(kept) / sum(p.M.size for p in self.problems)

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

    def step(self, at: Point, pace: Pace, goal: float) -> Point:
        """Take a Newton step, then a sweep.

        Newton's method lowers the logarithm of a column that is far too heavy by one a step, and
        a barycenter has many columns of hardly any mass; a sweep sets them right at once.
        """
        better = newton_step(self, at, pace, goal) or at
        swept = self.sweep(better)
        return swept if better is at or swept.error < better.error else better

    def cut(self, at: Point, reg: float, width: float) -> tuple["Agreement", Point]:
        """Go on at `reg` on the pairs that have a share e^-width of their row or their column."""
        parts = []
        whole = self.whole(self.problems, self.weights, reg, self.least)
        for p, plan in zip(whole.problems, whole.point(at.g).plans, strict=True):
            row_slack = reg * (width - np.log(p.a))
            column_slack = reg * (width - np.log(np.maximum(plan.column_sums, UNDERFLOW)))
            support = gather(p.M, plan.f, plan.g, row_slack, column_slack)
            parts.append(Restricted(support, p.a, p.b, reg))
        view = replace(whole, parts=parts)
        return view, view.point(at.g)

    def strayed(self, at: Point, start: Point) -> bool:
        """Return whether potentials that matter have left where the supports were cut for them."""
        moved = (at.g - start.g)[:, at.mean > self.least]
        return float(np.ptp(moved, axis=1).max()) > STRAYED * self.reg


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


def annealed_agreement(
    problems: list[Problem], weights: Vector, monitor: Monitor
) -> tuple[Point, dict[str, int]]:
    """Return the point that meets the monitor's tolerance, on the whole plans, and its step counts.

    Newton's method is annealed in reg, on supports that shrink with it; the last ones are checked
    against the whole cost, and cut again around the better potentials where they missed something.
    """
    target, least = problems[0].reg, DROPPED * monitor.tol / problems[0].b.size
    start = np.zeros((weights.size, problems[0].b.size))
    for spread in sorted({x for p in problems for x in scales(p.M, target)}):
        view = Agreement.whole(problems, weights, max(target, START * spread), least)
        at = view.point(start)
        for _ in range(TRIALS):
            if at.error <= TRIAL_GOAL or not monitor.tick(at.error):
                break
            at = view.sweep(at)
        if at.error <= TRIAL_GOAL:
            break  # the plans can agree without the costs above this spread
    descent, whole = Descent(view, at, monitor, FACTOR), replace(view, parts=problems, reg=target)
    descent.reach(target, lambda at: whole.point(at.g).error)
    return whole.point(descent.at.g), descent.pace.counts()
