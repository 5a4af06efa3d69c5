"""Optimizers: how a gradient moves a weight, and the state that each weight carries."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsenum._formulas import ADAM_MEAN, ADAM_SQUARE
from sparsenum.nn import _cpu

CORRECTED = 8192  # steps after which Adam's means hardly feel that they began at zero


class Optimizer(NamedTuple):
    """A rule to step by.

    Attributes
    ----------
    code : int
        What the kernels know it by.
    fresh : tuple of float
        The numbers kept for each active weight, as they are for one that has seen no gradient.
    rate : float
        A learning rate to start with.
    """

    code: int
    fresh: tuple[float, ...]
    rate: float

    def start(self, n: int) -> NDArray[np.float32]:
        """Return the state of n weights that have seen no gradient, shape (len(fresh), n)."""
        return np.tile(np.array(self.fresh, np.float32)[:, None], n)

    def constants(self, rate: float) -> tuple[int, np.float32, NDArray[np.float32]]:
        """Return what the kernels take."""
        return self.code, np.float32(rate), CORRECTIONS

    def move(
        self,
        values: NDArray[np.float32],
        state: NDArray[np.float32],
        gradient: NDArray[np.float32],
        rate: float,
    ) -> None:
        """Take one step with every weight, in place."""
        _cpu.move_all(values, state, gradient, self.constants(rate))


def corrections() -> NDArray[np.float32]:
    """Return what Adam's step t has to be multiplied by, because its means began at zero."""
    t = np.arange(1, CORRECTED + 1)
    return np.asarray(np.sqrt(1 - ADAM_SQUARE**t) / (1 - ADAM_MEAN**t), np.float32)


CORRECTIONS = corrections()
OPTIMIZERS = {
    "adagrad": Optimizer(1, (1e-6,), 0.1),  # sum of squared gradients
    "adam": Optimizer(2, (0.0, 0.0, 0.0), 0.01),  # means of gradient and its square, steps taken
    "sgd": Optimizer(0, (), 0.05),
    "momentum": Optimizer(3, (0.0,), 0.05),  # sum of gradients, nine tenths kept at each step
}
