"""The result of a solver: potentials first, the plan computed at first access."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from sparsenum._check import choice, real_array, require_memory
from sparsenum.ot.problems.clouds.points import PointProblem
from sparsenum.ot.problems.dense import Matrix, Vector
from sparsenum.ot.problems.seal import Seal
from sparsenum.ot.solutions.derivatives import Derivatives
from sparsenum.ot.solutions.gradient import (
    Gradient,
    linear_gradient,
    pullback,
    relative_potentials,
    value_gradient,
)
from sparsenum.ot.solutions.implicit import Convention, density
from sparsenum.ot.solutions.optimum import Optimum, frozen
from sparsenum.ot.solutions.pot import lazy_plan, numpy_backend
from sparsenum.ot.solvers.monitor import Status

if TYPE_CHECKING:
    import scipy.sparse

LEAST = 1e-17  # share of the mass that may go without its cost
CITATION = (
    "sparsenum: sparse numerics for entropic transport. Method: Tang, Shavlovsky, Rahmanian, "
    "Tardini, Thekumparampil, Xiao, Ying, 'Accelerating Sinkhorn Algorithm with Sparse Newton "
    "Iterations', ICLR 2024. Interface after POT: Flamary et al., 'POT: Python Optimal Transport', "
    "JMLR 22(78), 2021."
)
DROPPED_MASS = 1e-2  # share of the tolerance that a sparse plan may leave out in all


@dataclass(frozen=True)
class Solution:
    """Result of an entropic transport problem, with the attribute names of POT's ``OTResult``.

    The plan is ``P = exp((f_i + g_j - M_ij) / reg)`` for the potentials (f, g).

    Attributes
    ----------
    potentials : tuple of ndarray
        f, shape (n,), and g, shape (m,), in cost units; minus infinity where a mass is zero. POT's
        log-scalings are ``f / reg`` and ``g / reg``. Only f + g matters to the plan: both have the
        same mean where there is mass.
    value : float
        ``<P, M> + reg KL(P | a b')``, or ``<P, M> + reg sum P log P`` for ``reg_type="entropy"``:
        both without terms for the total mass, as POT's ``ot.solve`` defines them. Where the
        marginals are penalised, their penalties and all terms for the mass are in it.
    marginals : tuple of ndarray
        Row and column sums of the plan, recomputed in float64 from the potentials.
    marginal_error : float
        1-norm of the violation of both marginals, relative to the total mass, from `marginals`;
        of what the penalties ask of them, relative to the mass of the plan, where there are some.
        A difference of the totals of the masses is in it.
    converged : bool
        Whether `marginal_error` is at most the tolerance, but for what totals that differ by
        rounding make unavoidable.
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

    See Also
    --------
    sparsenum.ot.solve : which returns it.
    sparsenum.ot.BatchSolution : the results of many problems.

    Examples
    --------
    >>> from sparsenum import ot
    >>> result = ot.solve([[0.0, 1.0], [1.0, 0.0]], reg=0.5)
    >>> result.plan.round(4).tolist()
    [[0.4404, 0.0596], [0.0596, 0.4404]]
    >>> result.status, result.converged
    ('converged', True)
    >>> result.gradient().M.round(4).tolist()  # the derivative of the value is the plan
    [[0.4404, 0.0596], [0.0596, 0.4404]]
    """

    value: float
    marginal_error: float
    converged: bool
    status: Status
    n_iter: int
    log: dict[str, Any]
    _optimum: Optimum = field(repr=False)

    def __repr__(self) -> str:
        """Return one line: size, value, and how the solve ended."""
        n, m = (potential.size for potential in self.potentials)
        return (
            f"Solution(shape=({n}, {m}), value={self.value:.6g}, status={self.status!r}, "
            f"n_iter={self.n_iter}, marginal_error={self.marginal_error:.1e})"
        )

    @property
    def potentials(self) -> tuple[Vector, Vector]:
        """Potentials (f, g)."""
        return self._optimum.potentials

    @property
    def marginals(self) -> tuple[Vector, Vector]:
        """Row and column sums of the plan."""
        return self._optimum.marginals

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
    def plan(self) -> Matrix:
        """Dense plan, shape (n, m), computed at first access; in float32 if the cost is.

        Raises
        ------
        MemoryError
            If the machine cannot hold it; `sparse_plan` usually fits.
        """
        remedy = "use sparse_plan, or work with the potentials"
        require_memory(self._optimum.reduction.shape, "plan", remedy)
        P: Matrix = frozen(self._optimum.plan())
        return P

    @cached_property
    def sparse_plan(self) -> "scipy.sparse.csr_array":
        """Plan as a scipy CSR array, without its smallest entries.

        What is left out sums to less than 1 % of the tolerance (times the total mass).
        """
        costs, P = self._optimum.entries(DROPPED_MASS * self.log["tol"])
        return self._optimum.reduction.expand_sparse(costs.with_data(P))

    @cached_property
    def value_linear(self) -> float:
        """Transport cost ``<P, M>``; an infinite cost counts for nothing where the plan is zero."""
        return self._optimum.linear_value(LEAST)

    @property
    def lazy_plan(self) -> Any:
        """Plan as POT's ``LazyTensor`` if it was solved without a cost matrix, None otherwise."""
        lazy = isinstance(self._optimum.problem, PointProblem)
        return lazy_plan(self._optimum) if lazy else None

    @property
    def value_quad(self) -> None:
        """None: the cost has no quadratic part."""

    @property
    def citation(self) -> str:
        """The paper to cite for this result."""
        return CITATION

    @property
    def _backend(self) -> Any:
        """POT's backend of these arrays."""
        return numpy_backend()

    def gradient(self, of: Literal["value", "value_linear"] = "value") -> Gradient:
        """Return the derivatives of the value with respect to the masses and the cost.

        Parameters
        ----------
        of : {"value", "value_linear"}, default "value"
            The value follows from the envelope theorem, with the terms that belong to its
            ``reg_type``; the transport cost takes one linear solve, as `pullback` does.

        Returns
        -------
        Gradient
            ``a``, ``b``, ``M`` and ``reg``: finite, also where a mass is zero.

        Raises
        ------
        ValueError
            If there is no cost matrix, after a lazy solve.
        """
        linear = choice(of, "of", ("value", "value_linear")) == "value_linear"
        if self._optimum.rho is not None:
            return self._derivatives.of_costs() if linear else self._derivatives.of_value()
        if linear:
            return linear_gradient(self._optimum, self._optimum.plan())
        return value_gradient(self._optimum, self._optimum.plan(), self.value_linear)

    def pullback(
        self,
        plan: ArrayLike | None = None,
        potentials: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
    ) -> Gradient:
        r"""Return the derivatives of a number, given those with respect to plan and potentials.

        With a function L of the plan P and the potentials f, g, this is the chain rule for
        a, b, M and reg: implicit differentiation of the optimality conditions, one linear solve
        with the matrix of Newton's method, O(n m) memory and no iterate kept.

        Parameters
        ----------
        plan : array_like, shape (n, m), optional
            Derivatives of L with respect to the plan; zero by default.
        potentials : tuple of array_like, optional
            Derivatives of L with respect to f and g; zero where None.

        Returns
        -------
        Gradient
            ``a``, ``b``, ``M`` and ``reg``.

        Raises
        ------
        ValueError
            If the shapes do not fit; if there is no cost matrix, after a lazy solve.
        """
        n, m = self._optimum.reduction.shape
        bars = [None if x is None else real_array(x, "plan", 2) for x in (plan,)]
        bars += [None if x is None else real_array(x, "potentials", 1) for x in potentials]
        names, shapes = ("plan", "potentials", "potentials"), ((n, m), (n,), (m,))
        for x, name, shape in zip(bars, names, shapes, strict=True):
            if x is not None and x.shape != shape:
                raise ValueError(f"{name} must have shape {shape}: got {x.shape}")
        if self._optimum.rho is None:
            return pullback(self._optimum, *bars)
        return self._derivatives.pullback(
            *(np.zeros(shape) if x is None else x for x, shape in zip(bars, shapes, strict=True))
        )

    def sealed(self, seal: Seal) -> "Solution":
        """Return the same result, with a seal on the cost that it reads later."""
        return replace(self, _optimum=replace(self._optimum, seal=seal))

    def _relative(self) -> tuple[Vector, Vector]:
        """Return f - reg log a and g - reg log b, extended to where there is no mass."""
        return relative_potentials(self._optimum)

    def _density(self) -> Matrix | None:
        """Return the density of the plan, if its cost has offsets that would hide it."""
        optimum, reduction = self._optimum, self._optimum.reduction
        if reduction.offsets is None:
            return None
        with np.errstate(invalid="ignore"):  # of infinite costs, which have no density
            E: Matrix = density(optimum.cost, *self._relative(), np.asarray(optimum.reg), np)
        a, b = optimum.masses
        f, g = optimum.reduced()
        P = optimum.problem.plan(f, g, np.empty((f.size, g.size)))
        E[np.ix_(*reduction.sides)] = reduction.mass * P / a[:, None] / b
        return E

    @property
    def _convention(self) -> Convention:
        """What the problem asked of its marginals, and of its value."""
        return Convention(self._optimum.rho, self._optimum.reg_type)

    @property
    def _derivatives(self) -> Derivatives:
        """What derivatives of an unbalanced problem are made of."""
        optimum = self._optimum
        data = optimum.reduction.a, optimum.reduction.b, np.asarray(optimum.reg)
        return Derivatives(optimum.cost, *data, *self._relative(), self._convention)
