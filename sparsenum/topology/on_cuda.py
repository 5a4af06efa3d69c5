"""Prune and grow on a CUDA device: the patterns that the CPU gives, entry by entry."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum import _cuda as device
from sparsenum.sparse import CSR
from sparsenum.sparse.on_cuda import offsets
from sparsenum.topology import _cuda

Array = Any  # on the device
Blocks = Any  # of (first row, scores on the device or the host)
Pattern = tuple[Array, Array, Array]  # indptr, indices, source
NOTHING = np.float64(-np.inf).view(np.uint64)  # the key, best first, of what is never chosen
SHARE = 2 if device.SIMULATED else 1024  # of a list, that a warp goes through


def spared(table: CSR, score: Array, quota: NDArray[np.int64], by_row: bool) -> Array:
    """Return a mask of the entries that are not among the weakest of their row or of the table."""
    kept = device.empty(table.nnz, np.uint8)
    if by_row:
        grid = device.per_row(quota.size)
        _cuda.weakest_in_rows[grid](table.indptr, score, device.to_device(quota), kept)
        return kept
    if table.nnz == 0:
        return kept
    if quota[0] == 0:
        return device.to_device(np.ones(table.nnz, np.uint8))
    key, grid = device.empty(table.nnz, np.uint64), device.per_item(table.nnz)
    _cuda.keys[grid](score, key)
    _cuda.mark[grid](key, _nth(key, int(quota[0])), np.uint8(0), kept)
    return kept


def _nth(key: Array, wanted: int) -> Array:
    """Return key and position of the wanted-th, on the device."""
    digits = _cuda.KEY_DIGITS + _cuda.POSITION_DIGITS
    counts = device.to_device(np.zeros((digits, _cuda.DIGITS), np.uint32))
    bar = device.empty(2, np.uint64)
    _cuda.nth[device.in_step(_cuda.nth)](key, wanted, counts, bar)
    return bar


def _kept(indptr: Array, kept: Array) -> tuple[Array, Array]:
    """Return where rows begin without what is not kept, and the positions of what is."""
    grid = device.per_row(indptr.size - 1)
    counts = device.empty(indptr.size - 1, np.uint64)
    _cuda.count_kept[grid](indptr, kept, counts)
    starts, size = offsets(counts)
    source = device.empty(size, np.int32 if kept.size < 2**31 else np.int64)
    _cuda.fill_kept[grid](indptr, kept, starts, source)
    return starts, source


def _take(x: Array, source: Array) -> Array:
    out = device.empty(source.size, x.dtype)
    _cuda.take[device.per_item(source.size)](x, source, out)
    return out


def left(table: CSR, kept: Array) -> Pattern:
    """Return the pattern of the entries that are kept."""
    indptr, source = _kept(table.indptr, kept)
    return indptr, _take(table.indices, source), source


def merged(old: Pattern, born_starts: Array, born: Array) -> Pattern:
    """Return the pattern of the kept and the newborn entries."""
    kept_indptr, kept, kept_source = old
    indptr, nnz = device.empty(kept_indptr.size, np.uint64), kept.size + born.size
    indices, source = device.empty(nnz, kept.dtype), device.empty(nnz, kept_source.dtype)
    grid = device.per_row(indptr.size - 1)
    arrays = kept_indptr, kept, kept_source, born_starts, born, indptr, indices, source
    _cuda.merge_rows[grid](*arrays)
    return indptr, indices, source


def free_blocks(table: CSR, kept: Array, blocks: Blocks, seed: np.uint64) -> Blocks:
    """Yield the blocks on the device, kept entries ruled out, ties among zeros broken at random."""
    for first, block in blocks:
        scores = device.to_device(block)
        grid = device.per_row(len(block))
        _cuda.free_scores[grid](scores, first, table.indptr, table.indices, kept, seed)
        yield first, scores


def best_by_row(blocks: Blocks, quota: NDArray[np.int64], dtype: Any) -> tuple[Array, Array]:
    """Return the best columns of each row, as many as its quota, sorted."""
    starts = np.append(0, np.cumsum(quota))
    firsts, columns = device.to_device(starts), device.empty(int(starts[-1]), dtype)
    for first, block in blocks:
        _cuda.best_in_rows[device.per_row(block.shape[0])](block, first, firsts, columns)
    return firsts, columns


def best_of_all(blocks: Blocks, n: int, shape: tuple[int, int], dtype: Any) -> tuple[Array, Array]:
    """Keep the n best of a stream: at most 2 n candidates (and one block) are held at a time."""
    lists: list[tuple[Array, Array]] = []
    bar = device.to_device(np.array([NOTHING, 0], np.uint64))
    for first, block in blocks:
        lists.append(_better(block, first, bar))
        if n > 0 and sum(key.size for key, _ in lists) > 2 * n:
            lists, bar = _first(lists, n)
    if n > 0 and sum(key.size for key, _ in lists) > n:
        lists, _ = _first(lists, n)
    places = (
        _joined([places for _, places in lists], np.int64) if n > 0 else device.empty(0, np.int64)
    )
    starts, columns = device.empty(shape[0] + 1, np.int64), device.empty(places.size, dtype)
    grid = device.per_item(max(starts.size, places.size))
    _cuda.unravel[grid](places, shape[1], starts, columns)
    return starts, columns


def _better(block: Array, first: int, bar: Array) -> tuple[Array, Array]:
    """Return keys and places of what is better than the bar, in order of place."""
    grid = device.per_row(block.shape[0])
    counts = device.empty(block.shape[0], np.uint64)
    _cuda.count_better[grid](block, bar, counts)
    starts, size = offsets(counts)
    key, places = device.empty(size, np.uint64), device.empty(size, np.int64)
    _cuda.fill_better[grid](block, first, bar, starts, key, places)
    return key, places


def _first(lists: list[tuple[Array, Array]], n: int) -> tuple[list[tuple[Array, Array]], Array]:
    """Return the n best of all lists, as one in the same order, and the bar that they passed."""
    key = _joined([key for key, _ in lists], np.uint64)
    places = _joined([places for _, places in lists], np.int64)
    bar, chosen = _nth(key, n), device.empty(key.size, np.uint8)
    _cuda.mark[device.per_item(key.size)](key, bar, np.uint8(1), chosen)
    bounds = np.append(np.arange(0, key.size, SHARE), key.size).astype(np.uint64)
    _, source = _kept(device.to_device(bounds), chosen)
    return [(_take(key, source), _take(places, source))], bar


def _joined(parts: list[Array], dtype: Any) -> Array:
    whole, at = device.empty(sum(part.size for part in parts), dtype), 0
    for part in parts:
        if part.size:
            whole[at : at + part.size].copy_to_device(part)
        at += part.size
    return whole


def carried(source: Array, state: Array, newborn: float) -> Array:
    """Move one number per entry along; newborns start fresh."""
    new = device.empty(source.size, state.dtype)
    _cuda.carry[device.per_item(source.size)](source, state, float(newborn), new)
    return new


def shifted(x: Array, by: int) -> Array:
    """Return x - by, where x is not negative."""
    out = device.empty(x.size, x.dtype)
    _cuda.shift[device.per_item(x.size)](x, by, out)
    return out
