"""A sparse table in training: active weights and what the optimizer remembers of each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.nn.optimizers import Optimizer
from sparsenum.sparse import CSR
from sparsenum.topology import Rewiring


@dataclass(slots=True)
class Table:
    """A sparse table in training: its active weights and their optimizer state, and nothing else.

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
