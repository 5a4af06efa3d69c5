"""The largest entries of each row."""

import numpy as np
from numpy.typing import ArrayLike

from sparsenum._check import float_type, real_array, whole
from sparsenum._device import Device, in_kind, on_cuda_with, operand
from sparsenum.sparse import _cpu
from sparsenum.sparse.formats import ELL


def row_top_k(scores: ArrayLike, k: int, *, device: Device = "cpu") -> ELL:
    """Return the k largest scores of each row, best first.

    Ties go to the lower column. NaN and minus infinity are never chosen, so minus infinity marks
    what must not appear; a row with fewer than k other scores leaves its last places unused.

    Parameters
    ----------
    scores : array_like, shape (n, m)
        Scores to choose from.
    k : int
        Places in each row, from 1 to m.
    device : {"cpu", "cuda"}, default "cpu"
        Where to compute; the result stays on a CUDA device if `scores` are there.

    Returns
    -------
    ELL
        Columns and scores of the k largest, shape (n, k). Cost O(n m) plus O(k) for each score that
        enters a list, about k log(m / k) of them in a row in random order.

    Raises
    ------
    ValueError
        If `k` is below 1 or above the number of columns.

    Examples
    --------
    >>> from sparsenum import sparse
    >>> best = sparse.row_top_k([[0.3, 0.9, 0.5], [0.2, 0.1, 0.2]], k=2)
    >>> best.indices.tolist()
    [[1, 2], [0, 2]]
    >>> best.data.tolist()
    [[0.9, 0.5], [0.2, 0.2]]
    """
    if on_cuda_with(device, scores=scores):
        from sparsenum.sparse import on_cuda

        given = operand(scores, "scores", 2, np.float64, np.float32)
        columns, best = on_cuda.row_top_k(given, whole(k, "k", lower=1, upper=given.shape[1]))
        return ELL(in_kind(columns, scores), in_kind(best, scores), given.shape[1])
    scores = real_array(scores, "scores", 2, float_type(scores))
    n, m = scores.shape
    k = whole(k, "k", lower=1, upper=m)
    indices = np.full((n, k), m, np.uint32)
    values = np.full((n, k), -np.inf, scores.dtype)
    _cpu.row_top_k(scores, indices, values)
    return ELL(indices, values, m)
