"""Steps down a loss on two sparse tables."""

import numpy as np

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
