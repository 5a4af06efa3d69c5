"""The problem restricted to a support: the pairs of rows and columns that can carry mass."""

from __future__ import annotations  # a pattern names itself

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems import _cpu_support
from sparsenum.ot.problems.dense import Iterate, Vector
from sparsenum.sparse import CSR

MOST = 0.8  # share of its entries from which a support is not worth a narrower copy


class Pattern(Protocol):
    """A support that knows its costs without holding them."""

    @property
    def nnz(self) -> int:
        """Number of entries."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""

    @property
    def indptr(self) -> NDArray[np.uint64]:
        """Offset of each row in `indices`."""

    @property
    def indices(self) -> NDArray[np.unsignedinteger[Any]]:
        """Column of each entry."""

    @property
    def row_counts(self) -> NDArray[np.int64]:
        """Number of entries in each row."""

    def narrow(self, f: Vector, g: Vector, width: float) -> Pattern:
        """Return the entries with M - f - g < width."""

    def costs(self, out: Vector) -> CSR:
        """Return the support with its costs, written to `out`."""


@dataclass(slots=True)
class Restricted:
    """Find P = exp((f + g - M) / reg) on a support, with row sums a and column sums b.

    Attributes
    ----------
    support : CSR or Pattern
        The costs that count; no row and no column is empty.
    entries : ndarray
        The one array of its size: costs where the support holds none, the plan of the latest
        iterate, then the Hessian made of it.
    held : Iterate, optional
        Whose plan that is.
    """

    support: CSR | Pattern
    a: Vector
    b: Vector
    reg: float
    entries: Vector = field(init=False)
    held: Iterate | None = None

    def __post_init__(self) -> None:
        self.entries = np.empty(self.support.nnz)

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g: one pass over the support."""
        f, row_sums, column_sums = (np.empty_like(x) for x in (self.a, self.a, self.b))
        P, support = self.entries, self.support
        s = support if isinstance(support, CSR) else support.costs(P)
        arrays = *s.arrays, self.a, g, self.reg
        _cpu_support.relaxed_row_update(*arrays, 1.0, f, P, row_sums, column_sums)
        self.held = Iterate(f, g, column_sums, float(np.abs(column_sums - self.b).sum()))
        return self.held

    def hessian(self, at: Iterate, drop: float) -> CSR:
        """Return P / sqrt(a) without entries below the share `drop` of row or column.

        It holds until the next iterate, which writes over it.
        """
        if self.held is not at:
            self.iterate(at.g)
        self.held = None
        s, P, c = self.support, self.entries, at.column_sums
        indptr = np.zeros_like(s.indptr)
        _cpu_support.count_strong(s.indptr, s.indices, P, self.a, c, drop, indptr)
        np.cumsum(indptr, out=indptr)
        indices = np.empty(int(indptr[-1]) + 1, s.indices.dtype)
        _cpu_support.fill_strong(s.indptr, s.indices, P, self.a, c, drop, indptr, indices, P)
        return CSR(indptr, indices[:-1], P[: int(indptr[-1])], s.shape)


def narrow(support: CSR | Pattern, f: Vector, g: Vector, width: float) -> CSR | Pattern:
    """Return the entries of a support with M - f - g < width; the support itself if most remain."""
    if not isinstance(support, CSR):
        return support.narrow(f, g, width)
    indptr = np.zeros_like(support.indptr)
    _cpu_support.count_narrow(*support.arrays, f, g, width, indptr)
    np.cumsum(indptr, out=indptr)
    if indptr[-1] >= MOST * support.nnz:
        return support
    indices = np.empty(int(indptr[-1]) + 1, support.indices.dtype)
    cost = np.empty(indices.size)
    _cpu_support.fill_narrow(*support.arrays, f, g, width, indptr, indices, cost)
    return CSR(indptr, indices[:-1], cost[:-1], support.shape)


def is_full(support: CSR | Pattern) -> bool:
    """Return whether every row and every column has an entry."""
    return bool(support.row_counts.min() > 0 and bare_columns(support).size == 0)


def bare_columns(support: CSR | Pattern) -> NDArray[np.int64]:
    """Return the columns without an entry."""
    taken = np.zeros(support.shape[1], np.bool_)
    _cpu_support.mark_columns(support.indices, taken)
    return np.flatnonzero(~taken)
