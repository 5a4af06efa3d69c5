"""What training minimises: losses of the item a user took against items drawn at random."""

from typing import NamedTuple

import numpy as np


class Loss(NamedTuple):
    """A loss of the scores s of an item taken, i, and of the items drawn, j.

    Attributes
    ----------
    code : int
        What the kernels know it by.
    n_negatives : int
        Items drawn for each interaction, unless the user says.
    margin, weight : float
        The cosine above which a drawn item is pushed away, and how hard.
    """

    code: int
    n_negatives: int
    margin: float = 0.0
    weight: float = 0.0

    def constants(self) -> tuple[int, np.float32, np.float32]:
        """Return what the kernels take."""
        return self.code, np.float32(self.margin), np.float32(self.weight)


LOSSES = {
    "bpr": Loss(0, 1),  # mean_j softplus(s_j - s_i)
    "bce": Loss(1, 4),  # softplus(-s_i) + mean_j softplus(s_j)
    "softmax": Loss(2, 16),  # log(exp(s_i) + sum_j exp(s_j)) - s_i
    "ccl": Loss(3, 16, margin=0.4, weight=10.0),  # 1 - s_i + weight mean_j [s_j - m]+
}
