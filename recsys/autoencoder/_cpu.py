"""Kernels of the autoencoder: the users of a batch are lanes, tables are (indptr, indices, data).

Scores come in blocks of rows, one for each item; by_item (indptr, lanes) says who took them.
"""

import numpy as np

from sparsenum._numba import kernel

__all__ = ["positive_parts", "pull_decoder", "pull_encoder", "slopes", "tangent", "unit_rows"]

# What is less is rounding: an item taken alone scores one for itself, less one.
LEAST = 1e-5
SHORT = 1e-12  # bounds the squared length of a row that is hardly there


@kernel
def unit_rows(indptr, data, unit, lengths):
    """Write the rows at length one, and how long they were."""
    for i in range(lengths.size):
        square = np.float32(SHORT)
        for p in range(indptr[i], indptr[i + 1]):
            square += data[p] * data[p]
        lengths[i] = np.sqrt(square)
        for p in range(indptr[i], indptr[i + 1]):
            unit[p] = data[p] / lengths[i]


@kernel
def positive_parts(by_item, scores, squares, hits):
    """Take one from the scores of what was taken, keep the positive parts, and add up per lane.

    squares gets their squares, hits those of the items taken.
    """
    indptr, lanes = by_item
    zero, least = np.float32(0), np.float32(LEAST)
    for k in range(len(scores)):
        row = scores[k]
        for p in range(indptr[k], indptr[k + 1]):
            row[lanes[p]] -= np.float32(1)
        for lane in range(row.size):
            row[lane] = row[lane] if row[lane] > least else zero
            squares[lane] += row[lane] * row[lane]
        for p in range(indptr[k], indptr[k + 1]):
            hits[lanes[p]] += row[lanes[p]]


@kernel
def slopes(by_item, push, pull, scores):
    """Turn positive parts into the derivative of the loss: push times them, less pull if taken."""
    indptr, lanes = by_item
    for k in range(len(scores)):
        row = scores[k]
        for lane in range(row.size):
            row[lane] *= push[lane]
        for p in range(indptr[k], indptr[k + 1]):
            if row[lanes[p]] > 0:
                row[lanes[p]] -= pull[lanes[p]]


@kernel
def pull_decoder(rows, table, slopes, sums, sums_slopes, gradient):
    """Add to the gradient of the entries of some rows, and to that of sums, both (dim, lanes)."""
    indptr, indices, data = table
    for k in range(rows.size):
        i, slope = np.uint64(rows[k]), slopes[k]
        for p in range(indptr[i], indptr[i + np.uint64(1)]):
            weight, z, dz = data[p], sums[indices[p]], sums_slopes[indices[p]]
            total = np.float32(0)
            for lane in range(slope.size):
                total += slope[lane] * z[lane]
                dz[lane] += weight * slope[lane]
            gradient[p] += total


@kernel
def pull_encoder(taken, table, sums_slopes, gradient):
    """Add to the gradient of the rows of what each lane took, by that of its sum (lanes, dim)."""
    starts, items = taken
    indptr, indices, _ = table
    for lane in range(starts.size - 1):
        dz = sums_slopes[lane]
        for e in range(starts[lane], starts[lane + 1]):
            i = np.uint64(items[e])
            for p in range(indptr[i], indptr[i + np.uint64(1)]):
                gradient[p] += dz[indices[p]]


@kernel
def tangent(indptr, unit, lengths, gradient):
    """Turn the gradient by unit rows into that by the rows themselves, which have these lengths."""
    for i in range(lengths.size):
        radial = np.float32(0)
        for p in range(indptr[i], indptr[i + 1]):
            radial += unit[p] * gradient[p]
        for p in range(indptr[i], indptr[i + 1]):
            gradient[p] = (gradient[p] - radial * unit[p]) / lengths[i]
