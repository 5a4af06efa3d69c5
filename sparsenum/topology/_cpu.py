"""Kernels that choose the entries of a sparse table."""

import numpy as np

from sparsenum._formulas import hash_v1
from sparsenum._numba import kernel

__all__ = [
    "add_kept",
    "add_rows",
    "best_in_rows",
    "carry",
    "fill_columns",
    "free_scores",
    "merge_rows",
    "random_rows",
    "weakest_in_groups",
]


@kernel
def random_rows(indptr, n_cols, seed, indices):
    """Fill each row with distinct columns, sorted, every subset equally likely (Floyd's method)."""
    taken = np.zeros(n_cols, np.bool_)
    for i in range(indptr.size - 1):
        count = np.int64(indptr[i + 1] - indptr[i])
        for t in range(n_cols - count, n_cols):
            column = np.int64(hash_v1(seed, i, t) % np.uint64(t + 1))
            taken[t if taken[column] else column] = True
        p = indptr[i]
        for column in range(n_cols):
            if taken[column]:
                taken[column] = False
                indices[p] = column
                p += np.uint64(1)


@kernel
def weaker(score, p, q):
    """Order entries by score, ties by position, so that every selection is exact."""
    return score[p] < score[q] or (score[p] == score[q] and p < q)


@kernel
def weakest_in_groups(score, starts, quota, order, keep):
    """Clear keep at the quota[i] weakest entries of each group starts[i]..starts[i+1] (Hoare).

    order is scratch, as long as the largest group.
    """
    for i in range(starts.size - 1):
        start, size, wanted = np.int64(starts[i]), np.int64(starts[i + 1] - starts[i]), quota[i]
        group = score[start : start + size]
        for p in range(size):
            order[p] = p
        left, right = 0, size - 1
        while left < right and 0 < wanted < size:
            pivot = order[(left + right) // 2]
            p, q = left, right
            while p <= q:
                while weaker(group, order[p], pivot):
                    p += 1
                while weaker(group, pivot, order[q]):
                    q -= 1
                if p <= q:
                    order[p], order[q] = order[q], order[p]
                    p += 1
                    q -= 1
            if wanted <= q:
                right = q
            elif wanted >= p:
                left = p
            else:
                break
        for p in range(wanted):
            keep[start + order[p]] = False


@kernel
def free_scores(block, first, indptr, indices, keep, seed):
    """Rule the kept entries of rows first.. out of a block of scores, and order zeros at random.

    A zero becomes a random number below zero: it is taken only where nothing better is left.
    """
    for i in range(block.shape[0]):
        row = first + i
        for column in range(block.shape[1]):
            if not block[i, column] > 0:
                drawn = np.float64(hash_v1(seed, row, column) >> np.uint64(11)) * 2.0**-53
                block[i, column] = -1.0 - drawn
        for p in range(indptr[row], indptr[row + 1]):
            if keep[p]:
                block[i, indices[p]] = -np.inf


@kernel
def best_in_rows(block, first, starts, columns):
    """Write the columns of the best scores of row first + i to columns[starts[..]:starts[.. + 1]].

    They are sorted. Ties for a place go to the lower column.
    """
    best = np.empty(block.shape[1], block.dtype)
    is_best = np.zeros(block.shape[1], np.bool_)
    for i in range(block.shape[0]):
        offset = starts[first + i]
        quota = starts[first + i + 1] - offset
        found = 0
        for column in range(block.shape[1]):
            score = block[i, column]
            if found == quota and (quota == 0 or score <= best[quota - 1]):
                continue
            place = found if found < quota else quota - 1
            while place > 0 and best[place - 1] < score:
                best[place] = best[place - 1]
                columns[offset + place] = columns[offset + place - 1]
                place -= 1
            best[place] = score
            columns[offset + place] = column
            if found < quota:
                found += 1
        for p in range(offset, offset + found):
            is_best[columns[p]] = True
        p = offset
        for column in range(block.shape[1]):
            if is_best[column]:
                is_best[column] = False
                columns[p] = column
                p += 1


@kernel
def add_kept(indptr, keep, starts):
    """Add to starts[i] how many entries are kept in the rows before row i."""
    total = 0
    for i in range(indptr.size - 1):
        starts[i] += np.uint64(total)
        for p in range(indptr[i], indptr[i + 1]):
            total += keep[p]
    starts[-1] += np.uint64(total)


@kernel
def merge_rows(indptr, indices, keep, born_starts, born, new_indptr, new_indices, source):
    """Merge the kept entries of each row with its newborn columns (sorted) into a new pattern."""
    for i in range(indptr.size - 1):
        q = new_indptr[i]
        b, b_stop = born_starts[i], born_starts[i + 1]
        for p in range(indptr[i], indptr[i + 1]):
            if keep[p]:
                while b < b_stop and born[b] < indices[p]:
                    new_indices[q] = born[b]
                    source[q] = -1
                    b += 1
                    q += np.uint64(1)
                new_indices[q] = indices[p]
                source[q] = p
                q += np.uint64(1)
        while b < b_stop:
            new_indices[q] = born[b]
            source[q] = -1
            b += 1
            q += np.uint64(1)


@kernel
def carry(source, old, new):
    """Write old[source[q]] to new[q], but where source[q] is below zero."""
    for q in range(source.size):
        if source[q] >= 0:
            new[q] = old[source[q]]


@kernel
def add_rows(indptr, data, sums):
    """Add up the entries of each row."""
    for i in range(indptr.size - 1):
        for p in range(indptr[i], indptr[i + 1]):
            sums[i] += data[p]


@kernel
def fill_columns(indptr, indices, data, first, cursor, t_indices, t_data):
    """Transpose columns first.. of a CSR matrix; cursor holds the start of each as a row."""
    for i in range(indptr.size - 1):
        for p in range(indptr[i], indptr[i + 1]):
            j = np.int64(indices[p]) - first
            if 0 <= j < cursor.size:
                t_indices[cursor[j]] = i
                t_data[cursor[j]] = data[p]
                cursor[j] += np.uint64(1)
