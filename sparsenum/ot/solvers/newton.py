"""Newton's method on the dual with a sparsified Hessian: one safeguarded step at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.dense import UNDERFLOW, Iterate, Masses, Vector
from sparsenum.sparse import CSR, cg, schur_cg, schur_direct

# An entry of the plan stays in the Hessian if it exceeds this share of its row or of its column.
# Tied to the error: the direction need not be better than the iterate it starts from. What is
# dropped acts as a leak that hides weak modes, so it must be small against the error.
DROP_PER_ERROR, DROP_MOST = 0.03, 3e-3

CG_PER_ERROR, CG_LEAST, CG_MOST = 0.3, 1e-6, 0.1  # residual asked of CG, in the same spirit
CG_MAX_ITER = 300
# Unknowns, or entries for each of them, up to which a factorisation is cheaper than what CG lacks.
DIRECT_MOST, DIRECT_SPARSE = 5000, 10

# Levenberg-Marquardt damping lam diag(column sums): starts at a share of the error, relaxes after
# full steps, so that the last steps are quadratic, and tightens after short or refused ones.
DAMPING_PER_ERROR, DAMPING_LEAST, DAMPING_MOST = 1e-2, 1e-16, 1e3

# No log-scaling moves by more than the cap in one step. Clipping each entry, not scaling the whole
# step, keeps one runaway mode from holding up all the others.
CAP, CAP_LEAST, CAP_MOST = 8.0, 4.0, 64.0

SHRINK, TRIALS = 0.4, 8  # backtracking
# Accept on enough ascent, or where the error is halved, or falls at an unchanged objective: close
# to the optimum the objective no longer changes in float64 while the error still does.
ARMIJO, FALL, UNCHANGED = 1e-4, 0.5, 1e-12

SWEEP_MOST = 20.0  # largest change of a log-scaling by a Sinkhorn sweep


class DualProblem(Masses, Protocol):
    """The operations that Newton's method needs of a problem, whole or on a support."""

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g."""

    def hessian(self, at: Iterate, drop: float) -> CSR | NDArray[np.float32]:
        """Return P / sqrt(a), sparsified."""


@dataclass(slots=True)
class Pace:
    """Damping and step cap of Newton's method, adapted to how steps fare; and step counts."""

    damping: float
    cap: float = CAP
    stalled: bool = False  # conjugate gradients hit their limit: factorise from here on
    newton: int = 0
    refused: int = 0
    cg: int = 0

    def counts(self) -> dict[str, int]:
        """Return the counts of the steps."""
        return {"newton": self.newton, "refused": self.refused, "cg": self.cg}

    def accepted(self, length: float, reach: float) -> None:
        """Note an accepted step: its length, and its largest entry before clipping."""
        self.newton += 1
        if length == 1.0:
            self.damping *= 0.2
            if reach > self.cap:
                self.cap = min(2.0 * self.cap, CAP_MOST)
        elif length >= 0.3:
            self.damping *= 0.6
        else:
            self.damping = 6.0 * max(self.damping, 1e-7)
            self.cap = max(0.5 * self.cap, CAP_LEAST)
        self.damping = max(self.damping, DAMPING_LEAST)

    def rejected(self) -> None:
        """Note that no point along the direction was acceptable."""
        self.refused += 1
        self.damping = 10.0 * max(self.damping, 1e-6)


def newton_step(
    problem: DualProblem, at: Iterate, pace: Pace, goal: float
) -> tuple[Iterate | None, bool]:
    """Return the next iterate (None if refused), and whether a full, unclipped step reached it."""
    x = direction(problem, at, pace, goal)
    x -= np.partition(x, x.size // 2)[x.size // 2]  # the median: most potentials stay
    reach = float(np.abs(x).max())
    better, length = line_search(problem, at, np.clip(x, -pace.cap, pace.cap))
    if better is None:
        pace.rejected()
        return None, False
    pace.accepted(length, reach)
    return better, length == 1.0 and reach < 1.0


@np.errstate(over="ignore", invalid="ignore")  # a step that overflows is refused
def direction(problem: DualProblem, at: Iterate, pace: Pace, goal: float) -> Vector:
    """Solve (diag(c) (1 + damping) - P' diag(1/a) P) x = b - c with a sparsified P.

    With rows exact this is the Newton system of the dual in g / reg. The diagonal keeps the exact
    column sums c of the whole plan, so dropping entries leaves the matrix positive.
    """
    c = at.column_sums
    weight, b = np.maximum(c, UNDERFLOW) * (1.0 + pace.damping), problem.b - c
    Q = problem.hessian(at, min(DROP_MOST, DROP_PER_ERROR * at.error))
    rtol = min(CG_MOST, max(CG_PER_ERROR * at.error, CG_LEAST, 0.1 * goal / at.error))
    if not isinstance(Q, CSR):
        diagonal = np.maximum(weight - np.einsum("ij,ij->j", Q, Q), 1e-3 * weight)
        result = cg(
            lambda x: weight * x - Q.T @ (Q @ x.astype(np.float32)),
            b,
            diagonal=diagonal,
            rtol=rtol,
            max_iter=CG_MAX_ITER,
        )
        pace.cg += result.n_iter
        return result.x
    little_fill = c.size <= DIRECT_MOST or Q.nnz <= DIRECT_SPARSE * c.size
    if not (pace.stalled and little_fill):
        result = schur_cg(Q, weight, b, rtol=rtol, max_iter=CG_MAX_ITER)
        pace.cg += result.n_iter
        if result.n_iter < CG_MAX_ITER or not little_fill:
            return result.x
        pace.stalled = True
    try:
        return schur_direct(Q, weight, b)
    except np.linalg.LinAlgError:  # singular beyond repair: go on with CG's best
        pace.stalled = False
        return schur_cg(Q, weight, b, rtol=rtol, max_iter=CG_MAX_ITER).x


def line_search(problem: DualProblem, at: Iterate, x: Vector) -> tuple[Iterate | None, float]:
    """Return the first acceptable point along a step in log-scalings, and how far along it is."""
    slope = problem.reg * float((problem.b - at.column_sums) @ x)
    value = dual(problem, at)
    flat = UNCHANGED * max(abs(value), problem.reg)
    length = 1.0
    for _ in range(TRIALS):
        trial = problem.iterate(at.g + length * problem.reg * x)
        ascent = dual(problem, trial) - value
        if is_better(ascent, length * slope, trial.error, at.error, flat):
            return trial, length
        length *= SHRINK
        del trial  # makes room for the next
    return None, length


def is_better(ascent: float, promised: float, after: float, before: float, flat: float) -> bool:
    """Return whether a trial point is acceptable, by its objective and its error."""
    return (
        ascent >= ARMIJO * promised > 0.0
        or after <= FALL * before
        or (after < before and abs(ascent) <= flat)
    )


class Valued(Protocol):
    """A point with the objective and the error that judge a step."""

    @property
    def value(self) -> float:
        """Dual objective."""

    @property
    def error(self) -> float:
        """Residual of the optimality conditions."""


V = TypeVar("V", bound=Valued)


def backtrack(
    at: V, point: Callable[[float], V], slope: float, reg: float, pace: Pace, reach: float
) -> V | None:
    """Return the first acceptable of ever shorter steps and update the pace; None if none is."""
    flat = UNCHANGED * max(abs(at.value), reg)
    length = 1.0
    for _ in range(TRIALS):
        trial = point(length)
        if is_better(trial.value - at.value, length * slope, trial.error, at.error, flat):
            pace.accepted(length, reach)
            return trial
        length *= SHRINK
    pace.rejected()
    return None


def dual(problem: DualProblem, at: Iterate) -> float:
    """Return the dual objective at exact rows, up to a constant: a.f + b.g."""
    return float(problem.a @ at.f + problem.b @ at.g)


def sinkhorn_sweep(problem: DualProblem, at: Iterate) -> Iterate:
    """Correct the columns by a bounded factor, then the rows: one cautious Sinkhorn iteration."""
    with np.errstate(divide="ignore", over="ignore"):
        change = np.clip(np.log(problem.b / at.column_sums), -SWEEP_MOST, SWEEP_MOST)
    return problem.iterate(at.g + problem.reg * change)
