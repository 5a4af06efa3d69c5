"""What share of the entries is exchanged at a given moment of training."""

import math


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

    References
    ----------
    .. [1] Wang et al., "Dynamic Sparse Learning", WSDM 2024 (start 0.5, end 0.005, stop 1).
    .. [2] Evci et al., "Rigging the Lottery", ICML 2020, section 3 (start 0.3, stop 0.75).
    """
    if progress >= stop:
        return 0.0
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress / stop))
