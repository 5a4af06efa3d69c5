"""Kernels of alternating least squares and of its polish, on sparse tables by compressed rows.

Their arguments are tuples. Events are (indptr, indices, extra, own, other): what each row has
taken, by how much its confidence is above one, and the factors of the target by row and by what
was taken. A table is (indptr, indices, data).
"""

import math

import numpy as np

from sparsenum._formulas import add_v1, dot_v1, draw_v1, softplus_v1
from sparsenum._numba import kernel

__all__ = ["add_gram", "polish_users", "solve_rows"]

NEVER = -1.0  # gain of a column that is there already
BEYOND = 60.0  # exponents above are cut off
NEGLIGIBLE = 1e-4  # slopes below are left out


@kernel
def add_gram(table, gram):
    """Add V'V to a matrix (dim, dim), for a table V."""
    indptr, indices, data = table
    for r in range(indptr.size - 1):
        for p in range(indptr[r], indptr[r + 1]):
            add_v1(indices, data, indptr[r], indptr[r + 1], data[p], gram[indices[p]])


@kernel
def weigh_gains(events, r, table, other, gram, reg, row, gain):
    """Write g^2 / A_jj, what the loss falls by if column j alone moves, for all but those there."""
    taken, items, extra, own, factors = events
    indptr, indices, data = table
    starts, columns, values = other
    first, last = indptr[r], indptr[r + 1]
    curvature = np.empty_like(gain)
    for j in range(gain.size):
        gain[j], curvature[j] = np.float32(0), gram[j, j] + reg
    add_v1(indices, data, first, last, np.float32(1), row)
    for e in range(taken[r], taken[r + 1]):
        i, c = items[e], extra[e]
        score = dot_v1(columns, values, starts[i], starts[i + 1], row)
        slope = (np.float32(1) + c) * own[r] * factors[i] - c * score
        for p in range(starts[i], starts[i + 1]):
            gain[columns[p]] += slope * values[p]
            curvature[columns[p]] += c * values[p] * values[p]
    for p in range(first, last):
        if data[p] != 0:
            for j in range(gain.size):
                gain[j] -= data[p] * gram[indices[p], j]
    for j in range(gain.size):
        gain[j] = gain[j] * gain[j] / curvature[j]
    for p in range(first, last):
        row[indices[p]], gain[indices[p]] = np.float32(0), np.float32(NEVER)


@kernel
def mark_largest(values, n, marks):
    """Mark the n largest values; of equal ones, the first."""
    if n <= 0:
        return
    least = np.partition(values, values.size - n)[values.size - n]
    for j in range(values.size):
        if values[j] > least:
            marks[j] = True
            n -= 1
    for j in range(values.size):
        if values[j] == least and n > 0:
            marks[j] = True
            n -= 1


@kernel
def assemble(events, r, other, gram, reg, support, size, slots, A, b):
    """Write the normal equations of a row on its support: the lower triangle of A, and b."""
    taken, items, extra, own, factors = events
    starts, columns, values = other
    places, parts = np.empty(size, np.uint32), np.empty(size, np.float32)
    for i in range(size):
        slots[support[i]], b[i] = i, np.float32(0)
        for j in range(i + 1):
            A[i, j] = gram[support[i], support[j]]
        A[i, i] += reg
    for e in range(taken[r], taken[r + 1]):
        item, c, n = items[e], extra[e], 0
        target = (np.float32(1) + c) * own[r] * factors[item]
        for p in range(starts[item], starts[item + 1]):
            if slots[columns[p]] >= 0:
                places[n], parts[n] = slots[columns[p]], values[p]
                n += 1
        for i in range(n):
            b[places[i]] += target * parts[i]
            for j in range(i + 1):
                A[places[i], places[j]] += c * parts[i] * parts[j]
    for i in range(size):
        slots[support[i]] = -1


@kernel
def solve(A, b, n, L, x):
    """Solve A x = b by Cholesky's factor L, of which as of A the lower triangle is used."""
    for i in range(n):
        for j in range(i + 1):
            rest = A[i, j]
            for q in range(j):
                rest -= L[i, q] * L[j, q]
            L[i, j] = np.sqrt(rest) if i == j else rest / L[j, j]
        rest = b[i]
        for q in range(i):
            rest -= L[i, q] * x[q]
        x[i] = rest / L[i, i]
    for i in range(n - 1, -1, -1):
        x[i] /= L[i, i]
        for q in range(i):
            x[q] -= L[i, q] * x[i]


@kernel
def keep(marks, support, size, A, b):
    """Leave only marked columns in the normal equations of a row; return how many."""
    n = 0
    for i in range(size):
        if marks[i]:
            m = 0
            for j in range(i + 1):
                if marks[j]:
                    A[n, m] = A[i, j]
                    m += 1
            support[n], b[n] = support[i], b[i]
            n += 1
    return n


@kernel
def solve_rows(events, table, other, gram, reg, fraction):
    """Solve each row of a table for what it has taken of the other, and return the sum of b'x.

    On the support of a row if fraction is 0; else it grows by that share of its length, where the
    loss falls most, is solved, pruned by x^2 A_jj to what it was, and solved again.
    """
    indptr, indices, data = table
    dim, longest = gram.shape[0], 0
    for r in range(indptr.size - 1):
        longest = max(longest, np.int64(indptr[r + 1] - indptr[r]))
    most = min(dim, longest + np.int64(fraction * longest + 0.5))
    A, L = np.empty((most, most), np.float32), np.empty((most, most), np.float32)
    b, x = np.empty(most, np.float32), np.empty(most, np.float32)
    row, gain = np.zeros(dim, np.float32), np.empty(dim, np.float32)
    slots, support = np.full(dim, -1, np.int32), np.empty(most, np.uint32)
    total = 0.0
    for r in range(indptr.size - 1):
        first, k = indptr[r], np.int64(indptr[r + 1] - indptr[r])
        if events[0][r] == events[0][r + 1]:
            data[first : indptr[r + 1]] = np.float32(0)
            continue
        marks = np.zeros(dim, np.bool_)
        for p in range(first, indptr[r + 1]):
            marks[indices[p]] = True
        quota = min(np.int64(fraction * k + 0.5), dim - k)
        if quota > 0:
            weigh_gains(events, r, table, other, gram, reg, row, gain)
            mark_largest(gain, quota, marks)
        size = 0
        for j in range(dim):
            if marks[j]:
                support[size] = j
                size += 1
        assemble(events, r, other, gram, reg, support, size, slots, A, b)
        solve(A, b, size, L, x)
        if quota > 0:
            worth = np.empty(size, np.float32)
            for i in range(size):
                worth[i] = x[i] * x[i] * A[i, i]
            marks[:] = False
            mark_largest(worth, k, marks)
            size = keep(marks, support, size, A, b)
            solve(A, b, size, L, x)
        for i in range(size):
            indices[first + np.uint64(i)], data[first + np.uint64(i)] = support[i], x[i]
            total += b[i] * x[i]
    return total


@kernel
def climb(indices, values, squares, start, stop, factor, dense, rate, decay):
    """Take a step of Adagrad with a row whose gradient is a multiple of a dense one."""
    for p in range(start, stop):
        slope = factor * dense[indices[p]] - decay * values[p]
        squares[p] += slope * slope
        values[p] += rate * slope / np.sqrt(squares[p])


@kernel
def polish_users(order, taken, tables, squares, rule, n_drawn, seed, scratch):
    """Step for each user on the softmax of each item taken among items drawn; return the loss.

    taken is (indptr, indices), squares are the sums of Adagrad, rule is (rate, decay, heat: one
    over the temperature). All items that a user has taken meet the same items drawn. scratch
    (2, dim) is zero before and after.
    """
    (starts, columns, values), (indptr, indices, data) = tables
    (begins, items), (row, slope) = taken, scratch
    of_users, of_items = squares
    rate, decay, heat = rule
    n_items = indptr.size - 1
    drawn, scores = np.empty(n_drawn, np.uint32), np.empty(n_drawn, np.float32)
    total = 0.0
    for u in order:
        first, last = starts[u], starts[u + 1]
        for p in range(first, last):
            row[columns[p]] = values[p]
        best, rest, push = np.float32(-np.inf), np.float32(0), np.float32(0)
        for c in range(n_drawn):
            drawn[c] = draw_v1(seed, u, c, n_items)
            i = drawn[c]
            scores[c] = dot_v1(indices, data, indptr[i], indptr[i + 1], row) * heat
            best = max(best, scores[c])
        for c in range(n_drawn):
            scores[c] = np.exp(scores[c] - best)
            rest += scores[c]
        for e in range(begins[u], begins[u + 1]):
            start, stop = indptr[items[e]], indptr[items[e] + 1]
            score = dot_v1(indices, data, start, stop, row) * heat
            own = np.exp(min(score - best, np.float32(BEYOND)))
            total += softplus_v1(math.log(rest) - (score - best))
            pull = heat * rest / (rest + own)
            push += heat / (rest + own)
            add_v1(indices, data, start, stop, pull, slope)
            climb(indices, data, of_items, start, stop, pull, row, rate, decay)
        for c in range(n_drawn):
            weight = scores[c] * push
            if weight > NEGLIGIBLE:
                start, stop = indptr[drawn[c]], indptr[drawn[c] + 1]
                add_v1(indices, data, start, stop, -weight, slope)
                climb(indices, data, of_items, start, stop, -weight, row, rate, decay)
        climb(columns, values, of_users, first, last, np.float32(1), slope, rate, decay)
        row[:], slope[:] = np.float32(0), np.float32(0)
    return total
