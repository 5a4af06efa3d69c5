"""The Sinkhorn divergence of two samples: transport without the bias of its entropy."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from sparsenum.errors import ConvergenceWarning
from sparsenum.ot._sample import sample_costs
from sparsenum.ot.solutions.attempt import attempt
from sparsenum.ot.solutions.certify import shortfall
from sparsenum.ot.solutions.implicit import Convention
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solvers.monitor import Status
from sparsenum.ot.tensors.backends import is_traced, to_numpy
from sparsenum.ot.tensors.results import as_tensors, traced


@dataclass(frozen=True, slots=True)
class Divergence:
    """Sinkhorn divergence of two samples.

    Attributes
    ----------
    value : float
        OT(a, b) - (OT(a, a) + OT(b, b)) / 2 with the values of `solve`, entropy included, as POT's
        ``ot.solve_sample(..., debias=True)`` has it. Zero for equal samples, else positive.
    value_linear : float
        The same of the costs ``<P, M>`` alone, as in POT's
        ``ot.bregman.empirical_sinkhorn_divergence``, which cuts it off at zero.
    ab, aa, bb : Solution
        The three problems solved: between the samples, and of each with itself.

    See Also
    --------
    sparsenum.ot.sinkhorn_divergence : which returns it.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenum import ot
    >>> X = np.array([[0.0], [1.0]])
    >>> result = ot.sinkhorn_divergence(X, X + 2.0, reg=0.5)
    >>> round(float(result.value), 6)  # squared length of the shift
    4.0
    """

    value: float
    value_linear: float
    ab: Solution
    aa: Solution
    bb: Solution

    def __repr__(self) -> str:
        """Return one line: the value and how the least accurate of the three solves ended."""
        error = f"{self.worst.marginal_error:.1e}"
        return f"Divergence(value={self.value:.6g}, status={self.status!r}, marginal_error={error})"

    @property
    def converged(self) -> bool:
        """Whether all three problems met the tolerance."""
        return self.worst.converged

    @property
    def status(self) -> Status:
        """Status of the least accurate of the three problems."""
        return self.worst.status

    @property
    def worst(self) -> Solution:
        """The least accurate of the three, first among those that missed the tolerance."""
        return max(
            (self.ab, self.aa, self.bb),
            key=lambda solution: (not solution.converged, solution.marginal_error),
        )


def sinkhorn_divergence(
    X_a: ArrayLike,
    X_b: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    metric: str | Callable[[Any, Any], float] = "sqeuclidean",
    reg: float | None = None,
    *,
    tol: float | None = None,
    max_iter: int | None = None,
    n_threads: int | None = None,
    time_limit: float | None = None,
) -> Divergence:
    r"""Return the Sinkhorn divergence of two samples: transport without the bias of its entropy.

    .. math:: S(a, b) = OT(a, b) - \tfrac12 OT(a, a) - \tfrac12 OT(b, b)

    The value of entropic transport of a sample to itself is not zero, and it is smaller for a
    shrunken copy. The divergence is: it is never negative, zero for equal samples only, and
    convex in each [1]_ [2]_. It goes from the cost of transport at small `reg` to a squared
    distance of means (metric "sqeuclidean") at a large one.

    Parameters
    ----------
    X_a : array_like, shape (n, d)
        Points of the first sample; for tensors the divergence is differentiable.
    X_b : array_like, shape (m, d)
        Points of the second sample.
    a, b : array_like, shape (n,) and (m,), optional
        Masses of the points, with one total; uniform by default.
    metric : str or callable, default "sqeuclidean"
        Cost, as in `solve_sample` with a cost matrix.
    reg : float
        Strength of the entropy, in the unit of the cost; positive.
    tol, max_iter, n_threads, time_limit
        As in `solve`, for each of the three problems.

    Returns
    -------
    Divergence
        The value, and the three solutions. Cost and memory of three calls of `solve`.

    Raises
    ------
    ValueError, TypeError
        As `solve_sample`.

    Warns
    -----
    ConvergenceWarning
        If one of the three missed the tolerance.

    See Also
    --------
    sparsenum.ot.solve_sample : the plan between two sets of points.

    References
    ----------
    .. [1] Genevay, Peyre, Cuturi, "Learning Generative Models with Sinkhorn Divergences",
       AISTATS 2018.
    .. [2] Feydy, Sejourne, Vialard, Amari, Trouve, Peyre, "Interpolating between Optimal Transport
       and MMD using Sinkhorn Divergences", AISTATS 2019.

    Examples
    --------
    >>> from sparsenum import ot
    >>> x = [[0.0], [1.0], [2.0]]
    >>> ot.sinkhorn_divergence(x, x, reg=0.5).value
    0.0
    >>> round(ot.sinkhorn_divergence(x, [[1.0], [2.0], [3.0]], reg=0.5).value, 6)
    1.0
    """
    options: dict[str, Any] = {"tol": tol, "max_iter": max_iter}
    options |= {"n_threads": n_threads, "time_limit": time_limit}

    def solved(U: Any, V: Any, u: Any, v: Any) -> Any:
        inputs = sample_costs(U, V, metric), u, v, reg
        if is_traced(*inputs):
            return traced(partial(attempt, **options), inputs, Convention(), "autodiff")
        solution = attempt(*map(to_numpy, inputs), **options)
        return as_tensors(solution, inputs, "autodiff")

    ab, aa, bb = solved(X_a, X_b, a, b), solved(X_a, X_a, a, a), solved(X_b, X_b, b, b)
    result = Divergence(
        value=ab.value - 0.5 * (aa.value + bb.value),
        value_linear=ab.value_linear - 0.5 * (aa.value_linear + bb.value_linear),
        ab=ab,
        aa=aa,
        bb=bb,
    )
    if not is_traced(result.value) and not result.converged:
        warnings.warn(shortfall(result.worst), ConvergenceWarning, stacklevel=2)
    return result
