"""Sparse tables as a file holds them: one byte for a value where that is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.storage.files import rows_from_counts
from sparsenum.sparse import CSR
from sparsenum.sparse.formats import index_type

Values = Literal["int8", "float32"]

LARGEST = 127  # of the whole numbers that values of a row become
# Scales keep 16 of 24 bits: products with 7 bits are then exact, and packing again changes nothing.
DROPPED = np.uint32(0xFF)


@dataclass(frozen=True, slots=True)
class Bytes:
    """The bytes of a packed table in a file, by part.

    Attributes
    ----------
    values, indices, rows : int
        Bytes of the values, of their columns, and of what each row has: its length, and its scale.
    """

    values: int
    indices: int
    rows: int

    @property
    def total(self) -> int:
        """All bytes."""
        return self.values + self.indices + self.rows


def quantised(table: CSR) -> CSR:
    """Return a table whose values are whole multiples, up to 127, of a scale of each row.

    Parameters
    ----------
    table : CSR
        Finite values, float32.

    Returns
    -------
    CSR
        The nearest such table, float32: what packing as int8 and unpacking returns, to the bit.
    """
    whole, scales = _whole(table)
    return table.with_data(_values(whole, scales, table.row_counts))


def pack(table: CSR, name: str, values: Values) -> dict[str, NDArray[Any]]:
    """Return the arrays of a table for a file, in the smallest types that hold them.

    Parameters
    ----------
    table : CSR
        Finite values, float32.
    name : str
        What the names of the arrays begin with.
    values : {"int8", "float32"}
        What the values become; int8 keeps only a table that is `quantised` as it is.

    Returns
    -------
    dict of str to ndarray
        Lengths of rows, columns, values and, for int8, a scale for each row.
    """
    arrays = {
        f"{name}_counts": table.row_counts.astype(_smallest(table.row_counts.max(initial=0))),
        f"{name}_indices": table.indices.astype(_smallest(table.shape[1] - 1)),
    }
    if values == "float32":
        return arrays | {f"{name}_data": table.data.astype(np.float32)}
    whole, scales = _whole(table)
    return arrays | {f"{name}_data": whole, f"{name}_scales": scales}


def unpack(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, int]) -> CSR:
    """Return the table that `pack` made into arrays, once they are sound.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        As a file holds them; nothing in them is trusted.
    name : str
        What their names begin with.
    shape : tuple of int
        That of the table.

    Returns
    -------
    CSR
        The table, float32.

    Raises
    ------
    ValueError
        If types, lengths, the order or range of columns, or values are not those of a table.
    """
    counts, indices, data = (arrays.get(f"{name}_{part}") for part in ("counts", "indices", "data"))
    if counts is None or indices is None or data is None:
        raise ValueError(f"the file's table {name!r} lacks lengths, columns or values")
    unsigned = (np.uint8, np.uint16, np.uint32)
    if counts.dtype not in unsigned or indices.dtype not in unsigned:
        raise ValueError(f"the file's table {name!r} has lengths or columns of an unfit type")
    if indices.size and indices.max() >= shape[1]:  # before they could wrap in a smaller type
        raise ValueError(f"the file's table {name!r} has columns out of range")
    pattern = rows_from_counts(
        counts.astype(np.uint32),
        indices.astype(index_type(shape[1])),
        np.zeros(data.shape, np.float32),
        shape,
    )
    scales = arrays.get(f"{name}_scales")
    if scales is not None:
        if data.dtype != np.int8 or scales.dtype != np.float32 or scales.shape != shape[:1]:
            raise ValueError(f"the file's table {name!r} has values or scales of an unfit type")
        data = _values(data, scales, pattern.row_counts)
    if data.dtype != np.float32 or not np.isfinite(data).all():
        raise ValueError(f"the file's table {name!r} has values that are not finite float32")
    return pattern.with_data(data)


def bytes_of(table: CSR, values: Values) -> Bytes:
    """Return what a table costs in a file.

    Parameters
    ----------
    table : CSR
        The table.
    values : {"int8", "float32"}
        As for `pack`.

    Returns
    -------
    Bytes
        The sizes of the arrays that `pack` returns.
    """
    each = _smallest(table.row_counts.max(initial=0)).itemsize + _scale_bytes(values)
    return Bytes(
        table.nnz * np.dtype(values).itemsize,
        table.nnz * _smallest(table.shape[1] - 1).itemsize,
        table.shape[0] * each,
    )


def pack_pattern(table: CSR, name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a table whose values do not count, in the smallest types."""
    arrays = pack(table, name, "float32")
    del arrays[f"{name}_data"]
    return arrays


def unpack_pattern(arrays: Mapping[str, NDArray[Any]], name: str, n_cols: int) -> CSR:
    """Return the table that `pack_pattern` made into arrays, all ones, once they are sound."""
    counts, indices = (arrays.get(f"{name}_{part}") for part in ("counts", "indices"))
    if counts is None or indices is None:
        raise ValueError(f"the file's table {name!r} lacks lengths or columns")
    ones = {f"{name}_data": np.ones(indices.size, np.float32)}
    return unpack({**arrays, **ones}, name, (counts.size, n_cols))


def bytes_of_pattern(table: CSR) -> Bytes:
    """Return what a table whose values do not count costs in a file."""
    found = bytes_of(table, "float32")
    return Bytes(0, found.indices, found.rows)


def weights_for(n_bytes: int, shape: tuple[int, int], values: Values) -> int:
    """Return how many weights a table of at most `size` bytes may have.

    Parameters
    ----------
    n_bytes : int
        Bytes in the file.
    shape : tuple of int
        That of the table.
    values : {"int8", "float32"}
        As for `pack`.

    Returns
    -------
    int
        From 0 to all; enough room is left for the lengths of rows however the weights spread.
    """
    rest = max(n_bytes - shape[0] * row_bytes(shape[1], values), 0)
    return min(rest // weight_bytes(shape[1], values), shape[0] * shape[1])


def weight_bytes(n_cols: int, values: Values) -> int:
    """Return what a weight costs in a file: its value and its column."""
    return np.dtype(values).itemsize + _smallest(n_cols - 1).itemsize


def row_bytes(n_cols: int, values: Values) -> int:
    """Return what a row costs in a file at most: its length, and its scale where it has one."""
    return _smallest(n_cols).itemsize + _scale_bytes(values)


def _scale_bytes(values: Values) -> int:
    return 4 if values == "int8" else 0


def _smallest(largest: int) -> np.dtype[Any]:
    """Return the smallest unsigned type that holds a number, of those that files have."""
    return np.min_scalar_type(max(int(largest), 0))


def _whole(table: CSR) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the whole numbers that values become, and the scale of each row."""
    row = table.rows
    largest = np.zeros(table.shape[0], np.float32)
    np.maximum.at(largest, row, np.abs(table.data.astype(np.float32)))
    exact = largest / np.float32(LARGEST)
    scales = ((exact.view(np.uint32) + DROPPED) & ~DROPPED).view(np.float32)
    under = np.where(scales > 0, scales, np.float32(1))[row]
    return np.rint(table.data / under).astype(np.int8), scales


def _values(
    whole: NDArray[np.int8], scales: NDArray[np.float32], counts: NDArray[np.int64]
) -> NDArray[np.float32]:
    return whole.astype(np.float32) * np.repeat(scales, counts)
