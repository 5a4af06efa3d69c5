"""Kernels of sparse item factors: one row in scratch at a time, its columns always in order."""

import numpy as np

from sparsenum._numba import kernel

__all__ = ["add_pulls", "refit_rows", "subtract_own"]


@kernel
def subtract_own(indptr, indices, data, first, own, Y):
    """Subtract from Y what rows first.. of diag(own) V hold."""
    for j in range(Y.shape[0]):
        for p in range(indptr[first + j], indptr[first + j + 1]):
            Y[j, indices[p]] -= own[first + j] * data[p]


@kernel
def add_pulls(indptr, indices, data, first_user, Z, first_item, Y):
    """Add to Y what rows first_item.. of A' Z get from the users first_user.., whose z are in Z."""
    stop_item = first_item + np.uint64(Y.shape[0])
    for u in range(Z.shape[0]):
        z = Z[u]
        p, stop = indptr[first_user + u], indptr[first_user + u + 1]
        high = stop
        while p < high:
            middle = (p + high) >> np.uint64(1)
            if indices[middle] < first_item:
                p = middle + np.uint64(1)
            else:
                high = middle
        while p < stop and indices[p] < stop_item:
            weight, y = data[p], Y[indices[p] - first_item]
            for t in range(z.size):
                y[t] += weight * z[t]
            p += np.uint64(1)


@kernel
def bar_of(score, quota):
    """Return the quota-th largest score, of float32 not negative, by bisection on their bits.

    What is negative is never counted; the bits of the others are in the order of the numbers.
    """
    bits = score.view(np.int32)
    low, high = np.int32(-1), np.int32(0x7F7FFFFF)
    while high - low > 1:
        middle = np.int32((low + high) >> 1)
        above = 0
        for t in range(bits.size):
            above += bits[t] > middle
        if above < quota:
            high = middle
        else:
            low = middle
    return high


@kernel
def places_at(score, bar, quota):
    """Return how many of the quota best scores are equal to their bar."""
    bits = score.view(np.int32)
    above = 0
    for t in range(bits.size):
        above += bits[t] > bar
    return quota - above


@kernel
def grow(b, H, support, weights, k, extra, score, full):
    """Add the `extra` columns of largest g_t^2 / H_tt to k columns, where g = b - H w."""
    for t in range(b.size):
        score[t] = b[t]
        full[t] = 0.0
    for s in range(k):
        row, weight = H[support[s]], weights[s]
        for t in range(b.size):
            score[t] -= weight * row[t]
    for t in range(b.size):
        score[t] *= score[t] / H[t, t]
    for s in range(k):
        full[support[s]] = weights[s]
        score[support[s]] = -1.0
    bar = bar_of(score, extra)
    level = places_at(score, bar, extra)
    bits = score.view(np.int32)
    n = 0
    for t in range(b.size):
        if bits[t] == bar:
            level -= 1
        if bits[t] < 0 or bits[t] > bar or (bits[t] == bar and level >= 0):
            support[n] = t
            weights[n] = full[t]
            n += 1


@kernel
def prune(H, support, weights, n, k, score):
    """Keep the k of n columns of largest w_t^2 H_tt; ties keep the earlier."""
    worth = score[:n]
    for s in range(n):
        worth[s] = weights[s] * weights[s] * H[support[s], support[s]]
    bar = bar_of(worth, k)
    level = places_at(worth, bar, k)
    bits = worth.view(np.int32)
    kept = 0
    for s in range(n):
        if bits[s] == bar:
            level -= 1
        if bits[s] > bar or (bits[s] == bar and level >= 0):
            support[kept] = support[s]
            weights[kept] = weights[s]
            kept += 1


@kernel
def solve(b, H, support, x, n, S, work, tol, max_steps):
    """Bring x (n,) closer to the solution of H x = b on a support, by conjugate gradients.

    They start from x, and stop where the residual falls below tol times b, both in the norm of the
    preconditioner diag(H).
    """
    r, p, q = work[0], work[1], work[2]
    for s in range(n):
        row = H[support[s]]
        for c in range(n):
            S[s, c] = row[support[c]]
    rz = size = x.dtype.type(0.0)
    for s in range(n):
        total = b[support[s]]
        size += total * total / S[s, s]
        for c in range(n):
            total -= S[s, c] * x[c]
        r[s] = total
        p[s] = total / S[s, s]
        rz += total * p[s]
    if size == 0.0:  # an item without pull: the steps would halve it for ever
        x[:n] = 0.0
        return
    for _ in range(max_steps):
        if rz <= tol * tol * size:
            break
        curvature = x.dtype.type(0.0)
        for s in range(n):
            total = x.dtype.type(0.0)
            for c in range(n):
                total += S[s, c] * p[c]
            q[s] = total
            curvature += p[s] * total
        if not curvature > 0.0:
            break
        alpha, before = rz / curvature, rz
        rz = x.dtype.type(0.0)
        for s in range(n):
            x[s] += alpha * p[s]
            r[s] -= alpha * q[s]
            rz += r[s] * r[s] / S[s, s]
        for s in range(n):
            p[s] = r[s] / S[s, s] + rz / before * p[s]


@kernel
def refit_rows(indptr, indices, data, first, B, H, fraction, tol, max_steps):
    """Fit rows first.. to the quadratics w'Hw / 2 - b'w: grow, solve, prune, solve."""
    dim = H.shape[0]
    widest = 0
    for j in range(B.shape[0]):
        widest = max(widest, np.int64(indptr[first + j + 1] - indptr[first + j]))
    room = min(dim, widest + np.int64(fraction * widest + 0.5))
    support, weights = np.empty(room, indices.dtype), np.empty(room, data.dtype)
    score, full = np.empty(dim, data.dtype), np.empty(dim, data.dtype)
    S, work = np.empty((room, room), data.dtype), np.empty((3, room), data.dtype)
    for j in range(B.shape[0]):
        start = indptr[first + j]
        k = np.int64(indptr[first + j + 1] - start)
        extra = min(np.int64(fraction * k + 0.5), dim - k)
        for s in range(k):
            support[s] = indices[start + s]
            weights[s] = data[start + s]
        if extra > 0:
            grow(B[j], H, support, weights, k, extra, score, full)
            solve(B[j], H, support, weights, k + extra, S, work, tol, max_steps)
            prune(H, support, weights, k + extra, k, score)
        solve(B[j], H, support, weights, k, S, work, tol, max_steps)
        for s in range(k):
            indices[start + s] = support[s]
            data[start + s] = weights[s]
