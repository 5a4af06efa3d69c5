"""The steps of an epoch on a CUDA device: interactions that share no row are taken side by side.

The CPU takes one interaction after the other. Steps of two that share neither the user nor any
item, taken or drawn, touch other weights, so they may change places. An interaction is in the wave
after the last before it that it shares a row with; the device takes a wave at a time, and does what
the CPU does, to rounding. Gowalla has waves of 400 interactions in the mean with one item drawn for
each, of 170 with four and of 25 with sixteen: the more are drawn, the less can go together.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.training import _cpu, _cpu_waves, _cuda
from recsys.training.objective import Loss, Samples
from sparsenum import _cuda as device
from sparsenum.nn.table import Table

Array = Any  # on the device
CUTTERS = 8  # threads: one alone takes a fifth of the time of the CPU's epoch, mostly to draw


class Round(NamedTuple):
    """Interactions, wave by wave.

    Attributes
    ----------
    starts : ndarray of int64
        Where each wave begins, and at last how many interactions there are.
    users : ndarray of uint32
        The user of each interaction.
    candidates : ndarray of uint32, shape (n, 1 + drawn)
        The item taken, and those drawn.
    amounts : ndarray of float32
        The weight of each interaction.
    """

    starts: NDArray[np.int64]
    users: NDArray[np.uint32]
    candidates: NDArray[np.uint32]
    amounts: NDArray[np.float32]


def descend_in_waves(
    samples: Samples,
    loss: Loss,
    users: Table,
    items: Table,
    rate: float,
    decay: float,
    rng: np.random.Generator,
) -> float:
    """Do as `steps.descend`, on the device: tables go there, and come back when all is done.

    Threads of the host draw and cut the rounds to come while the device is at one; they may be so
    far ahead that what is drawn in the epoch is held at a time, four bytes for each item.
    """
    grid = device.in_step(_cuda.visit)
    warps = grid[0] * grid[1] // device.LANES
    rows = device.to_device(np.zeros((warps, 2, users.weights.shape[1]), np.float32))
    numbers = device.to_device(np.zeros((warps, 3, samples.n_negatives + 1), np.float32))
    losses = device.to_device(np.zeros(warps))
    moved = [_on_device(table) for table in (users, items)]
    code, rate_, corrections = users.optimizer.constants(rate)
    rule = code, rate_, device.to_device(corrections)
    scalars = np.float32(decay), np.float32(samples.scale)
    rest = *moved, loss.constants(), rule, *scalars, (rows, numbers, losses)
    with ThreadPoolExecutor(CUTTERS) as pool:
        rounds = filter(len, samples.rounds(rng))
        for part in pool.map(lambda order: cut(order, samples), rounds):
            _cuda.visit[grid](tuple(map(device.to_device, part)), *rest)
    for table, (_, _, values, state) in zip((users, items), moved, strict=True):
        values.copy_to_host(table.weights.data)
        if table.state.size:
            state.copy_to_host(table.state)
    return float(losses.copy_to_host().sum()) / samples.matrix.nnz


def cut(order: NDArray[np.uint32], samples: Samples) -> Round:
    """Draw for some interactions, and cut them into waves."""
    of_user, of_item = (np.zeros(n, np.uint32) for n in samples.matrix.shape)
    users = np.empty(order.size, np.uint32)
    candidates = np.empty((order.size, samples.n_negatives + 1), np.uint32)
    _cpu.draw_all(order, samples.arrays(), of_item.size, users, candidates)
    wave, place = np.empty_like(users), np.empty(order.size, np.int64)
    _cpu_waves.cut_waves(users, candidates, of_user, of_item, wave)
    starts = np.append(np.cumsum(np.bincount(wave)), order.size)
    _cpu_waves.sort_waves(wave, starts, place)
    return Round(starts, users[place], candidates[place], samples.matrix.data[order[place]])


def _on_device(table: Table) -> tuple[Array, ...]:
    """Return what the kernel reads and writes of a table, on the device."""
    indptr, indices, values, state = table.arrays()
    if not state.size:  # nothing has no layout
        state = np.zeros((1, 1), np.float32)
    return tuple(device.to_device(array) for array in (indptr, indices, values, state))
