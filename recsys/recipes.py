"""Recipes: which weights exist during training, each a few choices among the same verbs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from sparsenum.topology import constant_fraction, cosine_fraction, cubic_excess

Schedule = Callable[[float], float]  # of the share of the training that is done


def never(progress: float) -> float:
    """Return 0: nothing is exchanged, or there is nothing beyond the budget."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to choose the active weights.

    Attributes
    ----------
    fraction : callable
        Share of the weights that is exchanged after an epoch, by progress.
    excess : callable
        Share of the weights beyond the budget that is there, by progress: 1 is dense, and 0
        throughout keeps the budget from the first step on.
    start : {"random", "aligned"}
        Where the first weights are.
    drop : {"magnitude", "set", "taylor", "row-share"}
        What weights are worth.
    grow : {"epoch", "batch", "momentum", "random"}
        By which gradient new weights are chosen: that of all the epoch's triples, of one
        mini-batch, smoothed over epochs, or none.
    scope : {"row", "table", "global"}
        Within what the number of weights stays: each row, each table, or both together.
    floor : float
        Weights that pruning leaves to every row, as a share of the mean.
    """

    fraction: Schedule = never
    excess: Schedule = never
    start: Literal["random", "aligned"] = "random"
    drop: Literal["magnitude", "set", "taylor", "row-share"] = "magnitude"
    grow: Literal["epoch", "batch", "momentum", "random"] = "epoch"
    scope: Literal["row", "table", "global"] = "row"
    floor: float = 0.0


RECIPES = {
    # The gradient of one batch touches few rows, and a common threshold starves the rest: the
    # repaired rule takes the whole epoch's gradient and keeps the budget row by row.
    # And two rows that share no column score zero, so it starts where the data put them together.
    "dsl": Recipe(partial(cosine_fraction, start=0.5, stop=0.75), start="aligned"),
    "dsl-paper": Recipe(partial(cosine_fraction, start=0.5), grow="batch", scope="global"),
    "rigl": Recipe(partial(cosine_fraction, start=0.3, stop=0.75), grow="batch", scope="table"),
    "set": Recipe(partial(constant_fraction, start=0.3), drop="set", grow="random", scope="table"),
    "static": Recipe(),
    "prune": Recipe(excess=partial(cubic_excess, stop=0.5), floor=0.5),
}
