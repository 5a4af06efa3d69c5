"""Slow twins of the numerics: loops and dense numpy in float64, nothing clever."""

import numpy as np
from scipy.special import logsumexp

# Sparse matrices, written out densely.


def above(A, threshold):
    """Keep the entries above a threshold in absolute value."""
    return np.array([[x if abs(x) > threshold else 0.0 for x in row] for row in A]).reshape(A.shape)


def transpose(A):
    """Exchange rows and columns."""
    n, m = A.shape
    return np.array([[A[i, j] for i in range(n)] for j in range(m)]).reshape(m, n)


def spmm(A, X):
    """Multiply two dense matrices by three loops."""
    Y = np.zeros((A.shape[0], X.shape[1]))
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            for t in range(X.shape[1]):
                Y[i, t] += float(A[i, j]) * float(X[j, t])
    return Y


def spmv(A, x):
    """Multiply a matrix and a vector."""
    return spmm(A, x[:, None])[:, 0]


def spmv_t(A, y):
    """Multiply the transpose and a vector."""
    return spmv(transpose(A), y)


def rows_times_sparse(A, B, start, stop):
    """Multiply a range of rows of A by B."""
    return spmm(A[start:stop], B)


def row_top_k(scores, k):
    """List the k best (column, score) of each row; ties to the lower column."""
    rows = []
    for row in scores.tolist():
        usable = [(-s, j) for j, s in enumerate(row) if s > -np.inf]
        rows.append([(j, -s) for s, j in sorted(usable)[:k]])
    return rows


def solve(A, b):
    """Solve A x = b, by least squares if A is singular."""
    return np.linalg.lstsq(A, b, rcond=1e-10)[0]


# Topology.


def largest_remainder(total, weights):
    """Share units in proportion to weights, the rest to the largest remainders."""
    shares = total * np.asarray(weights) / np.sum(weights)
    units = np.floor(shares).astype(int)
    for i in sorted(range(len(units)), key=lambda i: (units[i] - shares[i], i)):
        if units.sum() < total:
            units[i] += 1
    return units


def weakest(scores, count):
    """Return the positions of the smallest scores; ties to the earlier position."""
    return set(sorted(range(len(scores)), key=lambda p: (scores[p], p))[:count])


def best_free(scores, kept, count):
    """Return the (row, column) of the best scores that are not kept; ties to the earlier place."""
    free = [(-s, place) for place, s in np.ndenumerate(scores) if place not in kept]
    return {place for _, place in sorted(free)[:count]}


# Entropic transport, P_ij = exp((f_i + g_j - M_ij) / reg).


def plan(M, f, g, reg):
    """Return the plan of two potentials."""
    return np.exp((f[:, None] + g[None, :] - M) / reg)


def row_update(M, a, g, reg):
    """Return the f that makes the rows of the plan sum to a."""
    with np.errstate(divide="ignore", invalid="ignore"):
        f = reg * (np.log(a) - logsumexp((g[None, :] - M) / reg, axis=1))
    return np.where(a > 0, f, -np.inf)


def column_update(M, b, f, reg):
    """Return the g that makes the columns of the plan sum to b."""
    return row_update(M.T, b, f, reg)


def entropic_plan(M, a, b, reg, tol=1e-13, max_iter=200_000):
    """Return plan and potentials by Sinkhorn in logarithms (Peyre, Cuturi 2019, 4.4)."""
    g = np.zeros(len(b))
    for _ in range(max_iter):
        f = row_update(M, a, g, reg)
        P = plan(M, f, g, reg)
        if np.abs(P.sum(axis=0) - b).sum() <= tol * b.sum():
            return P, f, g
        g = column_update(M, b, f, reg)
    raise AssertionError("the naive twin did not converge: choose a kinder problem")


def value(P, M, a, b, reg):
    """Return <P, M> + reg KL(P | a b')."""
    support = P > 0
    kl = P[support] * np.log(P[support] / np.outer(a, b)[support])
    return linear_value(P, M) + reg * kl.sum()


def linear_value(P, M):
    """Return <P, M>, where zero times infinity is zero."""
    return float(np.sum(P[P > 0] * M[P > 0]))


def plan_above(P, row_floor, column_floor):
    """Keep the entries of the plan above their row's or their column's floor."""
    return np.where(np.minimum(row_floor[:, None], column_floor) < P, P, 0.0)


def support_costs(M, mask):
    """Forbid the pairs outside a support."""
    return np.where(mask, M, np.inf)


def anneal_stage(M, a, g, reg):
    """Return top, K, u and column sums of the first half step of a stage, in float64."""
    top = (g - M).max(axis=1)
    K = np.exp((g - M - top[:, None]) / reg)
    u = a / K.sum(axis=1)
    return top, K, u, (u[:, None] * K).sum(axis=0)


def strong(P, a, column_sums, drop):
    """Keep the entries above a share of both their row's and their column's mass, over root a."""
    floor = drop * np.minimum(a[:, None], column_sums)
    return np.where(floor < P, P / np.sqrt(a)[:, None], 0.0)


def schur(Q, weight):
    """Return diag(weight) - Q'Q."""
    return np.diag(weight) - Q.T @ Q


def scaling_sweep(K, a, v):
    """Return u = a / (K v) and the column sums of diag(u) K."""
    u = a / (K @ v)
    return u, (u[:, None] * K).sum(axis=0)


def newton_direction(P, a, c, b, damping):
    """Solve (diag(c) (1 + damping) - P' diag(1/a) P) x = b - c, the Schur complement, densely."""
    return np.linalg.solve(np.diag(c * (1.0 + damping)) - P.T @ np.diag(1.0 / a) @ P, b - c)


def plan_derivative(P, reg, dM, da, db):
    """Move a plan along changes of cost and masses: solve the optimality conditions densely."""
    n = P.shape[0]
    r, c = P.sum(axis=1), P.sum(axis=0)
    H = np.block([[np.diag(r), P], [P.T, np.diag(c)]])
    change = P * dM
    rhs = np.concatenate([reg * da + change.sum(axis=1), reg * db + change.sum(axis=0)])
    moved = solve(H, rhs)
    return P * (moved[:n, None] + moved[n:] - dM) / reg


# Unbalanced transport, P_ij = a_i b_j exp((phi_i + psi_j - M_ij) / reg).


def relaxed_row_update(M, a, g, reg, kappa):
    """Return f, the plan, and its sums, where a penalty holds the rows to a."""
    surplus = logsumexp((g[None, :] - M) / reg, axis=1)
    f = reg * (np.log(a) - kappa * surplus)
    P = plan(M, f, g, reg)
    return f, P, P.sum(axis=1), P.sum(axis=0)


def unbalanced_plan(M, a, b, reg, rho, tol=1e-13, max_iter=200_000):
    """Return plan and potentials phi, psi by alternating maximisation (Chizat et al. 2018, 3.2)."""
    phi, psi = np.zeros(len(a)), np.zeros(len(b))
    shares = [1.0 / (1.0 + reg / penalty) for penalty in rho]
    for _ in range(max_iter):
        old = phi
        phi = -shares[0] * reg * logsumexp((psi[None, :] - M) / reg + np.log(b)[None, :], axis=1)
        psi = -shares[1] * reg * logsumexp((phi[:, None] - M) / reg + np.log(a)[:, None], axis=0)
        if np.abs(phi - old).max() <= tol * reg:
            return np.outer(a, b) * plan(M, phi, psi, reg), phi, psi
    raise AssertionError("the naive twin did not converge: choose a kinder problem")


def divergence(p, q):
    """Return KL(p | q) with its mass terms."""
    p, q = np.ravel(p), np.ravel(q)
    return float(
        sum(x * np.log(x / y) if x > 0 else 0.0 for x, y in zip(p, q, strict=True))
        - p.sum()
        + q.sum()
    )


def unbalanced_value(P, M, a, b, reg, rho):
    """Return <P, M> + reg KL(P | ab') and the penalties that are not infinite."""
    total = linear_value(P, M) + reg * divergence(P, np.outer(a, b))
    for penalty, sums, mass in zip(rho, (P.sum(axis=1), P.sum(axis=0)), (a, b), strict=True):
        total += penalty * divergence(sums, mass) if np.isfinite(penalty) else 0.0
    return total


def bregman_barycenter(A, M, reg, weights, tol=1e-13, max_iter=100_000):
    """Return the barycenter by projections in logarithms (Benamou et al. 2015, 3.2)."""
    G = np.zeros((A.shape[1], M.shape[1]))
    for _ in range(max_iter):
        F = np.array([row_update(M, a, g, reg) for a, g in zip(A.T, G, strict=True)])
        logs = np.array([logsumexp((f[:, None] - M) / reg, axis=0) for f in F])
        columns = np.exp(logs + G / reg)
        if np.abs(columns - weights @ columns).sum() <= tol:
            return weights @ columns
        G = reg * (weights @ logs - logs)
    raise AssertionError("the naive twin did not converge: choose a kinder problem")
