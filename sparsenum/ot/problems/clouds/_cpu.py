"""Kernels on pairs of points: which of two clouds are close, and what they cost.

Points of rows come as X (n, d), points of columns as Y (d, m), so that loops run along a
coordinate. `squared` chooses between squared Euclidean and 1-norm costs. Boxes come as triples
(low, slope, top) and (high): see tree.py.
"""

import numpy as np

from sparsenum._numba import formula, kernel

__all__ = [
    "absolute_costs",
    "add_sums",
    "close_blocks",
    "count_close",
    "count_closer",
    "fill_close",
    "fill_closer",
    "pair_costs",
    "squared_costs",
]


@formula
def part(x, y, squared):
    """Return the part of the cost that one coordinate contributes."""
    return (x - y) ** 2 if squared else abs(x - y)


@formula
def clipped(x, low, high):
    """Return the nearest number to x between low and high."""
    return min(max(x, low), high)


@kernel
def least_slack(rows, i, columns, j, squared):
    """Bound cost - f - g from below over box i of rows and box j of columns.

    Coordinate by coordinate this is the least of part(x, y) - p (x - low) - q (y - low) over a
    rectangle: a convex function without a minimum inside but where it is constant along a line,
    so the least of its edges. On an edge it lies in a corner or where the slope vanishes.
    """
    low_x, high_x, slope_x, top_x = rows
    low_y, high_y, slope_y, top_y = columns
    total = -top_x[i] - top_y[j]
    for k in range(low_x.shape[1]):
        x0, x1, p = low_x[i, k], high_x[i, k], slope_x[i, k]
        y0, y1, q = low_y[j, k], high_y[j, k], slope_y[j, k]
        shift_x, shift_y = (0.5 * p, 0.5 * q) if squared else (0.0, 0.0)
        best = np.inf
        for x in (x0, x1):
            for y in (y0, y1, clipped(x + shift_y, y0, y1)):
                best = min(best, part(x, y, squared) - p * (x - x0) - q * (y - y0))
        for y in (y0, y1):
            x = clipped(y + shift_x, x0, x1)
            best = min(best, part(x, y, squared) - p * (x - x0) - q * (y - y0))
        total += best
    return total


@kernel
def close_blocks(rows, columns, squared, width, close):
    """Write which boxes of rows and of columns may hold a pair with slack below width."""
    for i in range(close.shape[0]):
        for j in range(close.shape[1]):
            close[i, j] = not least_slack(rows, i, columns, j, squared) >= width  # nor where NaN


@kernel
def close_leaves(i, rows, columns, squared, width, close, ratio, hits):
    """Write the leaves of columns that leaf i of rows may be close to; return how many."""
    count = 0
    for block in range(close.size):
        if close[block]:
            for j in range(block * ratio, min((block + 1) * ratio, columns[0].shape[0])):
                hits[count] = j
                count += not least_slack(rows, i, columns, j, squared) >= width
    return count


@kernel
def leaf_slack(x, Y, g, start, stop, squared, slack):
    """Write cost - g of one point and the columns from start to stop."""
    for j in range(start, stop):
        slack[j - start] = -g[j]
    for k in range(x.size):
        for j in range(start, stop):
            slack[j - start] += part(x[k], Y[k, j], squared)


@kernel
def count_close(X, Y, f, g, squared, width, rows, columns, close, sizes, first, indptr):
    """Count into indptr[1:], for rows from `first` on, the entries with cost - f - g < width."""
    size, ratio = sizes
    hits = np.empty(columns[0].shape[0] + 1, np.int64)
    slack = np.empty(size)
    for leaf in range(first // size, (first + indptr.size + size - 2) // size):
        near = close[leaf // ratio]
        count = close_leaves(leaf, rows, columns, squared, width, near, ratio, hits)
        for i in range(leaf * size, min((leaf + 1) * size, first + indptr.size - 1)):
            found = 0
            limit = width + f[i]
            for t in range(count):
                start, stop = hits[t] * size, min((hits[t] + 1) * size, g.size)
                leaf_slack(X[i], Y, g, start, stop, squared, slack)
                for u in range(stop - start):
                    found += slack[u] < limit
            indptr[i - first + 1] = found


@kernel
def fill_close(X, Y, f, g, squared, width, rows, columns, close, sizes, first, indptr, indices):
    """Write the columns that count_close counted; `indices` has one place more than it keeps."""
    size, ratio = sizes
    hits = np.empty(columns[0].shape[0] + 1, np.int64)
    slack = np.empty(size)
    for leaf in range(first // size, (first + indptr.size + size - 2) // size):
        near = close[leaf // ratio]
        count = close_leaves(leaf, rows, columns, squared, width, near, ratio, hits)
        for i in range(leaf * size, min((leaf + 1) * size, first + indptr.size - 1)):
            p = indptr[i - first]
            limit = width + f[i]
            for t in range(count):
                start, stop = hits[t] * size, min((hits[t] + 1) * size, g.size)
                leaf_slack(X[i], Y, g, start, stop, squared, slack)
                for u in range(stop - start):
                    indices[p] = start + u
                    p += np.uint64(slack[u] < limit)


@kernel
def pair_costs(X, Y, squared, indptr, indices, cost):
    """Write the costs of the pairs of a sparsity pattern."""
    for i in range(indptr.size - 1):
        for p in range(indptr[i], indptr[i + 1]):
            cost[p] = 0.0
        for k in range(X.shape[1]):
            x = X[i, k]
            for p in range(indptr[i], indptr[i + 1]):
                cost[p] += part(x, Y[k, indices[p]], squared)


@kernel
def count_closer(X, Y, f, g, squared, width, indptr, indices, narrow_indptr):
    """Count into narrow_indptr[1:] each row's pairs of a pattern with cost - f - g < width."""
    for i in range(f.size):
        count = 0
        limit = width + f[i]
        for p in range(indptr[i], indptr[i + 1]):
            slack = -g[indices[p]]
            for k in range(X.shape[1]):
                slack += part(X[i, k], Y[k, indices[p]], squared)
            count += slack < limit
        narrow_indptr[i + 1] = count


@kernel
def fill_closer(X, Y, f, g, squared, width, indptr, indices, narrow_indptr, narrow_indices):
    """Write the pairs that count_closer counted, as fill_close does."""
    for i in range(f.size):
        q = narrow_indptr[i]
        limit = width + f[i]
        for p in range(indptr[i], indptr[i + 1]):
            slack = -g[indices[p]]
            for k in range(X.shape[1]):
                slack += part(X[i, k], Y[k, indices[p]], squared)
            narrow_indices[q] = indices[p]
            q += np.uint64(slack < limit)


@kernel
def add_sums(indptr, indices, P, row_sums, column_sums):
    """Add the rows and the columns of a sparse plan to its sums."""
    for i in range(row_sums.size):
        for p in range(indptr[i], indptr[i + 1]):
            row_sums[i] += P[p]
            column_sums[indices[p]] += P[p]


@kernel
def squared_costs(X, Y, M):
    """Write the squared Euclidean distances between points X (n, d) and Y (d, m)."""
    M[:] = 0.0
    for i in range(X.shape[0]):
        for k in range(X.shape[1]):
            for j in range(Y.shape[1]):
                M[i, j] += (X[i, k] - Y[k, j]) ** 2


@kernel
def absolute_costs(X, Y, M):
    """Write the 1-norm distances between points X (n, d) and Y (d, m)."""
    M[:] = 0.0
    for i in range(X.shape[0]):
        for k in range(X.shape[1]):
            for j in range(Y.shape[1]):
                M[i, j] += abs(X[i, k] - Y[k, j])
