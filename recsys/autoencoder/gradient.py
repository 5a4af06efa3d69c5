"""The loss of the autoencoder and its gradient, on active weights and, by blocks, everywhere.

With W the rows at length one and x the history of a user, z = W' x and the score of item j is
w_j . z - x_j. The loss is |r / |r| - x / |x||^2 with r the positive part of the scores.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.autoencoder import _cpu
from sparsenum.sparse import CSR, rows_times_sparse, spmm, transpose

BLOCK = 256  # rows whose gradient exists at every place at a time
Dense = NDArray[np.float32]


class Unit(NamedTuple):
    """The rows of a table at length one, and how long they were."""

    table: CSR
    lengths: Dense

    @classmethod
    def of(cls, table: CSR) -> "Unit":
        """Bring all rows to length one."""
        data, lengths = np.empty(table.nnz, np.float32), np.empty(table.shape[0], np.float32)
        _cpu.unit_rows(table.indptr, table.data, data, lengths)
        return cls(table.with_data(data), lengths)


class Batch(NamedTuple):
    """Some users: what they took, who took what, and the sums z of the rows of what they took."""

    taken: CSR
    by_item: CSR
    sums: Dense

    @classmethod
    def of(cls, matrix: CSR, users: NDArray[np.int64], unit: Unit) -> "Batch":
        """Sum up the rows of what these users took."""
        taken = matrix.take(users)
        taken = taken.with_data(np.ones(taken.nnz, np.float32))
        sums = rows_times_sparse(taken, unit.table, 0, users.size)
        return cls(taken, transpose(taken), sums)


class Slopes(NamedTuple):
    """The derivative of the loss by the scores: push times r, less pull where an item was taken."""

    push: Dense
    pull: Dense
    loss: float

    @classmethod
    def of(cls, squares: Dense, hits: Dense, sizes: NDArray[np.int64]) -> "Slopes":
        """Return the slopes of the sums of r^2 and of r over the items taken, and their number."""
        inverse: Any = 1 / np.sqrt(np.maximum(squares, np.float32(1e-30)))
        root: Any = 1 / np.sqrt(np.maximum(sizes, 1).astype(np.float32))
        cosine = hits * inverse * root
        loss = float(np.sum(np.where(squares > 0, 2.0 - 2.0 * cosine, 1.0)))
        return cls(2 * cosine * inverse * inverse, 2 * inverse * root, loss)


def gradient_of_batch(
    matrix: CSR, users: NDArray[np.int64], unit: Unit, rows: NDArray[np.int64]
) -> tuple[float, Dense]:
    """Return the loss of some users, summed, and its gradient by the active weights.

    Scores are made of some items alone, `rows`, among which must be all that the users took.
    """
    table, batch = unit.table, Batch.of(matrix, users, unit)
    sums = np.ascontiguousarray(batch.sums.T)
    scored, by_item = table, batch.by_item
    if rows.size < table.shape[0]:
        scored, by_item = table.take(rows), by_item.take(rows)
    scores, slopes = positive_parts(scored, by_item, sums, batch.taken.row_counts)
    _cpu.slopes((by_item.indptr, by_item.indices), slopes.push, slopes.pull, scores)
    gradient, of_sums = np.zeros(table.nnz, np.float32), np.zeros_like(sums)
    _cpu.pull_decoder(rows, table.arrays, scores, sums, of_sums, gradient)
    taken = batch.taken.indptr, batch.taken.indices
    _cpu.pull_encoder(taken, table.arrays, np.ascontiguousarray(of_sums.T), gradient)
    _cpu.tangent(table.indptr, table.data, unit.lengths, gradient)
    return slopes.loss, gradient


def positive_parts(
    table: CSR, by_item: CSR, sums: Dense, sizes: NDArray[np.int64]
) -> tuple[Dense, Slopes]:
    """Return the positive parts of the scores of all rows, and the slopes that follow."""
    scores = spmm(table, sums)
    squares, hits = np.zeros((2, sums.shape[1]), np.float32)
    _cpu.positive_parts((by_item.indptr, by_item.indices), scores, squares, hits)
    return scores, Slopes.of(squares, hits, sizes)


class Growth:
    """The absolute gradient at every place of the table, active or not, in blocks of rows.

    It is that of the summed loss of some users at the present weights, so positive and negative
    slopes cancel. It never exists as a whole and can be read as often as needed; each time takes
    the scores of these users again, O(nnz users + n dim users). Newborn weights are zero and their
    rows go on pointing where they did, so nothing of it is radial.
    """

    def __init__(self, matrix: CSR, users: NDArray[np.int64], table: CSR) -> None:
        self.unit = Unit.of(table)
        self.batch = Batch.of(matrix, users, self.unit)
        self.sums = np.ascontiguousarray(self.batch.sums.T)
        squares, hits = np.zeros((2, users.size), np.float32)
        for _ in self._positive_parts(squares, hits):
            pass
        self.slopes = Slopes.of(squares, hits, self.batch.taken.row_counts)
        of_sums = np.zeros_like(self.sums)
        for rows, _, slopes in self._slopes():
            of_sums += spmm(transpose(self.unit.table.take(rows)), slopes)
        self.of_sums = np.ascontiguousarray(of_sums.T)

    def blocks(self) -> Iterator[tuple[int, Dense]]:
        """Yield the first row and the absolute gradient of consecutive blocks of rows."""
        for rows, by_item, slopes in self._slopes():
            gradient = slopes @ self.batch.sums
            gradient += spmm(by_item, self.of_sums)
            gradient /= self.unit.lengths[rows, None]
            yield int(rows[0]), np.abs(gradient, out=gradient)

    def _slopes(self) -> Iterator[tuple[NDArray[np.int64], CSR, Dense]]:
        """Yield rows, who took them, and the derivative of the loss by their scores."""
        unused = np.zeros((2, self.sums.shape[1]), np.float32)
        for rows, by_item, scores in self._positive_parts(*unused):
            takers = by_item.indptr, by_item.indices
            _cpu.slopes(takers, self.slopes.push, self.slopes.pull, scores)
            yield rows, by_item, scores

    def _positive_parts(
        self, squares: Dense, hits: Dense
    ) -> Iterator[tuple[NDArray[np.int64], CSR, Dense]]:
        """Yield rows, who took them, and the positive parts of their scores, and add these up."""
        table = self.unit.table
        for first in range(0, table.shape[0], BLOCK):
            rows = np.arange(first, min(first + BLOCK, table.shape[0]))
            by_item, scores = self.batch.by_item.take(rows), spmm(table.take(rows), self.sums)
            _cpu.positive_parts((by_item.indptr, by_item.indices), scores, squares, hits)
            yield rows, by_item, scores
