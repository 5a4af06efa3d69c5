"""How a solution moves with its data: derivatives from the optimality conditions.

No iterate is kept and none is differentiated. The value needs nothing beyond the solution; the
plan and the potentials take one more solve with the matrix of Newton's method.
"""

import math
from dataclasses import dataclass

import numpy as np

from sparsenum.ot.problems.dense import Matrix, Vector
from sparsenum.ot.problems.reduction import Reduction
from sparsenum.ot.solutions.operator import plan_operator
from sparsenum.ot.solutions.optimum import Optimum


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

    def __repr__(self) -> str:
        """Return one line: the shape of the problem."""
        return f"Gradient(shape=({self.a.size}, {self.b.size}))"


def value_gradient(optimum: Optimum, plan: Matrix) -> Gradient:
    r"""Return the derivatives of the value: the envelope theorem.

    The Lagrange multipliers of the marginals are :math:`f_i + g_j + reg` in sum for the entropy
    :math:`\sum P \log P`; for :math:`KL(P | a b^T)` the reference moves along with the masses,
    which takes :math:`reg (\log a_i + 1)` and :math:`reg (\log b_j + 1)` off them.
    """
    reg, reduction = optimum.reg, optimum.reduction
    da, db = soft_minima(optimum)
    constant = -reg
    if optimum.reg_type == "entropy":
        # At zero mass the slope is minus infinity; what is left there is its finite part.
        for slope, mass in zip((da, db), (reduction.a, reduction.b), strict=True):
            some = mass > 0
            slope[some] += reg * np.log(mass[some])
        constant = reg
    return Gradient(*_balanced(reduction, da, db, constant), plan)


def soft_minima(optimum: Optimum) -> tuple[Vector, Vector]:
    """Return the potentials relative to the masses, extended to where there is no mass.

    With mass they are f - reg log a and g - reg log b, without it the limit of these as the mass
    goes to zero: the soft minimum of cost minus the other potential.
    """
    reg, (rows, columns) = optimum.reg, optimum.reduction.sides
    f, g = optimum.potentials
    M = optimum.cost
    phi, psi = f.copy(), g.copy()
    a, b = optimum.masses
    phi[rows] -= reg * np.log(a)
    psi[columns] -= reg * np.log(b)
    bare, empty = optimum.reduction.outside
    phi[bare] = _soft_min(M[np.ix_(bare, columns)] - g[columns], reg)
    psi[empty] = _soft_min(M[np.ix_(rows, empty)].T - f[rows], reg)
    return phi, psi


def relaxed_gradient(optimum: Optimum, rho: tuple[float, float], plan: Matrix) -> Gradient:
    r"""Return the derivatives of the value of an unbalanced problem: the envelope theorem.

    A penalty gives :math:`\rho (1 - r_i / a_i)`, an exact marginal its multiplier, and the
    reference of KL :math:`reg (\sum b - r_i / a_i)`.
    """
    problem, reduction = optimum.problem, optimum.reduction
    slopes = []
    for axis, (mass, other) in enumerate(((problem.a, problem.b), (problem.b, problem.a))):
        index = reduction.sides[axis]
        potential = optimum.potentials[axis][index]
        if optimum.reg_type == "KL":
            potential = potential - problem.reg * np.log(mass)
        ratio = optimum.marginals[axis][index] / mass
        slope = potential if math.isinf(rho[axis]) else rho[axis] * (1.0 - ratio)
        if optimum.reg_type == "KL":
            slope = slope + problem.reg * (other.sum() - ratio)
        slopes.append(reduction.expand(slope, axis, 0.0))
    return Gradient(slopes[0], slopes[1], plan)


def linear_gradient(optimum: Optimum, plan: Matrix) -> Gradient:
    """Return the derivatives of the transport cost <P, M>, which the plan's own are part of."""
    M, reduction = optimum.cost, optimum.reduction
    rows, columns = (
        np.zeros(n)
        if reduction.offsets is None
        else reduction.expand(reduction.offsets[axis], axis, 0.0)
        for axis, n in enumerate(reduction.shape)
    )
    # What offsets cost depends on the masses alone; the plan's part would lose digits to them.
    level = np.where(np.isinf(M), 0.0, (M - rows[:, None]) - columns)
    moved = pullback(optimum, level, None, None)
    sides = _balanced(reduction, moved.a + rows, moved.b + columns, 0.0)
    return Gradient(*sides, plan + moved.M)


def pullback(
    optimum: Optimum, plan_bar: Matrix | None, f_bar: Vector | None, g_bar: Vector | None
) -> Gradient:
    r"""Return the derivatives of a number that depends on the plan and on the potentials.

    With P the plan and r, c its marginals, the conditions :math:`P 1 = a, P^T 1 = b` give

    .. math:: \begin{pmatrix} \mathrm{diag}(r) & P \\ P^T & \mathrm{diag}(c) \end{pmatrix}
              \begin{pmatrix} df \\ dg \end{pmatrix} = reg \begin{pmatrix} da \\ db \end{pmatrix}
              + \begin{pmatrix} (P \circ dM) 1 \\ (P \circ dM)^T 1 \end{pmatrix}

    and the matrix is symmetric, so that one solve, with the cotangents on its right, is enough.
    Cost: that of a Newton step or two; memory O(n m).
    """
    reg, reduction = optimum.reg, optimum.reduction
    rows, columns = reduction.sides
    plan_bar = np.zeros(reduction.shape) if plan_bar is None else plan_bar
    inner = reduction.inner(plan_bar)
    P = plan_operator(optimum)
    r, c = optimum.marginals[0][rows], optimum.marginals[1][columns]
    y_f, y_g = _in_gauge(f_bar, g_bar, reduction)
    W_rows, W_columns = P.weighted_sums(inner)
    y_f += W_rows / reg
    y_g += W_columns / reg
    rhs = y_g - P.times_t(y_f / r)
    z_g = P.schur_solve(r, c, rhs - rhs.mean())
    z_f = (y_f - P.times(z_g)) / r

    dM = reduction.outer(P.change(z_f, z_g, inner, reg))
    da, db = reduction.expand(reg * z_f, 0, 0.0), reduction.expand(reg * z_g, 1, 0.0)
    _one_sided(optimum, plan_bar, da, db)
    return Gradient(*_balanced(reduction, da, db, 0.0), dM)


def _one_sided(optimum: Optimum, plan_bar: Matrix, da: Vector, db: Vector) -> None:
    """Fill in the derivatives where there is no mass: what a first bit of it would change.

    It would spread as the soft minimum weighs the other side, and displace as much there.
    """
    reg, (rows, columns) = optimum.reg, optimum.reduction.sides
    phi, psi = soft_minima(optimum)
    f, g = optimum.potentials
    M = optimum.cost
    bare, empty = optimum.reduction.outside
    spread = np.exp((phi[bare, None] + g[columns] - M[np.ix_(bare, columns)]) / reg)
    da[bare] = np.sum(spread * (plan_bar[np.ix_(bare, columns)] - db[columns]), axis=1)
    spread = np.exp((f[rows, None] + psi[empty] - M[np.ix_(rows, empty)]) / reg)
    db[empty] = np.sum(spread * (plan_bar[np.ix_(rows, empty)] - da[rows, None]), axis=0)


def _in_gauge(
    f_bar: Vector | None, g_bar: Vector | None, reduction: Reduction
) -> tuple[Vector, Vector]:
    """Return the cotangents of potentials that are shifted so that f and g have the same mean."""
    rows, columns = reduction.sides
    y_f = np.zeros(rows.size) if f_bar is None else f_bar[rows]
    y_g = np.zeros(columns.size) if g_bar is None else g_bar[columns]
    excess = y_f.sum() - y_g.sum()
    return y_f - excess / (2 * rows.size), y_g + excess / (2 * columns.size)


def _balanced(
    reduction: Reduction, da: Vector, db: Vector, constant: float
) -> tuple[Vector, Vector]:
    """Move a constant between da and db, and add one to them, so that their means are equal."""
    mean_a, mean_b = da[reduction.rows].mean(), db[reduction.columns].mean()
    middle = (mean_a + mean_b + constant) / 2
    return da + (middle - mean_a), db + (middle - mean_b)


def _soft_min(cost: Matrix, reg: float) -> Vector:
    """Return -reg log sum exp(-cost / reg) for each row."""
    least = cost.min(axis=1, initial=np.inf)
    base = np.where(np.isfinite(least), least, 0.0)
    with np.errstate(divide="ignore"):
        sums: Vector = np.exp((base[:, None] - cost) / reg).sum(axis=1)
        return base - reg * np.log(sums)
