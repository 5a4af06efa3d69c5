"""A rewired pattern: how values move from the old entries to the new ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum._device import Device, host, in_kind, lives_on_cuda, moved
from sparsenum.sparse import CSR
from sparsenum.topology import _cpu


@dataclass(frozen=True, slots=True)
class Rewiring:
    """A new pattern, and where in the old one each entry came from.

    Attributes
    ----------
    indptr, indices : ndarray
        The new pattern, columns sorted within rows.
    source : ndarray of int32, or of int64 if the old pattern takes it, shape (nnz,)
        Position of each entry in the old pattern; -1 for a newborn.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenum import sparse, topology
    >>> table = sparse.CSR.from_dense([[0.1, 5.0, 0.0], [2.0, 0.0, 3.0]])
    >>> grow = [(0, np.array([[0.0, 0.0, 0.0], [0.0, 9.0, 0.0]]))]
    >>> new = topology.rewire(table, abs(table.data), 1, grow, rng=np.random.default_rng(0))
    >>> new.source.tolist()  # the entry at place 0 is gone; -1 is new
    [1, 2, -1, 3]
    >>> new.carry(table.data).tolist()
    [5.0, 2.0, 0.0, 3.0]
    """

    indptr: NDArray[np.uint64]
    indices: NDArray[np.unsignedinteger[Any]]
    source: NDArray[np.signedinteger[Any]]

    @property
    def n_grown(self) -> int:
        """Number of newborn entries."""
        return int((host(self.source) < 0).sum())

    def to(self, device: Device) -> "Rewiring":
        """Return it in the memory of a device ("cuda") or of the host ("cpu")."""
        return Rewiring(*moved(device, self.indptr, self.indices, self.source))

    def carry(self, state: NDArray[Any], newborn: float = 0.0) -> NDArray[Any]:
        """Move one number per entry (weight, optimizer state) along; newborns start fresh.

        What is moved is where `state` is: on a CUDA device too.
        """
        if lives_on_cuda(state) or lives_on_cuda(self.source):
            from sparsenum.topology import on_cuda as device

            source, old = moved("cuda", self.source, state)
            new: NDArray[Any] = in_kind(device.carried(source, old, newborn), state)
            return new
        fresh = np.full(self.source.size, newborn, state.dtype)
        _cpu.carry(self.source, state, fresh)
        return fresh

    def split(self, rows: int, entries: int) -> tuple["Rewiring", "Rewiring"]:
        """Take two stacked tables apart: `rows` and old `entries` of the upper one."""
        at = int(self.indptr[rows])
        indptr, below = self.indptr[rows:], self.source[at:]
        if lives_on_cuda(self.source):
            from sparsenum.topology.on_cuda import shifted

            lower = shifted(indptr, at), self.indices[at:], shifted(below, entries)
        else:
            source = np.where(below < 0, below, below - below.dtype.type(entries))
            lower = indptr - self.indptr[rows], self.indices[at:], source
        upper = self.indptr[: rows + 1], self.indices[:at], self.source[:at]
        return Rewiring(*upper), Rewiring(*lower)


def stack(upper: CSR, lower: CSR) -> CSR:
    """Put one table on top of another, so that entries may move between them.

    Parameters
    ----------
    upper, lower : CSR, shapes (n, d) and (m, d)
        The tables, with columns of one type.

    Returns
    -------
    CSR, shape (n + m, d)
        Both; `Rewiring.split` takes them apart again.

    Raises
    ------
    ValueError
        If the tables have different numbers of columns.

    Examples
    --------
    >>> from sparsenum import sparse, topology
    >>> upper, lower = (sparse.CSR.from_dense([[x, 0.0]]) for x in (1.0, 2.0))
    >>> topology.stack(upper, lower).to_dense().tolist()
    [[1.0, 0.0], [2.0, 0.0]]
    """
    if upper.shape[1] != lower.shape[1]:
        raise ValueError(
            f"lower must have {upper.shape[1]} columns like upper: got {lower.shape[1]}"
        )
    return CSR(
        np.concatenate([upper.indptr, lower.indptr[1:] + upper.indptr[-1]]),
        np.concatenate([upper.indices, lower.indices]),
        np.concatenate([upper.data, lower.data]),
        (upper.shape[0] + lower.shape[0], upper.shape[1]),
    )
