"""Is a held-out table drawn like the one models are judged by?

A random validation set has the popularity of the training data; a test set of later events may
not. Then validation flatters models that live by popularity and neighbours, and picks wrong ones.
The sign is how well the counts of items in a held-out set go with those in training: public test
sets that misrank models against random validation fall short of chance by 0.09 to 0.28, those that
do not by at most 0.02.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import Interactions, read_pairs
from recsys.table import Source
from sparsenum.errors import ProtocolWarning
from sparsenum.sparse.formats import CSR

# Between the largest harmless drift of the public sets above and the smallest harmful one.
TOLERANCE = 0.05

Counts = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class DegreeProfile:
    """How the items of a held-out set are spread over popular and rare ones.

    Attributes
    ----------
    pairs : int
        Held-out pairs of items known in training.
    correlation : float
        Pearson correlation of the items' counts in training and in the held-out set; 0 if either
        is constant.
    by_chance : float
        The same for a random part of all pairs, of the same size.
    mean_log_degree : float
        Mean over the held-out pairs of the logarithm of 1 + the count of the item in training.
    """

    pairs: int
    correlation: float
    by_chance: float
    mean_log_degree: float

    @property
    def drift(self) -> float:
        """How far the correlation falls short of chance: 0 for a random hold-out."""
        return self.by_chance - self.correlation


def degree_profile(train: Counts, held: Counts) -> DegreeProfile:
    """Compare the counts of items in a held-out set with those in training.

    Parameters
    ----------
    train, held : ndarray of int, shape (n_items,)
        Pairs of each item in training and in the held-out set.

    Returns
    -------
    DegreeProfile
        The same for the same counts. Cost O(n_items).
    """
    pairs, everything = int(held.sum()), train + held
    share = pairs / max(int(everything.sum()), 1)
    chance = np.random.default_rng(0).binomial(everything, share)
    return DegreeProfile(
        pairs=pairs,
        correlation=_correlation(train, held),
        by_chance=_correlation(everything - chance, chance),
        mean_log_degree=float(held @ np.log1p(train)) / max(pairs, 1),
    )


def warn_of_drift(train: CSR, valid: CSR, test: CSR) -> tuple[DegreeProfile, DegreeProfile]:
    """Warn if validation and test spread over popular and rare items in different ways.

    Parameters
    ----------
    train, valid, test : CSR, shape (n_users, n_items)
        Pairs, in one numbering of the items.

    Returns
    -------
    valid, test : DegreeProfile
        What was compared.

    Warns
    -----
    ProtocolWarning
        If the drifts differ by more than 0.05, beyond which models are known to be misranked.
    """
    degrees = train.column_counts
    profiles = degree_profile(degrees, valid.column_counts), degree_profile(degrees, test.column_counts)
    ours, theirs = (profile.drift for profile in profiles)
    if abs(ours - theirs) > TOLERANCE:
        warnings.warn("", ProtocolWarning, stacklevel=2)
    return profiles
