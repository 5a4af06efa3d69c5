"""Recipes: which weights exist during training, each a few choices among the same verbs."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from sparsenum._check import choice, share


def cosine_fraction(
    progress: float, *, start: float = 0.5, end: float = 0.005, stop: float = 1.0
) -> float:
    """Return the drop fraction, annealed by a half cosine from `start` to `end`, then zero.

    ``f(t) = end + (start - end) (1 + cos(pi t / stop)) / 2`` for t < stop, and 0 from there on.

    Parameters
    ----------
    progress : float
        Share of the training that is done, from 0 to 1.
    start, end : float
        Fractions at the beginning and at `stop`, from 0 to 1.
    stop : float, default 1.0
        Progress from which the topology is left alone.

    Returns
    -------
    float
        The fraction of entries to exchange now.

    See Also
    --------
    sparsenum.topology.linear_fraction : falls along a line.
    sparsenum.topology.constant_fraction : stays the same.

    References
    ----------
    .. [1] Wang et al., "Dynamic Sparse Learning", WSDM 2024 (start 0.5, end 0.005, stop 1).
    .. [2] Evci et al., "Rigging the Lottery", ICML 2020, section 3 (start 0.3, stop 0.75).

    Examples
    --------
    >>> from sparsenum import topology
    >>> round(topology.cosine_fraction(0.0), 4), round(topology.cosine_fraction(0.5), 4)
    (0.5, 0.2525)
    >>> topology.cosine_fraction(1.0)
    0.0
    """
    if progress >= stop:
        return 0.0
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress / stop))


def linear_fraction(
    progress: float, *, start: float = 0.5, end: float = 0.0, stop: float = 1.0
) -> float:
    """Return the drop fraction, falling on a line from `start` to `end`, then zero.

    Parameters
    ----------
    progress : float
        Share of the training that is done, from 0 to 1.
    start, end : float
        Fractions at the beginning and at `stop`, from 0 to 1.
    stop : float, default 1.0
        Progress from which the topology is left alone.

    Returns
    -------
    float
        The fraction of entries to exchange now.

    See Also
    --------
    sparsenum.topology.cosine_fraction : falls along a cosine.
    sparsenum.topology.constant_fraction : stays the same.

    Examples
    --------
    >>> from sparsenum import topology
    >>> topology.linear_fraction(0.0), topology.linear_fraction(0.5), topology.linear_fraction(1.0)
    (0.5, 0.25, 0.0)
    """
    return start + (end - start) * progress / stop if progress < stop else 0.0


def constant_fraction(progress: float, *, start: float = 0.3, stop: float = 1.0) -> float:
    """Return the drop fraction `start` until `stop`, then zero.

    Parameters
    ----------
    progress : float
        Share of the training that is done, from 0 to 1.
    start : float, default 0.3
        The fraction, from 0 to 1.
    stop : float, default 1.0
        Progress from which the topology is left alone.

    Returns
    -------
    float
        The fraction of entries to exchange now.

    See Also
    --------
    sparsenum.topology.cosine_fraction : falls along a cosine.
    sparsenum.topology.linear_fraction : falls along a line.

    References
    ----------
    .. [1] Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
       connectivity", Nature Communications 2018 (0.3 after each epoch).

    Examples
    --------
    >>> from sparsenum import topology
    >>> topology.constant_fraction(0.5), topology.constant_fraction(1.0)
    (0.3, 0.0)
    """
    return start if progress < stop else 0.0


def cubic_excess(progress: float, *, stop: float = 1.0) -> float:
    """Return what share of the entries to be pruned away is still there, falling as a cube.

    ``(1 - t / stop)^3``: fast while many entries are of no use, slow as the budget comes near.

    Parameters
    ----------
    progress : float
        Share of the training that is done, from 0 to 1.
    stop : float, default 1.0
        Progress from which the budget is met.

    Returns
    -------
    float
        From 1 at the beginning to 0 at `stop` and after.

    References
    ----------
    .. [1] Zhu, Gupta, "To prune, or not to prune", 2017, equation 1.

    Examples
    --------
    >>> from sparsenum import topology
    >>> topology.cubic_excess(0.0), topology.cubic_excess(0.5), topology.cubic_excess(1.0)
    (1.0, 0.125, 0.0)
    """
    return (1.0 - progress / stop) ** 3 if progress < stop else 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """A share of entries that falls to zero as training goes on.

    Attributes
    ----------
    kind : {"never", "constant", "linear", "cosine", "cubic"}
        How it falls; "never" is zero throughout.
    start : float
        The share at the beginning, from 0 to 1.
    stop : float
        Progress of the training, above 0 and up to 1, from which on it is zero.

    See Also
    --------
    recsys.Recipe : what it is a part of.

    Examples
    --------
    >>> import recsys
    >>> schedule = recsys.Schedule("cosine", start=0.3)
    >>> schedule(0.0), schedule(1.0)
    (0.3, 0.0)
    """

    kind: Literal["never", "constant", "linear", "cosine", "cubic"] = "never"
    start: float = 1.0
    stop: float = 1.0

    def __post_init__(self) -> None:
        """Raise unless the numbers make a schedule."""
        choice(self.kind, "kind", ("never", "constant", "linear", "cosine", "cubic"))
        object.__setattr__(self, "start", share(self.start, "start"))
        object.__setattr__(self, "stop", share(self.stop, "stop"))
        if self.stop == 0:
            raise ValueError("stop must be above 0: got 0; kind='never' is zero throughout")

    def __call__(self, progress: float) -> float:
        """Return the share at some progress, from 0 to 1."""
        match self.kind:
            case "constant":
                return constant_fraction(progress, start=self.start, stop=self.stop)
            case "linear":
                return linear_fraction(progress, start=self.start, stop=self.stop)
            case "cosine":
                return cosine_fraction(progress, start=self.start, stop=self.stop)
            case "cubic":
                return self.start * cubic_excess(progress, stop=self.stop)
        return 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe of dynamic sparse training: how the active weights are chosen.

    Attributes
    ----------
    fraction : Schedule
        Share of the weights that is exchanged after an epoch.
    excess : Schedule
        Share of the weights beyond the budget that is there: 1 is dense, and 0 throughout keeps
        the budget from the first step on. A recipe either exchanges weights or prunes them.
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

    See Also
    --------
    recsys.Schedule : how much is exchanged, and when.
    recsys.SparseMF : a model that is trained by it.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import shop
    >>> train = recsys.Interactions.read(shop(40, 30), user="customer", item="product")
    >>> exchange = recsys.Schedule("cosine", start=0.3)
    >>> recipe = recsys.Recipe(fraction=exchange, drop="set", grow="random")
    >>> model = recsys.SparseMF(budget="20%", dim=16, epochs=2, recipe=recipe).fit(train)
    """

    fraction: Schedule = Schedule()
    excess: Schedule = Schedule()
    start: Literal["random", "aligned"] = "random"
    drop: Literal["magnitude", "set", "taylor", "row-share"] = "magnitude"
    grow: Literal["epoch", "batch", "momentum", "random"] = "epoch"
    scope: Literal["row", "table", "global"] = "row"
    floor: float = 0.0

    def __post_init__(self) -> None:
        """Raise unless the choices make a recipe."""
        for name in ("fraction", "excess"):
            value = getattr(self, name)
            if not isinstance(value, Schedule):
                raise TypeError(
                    f"{name} must be a Schedule: got {type(value).__name__}; write it like "
                    "Schedule('cosine', start=0.5)"
                )
        if "never" not in (self.fraction.kind, self.excess.kind):
            raise ValueError("fraction and excess must not both be there: choose one of them")
        choice(self.start, "start", ("random", "aligned"))
        choice(self.drop, "drop", ("magnitude", "set", "taylor", "row-share"))
        choice(self.grow, "grow", ("epoch", "batch", "momentum", "random"))
        choice(self.scope, "scope", ("row", "table", "global"))
        object.__setattr__(self, "floor", share(self.floor, "floor"))

    def fields(self) -> dict[str, Any]:
        """Return the fields as text and numbers, for a file."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return the recipe that `fields` described."""
        schedules = {name: Schedule(**fields[name]) for name in ("fraction", "excess")}
        return cls(**{**fields, **schedules})


RECIPES = {
    # The gradient of one batch touches few rows, and a common threshold starves the rest: the
    # repaired rule takes the whole epoch's gradient and keeps the budget row by row.
    # And two rows that share no column score zero, so it starts where the data put them together.
    "dsl": Recipe(Schedule("cosine", 0.5, 0.75), start="aligned"),
    "dsl-paper": Recipe(Schedule("cosine", 0.5), grow="batch", scope="global"),
    "rigl": Recipe(Schedule("cosine", 0.3, 0.75), grow="batch", scope="table"),
    "set": Recipe(Schedule("constant", 0.3), drop="set", grow="random", scope="table"),
    "static": Recipe(),
    "prune": Recipe(excess=Schedule("cubic", stop=0.5), floor=0.5),
}
