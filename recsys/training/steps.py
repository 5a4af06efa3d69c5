"""Steps down a loss on two sparse tables."""

import numpy as np
from numpy.typing import NDArray

from recsys.training import _cpu
from recsys.training.objective import Loss, Samples
from sparsenum._device import on_cuda
from sparsenum.nn.table import Table


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
        from recsys.training.on_cuda import descend_in_waves  # which imports numba.cuda

        return descend_in_waves(samples, loss, users, items, rate, decay, rng)
    total = sum(
        descend_in(order, samples, loss, users, items, rate, decay) for order in samples.rounds(rng)
    )
    return total / samples.matrix.nnz


def descend_in(
    order: NDArray[np.uint32],
    samples: Samples,
    loss: Loss,
    users: Table,
    items: Table,
    rate: float,
    decay: float,
) -> float:
    """Take one step for each interaction in an order, and return the sum of the losses."""
    total: float = _cpu.visit(
        order,
        samples.arrays(),
        users.arrays(),
        items.arrays(),
        loss.constants(),
        users.optimizer.constants(rate),
        np.float32(decay),
        np.zeros((2, users.weights.shape[1]), np.float32),
    )
    return total
