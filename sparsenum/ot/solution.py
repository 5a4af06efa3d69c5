"""What a solver returns: potentials first, the plan when somebody asks for it."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.monitor import Status
from sparsenum.ot.problem import Problem, Vector
from sparsenum.sparse import CSR

if TYPE_CHECKING:
    import scipy.sparse

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
        ``<P, M> + reg KL(P | a b')``, as POT's ``ot.solve`` defines it for ``reg_type="KL"``.
    marginals : tuple of ndarray
        Row and column sums of the plan, recomputed in float64 from the potentials.
    marginal_error : float
        1-norm of the violation of both marginals, relative to the total mass, from `marginals`.
    converged : bool
        Whether `marginal_error` is at most the tolerance.
    status : str
        "converged"; "max_iter"; "time_limit"; "stopped" (by the callback); or "precision": float64
        cannot bring the error further down at this cost and reg.
    n_iter : int
        Sinkhorn sweeps and Newton steps, accepted or refused.
    log : dict
        ``err`` and ``seconds`` (one entry for each iteration, the start included), ``niter``,
        ``tol``, ``method``, and for method "sns" how the iterations divide: ``sinkhorn``,
        ``newton``, ``refused``, and ``cg`` (products in all).
    """

    potentials: tuple[Vector, Vector]
    value: float
    marginals: tuple[Vector, Vector]
    marginal_error: float
    converged: bool
    status: Status
    n_iter: int
    log: dict[str, Any]
    _problem: Problem = field(repr=False)
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
        n, m = self._problem.M.shape
        floor = DROPPED_MASS * self.log["tol"] / (n * m)
        P = self._problem.sparse_plan(*self._reduced(), floor, floor)
        return self._support.expand_sparse(P).to_scipy()

    @cached_property
    def value_linear(self) -> float:
        """Transport cost ``<P, M>``; an infinite cost counts for nothing where the plan is zero."""
        P = self._problem.plan(*self._reduced())
        np.multiply(P, self._problem.M, out=P, where=P > 0.0)
        return self._support.mass * float(P.sum())

    def _reduced(self) -> tuple[Vector, Vector]:
        """Return the potentials of the canonical problem."""
        rows, columns = self._support.rows, self._support.columns
        f, g = self.potentials[0][rows], self.potentials[1][columns]
        return f - self._problem.reg * np.log(self._support.mass), g


@dataclass(frozen=True, slots=True)
class Support:
    """How the caller's problem relates to the canonical one: which masses are positive, and sum."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shape: tuple[int, int]
    mass: float

    @property
    def is_whole(self) -> bool:
        """Whether no mass is zero."""
        return self.shape == (self.rows.size, self.columns.size)

    def expand(self, x: Vector, axis: int, fill: float) -> Vector:
        """Return a vector of the canonical problem at the caller's length."""
        out = np.full(self.shape[axis], fill)
        out[(self.rows, self.columns)[axis]] = x
        return out

    def expand_matrix(self, P: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a plan of the canonical problem at the caller's shape and mass."""
        P *= self.mass
        if self.is_whole:
            return P
        out = np.zeros(self.shape)
        out[np.ix_(self.rows, self.columns)] = P
        return out

    def expand_sparse(self, P: CSR) -> CSR:
        """Return a sparse plan of the canonical problem at the caller's shape and mass."""
        counts = np.zeros(self.shape[0], np.int64)
        counts[self.rows] = P.row_counts
        indptr = np.zeros(self.shape[0] + 1, np.uint64)
        np.cumsum(counts, out=indptr[1:], dtype=np.uint64)
        indices = self.columns[P.indices].astype(np.uint32)
        return CSR(indptr, indices, P.data * self.mass, self.shape)
