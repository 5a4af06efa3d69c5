"""Derivatives of a solution with respect to its data, from the optimality conditions.

No iterate is kept and none is differentiated. The value needs nothing beyond the solution; the
plan and the potentials take one more solve with the matrix of Newton's method.
"""

from dataclasses import dataclass
from typing import Any

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
    reg : float
        With respect to the strength of the entropy.
    """

    a: Vector
    b: Vector
    M: Matrix
    reg: Any

    def __repr__(self) -> str:
        """Return one line: the shape of the problem."""
        return f"Gradient(shape=({self.a.size}, {self.b.size}))"


def value_gradient(optimum: Optimum, plan: Matrix, linear: float) -> Gradient:
    r"""Return the derivatives of the value: the envelope theorem.

    The Lagrange multipliers of the marginals are :math:`f_i + g_j + reg` in sum for the entropy
    :math:`\sum P \log P`; for :math:`KL(P | a b^T)` the reference moves along with the masses,
    which takes :math:`reg (\log a_i + 1)` and :math:`reg (\log b_j + 1)` off them.
    """
    reg, reduction = optimum.reg, optimum.reduction
    if reduction.M is None:
        raise ValueError("derivatives need the cost matrix: solve with lazy=False")
    da, db = relative_potentials(optimum)
    constant = -reg
    if optimum.reg_type == "entropy":
        # At zero mass the slope is minus infinity; what is left there is its finite part.
        for slope, mass in zip((da, db), (reduction.a, reduction.b), strict=True):
            some = mass > 0
            slope[some] += reg * np.log(mass[some])
        constant = reg
    # <P, M> + reg H = f.P1 + g.P'1 for both, in the potentials that belong to them
    of_reg = (_total(optimum, da, db) - linear) / reg
    return Gradient(*_balanced(reduction, da, db, constant), plan, of_reg)


def relative_potentials(optimum: Optimum) -> tuple[Vector, Vector]:
    """Return the potentials relative to the masses, extended to where there is no mass.

    With mass they are f - reg log a and g - reg log b, without it the limit of these as the mass
    goes to zero: the soft minimum of cost minus the other potential, or what a penalty makes of
    it. Unbalanced with the entropy they are f and g.
    """
    reg, (rows, columns) = optimum.reg, optimum.reduction.sides
    f, g = optimum.potentials
    phi, psi = f.copy(), g.copy()
    relative = optimum.rho is not None and optimum.reg_type == "entropy"
    bare, empty = optimum.reduction.outside
    if relative:
        phi[np.isinf(f)], psi[np.isinf(g)] = np.inf, np.inf
        return phi, psi
    a, b = optimum.masses
    if optimum.rho is None:
        b = b * (optimum.reduction.a.sum() / optimum.reduction.b.sum())  # as it is solved
    phi[rows] -= reg * np.log(a)
    psi[columns] -= reg * np.log(b)
    if bare.size or empty.size:
        costs = optimum.reduction.costs
        held = [1.0 + reg / rho for rho in optimum.rho or (np.inf, np.inf)]
        phi[bare] = _soft_min(costs(bare, columns) - g[columns], reg) / held[0]
        psi[empty] = _soft_min(costs(rows, empty).T - f[rows], reg) / held[1]
    return phi, psi


def _total(optimum: Optimum, f: Vector, g: Vector) -> float:
    """Return what potentials add up to over the plan."""
    return float(
        sum(sums[sums > 0] @ x[sums > 0] for sums, x in zip(optimum.marginals, (f, g), strict=True))
    )


def linear_gradient(optimum: Optimum, plan: Matrix) -> Gradient:
    """Return the derivatives of the transport cost <P, M>, those through the plan included."""
    level, _ = _levelled(optimum)
    moved = pullback(optimum, level, None, None)
    reduction = optimum.reduction
    rows, columns = (
        np.zeros(n)
        if reduction.offsets is None
        else reduction.expand(reduction.offsets[axis], axis, 0.0)
        for axis, n in enumerate(reduction.shape)
    )
    # What offsets cost depends on the masses alone; the plan's part would lose digits to them.
    sides = _balanced(reduction, moved.a + rows, moved.b + columns, 0.0)
    return Gradient(*sides, plan + moved.M, moved.reg)


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
    f_bar, g_bar = _in_gauge(f_bar, g_bar, reduction)
    W_rows, W_columns = P.weighted_sums(inner)
    y_f, y_g = f_bar + W_rows / reg, g_bar + W_columns / reg
    rhs = y_g - P.times_t(y_f / r)
    z_g = P.schur_solve(r, c, rhs - rhs.mean())
    z_f = (y_f - P.times(z_g)) / r

    dM = P.change(z_f, z_g, inner, reg)
    # A cost and reg twice as large make the same plan, and potentials twice as large.
    level, (f, g) = _levelled(optimum)
    of_reg = float(f_bar @ f + g_bar @ g - np.einsum("ij,ij", dM, reduction.inner(level))) / reg
    da, db = reduction.expand(reg * z_f, 0, 0.0), reduction.expand(reg * z_g, 1, 0.0)
    _one_sided(optimum, plan_bar, da, db)
    return Gradient(*_balanced(reduction, da, db, 0.0), reduction.outer(dM), of_reg)


def _levelled(optimum: Optimum) -> tuple[Matrix, tuple[Vector, Vector]]:
    """Return the cost and the potentials of rows and columns with mass, without their offsets.

    An infinite cost counts for nothing, since it does not move.
    """
    M, reduction = optimum.cost, optimum.reduction
    f, g = (x[index] for x, index in zip(optimum.potentials, reduction.sides, strict=True))
    if reduction.offsets is not None:
        rows, columns = (
            reduction.expand(offsets, axis, 0.0) for axis, offsets in enumerate(reduction.offsets)
        )
        M = (M - rows[:, None]) - columns
        f, g = f - reduction.offsets[0], g - reduction.offsets[1]
    return np.where(np.isinf(M), 0.0, M), (f, g)


def _one_sided(optimum: Optimum, plan_bar: Matrix, da: Vector, db: Vector) -> None:
    """Fill in the one-sided derivatives at rows and columns of no mass.

    It would spread as the soft minimum weighs the other side, and displace as much there.
    """
    reg, (rows, columns) = optimum.reg, optimum.reduction.sides
    phi, psi = relative_potentials(optimum)
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
