"""Entropic transport in long double, by formulas and loops that can be checked by eye.

P_ij = exp((f_i + g_j - M_ij) / reg) throughout. Nothing of the package is imported here.
"""

import numpy as np

L = np.longdouble
TINY = L(10) ** -4900


def long(x):
    """Return an array in long double."""
    return np.asarray(x, L)


def log_sum_exp(X, axis):
    """Return log sum exp along an axis; minus infinity where there is nothing."""
    top = X.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, L(0))
    return np.log(np.exp(X - top).sum(axis=axis)) + np.squeeze(top, axis)


def product(P, M):
    """Return <P, M>, where nothing times infinity is nothing."""
    return (P * np.where(P > 0, M, L(0))).sum()


def entropy(P):
    """Return sum P log P."""
    return (P * np.log(np.where(P > 0, P, L(1)))).sum()


def divergence(p, q):
    """Return KL(p | q) with its mass terms."""
    some = p > 0
    return (p[some] * np.log(p[some] / q[some])).sum() - p.sum() + q.sum()


def marginal_error(P, a, b):
    """Return the 1-norm of the violation of both marginals, relative to the mass of a."""
    return (np.abs(P.sum(axis=1) - a).sum() + np.abs(P.sum(axis=0) - b).sum()) / a.sum()


def regulariser(P, a, b, kind):
    """Return sum P log P, or sum P log (P / ab')."""
    if kind == "entropy":
        return entropy(P)
    r, c = P.sum(axis=1), P.sum(axis=0)
    sides = ((r, a), (c, b))
    return entropy(P) - sum((s * np.log(np.where(x > 0, x, L(1)))).sum() for s, x in sides)


def unbalanced_value(P, M, a, b, reg, rho, kind):
    """Return <P, M>, the entropy, and the penalties that are not infinite."""
    some = a[:, None] * b > 0
    if kind == "KL":
        outer = (a[:, None] * b)[some]
        total = product(P, M) + reg * divergence(P[some], outer)
    else:
        total = product(P, M) + reg * (entropy(P) - P.sum())
    for penalty, sums, mass in zip(rho, (P.sum(axis=1), P.sum(axis=0)), (a, b), strict=True):
        if np.isfinite(penalty):
            total += penalty * divergence(sums[mass > 0], mass[mass > 0])
    return total


def rounding(M, reg):
    """Return how far the exponents of long double may be off, with so large a cost."""
    finite = M[np.isfinite(M)]
    return 16 * np.finfo(L).eps * np.ptp(finite) / reg if finite.size else L(0)


def plain_sinkhorn(M, a, b, reg, cap, tol=1e-15):
    """Return the plan by Sinkhorn's method in logarithms, and the sweeps; None beyond the cap."""
    rows, columns = a > 0, b > 0
    K = -M[np.ix_(rows, columns)]
    K = (K - K.max()) / reg
    log_a, log_b = np.log(a[rows] / a.sum()), np.log(b[columns] / b.sum())
    v = np.zeros(columns.sum(), L)
    for sweep in range(1, cap + 1):
        u = log_a - log_sum_exp(K + v, 1)
        logs = log_sum_exp(K + u[:, None], 0) + v
        if np.abs(np.exp(logs) - np.exp(log_b)).sum() <= tol:
            P = np.zeros(M.shape, L)
            P[np.ix_(rows, columns)] = a.sum() * np.exp(K + u[:, None] + v)
            return P, sweep
        v = v + log_b - logs
    return None, cap


def plain_unbalanced(M, a, b, reg, rho, kind, cap, tol=1e-16):
    """Return the plan by alternating maximisation (Chizat et al. 2018, 3.2); None beyond the cap.

    With the prior K = ab' exp(-M / reg), or exp(-M / reg) for kind "entropy".
    """
    rows, columns = a > 0, b > 0
    log_a, log_b = np.log(a[rows]), np.log(b[columns])
    K = -M[np.ix_(rows, columns)] / reg
    if kind == "KL":
        K = K + log_a[:, None] + log_b
    shares = [1 / (1 + reg / L(penalty)) for penalty in rho]
    u, v = np.zeros(rows.sum(), L), np.zeros(columns.sum(), L)
    for sweep in range(1, cap + 1):
        old = u
        u = shares[0] * (log_a - log_sum_exp(K + v, 1))
        v = shares[1] * (log_b - log_sum_exp(K + u[:, None], 0))
        if np.abs(u - old).max() <= tol * (1 + np.abs(u).max()):
            P = np.zeros(M.shape, L)
            P[np.ix_(rows, columns)] = np.exp(K + u[:, None] + v)
            return P, sweep
    return None, cap


def plain_barycenter(A, M, reg, weights, cap, tol=1e-14):
    """Return the barycenter by projections in logarithms (Benamou et al. 2015, 3.2), or None."""
    K = (M.min() - M) / reg
    with np.errstate(divide="ignore"):
        logs = np.log(A / A.sum(axis=0))
    V = np.zeros((A.shape[1], M.shape[1]), L)
    for sweep in range(1, cap + 1):
        U = [log_a - log_sum_exp(K + v, 1) for log_a, v in zip(logs.T, V, strict=True)]
        S = np.array([log_sum_exp(K + u[:, None], 0) for u in U])
        columns = np.exp(S + V)
        if np.abs(columns - weights @ columns).sum() <= tol:
            return A[:, 0].sum() * (weights @ columns), sweep
        V = weights @ S - S
    return None, cap


def costs(X, Y, metric):
    """Return the costs between two clouds of points."""
    D = X[:, None, :] - Y[None, :, :]
    if metric == "cosine":
        lengths = np.sqrt((X**2).sum(axis=1))[:, None] * np.sqrt((Y**2).sum(axis=1))
        return 1 - (X @ Y.T) / lengths
    return {
        "sqeuclidean": lambda: (D**2).sum(axis=2),
        "cityblock": lambda: np.abs(D).sum(axis=2),
        "euclidean": lambda: np.sqrt((D**2).sum(axis=2)),
        "chebyshev": lambda: np.abs(D).max(axis=2),
    }[metric]()


def feasible(M, a, b):
    """Return whether some plan on the finite costs has these marginals, up to rounding."""
    from scipy.optimize import linprog

    n, m = M.shape
    allowed = np.flatnonzero(np.isfinite(M).ravel())
    rows, columns = np.divmod(allowed, m)
    A = np.zeros((n + m, allowed.size))
    A[rows, np.arange(allowed.size)] = 1
    A[n + columns, np.arange(allowed.size)] = 1
    total = np.concatenate([a / a.sum(), b / b.sum()]).astype(float)
    # What must be left out at least: minimise the mass that is missing.
    found = linprog(-np.ones(allowed.size), A_ub=A, b_ub=total, method="highs")
    return -found.fun > 1 - 1e-6
