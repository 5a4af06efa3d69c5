"""The tables that are trained: active weights, optimizer state, and the budget of rows."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.training.optimizers import Optimizer
from sparsenum.sparse import CSR
from sparsenum.topology import Rewiring, allocate

ROW_FLOOR = 0.25  # of the mean: fewest weights of a user or item


@dataclass(slots=True)
class Table:
    """One embedding table: its active weights and their optimizer state, and nothing else.

    Attributes
    ----------
    weights : CSR, shape (n, d)
        Active weights, float32, uint16 columns.
    state : ndarray of float32, shape (numbers, nnz)
        What the optimizer remembers of each active weight.
    optimizer : Optimizer
        The rule it is for.
    """

    weights: CSR
    state: NDArray[np.float32]
    optimizer: Optimizer

    @classmethod
    def start(
        cls, pattern: CSR, scale: float, optimizer: Optimizer, rng: np.random.Generator
    ) -> "Table":
        """Fill a pattern with normal weights of standard deviation `scale`."""
        weights = rng.standard_normal(pattern.nnz, np.float32)
        weights *= np.float32(scale)
        return cls(pattern.with_data(weights), optimizer.start(pattern.nnz), optimizer)

    def move(self, rewiring: Rewiring) -> None:
        """Take over a new pattern: survivors keep value and state, newborns start at zero."""
        values = rewiring.carry(self.weights.data)
        state = np.empty((len(self.state), values.size), np.float32)
        for new, old, fresh in zip(state, self.state, self.optimizer.fresh, strict=True):
            new[:] = rewiring.carry(old, fresh)
        self.state = state
        self.weights = CSR(rewiring.indptr, rewiring.indices, values, self.weights.shape)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return what the kernels read and write."""
        return self.weights.indptr, self.weights.indices, self.weights.data, self.state


class Tables(NamedTuple):
    """The two tables of a model of users and items."""

    users: Table
    items: Table


class ItemTable(NamedTuple):
    """The one table of a model of items alone."""

    items: Table


def share_rows(
    weights: int, matrix: CSR, dim: int, power: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many weights each user and each item gets: in proportion to events ** `power`.

    At power 0 rows are as equal as whole numbers allow. The floor, so that what is rare
    can still be told apart, is a share of the mean; the ceiling is `dim`.
    """
    events = np.concatenate([matrix.row_counts, matrix.column_counts])
    floor = max(1, int(ROW_FLOOR * weights / events.size))
    counts = allocate(weights, events.astype(np.float64) ** power, lower=floor, upper=dim)
    return counts[: matrix.shape[0]], counts[matrix.shape[0] :]
