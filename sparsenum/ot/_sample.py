"""The door for samples: `solve_sample` takes points instead of a cost matrix."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import (
    LARGEST,
    choice,
    flag,
    function,
    positive,
    real_array,
    require_memory,
    whole,
)
from sparsenum.errors import ConvergenceWarning
from sparsenum.ot._solve import answered, solve
from sparsenum.ot.problems.checks import RegType, masses, strength, tolerance, value_type
from sparsenum.ot.problems.clouds.points import Metric, PointProblem, costs
from sparsenum.ot.problems.clouds.tree import Points, tree_order
from sparsenum.ot.problems.reduction import Reduction
from sparsenum.ot.solutions.attempt import MAX_ITER
from sparsenum.ot.solutions.certify import certify, shortfall
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solvers.annealing.multiscale import multiscale_newton
from sparsenum.ot.solvers.monitor import Callback, Monitor, printing
from sparsenum.ot.tensors.backends import is_tensor, is_traced, to_numpy
from sparsenum.ot.tensors.costs import tensor_costs
from sparsenum.ot.tensors.results import as_tensors

# What else `solve` takes: all its keywords but those that have a place in the signature here.
OPTIONS = frozenset(signature(solve).parameters) - {"M", "a", "b", "reg"}


def solve_sample(
    X_a: ArrayLike,
    X_b: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    metric: str | Callable[[Any, Any], float] = "sqeuclidean",
    reg: float | None = None,
    *,
    lazy: bool = False,
    reg_type: RegType = "KL",
    tol: float | None = None,
    max_iter: int | None = None,
    n_threads: int | None = None,
    verbose: bool = False,
    callback: Callback | None = None,
    time_limit: float | None = None,
    **options: Any,
) -> Solution:
    r"""Solve the entropic optimal transport problem between two samples of points.

    .. math:: \min_{P \ge 0} \sum_{ij} P_{ij} c(x_i, y_j) + reg \, KL(P \,|\, a b^T)
              \quad \text{s.t.} \quad P 1 = a, \; P^T 1 = b

    With ``lazy=True`` there is never an n x m array: costs are computed in blocks, only where
    the plan can have mass, the problem is solved between clusters of points first, and the result
    carries the plan as a sparse matrix [1]_ [2]_.

    Parameters
    ----------
    X_a : array_like, shape (n, d)
        Points of the first sample.
    X_b : array_like, shape (m, d)
        Points of the second sample.
    a, b : array_like, shape (n,) and (m,), optional
        Masses of the points, as in `solve`; uniform by default.
    metric : str or callable, default "sqeuclidean"
        Cost: "sqeuclidean", the squared Euclidean distance, or "cityblock", the 1-norm of the
        difference; with a cost matrix also what ``scipy.spatial.distance.cdist`` knows
        ("euclidean", "cosine", "chebyshev", …) or a function of two points; for tensors what
        POT's ``ot.dist`` knows.
    reg : float
        Strength of the entropy, in the unit of the cost; positive.
    lazy : bool, default False
        Whether to do without the cost matrix. Worth it from some thousand points on, in few
        dimensions, where the plan is sparse.
    reg_type, tol, max_iter, n_threads, verbose, callback, time_limit
        As in `solve`; lazily everything runs on one thread.
    **options
        With a cost matrix whatever else `solve` takes: `method`, `grad`, `potentials_init`, …
        Tensors are differentiable with respect to the points then, and detached lazily.

    Returns
    -------
    Solution
        As from `solve`. Lazily, ``sparse_plan`` is the way to the plan, and ``log["scales"]`` the
        number of scales. Memory O(n + m) and 20 to 30 bytes for each pair of the sparse support;
        time O(support) for each Newton step, each search for a support and the check at the end,
        and O(n m / 128^2) to rule out the blocks of pairs that cannot have mass.

    Raises
    ------
    ValueError, TypeError
        As `solve`, and for points of different dimensions or that are not finite; for options
        that the lazy solve has no use for.
    MemoryError
        If the machine cannot hold the cost matrix.

    Warns
    -----
    ConvergenceWarning
        As `solve`.

    See Also
    --------
    sparsenum.ot.solve : from a cost matrix.
    sparsenum.ot.sinkhorn_divergence : a distance that is zero for equal sets of points.

    Notes
    -----
    The support grows with ``reg n m``. It is small, and a solve of 100,000 uniform points in the
    plane takes a quarter of a minute on one core, for `reg` about the squared distance of
    neighbours; where `reg` is so large that most pairs carry mass, use the matrix. So too for
    costs by the 1-norm, whose plans are dense over large parts. Points far from all others, as in
    the tails of a Gaussian, slow the solve down: from tens of thousands of them on, at small
    `reg`, it may take minutes. Nothing is left out silently: `converged` is decided on marginals
    into which every entry of the plan above e^-60 enters.

    References
    ----------
    .. [1] Schmitzer, "Stabilized Sparse Scaling Algorithms for Entropy Regularized Transport
       Problems", SIAM J. Sci. Comput. 2019 (coarse to fine, truncated kernels).
    .. [2] Tang et al., "Accelerating Sinkhorn Algorithm with Sparse Newton Iterations", ICLR 2024.

    Examples
    --------
    >>> from sparsenum import ot
    >>> ot.solve_sample([[0.0], [1.0]], [[0.0], [1.0]], reg=0.5, lazy=True).plan.round(3).tolist()
    [[0.44, 0.06], [0.06, 0.44]]
    """
    if options.pop("debias", False):
        raise NotImplementedError(
            "debias must be False: for the debiased value use sinkhorn_divergence"
        )
    if not flag(lazy, "lazy"):
        M = sample_costs(X_a, X_b, metric)
        options |= {"reg_type": reg_type, "tol": tol, "max_iter": max_iter}
        options |= {"n_threads": n_threads, "callback": callback, "time_limit": time_limit}
        options |= {"verbose": verbose}
        if unknown := options.keys() - OPTIONS:
            raise TypeError(
                f"solve_sample got an unexpected keyword {sorted(unknown)[0]!r}: beside the named "
                f"arguments only {', '.join(sorted(OPTIONS))} are known"
            )
        return answered(M, a, b, reg, stacklevel=3, **options)
    if options:
        raise TypeError(f"solve_sample with lazy=True has no use for {sorted(options)[0]!r}")
    metric = cast(Metric, choice(metric, "metric", get_args(Metric)))
    X, Y = _samples(X_a, X_b)
    kind = value_type(reg_type)
    if n_threads is not None:
        whole(n_threads, "n_threads", lower=1)
    reg = strength(reg)
    callback = function(callback, "callback")
    callback = printing(callback) if flag(verbose, "verbose") else callback
    tol = tolerance(tol)
    if time_limit is not None:
        time_limit = positive(time_limit, "time_limit", "it is in seconds")
    limit = MAX_ITER["auto"] if max_iter is None else whole(max_iter, "max_iter")
    monitor = Monitor(tol, limit, time_limit, callback)  # its clock starts here
    mass_a, mass_b = masses(to_numpy(a), "a", len(X)), masses(to_numpy(b), "b", len(Y))
    reduction = Reduction.between(mass_a, mass_b)
    rows, columns = (x[tree_order(Z[x])] for Z, x in zip((X, Y), reduction.sides, strict=True))
    reduction = replace(reduction, rows=rows, columns=columns)
    problem = PointProblem(X[rows], Y[columns], metric, *reduction.shares, reg)
    at, counts, scales = multiscale_newton(problem, monitor)
    log: dict[str, Any] = {"method": "auto", "tol": tol, "scales": scales} | counts

    def between(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return costs(X[rows], Y[columns], metric)

    solution = certify(problem, reduction, at.f, at.g, monitor, log, kind, between)
    if not solution.converged:
        warnings.warn(shortfall(solution), ConvergenceWarning, stacklevel=2)
    result: Solution = as_tensors(solution, (X_a if is_tensor(X_a) else X_b, a, b, reg), "detach")
    return result


def sample_costs(X_a: Any, X_b: Any, metric: str | Callable[[Any, Any], float]) -> Any:
    """Return the cost matrix of two samples, by scipy or POT for metrics without a kernel here."""
    if is_traced(X_a, X_b):  # which hold no numbers to check yet
        return tensor_costs(X_a, X_b, metric)
    X, Y = _samples(X_a, X_b)
    require_memory((len(X), len(Y)), "cost matrix", "pass lazy=True")
    if is_tensor(X_a) or is_tensor(X_b):
        return tensor_costs(X_a, X_b, metric)
    if isinstance(metric, str) and metric in get_args(Metric):
        return costs(X, Y, cast(Metric, metric))
    from scipy.spatial.distance import cdist

    try:
        M = cdist(X, Y, metric)
    except ValueError as error:
        raise ValueError(f"metric must be one that scipy's cdist knows: {error}") from error
    if np.isnan(M).any():
        i, j = np.argwhere(np.isnan(M))[0]
        raise ValueError(
            f"metric must measure all pairs of X_a and X_b: got NaN from {metric!r} between points "
            f"{i} and {j}; leave out what has no direction or no spread, or take another metric"
        )
    return M


def _samples(X_a: Any, X_b: Any) -> tuple[Points, Points]:
    X, Y = _points(to_numpy(X_a), "X_a"), _points(to_numpy(X_b), "X_b")
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"X_a and X_b must have points of one dimension: got {X.shape[1]} and {Y.shape[1]}"
        )
    return X, Y


def _points(X: ArrayLike, name: str) -> Points:
    points = real_array(X, name, 2)
    if 0 in points.shape:
        raise ValueError(f"{name} must have at least one point: got shape {points.shape}")
    if not (np.abs(points) <= LARGEST).all():
        raise ValueError(
            f"{name} must hold finite coordinates, up to {LARGEST:.0e}: got NaN, infinity or more; "
            "clean it"
        )
    return points
