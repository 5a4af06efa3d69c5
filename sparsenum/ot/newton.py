"""Sinkhorn-Newton-Sparse: Sinkhorn sweeps, then Newton steps with a sparsified Hessian."""

from dataclasses import dataclass

import numpy as np

from sparsenum.ot.monitor import Monitor
from sparsenum.ot.problem import UNDERFLOW, Iterate, Problem, Vector
from sparsenum.sparse import CGResult, cg, spmv, transpose

WARM_UP = 20  # Sinkhorn sweeps before the first Newton step: N1 of the paper's experiments
RECOVERY = 5  # Sinkhorn sweeps after a refused Newton step

# An entry of the plan stays in the Hessian if it exceeds this share of its row or of its column.
# Tied to the error: the Newton direction need not be better than the iterate it starts from.
DROP_PER_ERROR, DROP_MOST = 0.1, 1e-2

CG_PER_ERROR, CG_LEAST, CG_MOST = 0.3, 1e-6, 0.1  # residual asked of CG, in the same spirit
CG_MAX_ITER = 300

# Levenberg-Marquardt damping lam diag(column sums), in units of the error so that it vanishes
# with it and the last steps are quadratic.
DAMPING_START, DAMPING_LEAST, DAMPING_MOST = 1e-2, 1e-8, 10.0

STEP_CAP = 8.0  # no log-scaling moves by more in one step: clip, where weak modes run away
SHRINK, TRIALS = 0.4, 6  # backtracking
ARMIJO, FALL = 1e-4, 0.9  # accept on enough ascent, or where the error falls by a tenth:
# close to the optimum the objective no longer changes in float64 while the error still does.

PRECISION = 1e3  # refused steps below this many rounding errors mean that float64 has no more


@dataclass(slots=True)
class Tally:
    """How the iterations divide."""

    sinkhorn: int = 0
    newton: int = 0
    refused: int = 0
    cg: int = 0


def sinkhorn_newton_sparse(
    problem: Problem, start: Iterate, monitor: Monitor
) -> tuple[Iterate, Tally]:
    """Maximise the dual by Sinkhorn sweeps and sparse Newton steps until the monitor stops it.

    The method of [1]_, with the row potential eliminated: rows are exact at every iterate, so the
    plan is bounded by a, the Hessian is the Schur complement of the paper's, half its size, and of
    the null direction (1, -1) only a constant in g is left, which conjugate gradients never enter.

    References
    ----------
    .. [1] Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao, Ying, "Accelerating Sinkhorn
       Algorithm with Sparse Newton Iterations", ICLR 2024.
    """
    at, tally = start, Tally()
    sweeps_left = WARM_UP
    damping = DAMPING_START
    while monitor.proceed(at.error):
        if sweeps_left > 0 or at.column_sums.min() <= UNDERFLOW:
            sweeps_left -= 1
            tally.sinkhorn += 1
            at = problem.sinkhorn_sweep(at)
            continue
        solution = newton_direction(problem, at, damping * min(1.0, at.error))
        tally.cg += solution.n_iter
        step = solution.x - np.median(solution.x)
        better, length = line_search(problem, at, np.clip(step, -STEP_CAP, STEP_CAP))
        if better is not None:
            at = better
            tally.newton += 1
            damping *= 0.2 if length == 1.0 else (0.6 if length > 0.3 else 6.0)
        else:
            tally.refused += 1
            if at.error < PRECISION * rounding_error(problem, at):
                monitor.status = "precision"
                break
            damping *= 10.0
            sweeps_left = RECOVERY
        damping = min(max(damping, DAMPING_LEAST), DAMPING_MOST)
    return at, tally


def newton_direction(problem: Problem, at: Iterate, damping: float) -> CGResult:
    """Solve (diag(c) (1 + damping) - P' diag(1/a) P) x = b - c with a sparse P, by CG.

    The diagonal blocks keep the exact row sums a and column sums c of the whole plan, so dropping
    entries only adds to the diagonal dominance and the matrix stays positive.
    """
    a, c = problem.a, at.column_sums
    drop = min(DROP_MOST, DROP_PER_ERROR * at.error)
    P = problem.sparse_plan(at.f, at.g, drop * a, drop * c)
    row_mass = np.repeat(a, P.row_counts)
    # Schur diagonal without cancellation: what was dropped, plus what stays off the diagonal.
    kept = np.bincount(P.indices, P.data, c.size)
    spread = np.bincount(P.indices, P.data * (1.0 - P.data / row_mass), c.size)
    diagonal = np.maximum(c - kept, 0.0) + np.maximum(spread, 0.0) + damping * c
    diagonal = np.maximum(diagonal, 1e-12 * c)

    Q = P.with_data(P.data / np.sqrt(row_mass))
    Qt = transpose(Q)

    def hessian(x: Vector) -> Vector:
        return c * (1.0 + damping) * x - spmv(Qt, spmv(Q, x))

    rtol = min(CG_MOST, max(CG_PER_ERROR * at.error, CG_LEAST))
    return cg(hessian, problem.b - c, diagonal=diagonal, rtol=rtol, max_iter=CG_MAX_ITER)


def line_search(problem: Problem, at: Iterate, step: Vector) -> tuple[Iterate | None, float]:
    """Return the first acceptable point along a step in log-scalings, and how far along it is."""
    slope = problem.reg * float((problem.b - at.column_sums) @ step)
    dual = problem.dual(at)
    length = 1.0
    for _ in range(TRIALS):
        trial = problem.iterate(at.g + length * problem.reg * step)
        ascent = problem.dual(trial) - dual
        if ascent >= ARMIJO * length * slope > 0.0 or trial.error <= FALL * at.error:
            return trial, length
        length *= SHRINK
    return None, length


def rounding_error(problem: Problem, at: Iterate) -> float:
    """Return the relative error that float64 leaves in the entries of the plan."""
    finite = np.abs(at.f).max() + np.abs(at.g).max()
    return float(np.finfo(np.float64).eps * max(finite / problem.reg, 1.0))
