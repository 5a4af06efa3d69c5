"""What a solver returns: potentials first, the plan when somebody asks for it."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot import _cpu
from sparsenum.ot.monitor import Status
from sparsenum.ot.points import PointProblem
from sparsenum.ot.problem import Problem, Vector
from sparsenum.sparse import CSR

if TYPE_CHECKING:
    import scipy.sparse

LEAST = 1e-17  # share of the mass that may go without its cost
DROPPED_MASS = 1e-2  # share of the tolerance that a sparse plan may leave out in all


@dataclass(frozen=True)
class Solution:
    """Result of an entropic transport problem, with the attribute names of POT's ``OTResult``.

    The plan is ``P = exp((f_i + g_j - M_ij) / reg)`` for the potentials (f, g).

    Attributes
    ----------
    potentials : tuple of ndarray
        f, shape (n,), and g, shape (m,), in cost units; minus infinity where a mass is zero.
        POT's log-scalings are ``f / reg`` and ``g / reg``.
    value : float
        ``<P, M> + reg KL(P | a b')``, as POT's ``ot.solve`` defines it for ``reg_type="KL"``, and
        the penalties on the marginals where the problem has them.
    marginals : tuple of ndarray
        Row and column sums of the plan, recomputed in float64 from the potentials.
    marginal_error : float
        1-norm of the violation of both marginals, relative to the total mass, from `marginals`;
        of what the penalties ask of them, relative to the mass of the plan, where there are some.
    converged : bool
        Whether `marginal_error` is at most the tolerance.
    status : str
        "converged"; "max_iter"; "time_limit"; "stopped" (by the callback); "stalled": no progress
        any more; or "precision": float64 cannot represent a better plan at this cost and reg.
    n_iter : int
        Iterations: Newton steps, accepted or refused, and Sinkhorn sweeps on the whole plan.
    log : dict
        ``err`` and ``seconds`` (one entry for each iteration, the start included), ``niter``,
        ``tol``, ``method``, ``sinkhorn`` (sweeps, and row updates on the way into a level); but
        for method "sinkhorn" also ``newton``, ``refused`` and ``cg`` (products in all); and where
        there were supports ``scans`` (of the cost) and ``support`` (entries of the largest).
    """

    potentials: tuple[Vector, Vector]
    value: float
    marginals: tuple[Vector, Vector]
    marginal_error: float
    converged: bool
    status: Status
    n_iter: int
    log: dict[str, Any]
    _problem: Problem | PointProblem = field(repr=False)
    _support: "Support" = field(repr=False)

    @property
    def potential_a(self) -> Vector:
        """First potential, f."""
        return self.potentials[0]

    @property
    def potential_b(self) -> Vector:
        """Second potential, g."""
        return self.potentials[1]

    @property
    def marginal_a(self) -> Vector:
        """Row sums of the plan."""
        return self.marginals[0]

    @property
    def marginal_b(self) -> Vector:
        """Column sums of the plan."""
        return self.marginals[1]

    @cached_property
    def plan(self) -> NDArray[np.float64]:
        """Dense plan, shape (n, m), computed at first access.

        Raises
        ------
        MemoryError
            If the machine cannot hold it; `sparse_plan` usually fits.
        """
        n, m = self._support.shape
        needed = 8 * n * m
        if needed > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
            raise MemoryError(
                f"plan of shape ({n}, {m}) needs {needed / 2**30:.1f} GiB, more than this machine "
                "has; use sparse_plan, or work with the potentials"
            )
        return self._support.expand_matrix(self._problem.plan(*self._reduced()))

    @cached_property
    def sparse_plan(self) -> "scipy.sparse.csr_array":
        """Plan as a scipy CSR array, without its smallest entries.

        What is left out sums to less than 1 % of the tolerance (times the total mass).
        """
        costs, P = self._entries(DROPPED_MASS * self.log["tol"])
        return self._support.expand_sparse(costs.with_data(P))

    @cached_property
    def value_linear(self) -> float:
        """Transport cost ``<P, M>``; an infinite cost counts for nothing where the plan is zero."""
        costs, P = self._entries(LEAST)
        return self._support.mass * float(P @ costs.data)

    def _entries(self, left_out: float) -> tuple[CSR, Vector]:
        """Return costs and masses of the plan's entries, but for a share of the mass."""
        f, g = self._reduced()
        width = -self._problem.reg * np.log(left_out / (f.size * g.size))
        costs = self._problem.within(f, g, width)
        P = np.empty(costs.nnz)
        _cpu.support_plan(costs.indptr, costs.indices, costs.data, f, g, self._problem.reg, P)
        return costs, P

    def _reduced(self) -> tuple[Vector, Vector]:
        """Return the potentials of the canonical problem."""
        rows, columns = self._support.rows, self._support.columns
        f, g = self.potentials[0][rows], self.potentials[1][columns]
        return f - self._problem.reg * np.log(self._support.mass), g


@dataclass(frozen=True, slots=True)
class Support:
    """How the caller's problem relates to the canonical one: which rows and columns, and mass.

    Attributes
    ----------
    rows, columns : ndarray of int64
        The caller's row and column of each canonical one: those with mass, in any order.
    shape : tuple of int
        Size of the caller's problem.
    mass : float
        Total mass of the caller's problem.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shape: tuple[int, int]
    mass: float

    def expand(self, x: Vector, axis: int, fill: float) -> Vector:
        """Return a vector of the canonical problem at the caller's length."""
        out = np.full(self.shape[axis], fill)
        out[(self.rows, self.columns)[axis]] = x
        return out

    def expand_matrix(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a plan of the canonical problem at the caller's shape and mass."""
        P *= self.mass
        if all(
            np.array_equal(x, np.arange(n)) for x, n in zip(self.sides, self.shape, strict=True)
        ):
            return P
        out = np.zeros(self.shape)
        out[np.ix_(self.rows, self.columns)] = P
        return out

    def expand_sparse(self, P: CSR) -> "scipy.sparse.csr_array":
        """Return a sparse plan of the canonical problem at the caller's shape and mass."""
        from scipy.sparse import coo_array

        rows = np.repeat(self.rows, P.row_counts)
        entries = (P.data * self.mass, (rows, self.columns[P.indices]))
        return coo_array(entries, shape=self.shape).tocsr()

    @property
    def sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns."""
        return self.rows, self.columns
