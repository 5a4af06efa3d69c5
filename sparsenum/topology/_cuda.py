"""Kernels for CUDA that choose which entries of a sparse table exist: as `_cpu.py`, to the bit.

Scores are compared by keys, whole numbers in their order, and equal ones by position: so what is
chosen is one set, in whatever order threads come by.
"""

import numpy as np
from numba import cuda

from sparsenum._cuda import (
    LANES,
    SIMULATED,
    formula,
    kernel,
    lane_rank,
    lane_sum,
    sync_lanes,
)

__all__ = [
    "best_in_rows",
    "carry",
    "count_better",
    "count_kept",
    "fill_better",
    "fill_kept",
    "free_scores",
    "keys",
    "mark",
    "merge_rows",
    "nth",
    "shift",
    "take",
    "unravel",
    "weakest_in_rows",
]

FLOATS, INDICES, POSITIONS = ("f8", "f4"), ("u4", "u2"), ("i4", "i8")
DIGITS = 256  # that a key or a position is made of
KEY_DIGITS, POSITION_DIGITS = 8, 5


def wrapping(function):
    """Let whole numbers of the simulator overflow in silence, as those of the device do."""
    return np.errstate(over="ignore")(function) if SIMULATED else function


@formula
@wrapping
def hash_v1(seed, x, y):
    """Return a 64-bit hash of (seed, x, y): a random number that does not depend on any order."""
    z = seed ^ (np.uint64(x) << np.uint64(32)) ^ np.uint64(y)
    z = (z + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@formula
def key_of(score):
    """Return a whole number in the order of scores; zero has one, whatever its sign."""
    bits = (np.float64(score) + np.float64(0.0)).view(np.uint64)
    sign = np.uint64(1) << np.uint64(63)
    return ~bits if bits & sign else bits | sign


# The n first of all, by key and position


@kernel(*(f"{f}[::1], u8[::1]" for f in FLOATS))
def keys(scores, out):
    """Write the key of each score."""
    for p in range(cuda.grid(1), scores.size, cuda.gridsize(1)):
        out[p] = key_of(scores[p])


@kernel("u8[::1], i8, u4[:,::1], u8[::1]")
def nth(key, wanted, counts, bar):
    """Write key and position of the one that is wanted-th, digit by digit, all blocks in step.

    counts is (digits, 256) of zeros. What stands at the bar or before is the first `wanted`; where
    a whole range of keys is wanted, the bar is its end.
    """
    grid = cuda.cg.this_grid()
    mine = cuda.shared.array(DIGITS, np.uint32)
    bar_key, bar_place, left = np.uint64(0), np.uint64(0), wanted
    for digit in range(KEY_DIGITS + POSITION_DIGITS):
        of_key = digit < KEY_DIGITS
        shift = np.uint64(
            8 * ((KEY_DIGITS if of_key else KEY_DIGITS + POSITION_DIGITS) - 1 - digit)
        )
        for t in range(cuda.threadIdx.x, DIGITS, cuda.blockDim.x):
            mine[t] = 0
        cuda.syncthreads()
        for p in range(cuda.grid(1), key.size, cuda.gridsize(1)):
            if of_key:
                above = (key[p] ^ bar_key) >> shift
            else:
                above = (np.uint64(p) ^ bar_place) >> shift
            # What differs from the bar in a digit before this one is out of the question.
            if above < np.uint64(DIGITS) and (of_key or key[p] == bar_key):
                cuda.atomic.add(mine, np.int64(above), 1)
        cuda.syncthreads()
        for t in range(cuda.threadIdx.x, DIGITS, cuda.blockDim.x):
            if mine[t] > 0:
                cuda.atomic.add(counts, (digit, t), mine[t])
        grid.sync()
        for t in range(cuda.threadIdx.x, DIGITS, cuda.blockDim.x):
            mine[t] = counts[digit, t]
        cuda.syncthreads()
        value = 0
        while value < DIGITS - 1 and left > np.int64(mine[value]):
            left -= np.int64(mine[value])
            value += 1
        all_of_them = left == np.int64(mine[value])
        cuda.syncthreads()
        found = np.uint64(value) << shift
        if all_of_them:
            found |= (np.uint64(1) << shift) - np.uint64(1)
        if of_key:
            bar_key |= found
        else:
            bar_place |= found
        if all_of_them:
            break
    if all_of_them and of_key:
        bar_place = np.uint64(key.size)
    if cuda.grid(1) == 0:
        bar[0], bar[1] = bar_key, bar_place


@kernel("u8[::1], u8[::1], u1, u1[::1]")
def mark(key, bar, value, kept):
    """Write a truth for those up to the bar, and its opposite for all others."""
    for p in range(cuda.grid(1), key.size, cuda.gridsize(1)):
        before = key[p] < bar[0] or (key[p] == bar[0] and np.uint64(p) <= bar[1])
        kept[p] = value if before else 1 - value


# The n first of each row


@formula
def row_bar(scores, wanted, flip, lane):
    """Return the wanted-th key of a row, and how many of its equals are among the first wanted."""
    bar = np.uint64(0)
    for step in range(64):
        bit = np.uint64(63 - step)
        count = 0
        for p in range(lane, scores.size, LANES):
            if ((key_of(scores[p]) ^ flip) ^ bar) >> bit == np.uint64(0):
                count += 1
        count = lane_sum(count)
        if wanted > count:
            wanted -= count
            bar |= np.uint64(1) << bit
    return bar, wanted


@kernel(*(f"u8[::1], {f}[::1], i8[::1], u1[::1]" for f in FLOATS))
def weakest_in_rows(indptr, score, quota, kept):
    """Clear kept at the quota[i] weakest entries of each row, set it at all others."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, quota.size, cuda.gridsize(1) // LANES):
        start = np.int64(indptr[i])
        row = score[start : np.int64(indptr[i + 1])]
        bar, ties = row_bar(row, quota[i], np.uint64(0), lane)
        for first in range(0, row.size, LANES):
            p = first + lane
            inside = p < row.size
            key = key_of(row[min(p, row.size - 1)])
            before, tied = lane_rank(inside and key == bar, lane)
            if inside:
                goes = key < bar or (key == bar and before < ties)
                kept[start + p] = 0 if goes and quota[i] > 0 else 1
            ties -= tied


@kernel(*(f"{f}[:,::1], i8, i8[::1], {i}[::1]" for f in FLOATS for i in INDICES))
def best_in_rows(block, first_row, starts, columns):
    """Write the columns of the best scores of each row to where they begin in columns.

    They are sorted. Ties for a place go to the lower column.
    """
    lane = cuda.threadIdx.x % LANES
    flip = ~np.uint64(0)
    for i in range(cuda.grid(1) // LANES, block.shape[0], cuda.gridsize(1) // LANES):
        place = starts[first_row + i]
        quota = starts[first_row + i + 1] - place
        if quota == 0:
            continue
        bar, ties = row_bar(block[i], quota, flip, lane)
        for first in range(0, block.shape[1], LANES):
            j = first + lane
            inside = j < block.shape[1]
            key = key_of(block[i, min(j, block.shape[1] - 1)]) ^ flip
            equals, tied = lane_rank(inside and key == bar, lane)
            chosen = inside and (key < bar or (key == bar and equals < ties))
            before, all_of_them = lane_rank(chosen, lane)
            if chosen:
                columns[place + before] = j
            place += all_of_them
            ties -= tied


# The best of a stream of blocks


@kernel(*(f"{f}[:,::1], i8, u8[::1], {i}[::1], u1[::1], u8" for f in FLOATS for i in INDICES))
def free_scores(block, first, indptr, indices, kept, seed):
    """Rule the kept entries of rows first.. out of a block of scores, and order zeros at random.

    A zero becomes a random number below zero: it is taken only where nothing better is left.
    """
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, block.shape[0], cuda.gridsize(1) // LANES):
        row = first + i
        for column in range(lane, block.shape[1], LANES):
            if not block[i, column] > 0:
                drawn = np.float64(hash_v1(seed, row, column) >> np.uint64(11)) * 2.0**-53
                block[i, column] = -1.0 - drawn
        sync_lanes()
        for p in range(np.int64(indptr[row]) + lane, np.int64(indptr[row + 1]), LANES):
            if kept[p]:
                block[i, indices[p]] = -np.inf


@kernel(*(f"{f}[:,::1], u8[::1], u8[::1]" for f in FLOATS))
def count_better(block, bar, counts):
    """Count the scores of each row that come before the bar, best first."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, block.shape[0], cuda.gridsize(1) // LANES):
        count = 0
        for j in range(lane, block.shape[1], LANES):
            if ~key_of(block[i, j]) < bar[0]:
                count += 1
        count = lane_sum(count)
        if lane == 0:
            counts[i] = count


@kernel(*(f"{f}[:,::1], i8, u8[::1], u8[::1], u8[::1], i8[::1]" for f in FLOATS))
def fill_better(block, first_row, bar, starts, key, places):
    """Write keys and places in the table of what count_better counted, in order."""
    lane = cuda.threadIdx.x % LANES
    n, m = block.shape
    for i in range(cuda.grid(1) // LANES, n, cuda.gridsize(1) // LANES):
        at = np.int64(starts[i])
        for first in range(0, m, LANES):
            j = first + lane
            own = ~key_of(block[i, min(j, m - 1)])
            chosen = j < m and own < bar[0]
            before, all_of_them = lane_rank(chosen, lane)
            if chosen:
                key[at + before] = own
                places[at + before] = (first_row + i) * m + j
            at += all_of_them


@kernel(*(f"i8[::1], i8, i8[::1], {i}[::1]" for i in INDICES))
def unravel(places, width, starts, columns):
    """Write where each row begins among sorted places, and the column of each."""
    for i in range(cuda.grid(1), starts.size, cuda.gridsize(1)):
        starts[i] = first_not_below(places, 0, places.size, i * width)
    for p in range(cuda.grid(1), places.size, cuda.gridsize(1)):
        columns[p] = places[p] % width


# Patterns


@kernel("u8[::1], u1[::1], u8[::1]")
def count_kept(indptr, kept, counts):
    """Count the entries of each row that are kept."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, counts.size, cuda.gridsize(1) // LANES):
        count = 0
        for p in range(np.int64(indptr[i]) + lane, np.int64(indptr[i + 1]), LANES):
            count += np.int64(kept[p])
        count = lane_sum(count)
        if lane == 0:
            counts[i] = count


@kernel(*(f"u8[::1], u1[::1], u8[::1], {p}[::1]" for p in POSITIONS))
def fill_kept(indptr, kept, starts, source):
    """Write the positions of the entries that are kept, in order."""
    lane = cuda.threadIdx.x % LANES
    for i in range(cuda.grid(1) // LANES, indptr.size - 1, cuda.gridsize(1) // LANES):
        at, stop = np.int64(starts[i]), np.int64(indptr[i + 1])
        for first in range(np.int64(indptr[i]), stop, LANES):
            p = first + lane
            chosen = p < stop and kept[min(p, stop - 1)] > 0
            before, all_of_them = lane_rank(chosen, lane)
            if chosen:
                source[at + before] = p
            at += all_of_them


@kernel(*(f"{x}[::1], {p}[::1], {x}[::1]" for x in ("u2", "u4", "u8", "i8") for p in POSITIONS))
def take(x, source, out):
    """Write x[source]."""
    for q in range(cuda.grid(1), source.size, cuda.gridsize(1)):
        out[q] = x[source[q]]


@formula
def first_not_below(x, start, stop, value):
    """Return the first place in sorted x[start:stop] that holds no less than a value."""
    while start < stop:
        middle = (start + stop) // 2
        if np.int64(x[middle]) < value:
            start = middle + 1
        else:
            stop = middle
    return start


@kernel(
    *(
        f"u8[::1], {i}[::1], {p}[::1], i8[::1], {i}[::1], u8[::1], {i}[::1], {p}[::1]"
        for i in INDICES
        for p in POSITIONS
    )
)
def merge_rows(kept_indptr, kept, kept_source, born_starts, born, indptr, indices, source):
    """Merge the kept entries of each row with its newborn columns, both sorted, into a pattern."""
    lane, n = cuda.threadIdx.x % LANES, indptr.size - 1
    for i in range(cuda.grid(1) // LANES, n, cuda.gridsize(1) // LANES):
        old, old_stop = np.int64(kept_indptr[i]), np.int64(kept_indptr[i + 1])
        new, new_stop = born_starts[i], born_starts[i + 1]
        if lane == 0:
            indptr[i] = old + new
            if i == n - 1:
                indptr[n] = old_stop + new_stop
        # Each goes behind those of its own kind before it and those of the other kind below it.
        for p in range(old + lane, old_stop, LANES):
            q = p + first_not_below(born, new, new_stop, np.int64(kept[p]))
            indices[q], source[q] = kept[p], kept_source[p]
        for p in range(new + lane, new_stop, LANES):
            q = p + first_not_below(kept, old, old_stop, np.int64(born[p]))
            indices[q], source[q] = born[p], -1


@kernel(*(f"{p}[::1], {f}[::1], f8, {f}[::1]" for f in ("f4", "f8") for p in POSITIONS))
def carry(source, old, newborn, new):
    """Write old[source[q]] to new[q], and a number of their own for newborns."""
    for q in range(cuda.grid(1), source.size, cuda.gridsize(1)):
        new[q] = old[source[q]] if source[q] >= 0 else newborn


@kernel(*(f"{x}[::1], i8, {x}[::1]" for x in ("u8", "i4", "i8")))
def shift(x, by, out):
    """Write x - by, where x is not negative."""
    for q in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        value = np.int64(x[q])
        out[q] = value - by if value >= 0 else value
