"""The door for samples: `solve_sample` takes points instead of a cost matrix."""

import warnings
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from sparsenum._check import choice, positive, real_array, whole
from sparsenum.errors import ConvergenceWarning
from sparsenum.ot.monitor import Callback, Monitor
from sparsenum.ot.points import Metric, PointProblem, Points, costs, multiscale_newton, tree_order
from sparsenum.ot.solution import Solution, Support
from sparsenum.ot.solve import MAX_ITER, masses, report, shared_mass, shortfall, solve


def solve_sample(
    X_a: ArrayLike,
    X_b: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    metric: Metric = "sqeuclidean",
    reg: float | None = None,
    *,
    lazy: bool = False,
    tol: float = 1e-9,
    max_iter: int | None = None,
    n_threads: int | None = None,
    callback: Callback | None = None,
    time_limit: float | None = None,
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
    metric : {"sqeuclidean", "cityblock"}, default "sqeuclidean"
        Cost: squared Euclidean distance, or 1-norm of the difference.
    reg : float
        Strength of the entropy, in the unit of the cost; positive.
    lazy : bool, default False
        Whether to do without the cost matrix. Worth it from some thousand points on, in few
        dimensions, where the plan is sparse.
    tol, max_iter, n_threads, callback, time_limit
        As in `solve`; lazily everything runs on one thread.

    Returns
    -------
    Solution
        As from `solve`. Lazily, ``sparse_plan`` is the way to the plan, and ``log["scales"]`` the
        number of scales. Memory O(n + m) and the sparse support; time O(n m) for the check at the
        end (blocks without mass are skipped) and about O(support) for each Newton step.

    Raises
    ------
    ValueError, TypeError
        As `solve`, and for points of different dimensions or that are not finite.

    Warns
    -----
    ConvergenceWarning
        As `solve`.

    Notes
    -----
    Up to some 20,000 points in the plane the lazy solve is a matter of seconds to half a minute;
    at 100,000 it does not end within minutes yet. Costs by the 1-norm have plans that are dense
    over large parts, which the supports then hold: use the matrix for them.

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
    choice(metric, "metric", get_args(Metric))
    X, Y = sample_points(X_a, "X_a"), sample_points(X_b, "X_b")
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"X_a and X_b must have points of one dimension: got {X.shape[1]} and {Y.shape[1]}"
        )
    options: dict[str, Any] = {"callback": callback, "time_limit": time_limit}
    if not lazy:
        M = costs(X, Y, metric)
        return solve(M, a, b, reg, tol=tol, max_iter=max_iter, n_threads=n_threads, **options)
    if n_threads is not None:
        whole(n_threads, "n_threads", lower=1)
    if reg is None:
        raise ValueError("reg must be given; for unregularised transport use POT's ot.emd")
    reg = positive(reg, "reg", "it is the strength of the entropy, in the unit of the cost")
    tol = positive(tol, "tol", "it bounds the violation of the marginals")
    limit = MAX_ITER["auto"] if max_iter is None else whole(max_iter, "max_iter")
    mass_a, mass_b = masses(a, "a", len(X)), masses(b, "b", len(Y))
    total = shared_mass(mass_a, mass_b)
    rows, columns = (
        positions[tree_order(Z[positions])]
        for Z, positions in ((X, np.flatnonzero(mass_a)), (Y, np.flatnonzero(mass_b)))
    )
    problem = PointProblem(
        X[rows],
        Y[columns],
        metric,
        mass_a[rows] / mass_a.sum(),
        mass_b[columns] / mass_b.sum(),
        reg,
    )
    monitor = Monitor(tol, limit, **options)
    at, counts, scales = multiscale_newton(problem, monitor)
    support = Support(rows, columns, (len(X), len(Y)), total)
    log: dict[str, Any] = {"method": "auto", "tol": tol, "scales": scales} | counts
    solution = report(problem, support, at.f, at.g, monitor, log)
    if not solution.converged:
        warnings.warn(shortfall(solution), ConvergenceWarning, stacklevel=2)
    return solution


def sample_points(X: ArrayLike, name: str) -> Points:
    """Return points that are checked."""
    points = real_array(X, name, 2)
    if 0 in points.shape:
        raise ValueError(f"{name} must have at least one point: got shape {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} must hold finite coordinates: got NaN or infinity; clean it")
    return points
