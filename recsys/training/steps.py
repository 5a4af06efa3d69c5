"""Steps down a loss on two sparse tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.training import _cpu
from recsys.training.losses import Loss
from recsys.training.objective import Samples
from recsys.training.optimizers import Optimizer
from sparsenum._device import on_cuda
from sparsenum.sparse import CSR
from sparsenum.topology import Rewiring


@dataclass(slots=True)
class Table:
    """One embedding table: its active weights and their optimiser state, and nothing else.

    Attributes
    ----------
    weights : CSR, shape (n, d)
        Active weights, float32, uint16 columns.
    state : ndarray of float32, shape (numbers, nnz)
        What the optimiser remembers of each active weight.
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


def descend(
    samples: Samples,
    loss: Loss,
    users: Table,
    items: Table,
    rate: float,
    decay: float,
    rng: np.random.Generator,
    device: str = "cpu",
) -> float:
    """Take one step for each interaction, in random order, and return the mean loss.

    A CUDA device takes the same steps, in an equivalent order (`recsys.training.on_cuda`).
    """
    if on_cuda(device):
        from recsys.training import on_cuda as waves  # which imports numba.cuda

        return waves.descend(samples, loss, users, items, rate, decay, rng)
    scratch = np.zeros((2, users.weights.shape[1]), np.float32)
    total = 0.0
    for order in samples.rounds(rng):
        total += _cpu.visit(
            order,
            samples.arrays(),
            users.arrays(),
            items.arrays(),
            loss.constants(),
            users.optimizer.constants(rate),
            np.float32(decay),
            scratch,
        )
    return total / samples.matrix.nnz
