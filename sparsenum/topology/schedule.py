"""How much is exchanged, or still too much, at a given moment of training."""

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

    References
    ----------
    .. [1] Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
       connectivity", Nature Communications 2018 (0.3 after each epoch).
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
    """
    return (1.0 - progress / stop) ** 3 if progress < stop else 0.0
