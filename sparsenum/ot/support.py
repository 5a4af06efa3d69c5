"""The problem restricted to a support: the pairs of rows and columns that can carry mass."""

from __future__ import annotations  # a pattern names itself

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot import _cpu
from sparsenum.ot.problem import Iterate, Vector
from sparsenum.sparse import CSR


class View(Protocol):
    """The problem on a support, whatever that holds."""

    @property
    def a(self) -> Vector:
        """Row masses."""

    @property
    def b(self) -> Vector:
        """Column masses."""

    @property
    def reg(self) -> float:
        """Strength of the entropy."""

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g."""

    def hessian(self, at: Iterate, drop: float) -> CSR:
        """Return P / sqrt(a), sparsified."""


class Pattern(Protocol):
    """A support that knows its costs without holding them."""

    @property
    def nnz(self) -> int:
        """Number of entries."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""

    @property
    def indices(self) -> NDArray[np.unsignedinteger[Any]]:
        """Column of each entry."""

    @property
    def row_counts(self) -> NDArray[np.int64]:
        """Number of entries in each row."""

    def narrow(self, f: Vector, g: Vector, width: float) -> Pattern:
        """Return the entries with M - f - g < width."""

    def restricted(self, a: Vector, b: Vector, reg: float) -> View:
        """Return the problem on this support."""


@dataclass(frozen=True, slots=True)
class Restricted:
    """Find P = exp((f + g - M) / reg) on a support, with row sums a and column sums b.

    Attributes
    ----------
    support : CSR
        The costs that count; no row and no column is empty.
    """

    support: CSR
    a: Vector
    b: Vector
    reg: float

    def iterate(self, g: Vector) -> Iterate:
        """Eliminate f for a given g: one pass over the support."""
        f, column_sums = np.empty_like(self.a), np.empty_like(self.b)
        P = np.empty(self.support.nnz)
        s = self.support
        _cpu.support_row_update(s.indptr, s.indices, s.data, self.a, g, self.reg, f, P, column_sums)
        return Iterate(f, g, column_sums, float(np.abs(column_sums - self.b).sum()), P)

    def hessian(self, at: Iterate, drop: float) -> CSR:
        """Return P / sqrt(a) without entries below the share `drop` of row or column."""
        s, c = self.support, at.column_sums
        indptr = np.zeros_like(s.indptr)
        _cpu.count_strong(s.indptr, s.indices, at.entries, self.a, c, drop, indptr)
        np.cumsum(indptr, out=indptr)
        indices = np.empty(int(indptr[-1]) + 1, np.uint32)
        data = np.empty(indices.size)
        _cpu.fill_strong(s.indptr, s.indices, at.entries, self.a, c, drop, indptr, indices, data)
        return CSR(indptr, indices[:-1], data[:-1], s.shape)


def restricted(support: CSR | Pattern, a: Vector, b: Vector, reg: float) -> View:
    """Return the problem on a support."""
    if isinstance(support, CSR):
        return Restricted(support, a, b, reg)
    return support.restricted(a, b, reg)


def narrow(support: CSR | Pattern, f: Vector, g: Vector, width: float) -> CSR | Pattern:
    """Return the entries of a support with M - f - g < width; itself, where that is all."""
    if not isinstance(support, CSR):
        return support.narrow(f, g, width)
    indptr = np.zeros_like(support.indptr)
    _cpu.count_narrow(support.indptr, support.indices, support.data, f, g, width, indptr)
    np.cumsum(indptr, out=indptr)
    if indptr[-1] == support.nnz:
        return support
    indices = np.empty(int(indptr[-1]) + 1, np.uint32)
    cost = np.empty(indices.size)
    _cpu.fill_narrow(
        support.indptr, support.indices, support.data, f, g, width, indptr, indices, cost
    )
    return CSR(indptr, indices[:-1], cost[:-1], support.shape)


def is_full(support: CSR | Pattern) -> bool:
    """Return whether no row and no column is empty."""
    columns = np.bincount(support.indices, minlength=support.shape[1])
    return bool(support.row_counts.min() > 0 and columns.min() > 0)
