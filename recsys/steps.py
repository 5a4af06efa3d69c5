"""Steps down a loss on two sparse tables, and the gradient of all their places to grow by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys import _cpu_training
from recsys.losses import Loss
from recsys.optimisers import Optimizer
from recsys.samples import Samples
from sparsenum.sparse import CSR, rows_times_sparse, transpose
from sparsenum.topology import Rewiring

KEPT = 4  # drawn items of an interaction that the gradient to grow by is made of
BLOCK = 1024  # rows of gradient that exist at a time


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
        weights = rng.standard_normal(pattern.nnz, np.float32) * np.float32(scale)
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
) -> float:
    """Take one step for each interaction, in random order, and return the mean loss."""
    mean: float = _cpu_training.visit(
        samples.order(rng),
        samples.arrays(),
        users.arrays(),
        items.arrays(),
        loss.constants(),
        users.optimizer.constants(rate),
        np.float32(decay),
        np.zeros((2, users.weights.shape[1]), np.float32),
        None,
    )
    return mean


def loss_derivative(
    samples: Samples,
    loss: Loss,
    users: Table,
    items: Table,
    chosen: NDArray[np.int64] | None = None,
) -> CSR:
    """Return the derivative of an epoch's loss with respect to each product, users by items.

    With products S = U V' and D the derivative, the gradient of U is D V and that of V is D' U:
    accumulated over all samples of the epoch, and computed in blocks of rows from sparse factors.
    Exact for inactive weights, with two exceptions by name. Of more than `KEPT` items drawn for an
    interaction the first few stand for all, which leaves the gradient right in the mean. A loss
    of cosines also pulls each row along itself; that part is zero at inactive weights, and is left
    out at active ones. Only the interactions `chosen`, in ascending order, count where given.
    """
    kept = min(samples.n_negatives, KEPT)
    n_users = samples.matrix.shape[0]
    shape = (samples.users.size, 1 + kept)
    indices, data = np.empty(shape, np.uint32), np.empty(shape, np.float32)
    everything = np.arange(samples.users.size, dtype=np.uint32)
    order = everything if chosen is None else chosen.astype(np.uint32)
    _cpu_training.visit(
        order,
        samples.arrays(),
        users.arrays(),
        items.arrays(),
        loss.constants(),
        users.optimizer.constants(0),
        np.float32(0),
        np.zeros((2, users.weights.shape[1]), np.float32),
        (indices, data),
    )
    if chosen is not None:
        indices, data = indices[chosen], data[chosen]
    # Interactions are sorted by user, and so are their samples.
    indptr = np.zeros(n_users + 1, np.uint64)
    counts = np.bincount(samples.users[order], minlength=n_users)
    np.cumsum((1 + kept) * counts, out=indptr[1:], dtype=np.uint64)
    by_item = transpose(CSR(indptr, indices.ravel(), data.ravel(), samples.matrix.shape))
    del indices, data
    return transpose(by_item)


def gradient_blocks(derivative: CSR, other: CSR) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield |D V| in blocks of rows: how much each weight, active or not, wants to move."""
    n = derivative.shape[0]
    for start in range(0, n, BLOCK):
        block = rows_times_sparse(derivative, other, start, min(start + BLOCK, n))
        yield start, np.abs(block, out=block)
