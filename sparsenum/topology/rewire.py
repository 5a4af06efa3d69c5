"""Prune and grow: which entries of a sparse table exist from now on."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum._check import whole
from sparsenum._device import Device, host, lives_on_cuda, moved, on_cuda_with, operand
from sparsenum.sparse import CSR
from sparsenum.sparse.formats import row_starts
from sparsenum.topology import _cpu
from sparsenum.topology.rewiring import Rewiring
from sparsenum.topology.score import spared

Blocks = Iterable[tuple[int, NDArray[np.floating[Any]]]]


def rewire(
    table: CSR,
    keep_score: NDArray[np.floating[Any]],
    n_exchange: int | NDArray[np.int64],
    grow_scores: Iterable[tuple[int, NDArray[np.floating[Any]]]],
    *,
    rng: np.random.Generator,
    device: Device = "cpu",
) -> Rewiring:
    """Drop the weakest entries of a table and grow as many where the score is best.

    What was just dropped may come straight back if its score is best, as a newborn [1]_. Where
    fewer positive scores are left than places, the rest is drawn at random.

    Parameters
    ----------
    table : CSR, shape (n, d)
        The table; only its pattern is read.
    keep_score : ndarray, shape (nnz,)
        How much each entry is worth, ``|w|`` for pruning by magnitude; ties drop the earlier entry.
    n_exchange : int or ndarray of int64, shape (n,)
        How many entries to exchange: in the whole table, or in each row (whose counts then stay).
    grow_scores : iterable of (int, ndarray)
        First row and scores, shape (rows, d), of consecutive blocks of rows: how promising each
        entry is, not negative. Blocks are scratch and are overwritten; the scores of the table
        never need to exist at once.
    rng : numpy.random.Generator
        Breaks ties among scores of zero.
    device : {"cpu", "cuda"}, default "cpu"
        Where to compute; the pattern is the same, to the bit, and is where `table` is. Blocks of
        scores may be on a CUDA device or on the host.

    Returns
    -------
    Rewiring
        A pattern with exactly as many entries. Cost O(n d) for reading the scores; memory
        O(nnz) beside one block.

    Raises
    ------
    ValueError
        If more is to be exchanged than there is.

    See Also
    --------
    sparsenum.topology.prune : only take entries away.

    References
    ----------
    .. [1] Wang et al., "Dynamic Sparse Learning", WSDM 2024, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenum import sparse, topology
    >>> table = sparse.CSR.from_dense([[0.1, 5.0, 0.0], [2.0, 0.0, 3.0]])
    >>> gradient = [(0, np.array([[0.0, 0.0, 0.0], [0.0, 9.0, 0.0]]))]
    >>> new = topology.rewire(table, abs(table.data), 1, gradient, rng=np.random.default_rng(0))
    >>> new.n_grown, new.indptr.tolist(), new.indices.tolist()
    (1, [0, 1, 4], [1, 0, 1, 2])
    """
    quota, by_row = _quota(table, keep_score, n_exchange, "n_exchange")
    blocks = _in_order(table.shape, grow_scores, device)
    if on_cuda_with(device, table=table, keep_score=keep_score):
        return _rewired_on_cuda(table, keep_score, quota, by_row, blocks, rng)
    keep = spared(keep_score, _groups(table, by_row), quota)
    seed = rng.integers(2**63, dtype=np.uint64)
    free = _free_blocks(table, keep, blocks, seed)
    born_starts, born = (
        _best_by_row(free, quota, table.indices.dtype)
        if by_row
        else _best_of_all(free, int(quota[0]), table.shape, table.indices.dtype)
    )
    return _merged(table, keep, born_starts, born)


def prune(
    table: CSR,
    keep_score: NDArray[np.floating[Any]],
    n_drop: int | NDArray[np.int64],
    *,
    device: Device = "cpu",
) -> Rewiring:
    """Drop the weakest entries of a table and grow none.

    Parameters
    ----------
    table : CSR, shape (n, d)
        The table; only its pattern is read.
    keep_score : ndarray, shape (nnz,)
        How much each entry is worth; ties drop the earlier entry.
    n_drop : int or ndarray of int64, shape (n,)
        How many entries to drop: of the whole table, or of each row.
    device : {"cpu", "cuda"}, default "cpu"
        Where to compute; the pattern is the same, to the bit, and is where `table` is.

    Returns
    -------
    Rewiring
        The pattern that is left. Cost O(nnz).

    Raises
    ------
    ValueError
        If more is to be dropped than there is.

    See Also
    --------
    sparsenum.topology.rewire : prune, and grow as many entries elsewhere.
    sparsenum.topology.strongest : a sparse table from a dense one.

    Examples
    --------
    >>> from sparsenum import sparse, topology
    >>> table = sparse.CSR.from_dense([[-3.0, 1.0], [0.5, 0.0]])
    >>> new = topology.prune(table, topology.magnitude(table), 1)
    >>> new.carry(table.data).tolist()
    [-3.0, 1.0]
    """
    quota, by_row = _quota(table, keep_score, n_drop, "n_drop")
    if on_cuda_with(device, table=table, keep_score=keep_score):
        from sparsenum.topology import on_cuda

        held, score = _on_cuda(table, keep_score)
        result = Rewiring(*on_cuda.left(held, on_cuda.spared(held, score, quota, by_row)))
        return result if lives_on_cuda(table.indices) else result.to("cpu")
    keep = spared(keep_score, _groups(table, by_row), quota)
    nothing = np.empty(0, table.indices.dtype)
    return _merged(table, keep, np.zeros(table.shape[0] + 1, np.int64), nothing)


def no_preference(shape: tuple[int, int], rows: int = 1024) -> Iterator[tuple[int, Any]]:
    """Yield blocks of zero scores to grow by: every free place is equally likely.

    Parameters
    ----------
    shape : tuple of int
        Shape of the table.
    rows : int, default 1024
        Rows of a block.

    Returns
    -------
    iterator of (int, ndarray of float32)
        First row and scores of each block, for `rewire`.

    Examples
    --------
    >>> from sparsenum import topology
    >>> [(first, block.shape) for first, block in topology.no_preference((3, 2))]
    [(0, (3, 2))]
    """
    for first in range(0, shape[0], rows):
        yield first, np.zeros((min(rows, shape[0] - first), shape[1]), np.float32)


def _quota(
    table: CSR, keep_score: NDArray[np.floating[Any]], n_drop: int | NDArray[np.int64], name: str
) -> tuple[NDArray[np.int64], bool]:
    """Return how many entries go from each group, and whether the groups are rows."""
    n_drop = host(n_drop)
    by_row = isinstance(n_drop, np.ndarray)
    if isinstance(n_drop, np.ndarray):
        quota = np.asarray(n_drop, np.int64)
        sizes = np.diff(host(table.indptr))
    else:
        quota = np.array([whole(n_drop, name, upper=table.nnz)])
        sizes = np.array([table.nnz], np.uint64)
    if quota.size != sizes.size or (quota < 0).any() or (quota > sizes).any():
        raise ValueError(f"{name} must be from 0 to the number of entries, in each row or in all")
    if keep_score.shape != (table.nnz,):
        raise ValueError(
            f"keep_score must hold one number for each of the {table.nnz} entries: got shape "
            f"{keep_score.shape}"
        )
    return quota, by_row


def _groups(table: CSR, by_row: bool) -> NDArray[np.uint64]:
    """Return where each group of entries begins: rows, or the whole table as one."""
    return table.indptr if by_row else table.indptr[[0, -1]]


def _on_cuda(table: CSR, keep_score: NDArray[np.floating[Any]]) -> tuple[CSR, Any]:
    """Return a pattern and its scores on the device; values stay where they are."""
    indptr, indices = moved("cuda", table.indptr, table.indices)
    score = operand(keep_score, "keep_score", 1, np.float64, np.float32)
    return CSR(indptr, indices, table.data, table.shape), score


def _rewired_on_cuda(
    table: CSR,
    keep_score: NDArray[np.floating[Any]],
    quota: NDArray[np.int64],
    by_row: bool,
    blocks: Blocks,
    rng: np.random.Generator,
) -> Rewiring:
    from sparsenum.topology import on_cuda as device

    held, score = _on_cuda(table, keep_score)
    keep = device.spared(held, score, quota, by_row)
    seed = rng.integers(2**63, dtype=np.uint64)
    free = device.free_blocks(held, keep, blocks, seed)
    born = (
        device.best_by_row(free, quota, held.indices.dtype)
        if by_row
        else device.best_of_all(free, int(quota[0]), held.shape, held.indices.dtype)
    )
    result = Rewiring(*device.merged(device.left(held, keep), *born))
    return result if lives_on_cuda(table.indices) else result.to("cpu")


def _merged(
    table: CSR, keep: NDArray[np.bool_], born_starts: NDArray[np.int64], born: NDArray[Any]
) -> Rewiring:
    new_indptr = born_starts.astype(np.uint64)
    _cpu.add_kept(table.indptr, keep, new_indptr)
    new_indices = np.empty(int(new_indptr[-1]), table.indices.dtype)
    position: Any = np.int32 if table.nnz < 2**31 else np.int64
    source = np.empty(new_indices.size, position)
    _cpu.merge_rows(
        table.indptr, table.indices, keep, born_starts, born, new_indptr, new_indices, source
    )
    return Rewiring(new_indptr, new_indices, source)


def _in_order(shape: tuple[int, int], blocks: Blocks, device: Device) -> Blocks:
    """Yield blocks of scores that follow one another and cover a table."""
    expected = 0
    for first, block in blocks:
        on_cuda_with(device, grow_scores=block)
        stop = first + len(block)
        if first != expected or stop > shape[0] or block.shape[1] != shape[1]:
            raise ValueError(
                f"grow_scores must go on at row {expected} of {shape}: got a block of shape "
                f"{block.shape} at row {first}"
            )
        yield first, block
        expected = stop
    if expected != shape[0]:
        raise ValueError(f"grow_scores must cover {shape[0]} rows: got {expected}")


def _free_blocks(table: CSR, keep: NDArray[np.bool_], blocks: Blocks, seed: np.uint64) -> Blocks:
    for first, block in blocks:
        _cpu.free_scores(block, first, table.indptr, table.indices, keep, seed)
        yield first, block


def _best_by_row(
    blocks: Blocks, quota: NDArray[np.int64], dtype: Any
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    starts = row_starts(quota).view(np.int64)
    columns = np.empty(starts[-1], dtype)
    for first, block in blocks:
        _cpu.best_in_rows(block, first, starts, columns)
    return starts, columns


def _best_of_all(
    blocks: Blocks, n: int, shape: tuple[int, int], dtype: Any
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Keep the n best of a stream: at most 2 n candidates (and one block) are held at a time."""
    scores: list[NDArray[np.floating[Any]]] = []
    places = [np.empty(0, np.int64)]
    n_held, worst = 0, -np.inf
    for first, block in blocks:
        flat = block.ravel()
        hits = np.flatnonzero(flat > worst)
        scores.append(flat[hits])
        places.append(hits + first * shape[1])
        n_held += hits.size
        if n_held > 2 * n or first + len(block) == shape[0]:
            candidates = np.concatenate(scores)
            best = _first_best(candidates, n)
            scores, places = [candidates[best]], [np.concatenate(places)[best]]
            n_held = best.size
            worst = scores[0].min() if n_held == n > 0 else worst
    (kept,) = places
    starts = np.searchsorted(kept, np.arange(shape[0] + 1) * shape[1])
    return starts.astype(np.int64), (kept % shape[1]).astype(dtype)


def _first_best(scores: NDArray[np.floating[Any]], n: int) -> NDArray[np.int64]:
    """Return, in order, where the n best scores are, the first ones of those that tie."""
    if n == 0 or scores.size <= n:
        return np.arange(min(n, scores.size))
    last = np.partition(scores, scores.size - n)[scores.size - n]
    best = scores > last
    ties = np.flatnonzero(scores == last)
    best[ties[: n - np.count_nonzero(best)]] = True
    return np.flatnonzero(best)
