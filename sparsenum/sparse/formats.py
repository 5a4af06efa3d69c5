"""Two compressed layouts: CSR (rows of any length) and ELL (rows of one length)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import float_type, real_array
from sparsenum._device import Device, moved
from sparsenum.sparse import _cpu

if TYPE_CHECKING:
    import scipy.sparse


def index_type(length: int) -> Any:
    """Return the smallest type of index that can count the columns of a CSR."""
    return np.uint16 if length <= 2**16 else np.uint32


def row_starts(counts: ArrayLike) -> NDArray[np.uint64]:
    """Return where rows of these lengths begin, and at last where they end, shape (n + 1,)."""
    counts = np.asarray(counts)
    indptr = np.zeros(counts.size + 1, np.uint64)
    np.cumsum(counts, out=indptr[1:], dtype=np.uint64)
    return indptr


@dataclass(frozen=True, slots=True)
class CSR:
    """A sparse matrix by compressed rows: row i holds data[indptr[i]:indptr[i + 1]].

    Columns are sorted within each row and appear once. Indices are unsigned (uint64 pointers,
    uint16 or uint32 columns), which lets the compiled kernels skip the test for negative indices.
    The arrays may be in the memory of a CUDA device, for functions that take ``device="cuda"``.

    Attributes
    ----------
    indptr : ndarray of uint64, shape (n + 1,)
        Where each row starts.
    indices : ndarray of uint16 or uint32, shape (nnz,)
        Column of each entry.
    data : ndarray of float32 or float64, shape (nnz,)
        Value of each entry.
    shape : tuple of int
        Numbers of rows and columns, (n, m).

    See Also
    --------
    sparsenum.sparse.ELL : rows of one length, without pointers.

    Examples
    --------
    >>> from sparsenum import sparse
    >>> A = sparse.CSR.from_dense([[0.0, 2.0], [1.0, 0.0], [0.0, 0.0]])
    >>> A.indptr.tolist(), A.indices.tolist(), A.data.tolist()
    ([0, 1, 2, 2], [1, 0], [2.0, 1.0])
    >>> A.row_counts.tolist()
    [1, 1, 0]
    >>> A.to_scipy().toarray().tolist()
    [[0.0, 2.0], [1.0, 0.0], [0.0, 0.0]]
    """

    indptr: NDArray[np.uint64]
    indices: NDArray[np.unsignedinteger[Any]]
    data: NDArray[np.floating[Any]]
    shape: tuple[int, int]

    def __repr__(self) -> str:
        """Return one line: shape, entries and type."""
        return f"CSR(shape={self.shape}, nnz={self.nnz}, dtype={self.data.dtype})"

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The three arrays (indptr, indices, data), as kernels take them."""
        return self.indptr, self.indices, self.data

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return self.indices.size

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row of each entry, shape (nnz,)."""
        return np.repeat(np.arange(self.shape[0]), self.row_counts)

    @property
    def row_counts(self) -> NDArray[np.int64]:
        """Number of stored entries in each row, shape (n,)."""
        starts = self.indptr.view(np.int64)
        return starts[1:] - starts[:-1]

    @property
    def column_counts(self) -> NDArray[np.int64]:
        """Number of stored entries in each column, shape (m,)."""
        counts = np.zeros(self.shape[1], np.int64)
        _cpu.count_columns(self.indices, counts)
        return counts

    @property
    def nbytes(self) -> int:
        """Bytes held by the three arrays."""
        return self.indptr.nbytes + self.indices.nbytes + self.data.nbytes

    def to(self, device: Device) -> CSR:
        """Return the matrix in the memory of a device ("cuda") or of the host ("cpu").

        Arrays already there are not copied. With its arrays on a device a matrix is for the
        functions that take ``device="cuda"``; its other methods want them on the host.
        """
        indptr, indices, data = moved(device, self.indptr, self.indices, self.data)
        return CSR(indptr, indices, data, self.shape)

    def take(self, rows: NDArray[np.integer[Any]]) -> CSR:
        """Return some rows, in the order asked for; a row may be asked for several times."""
        if rows.size == 1:  # most requests are for one, and arrays of one are slow
            start, stop = (int(self.indptr[int(rows[0]) + end]) for end in (0, 1))
            indptr = np.array([0, stop - start], np.uint64)
            indices, data = self.indices[start:stop].copy(), self.data[start:stop].copy()
            return CSR(indptr, indices, data, (1, self.shape[1]))
        # The counts of these rows alone: to take one of a million costs no more than one of ten.
        ends, rows = self.indptr.view(np.int64), rows.astype(np.int64, copy=False)
        counts = ends[rows + 1] - ends[rows]
        indptr = row_starts(counts)
        starts = ends[rows] - indptr[:-1].view(np.int64)
        entries = np.arange(int(indptr[-1])) + np.repeat(starts, counts)
        shape = (counts.size, self.shape[1])
        return CSR(indptr, self.indices[entries], self.data[entries], shape)

    def only(self, kept: NDArray[np.bool_]) -> CSR:
        """Return the entries that are kept, one truth for each, in a pattern of their own."""
        before = np.concatenate([[0], np.cumsum(kept)])
        indptr = before[self.indptr.view(np.int64)].astype(np.uint64)
        return CSR(indptr, self.indices[kept], self.data[kept], self.shape)

    def with_data(self, data: NDArray[np.floating[Any]]) -> CSR:
        """Return the same pattern with other values; nothing is copied."""
        return CSR(self.indptr, self.indices, data, self.shape)

    def to_dense(self) -> NDArray[np.floating[Any]]:
        """Return the matrix with its zeros written out, shape (n, m)."""
        dense = np.zeros(self.shape, self.data.dtype)
        dense[self.rows, self.indices] = self.data
        return dense

    def to_scipy(self) -> scipy.sparse.csr_array:
        """Return the same matrix as a scipy array; values are shared where scipy allows."""
        import scipy.sparse

        index = np.int32 if max(self.nnz, *self.shape) < 2**31 else np.int64
        triple = (self.data, self.indices.astype(index), self.indptr.astype(index))
        return scipy.sparse.csr_array(triple, shape=self.shape)

    @classmethod
    def from_counts(
        cls,
        counts: ArrayLike,
        indices: NDArray[np.unsignedinteger[Any]],
        data: NDArray[np.floating[Any]],
        shape: tuple[int, int],
    ) -> CSR:
        """Return the matrix of rows of these lengths, given one after the other.

        Examples
        --------
        >>> import numpy as np
        >>> from sparsenum.sparse import CSR
        >>> columns = np.array([0, 2, 1], np.uint32)
        >>> CSR.from_counts([2, 1], columns, np.array([5.0, 6.0, 7.0]), (2, 3)).to_dense()
        array([[5., 0., 6.],
               [0., 7., 0.]])
        """
        return cls(row_starts(counts), indices, data, shape)

    @classmethod
    def from_scipy(cls, matrix: Any) -> CSR:
        """Return a scipy sparse matrix or array as a CSR; duplicates are summed, columns sorted."""
        matrix = matrix.tocsr(copy=True)
        matrix.sum_duplicates()
        data = matrix.data if matrix.data.dtype == np.float32 else matrix.data.astype(np.float64)
        return cls(
            matrix.indptr.astype(np.uint64), matrix.indices.astype(np.uint32), data, matrix.shape
        )

    @classmethod
    def from_dense(cls, A: Any, threshold: float = 0.0) -> CSR:
        """Return the entries of a dense matrix that exceed `threshold` in absolute value.

        Parameters
        ----------
        A : array_like, shape (n, m)
            Real matrix; float32 stays float32, everything else becomes float64.
        threshold : float, default 0
            Entries with an absolute value up to this are dropped; NaN is dropped too.

        Returns
        -------
        CSR
            The entries kept. Cost O(n m), twice over `A`.
        """
        A = real_array(A, "A", 2, float_type(A))
        indptr = np.zeros(A.shape[0] + 1, np.uint64)
        _cpu.count_above(A, threshold, indptr)
        np.cumsum(indptr, out=indptr)
        indices = np.empty(int(indptr[-1]), np.uint32)
        data = np.empty(indices.size, A.dtype)
        _cpu.fill_above(A, threshold, indptr, indices, data)
        return cls(indptr, indices, data, A.shape)


@dataclass(frozen=True, slots=True)
class ELL:
    """A sparse matrix whose rows all have k places: row i holds data[i, :] at indices[i, :].

    Attributes
    ----------
    indices : ndarray of uint32, shape (n, k)
        Column of each entry; a place that is not in use holds n_cols.
    data : ndarray of float32 or float64, shape (n, k)
        Value of each entry; minus infinity in places that are not in use.
    n_cols : int
        Number of columns.

    See Also
    --------
    sparsenum.sparse.CSR : rows of any length.

    Examples
    --------
    >>> from sparsenum import sparse
    >>> best = sparse.row_top_k([[0.3, 0.9, 0.5]], k=2)
    >>> best.indices.tolist(), best.data.tolist()
    ([[1, 2]], [[0.9, 0.5]])
    >>> best.to_csr().to_dense().tolist()
    [[0.0, 0.9, 0.5]]
    """

    indices: NDArray[np.uint32]
    data: NDArray[np.floating[Any]]
    n_cols: int

    def __repr__(self) -> str:
        """Return one line: shape, places of a row and type."""
        n, k = self.data.shape
        return f"ELL(shape=({n}, {self.n_cols}), places={k}, dtype={self.data.dtype})"

    def to(self, device: Device) -> ELL:
        """Return the matrix in the memory of a device ("cuda") or of the host ("cpu").

        What is there already is not copied.
        """
        indices, data = moved(device, self.indices, self.data)
        return ELL(indices, data, self.n_cols)

    def to_csr(self) -> CSR:
        """Return the used places by compressed rows, columns sorted."""
        order = np.argsort(self.indices, axis=1, kind="stable")
        indices = np.take_along_axis(self.indices, order, axis=1)
        used = indices < self.n_cols
        data = np.take_along_axis(self.data, order, axis=1)[used]
        shape = (self.indices.shape[0], self.n_cols)
        return CSR.from_counts(used.sum(axis=1), indices[used], data, shape)
