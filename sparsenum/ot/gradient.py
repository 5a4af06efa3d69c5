"""How a solution moves with its data: derivatives from the optimality conditions.

No iterate is kept and none is differentiated. The value needs nothing beyond the solution; the
plan and the potentials take one more solve with the matrix of Newton's method.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.canonical import RegType, Support
from sparsenum.ot.problem import Vector
from sparsenum.sparse import CSR, cg, schur_cg, schur_direct

if TYPE_CHECKING:
    from sparsenum.ot.solution import Solution

Matrix = NDArray[np.float64]

SPARSE = 0.25  # share of entries below which the plan is worth being taken as a sparse matrix
LEFT_OUT = 1e-16  # share of the mass that a sparse plan may leave out: none that float64 can see
# Cotangents are good to about this; beyond so many products a factorisation is cheaper.
RTOL, MAX_ITER = 1e-11, 300


@dataclass(frozen=True, slots=True)
class Gradient:
    """Derivatives of a number with respect to the data of a transport problem.

    Only changes of `a` and `b` that keep their totals equal mean something, so a constant could be
    moved from one to the other: it is split so that both have the same mean where there is mass.

    Attributes
    ----------
    a : ndarray, shape (n,)
        With respect to the row masses; one-sided, and finite, where a mass is zero.
    b : ndarray, shape (m,)
        With respect to the column masses.
    M : ndarray, shape (n, m)
        With respect to the cost; zero where the plan is.
    """

    a: Vector
    b: Vector
    M: Matrix


def value_gradient(solution: "Solution", reg_type: RegType) -> Gradient:
    r"""Return the derivatives of the value: the envelope theorem.

    The Lagrange multipliers of the marginals are :math:`f_i + g_j + reg` in sum for the entropy
    :math:`\sum P \log P`; for :math:`KL(P | a b^T)` the reference moves along with the masses,
    which takes :math:`reg (\log a_i + 1)` and :math:`reg (\log b_j + 1)` off them.
    """
    reg, support = solution._problem.reg, solution._support
    da, db = soft_minima(solution)
    constant = -reg
    if reg_type == "entropy":
        # At zero mass the slope is minus infinity; what is left there is its finite part.
        for slope, mass, index in zip((da, db), _masses(solution), support.sides, strict=True):
            slope[index] += reg * np.log(mass)
        constant = reg
    return Gradient(*_balanced(support, da, db, constant), solution.plan)


def soft_minima(solution: "Solution") -> tuple[Vector, Vector]:
    """Return the potentials relative to the masses, extended to where there is no mass.

    With mass they are f - reg log a and g - reg log b, without it the limit of these as the mass
    goes to zero: the soft minimum of cost minus the other potential.
    """
    reg, (rows, columns) = solution._problem.reg, solution._support.sides
    f, g = solution.potentials
    M = _cost(solution)
    phi, psi = f.copy(), g.copy()
    a, b = _masses(solution)
    phi[rows] -= reg * np.log(a)
    psi[columns] -= reg * np.log(b)
    bare, empty = np.flatnonzero(np.isinf(f)), np.flatnonzero(np.isinf(g))
    phi[bare] = _soft_min(M[np.ix_(bare, columns)] - g[columns], reg)
    psi[empty] = _soft_min(M[np.ix_(rows, empty)].T - f[rows], reg)
    return phi, psi


def linear_gradient(solution: "Solution") -> Gradient:
    """Return the derivatives of the transport cost <P, M>, which the plan's own are part of."""
    M, direct = _cost(solution), solution.plan
    moved = pullback(solution, np.where(np.isinf(M), 0.0, M), None, None)
    return Gradient(moved.a, moved.b, direct + moved.M)


def pullback(
    solution: "Solution", plan_bar: Matrix | None, f_bar: Vector | None, g_bar: Vector | None
) -> Gradient:
    r"""Return the derivatives of a number that depends on the plan and on the potentials.

    With P the plan and r, c its marginals, the conditions :math:`P 1 = a, P^T 1 = b` give

    .. math:: \begin{pmatrix} \mathrm{diag}(r) & P \\ P^T & \mathrm{diag}(c) \end{pmatrix}
              \begin{pmatrix} df \\ dg \end{pmatrix} = reg \begin{pmatrix} da \\ db \end{pmatrix}
              + \begin{pmatrix} (P \circ dM) 1 \\ (P \circ dM)^T 1 \end{pmatrix}

    and the matrix is symmetric, so that one solve, with the cotangents on its right, is enough.
    Cost: that of a Newton step or two; memory O(n m).
    """
    reg, support = solution._problem.reg, solution._support
    rows, columns = support.sides
    plan_bar = np.zeros(support.shape) if plan_bar is None else plan_bar
    P = _plan(solution)
    r, c = solution.marginals[0][rows], solution.marginals[1][columns]
    W = P * plan_bar[np.ix_(rows, columns)]
    y_f, y_g = _in_gauge(f_bar, g_bar, support)
    y_f += W.sum(axis=1) / reg
    y_g += W.sum(axis=0) / reg
    z_g = _schur_solve(P, r, c, y_g - (y_f / r) @ P)
    z_f = (y_f - P @ z_g) / r

    dM = np.zeros(support.shape)
    moved = P * z_f[:, None] + P * z_g - W / reg
    dM[np.ix_(rows, columns)] = moved if isinstance(moved, np.ndarray) else moved.toarray()
    da, db = support.expand(reg * z_f, 0, 0.0), support.expand(reg * z_g, 1, 0.0)
    _one_sided(solution, plan_bar, da, db)
    return Gradient(*_balanced(support, da, db, 0.0), dM)


def _one_sided(solution: "Solution", plan_bar: Matrix, da: Vector, db: Vector) -> None:
    """Fill in the derivatives where there is no mass: what a first bit of it would change.

    It would spread as the soft minimum weighs the other side, and displace as much there.
    """
    reg, (rows, columns) = solution._problem.reg, solution._support.sides
    phi, psi = soft_minima(solution)
    f, g = solution.potentials
    M = _cost(solution)
    bare, empty = np.flatnonzero(np.isinf(f)), np.flatnonzero(np.isinf(g))
    spread = np.exp((phi[bare, None] + g[columns] - M[np.ix_(bare, columns)]) / reg)
    da[bare] = np.sum(spread * (plan_bar[np.ix_(bare, columns)] - db[columns]), axis=1)
    spread = np.exp((f[rows, None] + psi[empty] - M[np.ix_(rows, empty)]) / reg)
    db[empty] = np.sum(spread * (plan_bar[np.ix_(rows, empty)] - da[rows, None]), axis=0)


def _schur_solve(P: Any, r: Vector, c: Vector, rhs: Vector) -> Vector:
    """Solve (diag(c) - P' diag(1/r) P) z = rhs, singular along the constants."""
    rhs = rhs - rhs.mean()
    if isinstance(P, np.ndarray):
        diagonal = np.maximum(c - (1.0 / r) @ P**2, LEFT_OUT * c)
        result = cg(
            lambda z: c * z - ((P @ z) / r) @ P,
            rhs,
            diagonal=diagonal,
            rtol=RTOL,
            max_iter=MAX_ITER,
        )
        Q = None
    else:
        Q = CSR.from_scipy(P * (1.0 / np.sqrt(r))[:, None])
        result = schur_cg(Q, c, rhs, rtol=RTOL, max_iter=MAX_ITER)
    if result.converged:
        return result.x
    return schur_direct(Q or CSR.from_dense(P / np.sqrt(r)[:, None]), c, rhs)


def _in_gauge(
    f_bar: Vector | None, g_bar: Vector | None, support: Support
) -> tuple[Vector, Vector]:
    """Return the cotangents of potentials that are shifted so that f and g have the same mean."""
    rows, columns = support.sides
    y_f = np.zeros(rows.size) if f_bar is None else f_bar[rows]
    y_g = np.zeros(columns.size) if g_bar is None else g_bar[columns]
    excess = y_f.sum() - y_g.sum()
    return y_f - excess / (2 * rows.size), y_g + excess / (2 * columns.size)


def _balanced(support: Support, da: Vector, db: Vector, constant: float) -> tuple[Vector, Vector]:
    """Move a constant between da and db, and add one to them, so that their means are equal."""
    mean_a, mean_b = da[support.rows].mean(), db[support.columns].mean()
    middle = (mean_a + mean_b + constant) / 2
    return da + (middle - mean_a), db + (middle - mean_b)


def _soft_min(cost: Matrix, reg: float) -> Vector:
    """Return -reg log sum exp(-cost / reg) for each row."""
    least = cost.min(axis=1, initial=np.inf)
    base = np.where(np.isfinite(least), least, 0.0)
    with np.errstate(divide="ignore"):
        sums: Vector = np.exp((base[:, None] - cost) / reg).sum(axis=1)
        return base - reg * np.log(sums)


def _cost(solution: "Solution") -> Matrix:
    M = solution._support.M
    if M is None:
        raise ValueError("derivatives need the cost matrix: solve with lazy=False")
    return M


def _masses(solution: "Solution") -> tuple[Vector, Vector]:
    """Return the masses of the rows and columns that have any."""
    problem, mass = solution._problem, solution._support.mass
    return mass * problem.a, mass * problem.b


def _plan(solution: "Solution") -> Any:
    """Return the plan between rows and columns with mass, as scipy's sparse array if that pays."""
    support = solution._support
    rows, columns = support.sides
    costs, entries = solution._entries(LEFT_OUT)
    if costs.nnz < SPARSE * rows.size * columns.size:
        return costs.with_data(support.mass * entries).to_scipy()
    return solution.plan[np.ix_(rows, columns)]
