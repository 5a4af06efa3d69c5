"""Kernels of layers: batches lie in columns, which are the lanes; weights are (indptr, indices)."""

import numpy as np

from sparsenum._formulas import step_v1
from sparsenum._numba import kernel

__all__ = ["add_products", "move_all"]


@kernel
def add_products(indptr, indices, slopes, inputs, gradient):
    """Add slopes[i] . inputs[j] to the gradient of each weight (i, j): both have lanes in rows.

    Weights go by fours, so that a row of slopes is read a quarter as often.
    """
    for i in range(len(slopes)):
        start, stop = np.int64(indptr[i]), np.int64(indptr[i + 1])
        rest = stop - (stop - start) % 4
        slope = slopes[i]
        for p in range(start, rest, 4):
            x0, x1 = inputs[indices[p]], inputs[indices[p + 1]]
            x2, x3 = inputs[indices[p + 2]], inputs[indices[p + 3]]
            s0 = s1 = s2 = s3 = slopes.dtype.type(0)
            for t in range(slope.size):
                s0 += slope[t] * x0[t]
                s1 += slope[t] * x1[t]
                s2 += slope[t] * x2[t]
                s3 += slope[t] * x3[t]
            gradient[p] += s0
            gradient[p + 1] += s1
            gradient[p + 2] += s2
            gradient[p + 3] += s3
        for p in range(rest, stop):
            x, total = inputs[indices[p]], slopes.dtype.type(0)
            for t in range(slope.size):
                total += slope[t] * x[t]
            gradient[p] += total


@kernel
def move_all(values, state, gradients, optimizer):
    """Take one step with every active weight."""
    code, rate, corrections = optimizer
    for p in range(values.size):
        values[p] -= step_v1(state, p, gradients[p], code, rate, corrections)
