"""Is a validation set drawn like the test set that models are judged by.

A random validation set has the popularity of the training data; a test set of later events may
not. Then validation flatters models that live by popularity and neighbours, and picks wrong ones.
The sign is how well the counts of items in a held-out set go with those in training. The public
test sets of gowalla, yelp2018 and amazon-book fall short of chance by 0.11, 0.18 and 0.29 (on the
first, models are known to change places); those of MovieLens 1M and amazon-sports by 0.00.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.table import Source
from sparsenum.errors import ProtocolWarning
from sparsenum.sparse.formats import CSR

# Between the largest harmless drift of those public sets and the smallest harmful one.
TOLERANCE = 0.05
# A small set strays from chance by itself: only more standard deviations than this count.
DEVIATIONS = 3.0
_DRAWS = 20

Counts = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class DegreeProfile:
    """The distribution of a held-out set over popular and rare items.

    Attributes
    ----------
    pairs : int
        Held-out pairs of items known in training.
    correlation : float
        Pearson correlation of the items' counts in training and in the held-out set; 0 if either
        is constant.
    by_chance, deviation : float
        Mean and standard deviation of the same for random parts of all pairs, of the same size.
    mean_log_degree : float
        Mean over the held-out pairs of the logarithm of 1 + the count of the item in training.

    See Also
    --------
    recsys.evaluation.degree_profile : which returns it.

    Examples
    --------
    >>> import numpy as np
    >>> import recsys
    >>> profile = recsys.evaluation.degree_profile(np.array([9, 5, 1]), np.array([3, 2, 0]))
    >>> profile.pairs
    5
    """

    pairs: int
    correlation: float
    by_chance: float
    deviation: float
    mean_log_degree: float

    @property
    def drift(self) -> float:
        """Shortfall of the correlation against chance: 0 for a random hold-out."""
        return self.by_chance - self.correlation


def degree_profile(train: Counts, held: Counts) -> DegreeProfile:
    """Return how the items of a held-out set are distributed over popular and rare ones.

    Parameters
    ----------
    train, held : ndarray of int, shape (n_items,)
        Pairs of each item in training and in the held-out set.

    Returns
    -------
    DegreeProfile
        The same for the same counts. Cost O(n_items).

    See Also
    --------
    recsys.evaluation.warn_of_drift : which compares two of them.

    Examples
    --------
    >>> import numpy as np
    >>> import recsys
    >>> recsys.evaluation.degree_profile(np.array([9, 5, 1]), np.array([3, 2, 0])).pairs
    5
    """
    pairs, everything = int(held.sum()), train + held
    share = pairs / max(int(everything.sum()), 1)
    rng = np.random.default_rng(0)
    draws = (rng.binomial(everything, share) for _ in range(_DRAWS))
    by_chance = [_correlation(everything - draw, draw) for draw in draws]
    return DegreeProfile(
        pairs=pairs,
        correlation=_correlation(train, held),
        by_chance=float(np.mean(by_chance)),
        deviation=float(np.std(by_chance)),
        mean_log_degree=float(held @ np.log1p(train)) / max(pairs, 1),
    )


def warn_of_drift(
    train: Interactions | CSR,
    valid: Source | CSR,
    test: Source | CSR,
) -> tuple[DegreeProfile, DegreeProfile]:
    """Warn if validation and test spread over popular and rare items in different ways.

    Parameters
    ----------
    train : Interactions, or CSR of shape (n_users, n_items)
        What is learned from.
    valid, test : table or path, or CSR of shape (n_users, n_items)
        Held-out pairs: tables with the columns that `train` was read from, or matrices in its
        numbering of the items.

    Returns
    -------
    valid, test : DegreeProfile
        What was compared. Cost: reading the tables and O(n_items).

    Raises
    ------
    TypeError
        If a table comes with a matrix for `train`, which has no ids to read it by.
    FileNotFoundError, ValueError
        As `Interactions.read` for a table.

    Warns
    -----
    ProtocolWarning
        If the drifts differ by more than 0.05 and by three standard deviations of chance.

    See Also
    --------
    recsys.evaluation.degree_profile : what it compares.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> train = pl.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1]})
    >>> train = recsys.Interactions.read(train, user="user", item="item")
    >>> held = pl.DataFrame({"user": [2], "item": [2]})
    >>> valid, test = recsys.evaluation.warn_of_drift(train, held, held)  # alike: no warning
    >>> valid == test
    True
    """
    degrees = (train if isinstance(train, CSR) else train.matrix).column_counts
    ours = degree_profile(degrees, _counts(train, valid, "valid"))
    theirs = degree_profile(degrees, _counts(train, test, "test"))
    chance = DEVIATIONS * float(np.hypot(ours.deviation, theirs.deviation))
    if abs(ours.drift - theirs.drift) > max(TOLERANCE, chance):
        warnings.warn(
            "valid and test should be held out in the same way, or they rank models differently: "
            f"counts of items correlate with training by {ours.correlation:.3f} in valid "
            f"({ours.by_chance:.3f} by chance) and {theirs.correlation:.3f} in test "
            f"({theirs.by_chance:.3f}); where test is later than training, hold out last rows too",
            ProtocolWarning,
            stacklevel=2,
        )
    return ours, theirs


def _counts(train: Interactions | CSR, held: Source | CSR, name: str) -> Counts:
    """Return the pairs of each item in a held-out set."""
    if isinstance(held, CSR):
        return held.column_counts
    if isinstance(train, CSR):
        raise TypeError(
            f"{name} must be a CSR matrix where train is one: got {type(held).__name__}; pass "
            "Interactions as train, whose ids the table can be read by"
        )
    return train.read_held(held).matrix.column_counts


def _correlation(x: Counts, y: Counts) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else 0.0
