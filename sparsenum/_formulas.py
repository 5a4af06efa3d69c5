"""Formulas and loops over a row that kernels of several files share.

numba's disk cache knows the content of a kernel's own file only, so each name here carries a
version: whoever changes a formula gives it the next one, which changes every file that imports it.
A test holds the digest of each.
"""

import math

import numpy as np

from sparsenum._numba import formula, kernel

__all__ = [
    "add_v1",
    "column_update_v1",
    "contains_v1",
    "dot_v1",
    "draw_v1",
    "exp32_v1",
    "exp_or_zero_v1",
    "hash_v1",
    "highest_v1",
    "softplus_v1",
    "solve_laplacian_v1",
    "step_v1",
]


SGD, ADAGRAD, ADAM, MOMENTUM = 0, 1, 2, 3
ADAM_MEAN, ADAM_SQUARE, ADAM_FLOOR, MOMENTUM_KEPT = 0.9, 0.999, 1e-8, 0.9


@formula
def exp_v1(x):
    """Return e^x for -700 <= x <= 0.3 within 4e-16, branch-free, so that loops vectorise."""
    k = np.int32(x * 1.4426950408889634 - 0.5)
    whole = np.float64(k)
    r = (x - whole * 6.93147180369123816490e-01) - whole * 1.90821492927058770002e-10
    p = 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    bits = np.int64((np.int64(k) + np.int64(1023)) << np.int64(52))
    return p * np.int64(bits).view(np.float64)


@formula
def exp_or_zero_v1(x):
    """Return e^x for x <= 0.3, cut to zero below e^-600 so that no denormal number appears."""
    return exp_v1(x) if x > -600.0 else 0.0


@formula
def exp32_v1(x):
    """Return e^x in float32 for -80 <= x <= 0 within 3e-7, as exp_v1 does."""
    k = np.int32(x * np.float32(1.44269504) - np.float32(0.5))
    whole = np.float32(k)
    r = (x - whole * np.float32(0.693359375)) + whole * np.float32(2.12194440e-4)
    p = np.float32(1.0 / 5040.0)
    p = p * r + np.float32(1.0 / 720.0)
    p = p * r + np.float32(1.0 / 120.0)
    p = p * r + np.float32(1.0 / 24.0)
    p = p * r + np.float32(1.0 / 6.0)
    p = p * r + np.float32(0.5)
    p = p * r + np.float32(1.0)
    p = p * r + np.float32(1.0)
    bits = np.int32((k + np.int32(127)) << np.int32(23))
    return p * np.int32(bits).view(np.float32)


@formula
def softplus_v1(x):
    """Return log(1 + exp(x)) without overflow."""
    return math.log1p(math.exp(x)) if x < 30 else x


@formula
def hash_v1(seed, x, y):
    """Return a 64-bit hash of (seed, x, y): a random number that does not depend on any order."""
    z = np.uint64(seed) ^ (np.uint64(x) << np.uint64(32)) ^ np.uint64(y)
    z = (z + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@formula
def draw_v1(seed, x, y, n):
    """Return a number below n (up to 2^32), drawn by the hash of (seed, x, y)."""
    number = hash_v1(seed, x, y) >> np.uint64(32)
    return np.uint32((number * np.uint64(n)) >> np.uint64(32))


@kernel
def highest_v1(x, start, stop):
    """Return the largest of x[start:stop], in four chains that do not wait for one another.

    NaN forbids LLVM to reorder comparisons, so a plain maximum takes one latency an entry.
    """
    a = b = c = d = -np.inf
    whole = start + (stop - start) // 4 * 4
    for p in range(start, whole, 4):
        a = max(a, x[p])
        b = max(b, x[p + 1])
        c = max(c, x[p + 2])
        d = max(d, x[p + 3])
    for p in range(whole, stop):
        a = max(a, x[p])
    return max(max(a, b), max(c, d))


@kernel
def contains_v1(indices, start, stop, value):
    """Return whether a sorted range of indices holds value."""
    end = stop
    while start < stop:
        middle = (start + stop) >> np.uint64(1)
        if indices[middle] < value:
            start = middle + np.uint64(1)
        else:
            stop = middle
    return start < end and indices[start] == value


@kernel
def dot_v1(indices, values, start, stop, dense):
    """Return the product of a sparse row with a dense one."""
    total = np.float32(0)
    for p in range(start, stop):
        total += values[p] * dense[indices[p]]
    return total


@kernel
def add_v1(indices, values, start, stop, factor, dense):
    """Add a multiple of a sparse row to a dense one."""
    for p in range(start, stop):
        dense[indices[p]] += factor * values[p]


@kernel
def column_update_v1(M, b, f, reg, g):
    """Set g so that the columns of P sum to b, safe where a column of P has underflowed.

    P_ij = exp((f_i + g_j - M_ij) / reg), for a cost M (n, m).
    """
    n, m = M.shape
    top = np.full(m, -np.inf)
    total = np.zeros(m)
    for i in range(n):
        for j in range(m):
            top[j] = max(top[j], (f[i] - M[i, j]) / reg)
    for i in range(n):
        for j in range(m):
            total[j] += exp_or_zero_v1((f[i] - M[i, j]) / reg - top[j])
    for j in range(m):
        g[j] = reg * (math.log(b[j]) - top[j] - math.log(total[j]))


@kernel
def solve_laplacian_v1(W, leak, x):
    """Put into x the solution of (diag(W 1 + leak) - W) y = x, for the weights above W's diagonal.

    Elimination adds to weights and leaks, in place: a diagonal is their sum, never a difference,
    so no digits cancel however weakly the graph hangs together (Grassmann, Taksar, Heyman 1985).
    """
    m = x.size
    diagonal = np.empty(m)
    for k in range(m):
        total = leak[k]
        for j in range(k + 1, m):
            total += W[k, j]
        diagonal[k] = total
        for i in range(k + 1, m):
            share = W[k, i] / total if total > 0.0 else 0.0
            if share == 0.0:
                continue
            for j in range(i + 1, m):
                W[i, j] += share * W[k, j]
            leak[i] += share * leak[k]
            x[i] += share * x[k]
    for k in range(m - 1, -1, -1):
        total = x[k]
        for j in range(k + 1, m):
            total += W[k, j] * x[j]
        x[k] = total / diagonal[k] if diagonal[k] > 0.0 else 0.0


@kernel
def step_v1(state, p, gradient, code, rate, corrections):
    """Take a gradient into the state of weight p and return how far the weight moves."""
    if code == ADAGRAD:
        state[0, p] += gradient * gradient
        return rate * gradient / np.sqrt(state[0, p])
    if code == SGD:
        return rate * gradient
    if code == MOMENTUM:
        state[0, p] = np.float32(MOMENTUM_KEPT) * state[0, p] + gradient
        return rate * state[0, p]
    keep, keep_square = np.float32(ADAM_MEAN), np.float32(ADAM_SQUARE)
    state[0, p] = keep * state[0, p] + (np.float32(1) - keep) * gradient
    state[1, p] = keep_square * state[1, p] + (np.float32(1) - keep_square) * gradient * gradient
    correction = corrections[min(np.int64(state[2, p]), corrections.size - 1)]
    state[2, p] += np.float32(1)
    return rate * correction * state[0, p] / (np.sqrt(state[1, p]) + np.float32(ADAM_FLOOR))
