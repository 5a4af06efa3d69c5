"""The first entries: drawn at random, or where the data's own subspace is strongest."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import whole
from sparsenum.sparse import CSR, rows_times_sparse
from sparsenum.sparse.formats import row_starts
from sparsenum.topology import _cpu

BLOCK = 256  # rows of a product that exist at a time
PIECE = 2**14  # entries that are turned into others at a time; a row's come together
PARTS = 8  # in which the columns of a matrix are turned into rows
NEGLIGIBLE = 1e-6  # eigenvalues below this share of the largest are noise of float32


def random_start(
    counts: ArrayLike, n_cols: int, *, rng: np.random.Generator, index_dtype: Any = np.uint32
) -> CSR:
    """Return a float32 table of zeros whose row i has counts[i] entries in random columns.

    Every subset of columns is equally likely. The result depends on one number drawn from `rng`.

    Parameters
    ----------
    counts : array_like of int, shape (n,)
        Entries of each row, from 0 to `n_cols`.
    n_cols : int
        Number of columns.
    rng : numpy.random.Generator
        Source of randomness.
    index_dtype : dtype, default uint32
        Unsigned type of the columns.

    Returns
    -------
    CSR, shape (n, n_cols)
        The table. Cost O(n n_cols) time, no dense table.

    Raises
    ------
    ValueError
        If a count is negative or above `n_cols`.

    See Also
    --------
    sparsenum.topology.aligned_start : a start that follows what occurs together.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenum import topology
    >>> table = topology.random_start([1, 2], 4, rng=np.random.default_rng(0))
    >>> table.row_counts.tolist(), table.shape
    ([1, 2], (2, 4))
    """
    indptr = _checked_starts(counts, n_cols, index_dtype)
    indices = np.empty(int(indptr[-1]), index_dtype)
    _cpu.random_rows(indptr, n_cols, rng.integers(2**63, dtype=np.uint64), indices)
    return CSR(indptr, indices, np.zeros(indices.size, np.float32), (indptr.size - 1, n_cols))


def aligned_start(
    matrix: CSR,
    row_counts: ArrayLike,
    column_counts: ArrayLike,
    n_cols: int,
    *,
    rng: np.random.Generator,
    sweeps: int = 3,
    value: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    index_dtype: Any = np.uint32,
) -> tuple[CSR, CSR]:
    """Return two sparse tables U, V whose supports let U V' follow a matrix best.

    Rows that share no column score exactly zero, however they are trained; a random start leaves
    it to luck. Here U and V are found by a randomised range finder [1]_ of the matrix, normalised
    by the roots of its row and column sums, started from sparse random signs: U is the
    product with V, V that with U, made orthonormal by the symmetric square root, which turns it
    least, and of each row the largest entries stay. No table is ever dense: products exist for a
    block of rows at a time.

    Parameters
    ----------
    matrix : CSR, shape (n, m)
        Who took what: not negative.
    row_counts, column_counts : array_like of int, shapes (n,) and (m,)
        Entries of each row of U and of V, from 0 to `n_cols`.
    n_cols : int
        Number of columns of U and V.
    rng : numpy.random.Generator
        Source of randomness.
    sweeps : int, default 3
        Times that U and V are found again.
    value : callable, optional
        What to make of the matrix's entries first, some at a time, such as `numpy.log1p`.
    index_dtype : dtype, default uint32
        Unsigned type of the columns.

    Returns
    -------
    U, V : CSR, shapes (n, n_cols) and (m, n_cols)
        The tables, float32; with what counts as values: scale them, or fill the pattern again.
        Cost for each sweep O(nnz k + (n + m) n_cols^2), memory O(n_cols^2) beside
        an eighth of the matrix and one block.

    Raises
    ------
    ValueError
        If a count is negative or above `n_cols`, or there is not one for each row.

    See Also
    --------
    sparsenum.topology.random_start : positions drawn at random.

    References
    ----------
    .. [1] Halko, Martinsson, Tropp, "Finding structure with randomness", SIAM Review 2011,
       algorithm 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenum import sparse, topology
    >>> taken = sparse.CSR.from_dense([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> rng = np.random.default_rng(0)
    >>> U, V = topology.aligned_start(taken, [1, 1, 1], [1, 1, 1], 2, rng=rng)
    >>> (abs(U.to_dense() @ V.to_dense().T) > 0).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    sides = [_checked_starts(counts, n_cols, index_dtype) for counts in (row_counts, column_counts)]
    for starts, n, name in zip(sides, matrix.shape, ("row_counts", "column_counts"), strict=True):
        if starts.size != n + 1:
            raise ValueError(f"{name} must hold one number for each of {n}: got {starts.size - 1}")
    seen, back = _Rows(matrix, value), _Columns(matrix, value)
    of_row, of_column = _root_sums(seen), _root_sums(back)
    V = random_start(column_counts, n_cols, rng=rng, index_dtype=index_dtype)
    V = V.with_data(rng.choice(np.array([-1, 1], np.float32), V.nnz))
    for _ in range(whole(sweeps, "sweeps", lower=1)):
        U = _strongest(seen, _scaled(V, of_column), of_row, sides[0])
        V = _strongest(back, _scaled(U, of_row), of_column, sides[1])
    return U, V


def strongest(
    blocks: Iterable[NDArray[np.float32]],
    row_counts: ArrayLike,
    n_cols: int,
    *,
    index_dtype: Any = np.uint32,
) -> CSR:
    """Return the largest entries, by absolute value, of each row of a table given in blocks.

    Parameters
    ----------
    blocks : iterable of ndarray of float32, shape (rows, n_cols)
        Consecutive blocks of rows; they never need to exist at once.
    row_counts : array_like of int, shape (n,)
        Entries of each row, from 0 to `n_cols`; ties go to the lower column.
    n_cols : int
        Number of columns.
    index_dtype : dtype, default uint32
        Unsigned type of the columns.

    Returns
    -------
    CSR, shape (n, n_cols)
        What is kept, float32.

    Raises
    ------
    ValueError
        If a count is negative or above `n_cols`, or the blocks do not have as many rows.

    See Also
    --------
    sparsenum.topology.prune : the strongest entries of a sparse table.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenum import topology
    >>> block = np.array([[0.1, -3.0, 2.0], [1.0, 0.0, 0.5]], np.float32)
    >>> topology.strongest([block], [2, 1], 3).to_dense().tolist()
    [[0.0, -3.0, 2.0], [1.0, 0.0, 0.0]]
    """
    indptr = _checked_starts(row_counts, n_cols, index_dtype)
    indices = np.empty(int(indptr[-1]), index_dtype)
    data = np.empty(indices.size, np.float32)
    first = 0
    for block in blocks:
        starts = indptr[first : first + len(block) + 1].astype(np.int64)
        columns = np.empty(starts[-1] - starts[0], indices.dtype)
        _cpu.best_in_rows(np.abs(block), 0, starts - starts[0], columns)
        rows = np.repeat(np.arange(len(block)), np.diff(starts))
        indices[starts[0] : starts[-1]] = columns
        data[starts[0] : starts[-1]] = block[rows, columns]
        first += len(block)
    if first != indptr.size - 1:
        raise ValueError(f"blocks must have {indptr.size - 1} rows in all: got {first}")
    return CSR(indptr, indices, data, (indptr.size - 1, n_cols))


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a matrix, some at a time, its entries turned into others."""

    matrix: CSR
    value: Callable[[NDArray[Any]], NDArray[Any]] | None

    def blocks(self) -> Iterator[tuple[int, CSR]]:
        indptr, m = self.matrix.indptr, self.matrix.shape[1]
        first = 0
        while first < indptr.size - 1:
            full = int(np.searchsorted(indptr, indptr[first] + np.uint64(PIECE), "right"))
            starts = indptr[first : min(max(full, first + 2), first + BLOCK + 1)]
            some = slice(int(starts[0]), int(starts[-1]))
            data = self.matrix.data[some]
            data = data if self.value is None else self.value(data)
            columns = self.matrix.indices[some]
            yield first, CSR(starts - starts[0], columns, data, (starts.size - 1, m))
            first += starts.size - 1


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of a matrix in the same way; of its transpose a part exists at a time.

    A block is good until the next is asked for.
    """

    matrix: CSR
    value: Callable[[NDArray[Any]], NDArray[Any]] | None

    def blocks(self) -> Iterator[tuple[int, CSR]]:
        indptr, indices, data = self.matrix.arrays
        n, m = self.matrix.shape
        ends = np.append(0, np.cumsum(self.matrix.column_counts))
        cuts = np.searchsorted(ends, np.arange(1, PARTS) * (self.matrix.nnz / PARTS))
        bounds = np.unique([0, *cuts, m])
        room = int(np.diff(ends[bounds]).max(initial=0))
        rows, values = np.empty(room, np.uint32), np.empty(room, data.dtype)  # of one part, in turn
        for first, stop in pairwise(bounds):
            starts = (ends[first : stop + 1] - ends[first]).astype(np.uint64)
            _cpu.fill_columns(indptr, indices, data, first, starts[:-1].copy(), rows, values)
            part = CSR(starts, rows, values, (int(stop - first), n))
            for start, block in _Rows(part, self.value).blocks():
                yield int(first) + start, block


def _root_sums(A: "_Rows | _Columns") -> NDArray[np.float32]:
    """Return one over the root of each row's sum, and 1 for empty rows."""
    sums = []
    for _, rows in A.blocks():
        sums.append(np.zeros(rows.shape[0]))
        _cpu.add_rows(rows.indptr, rows.data, sums[-1])
    totals = np.concatenate([*sums, np.empty(0)])
    totals[totals == 0] = 1.0
    roots: NDArray[np.float32] = (1 / np.sqrt(totals)).astype(np.float32)
    return roots


def _checked_starts(counts: ArrayLike, n_cols: int, index_dtype: Any) -> NDArray[np.uint64]:
    counts = np.asarray(counts, np.int64)
    if counts.size and not (counts.min() >= 0 and counts.max() <= n_cols):
        raise ValueError(
            f"counts must lie from 0 to the {n_cols} columns: got {counts.min()} to {counts.max()}"
        )
    if n_cols - 1 > np.iinfo(index_dtype).max:
        raise ValueError(f"index_dtype must hold columns up to {n_cols - 1}: got {index_dtype}")
    return row_starts(counts)


def _scaled(table: CSR, scale: NDArray[np.float32]) -> CSR:
    """Multiply each row by a number."""
    return table.with_data(table.data * np.repeat(scale, table.row_counts))


def _strongest(
    A: _Rows | _Columns, B: CSR, scale: NDArray[np.float32], indptr: NDArray[np.uint64]
) -> CSR:
    """Return the strongest entries of each row of P (P' P)^(-1/2), where P is A B scaled by row."""
    gram = np.zeros((B.shape[1], B.shape[1]))
    for _, block in _products(A, B, scale):
        gram += block.T @ block
    root = _inverse_root(gram)
    turned = (block @ root for _, block in _products(A, B, scale))
    counts = np.diff(indptr.view(np.int64))
    return strongest(turned, counts, B.shape[1], index_dtype=B.indices.dtype)


def _inverse_root(gram: NDArray[np.float64]) -> NDArray[np.float32]:
    values, vectors = np.linalg.eigh(gram)
    strong = values > NEGLIGIBLE * values[-1]
    vectors *= np.where(strong, np.where(strong, values, 1.0) ** -0.25, 0.0)
    half = vectors.astype(np.float32)
    root: NDArray[np.float32] = half @ half.T
    return root


def _products(
    A: _Rows | _Columns, B: CSR, scale: NDArray[np.float32]
) -> Iterator[tuple[int, NDArray[Any]]]:
    for first, rows in A.blocks():
        block = rows_times_sparse(rows, B, 0, rows.shape[0])
        block *= scale[first : first + len(block), None]
        yield first, block
