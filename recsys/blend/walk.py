"""The walk of a blend: from what was taken over all users to what else they took; not learned."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.scores.walks import Walks
from sparsenum.sparse import CSR

TINY = np.finfo(np.float32).tiny
MOST_READS = 2**18  # items read for a user in the mean: beyond, walks take too long to serve


@dataclass(frozen=True, slots=True)
class WalkRule:
    """The rule by which walks are weighed; d counts users of an item, items of a user.

    A walk from item i through user v to item j weighs
    ``d_i^-source_power d_v^-user_power d_j^-target_power``.

    Attributes
    ----------
    source_power, user_power, target_power : float
        How much less popular items and busy users say, and popular items are said to be.

    Examples
    --------
    >>> import recsys
    >>> recsys.blend.WalkRule(target_power=0.2).user_power
    0.5
    """

    source_power: float = 0.5
    user_power: float = 0.5
    target_power: float = 0.0


def walks_over(matrix: CSR, rule: WalkRule, scale: float = 1.0) -> Walks:
    """Return the walks over what users took, all multiplied by a scale."""
    lengths, counts = (
        np.maximum(of, 1).astype(np.float64) for of in (matrix.row_counts, matrix.column_counts)
    )
    return Walks(
        matrix,
        _power(counts, -rule.source_power),
        _power(lengths, -rule.user_power),
        _power(counts, -rule.target_power) * np.float32(scale),
    )


def _power(counts: NDArray[np.float64], power: float) -> NDArray[np.float32]:
    # A weight of nothing would let the kernel take an item for one that no walk has reached.
    with np.errstate(over="ignore"):
        return np.clip(counts**power, TINY, 1e30).astype(np.float32)


def reads_of_a_user(matrix: CSR) -> float:
    """Return how many items walks from what a user took read, in the mean over users."""
    lengths = matrix.row_counts
    of_item = np.bincount(matrix.indices, np.repeat(lengths, lengths), matrix.shape[1])
    return float(of_item @ matrix.column_counts) / max(matrix.shape[0], 1)
