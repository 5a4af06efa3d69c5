"""Derivatives of dense plans in numpy, of one problem or of a stack of them, penalised or not."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.solutions import implicit
from sparsenum.ot.solutions.gradient import Gradient
from sparsenum.ot.solutions.implicit import EXACT, Convention, Data
from sparsenum.ot.solutions.systems import solve_two_sided

Array = NDArray[np.float64]


class Derivatives:
    """Derivatives at a solution; axes before the last two are those of a stack.

    Parameters
    ----------
    costs : ndarray, shape (..., n, m)
        Costs.
    a, b : ndarray, shape (..., n) and (..., m)
        Masses.
    reg : ndarray, shape (...)
        Strength of the entropy.
    phi, psi : ndarray, shape (..., n) and (..., m)
        Potentials relative to the masses.
    convention : Convention
        What the marginals are held by, and what the value counts as the entropy.
    """

    def __init__(
        self,
        costs: Any,
        a: Array,
        b: Array,
        reg: Array,
        phi: Array,
        psi: Array,
        convention: Convention,
    ) -> None:
        self.costs, self.phi, self.psi, self.convention = costs, phi, psi, convention
        system = partial(solve_two_sided, n_threads=convention.n_threads)
        self.data = Data(a, b, reg, convention.rho or EXACT, np, system)
        reference = implicit.reference(costs, a, b, reg, np) if convention.relative else costs
        with np.errstate(invalid="ignore"):  # of infinite costs, which have no density
            self.E = implicit.density(reference, phi, psi, reg, np)

    def of_value(self) -> Gradient:
        """Return the derivatives of the value."""
        data = self.data
        a, b, column = data.a, data.b, data.reg[..., None]
        M, da, db, reg = implicit.envelope(data, self.phi, self.psi, self.E)
        if self.convention.relative:
            da, db, reg = self._with_reference(M, da, db, reg)
            da -= column * b.sum(axis=-1, keepdims=True)
            db -= column * a.sum(axis=-1, keepdims=True)
            reg = reg - a.sum(axis=-1) * b.sum(axis=-1)
        elif self.convention.reg_type == "entropy":
            # At zero mass the slope is minus infinity; what is left there is its finite part.
            da, db = da + column * (1.0 + _log(a)), db + column * (1.0 + _log(b))
            reg = reg + implicit.entropy(a, np) + implicit.entropy(b, np)
        return self._gradient(M, da, db, reg)

    def of_costs(self) -> Gradient:
        """Return the derivatives of the transport cost <P, M>."""
        M = np.where(np.isinf(self.costs), 0.0, self.costs)
        moved = self.pullback(M, np.zeros_like(self.phi), np.zeros_like(self.psi))
        P = implicit.plan(self.data, self.E)
        return Gradient(moved.a, moved.b, P + moved.M, moved.reg)

    def pullback(self, plan_bar: Array, f_bar: Array, g_bar: Array) -> Gradient:
        """Return the derivatives of a number that depends on plan and potentials."""
        data, E = self.data, self.E
        a, b, column = data.a, data.b, data.reg[..., None]
        f_bar, g_bar = self._in_gauge(f_bar, g_bar)
        density_bar = a[..., :, None] * plan_bar * b[..., None, :]
        M, da, db, reg = implicit.pulled(data, self.phi, self.psi, E, f_bar, g_bar, density_bar)
        weighted = plan_bar * E
        da = da + np.einsum("...ij,...j->...i", weighted, b)
        db = db + np.einsum("...ij,...i->...j", weighted, a)
        if self.convention.relative:
            da, db, reg = self._with_reference(M, da, db, reg)
        else:
            da += column * f_bar / np.where(a > 0, a, 1.0)
            db += column * g_bar / np.where(b > 0, b, 1.0)
            reg = reg + (f_bar * _log(a)).sum(axis=-1) + (g_bar * _log(b)).sum(axis=-1)
        return self._gradient(M, da, db, reg)

    def _with_reference(
        self, M: Array, da: Array, db: Array, reg: Array
    ) -> tuple[Array, Array, Array]:
        """Add what comes through reg log(a b') in the cost of the KL problem."""
        data = self.data
        a, b, column = data.a, data.b, data.reg[..., None]
        rows, columns = M.sum(axis=-1), M.sum(axis=-2)
        da = da + column * rows / np.where(a > 0, a, 1.0)
        db = db + column * columns / np.where(b > 0, b, 1.0)
        return da, db, reg + (rows * _log(a)).sum(axis=-1) + (columns * _log(b)).sum(axis=-1)

    def _in_gauge(self, f_bar: Array, g_bar: Array) -> tuple[Array, Array]:
        """Return cotangents of potentials, which have the same mean where marginals are exact."""
        some = self.data.a > 0, self.data.b > 0
        f_bar, g_bar = np.where(some[0], f_bar, 0.0), np.where(some[1], g_bar, 0.0)
        if self.convention.rho is not None:
            return f_bar, g_bar
        excess = (f_bar.sum(axis=-1) - g_bar.sum(axis=-1))[..., None] / 2
        shares = (x / x.sum(axis=-1, keepdims=True) for x in some)
        return f_bar - excess * next(shares), g_bar + excess * next(shares)

    def _gradient(self, M: Array, da: Array, db: Array, reg: Array) -> Gradient:
        """Move a constant between da and db, so that their means are equal, if totals must be."""
        shift: float | Array = 0.0
        if self.convention.rho is None:
            means = (
                np.mean(slope, axis=-1, where=x > 0, keepdims=True)
                for slope, x in ((da, self.data.a), (db, self.data.b))
            )
            shift = (next(means) - next(means)) / 2
        return Gradient(da - shift, db + shift, M, reg if reg.ndim else float(reg))


def _log(x: Array) -> Array:
    """Return log x, zero where x is."""
    logarithm: Array = np.log(np.where(x > 0, x, 1.0))
    return logarithm
