"""The door for barycenters: `barycenter` of histograms, with POT's names."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import LARGEST, flag, real_array, whole
from sparsenum.errors import ConvergenceWarning
from sparsenum.ot.problems.checks import mismatch, strength, tolerance
from sparsenum.ot.problems.dense import Problem, Vector
from sparsenum.ot.problems.offsets import rows_levelled
from sparsenum.ot.problems.reduction import balancing, counting
from sparsenum.ot.solvers.annealing.barycenter import annealed_agreement
from sparsenum.ot.solvers.monitor import Monitor, printing
from sparsenum.ot.tensors.backends import is_differentiated, tensor_like, to_numpy


def barycenter(
    A: ArrayLike,
    M: ArrayLike,
    reg: float,
    weights: ArrayLike | None = None,
    *,
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
) -> Any:
    r"""Return the entropic barycenter of histograms: the one of least mean transport cost to all.

    .. math:: \min_{q, P_1, \dots, P_k \ge 0} \; \sum_k w_k \Bigl( \langle P_k, M \rangle
              + reg \sum_{ij} P_{k, ij} \log P_{k, ij} \Bigr)
              \quad \text{s.t.} \quad P_k 1 = a_k, \; P_k^T 1 = q

    This is the problem of POT's ``ot.barycenter`` [1]_, and its solution: the larger `reg`, the
    more blurred. The names are POT's, too.

    Parameters
    ----------
    A : array_like, shape (n, k)
        Histograms in the columns, not negative, with one and the same total. Bins without mass
        cost nothing.
    M : array_like, shape (n, m)
        Cost of moving one unit of mass from a bin of the histograms to one of the barycenter;
        finite.
    reg : float
        Strength of the entropy, in the unit of `M`; positive.
    weights : array_like, shape (k,), optional
        Weights of the histograms, not negative; they are divided by their sum. Equal by default.
    numItermax : int, default 1000
        Cap on the iterations.
    stopThr : float, default 1e-9
        Largest weighted mean of the 1-norms by which the columns of the plans differ from the
        barycenter, relative to the total mass; their rows are exact.
    verbose : bool, default False
        Write iterations and errors to standard output.
    log : bool, default False
        Return a dict beside the barycenter.
    warn : bool, default True
        Warn if the tolerance was not met.

    Returns
    -------
    q : ndarray, shape (m,)
        The barycenter, with the total of the histograms.
    log : dict
        Only with ``log=True``: ``err`` (one for each iteration, at the `reg` of the moment),
        ``niter``, ``converged``, ``status`` and ``marginal_error`` as in a `Solution`,
        ``newton``, ``refused`` and ``cg`` (steps and products), and ``f``, shape (n, k), and
        ``g``, shape (m, k), the potentials of the plans
        ``P_k = exp((f_k + g_k - M) / reg)``, in cost units; f is minus infinity without mass.

    Raises
    ------
    ValueError
        If an argument is NaN, negative, of the wrong shape or out of range, or if the totals of
        the histograms differ.
    TypeError
        If an argument is not numeric.

    Warns
    -----
    ConvergenceWarning
        If the tolerance was not met, unless ``warn=False``.

    See Also
    --------
    sparsenum.ot.solve : transport between two histograms.

    Notes
    -----
    The dual is concave in the potentials of the columns, which sum to zero over the histograms.
    It is maximised by Newton's method with conjugate gradients, on sparse supports and annealed
    in `reg`, where POT's Bregman projections take thousands of iterations at small `reg`. Costs
    are read some ten times for each histogram; memory is what the support at a twentieth of the
    largest cost takes, up to 20 bytes for each pair and histogram.

    References
    ----------
    .. [1] Benamou, Carlier, Cuturi, Nenna, Peyre, "Iterative Bregman Projections for Regularized
       Transportation Problems", SIAM J. Sci. Comput. 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenum import ot
    >>> x = np.arange(5.0)
    >>> A = np.array([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1.0]]).T
    >>> ot.barycenter(A, (x[:, None] - x) ** 2, reg=0.5).round(3).tolist()
    [0.0, 0.106, 0.787, 0.106, 0.0]
    """
    given = A, M, weights
    for x, name in ((A, "A"), (M, "M"), (weights, "weights"), (reg, "reg")):
        if is_differentiated(x):
            raise NotImplementedError(
                f"{name} has no derivatives through barycenter in this version: detach it"
            )
    histograms, cost = _histograms(to_numpy(A)), _finite_cost(to_numpy(M))
    weights = to_numpy(weights)
    if len(cost) != len(histograms):
        raise ValueError(
            f"M must have one row for each bin of A, {len(histograms)}: got shape {cost.shape}"
        )
    reg = strength(reg)
    monitor = Monitor(
        tolerance(stopThr, "stopThr"),
        whole(numItermax, "numItermax"),
        callback=printing(None) if flag(verbose, "verbose") else None,
    )
    share, mass = _weights(weights, histograms.shape[1]), float(histograms[:, 0].sum())
    used = np.flatnonzero(share)
    occupied = [counting(histograms[:, k]) for k in used]
    free = np.ones(cost.shape[1])  # no column has a mass of its own
    level, least = rows_levelled(cost, reg)
    problems = [
        Problem(
            level if rows.size == len(level) else level[rows],
            histograms[rows, k] / histograms[:, k].sum(),
            free,
            reg,
        )
        for k, rows in zip(used, occupied, strict=True)
    ]
    at, counts = annealed_agreement(problems, share[used], monitor)
    converged = at.error <= monitor.tol
    if flag(warn, "warn") and not converged:
        warnings.warn(
            f"Barycenter did not converge: the plans differ from it by {at.error:.1e} after "
            f"{len(monitor.errors) - 1} iterations, tolerance {monitor.tol:.1e} (raise numItermax, "
            "stopThr or reg).",
            ConvergenceWarning,
            stacklevel=2,
        )
    q = tensor_like(mass * at.mean, *given)
    if not flag(log, "log"):
        return q
    f = np.full(histograms.shape, -np.inf)
    g = np.zeros((cost.shape[1], histograms.shape[1]))
    for k, rows, plan in zip(used, occupied, at.plans, strict=True):
        f[rows, k] = plan.f + least[rows] + reg * np.log(mass)
        g[:, k] = plan.g
        little = np.setdiff1d(np.flatnonzero(histograms[:, k]), rows)
        f[little, k] = balancing(cost[little], histograms[little, k], plan.g, reg)
    return q, {
        "err": monitor.errors,
        "niter": len(monitor.errors) - 1,
        "converged": converged,
        "status": monitor.status,
        "marginal_error": at.error,
        "f": tensor_like(f, *given),
        "g": tensor_like(g, *given),
        **counts,
    }


def _histograms(A: ArrayLike) -> NDArray[np.float64]:
    histograms = real_array(A, "A", 2)
    if 0 in histograms.shape:
        raise ValueError(f"A must have at least one bin and histogram: got {histograms.shape}")
    if not (np.isfinite(histograms).all() and (histograms >= 0).all()):
        raise ValueError("A must hold finite masses, not negative; clean it, or clip it at zero")
    with np.errstate(over="ignore"):
        totals = histograms.sum(axis=0)
    if totals.max() == np.inf:
        raise ValueError("A must have columns whose totals float64 can hold; divide it by its sum")
    if not totals.min() > 0:
        raise ValueError(f"A must have mass in each column: got none in column {totals.argmin()}")
    if np.ptp(totals) > mismatch(*histograms.T) * totals.max():
        raise ValueError(
            f"A must have columns of one total: got from {totals.min():.9g} to {totals.max():.9g}; "
            "divide each by its sum"
        )
    return histograms


def _finite_cost(M: ArrayLike) -> NDArray[np.float64]:
    cost = real_array(M, "M", 2)
    if cost.shape[1] == 0:
        raise ValueError(f"M must have at least one column: got shape {cost.shape}")
    if not (np.abs(cost) <= LARGEST).all():
        raise ValueError(
            f"M must hold finite costs, up to {LARGEST:.0e}: got NaN, infinity or more; clean the "
            "cost first"
        )
    return cost


def _weights(weights: ArrayLike | None, k: int) -> Vector:
    if weights is None:
        return np.full(k, 1.0 / k)
    share = real_array(weights, "weights", 1)
    if share.size != k:
        raise ValueError(
            f"weights must have one for each of the {k} columns of A: got {share.size}"
        )
    if not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
        raise ValueError("weights must be finite, not negative, and not all zero")
    normalised: Vector = share / share.sum()
    return normalised
