"""Whether a transport problem has to be solved, has to be refused, or may be either."""

from functools import partial

import numpy as np
from numpy.exceptions import ComplexWarning

from fuzz.case import axes_of

SOUND, DOUBTFUL, FLAWED = range(3)
HUGE = 1e150  # beyond it float64 may have to give up
SQUARED = HUGE**2  # as a number of any type
MATRIX = {"solve": 2, "sinkhorn": 2, "sinkhorn2": 2, "barycenter": 2, "solve_batch": 3}
WORDS = {
    "method": {"auto", "sns", "sns-paper", "sinkhorn", "sinkhorn_log", "sinkhorn_stabilized"},
    "reg_type": {"KL", "kl", "entropy"},
    "metric": {"sqeuclidean", "cityblock", "euclidean", "cosine", "chebyshev"},
}


def soundness(case):
    """Return the worst of what the arguments are, one by one and together."""
    try:
        alone = max(RULES[name](x) for name, x in case.arguments.items() if name in RULES)
        if alone == FLAWED:
            return FLAWED
        return max([alone, shapes(case), *(totals(case, *pair) for pair in pairs(case))])
    except (
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
        ComplexWarning,
    ):  # not even numbers
        return DOUBTFUL


def numbers(x):
    """Return an array's soundness as numbers: complex ones and words are not."""
    x = np.asarray(x)
    return SOUND if x.dtype.kind in "fiub" else DOUBTFUL


def cost(x):
    if numbers(x):
        return DOUBTFUL
    x = np.asarray(x, float)
    if np.isnan(x).any() or (x == -np.inf).any():
        return FLAWED
    return DOUBTFUL if (np.abs(x[np.isfinite(x)]) > HUGE).any() else SOUND


def mass(x):
    if np.size(x) == 0 or numbers(x):
        return DOUBTFUL if np.ndim(x) != 1 or numbers(x) else SOUND
    if not (np.isfinite(x).all() and (x >= 0).all()):
        return FLAWED
    return DOUBTFUL if x.max() > HUGE or x.max() < 1 / HUGE else SOUND


def cloud(x):
    if numbers(x):
        return DOUBTFUL
    if not np.isfinite(x).all():
        return FLAWED
    return DOUBTFUL if np.abs(x).max() > np.sqrt(HUGE) else SOUND


def pair(x):
    """Potentials may be wild, and not finite ones may be refused."""
    fit = isinstance(x, tuple) and all(np.isfinite(v).all() for v in x)
    return SOUND if fit and max(np.abs(v).max() for v in x) < HUGE else DOUBTFUL


def positive(x, *, zero=False, infinite=False):
    if isinstance(x, str):
        return FLAWED
    if not isinstance(x, int | float | np.number) or isinstance(x, bool | np.complexfloating):
        return DOUBTFUL
    if x > SQUARED:
        return DOUBTFUL
    if np.isnan(x) or x < 0 or (x == 0 and not zero) or (np.isinf(x) and not infinite):
        return FLAWED
    return SOUND if x == 0 or 1 / HUGE < x < HUGE or np.isinf(x) else DOUBTFUL


def penalties(x):
    parts = x if isinstance(x, (tuple, list)) else [x]
    return max(positive(part, infinite=True) for part in parts)


def strengths(x):
    if isinstance(x, np.ndarray):
        return numbers(x) or max(map(positive, x.ravel()))
    return positive(x)


def whole(x):
    return SOUND if type(x) is int and x >= 0 else FLAWED if isinstance(x, str) else DOUBTFUL


def word(x, name):
    known = isinstance(x, str) and x in WORDS[name]
    return SOUND if known else DOUBTFUL if x is None else FLAWED


RULES = {
    "M": cost,
    "a": mass,
    "b": mass,
    "A": mass,
    "weights": mass,
    "X_a": cloud,
    "X_b": cloud,
    "potentials_init": pair,
    "warmstart": pair,
    "reg": strengths,
    "tol": positive,
    "stopThr": partial(positive, zero=True),
    "time_limit": positive,
    "unbalanced": penalties,
    "max_iter": whole,
    "numItermax": whole,
    "method": partial(word, name="method"),
    "reg_type": partial(word, name="reg_type"),
    "metric": partial(word, name="metric"),
    "warn": lambda x: SOUND if isinstance(x, bool) else DOUBTFUL,
    "lazy": lambda x: SOUND if isinstance(x, bool) else DOUBTFUL,
}


def shapes(case):
    """Return whether all arrays have the dimensions and lengths that they should."""
    if case.door == "barycenter" and not np.isfinite(case.get("M")).all():
        return FLAWED
    dimensions = {"M": MATRIX.get(case.door), "A": 2, "X_a": 2, "X_b": 2, "weights": 1}
    for name, ndim in dimensions.items():
        if name in case.arguments and np.ndim(case.get(name)) != ndim:
            return DOUBTFUL
    sizes = case.sizes()
    for name in ("a", "b", "M", "A", "X_a", "X_b", "weights", "reg", "potentials_init"):
        for letters, size in expected(case, name):
            if any(sizes[letter] != s for letter, s in zip(letters, size, strict=True)):
                return DOUBTFUL
    metric, X = case.get("metric"), (case.get("X_a"), case.get("X_b"))
    if metric == "cosine" and any((x == 0).all(axis=1).any() for x in X):
        return DOUBTFUL
    if case.get("lazy") and metric not in (None, "sqeuclidean", "cityblock"):
        return DOUBTFUL
    return SOUND


def expected(case, name):
    """Return the letters and lengths of the axes of an argument."""
    given = case.get(name)
    found = axes_of(case.door, name, given)
    if isinstance(given, np.ndarray) and given.size and given.ndim and not found:
        raise ValueError(name)  # of a dimension that none of the axes explains
    return [(letters, x.shape) for letters, x in found if x.size]


def pairs(case):
    """Return the masses whose totals must agree."""
    if case.door == "barycenter":
        columns = case.get("A").T
        return [(columns[0], column) for column in columns]
    if case.get("unbalanced") is not None and np.min(case.get("unbalanced")) < np.inf:
        return [(np.full(1, HUGE), np.ones(1))] if is_rewarding(case) else []
    a, b = (np.ones(1) if np.size(x) == 0 else x for x in map(filled(case), "ab"))
    if case.door == "solve_batch":
        a, b = np.atleast_2d(a), np.atleast_2d(b)
        k = max(len(a), len(b))
        return list(zip(np.resize(a, (k, a.shape[1])), np.resize(b, (k, b.shape[1])), strict=True))
    return [(a, column) for column in (b.T if b.ndim == 2 else [b])]


def is_rewarding(case):
    """Return whether costs are so negative that a plan may have more mass than float64 holds."""
    return -np.min(case.get("M")) > 500 * case.get("reg")


def filled(case):
    """Return a function that gives the masses of a side, one in all where there are none."""
    return lambda name: np.ones(1) if case.get(name) is None else np.asarray(case.get(name))


def totals(case, a, b):
    """Return whether two totals agree, up to a rounding that must pass."""
    if numbers(a) or numbers(b):
        return DOUBTFUL
    sums = np.array([a.sum(), b.sum()], np.longdouble)
    if not sums.min() > 0:
        return FLAWED
    if not sums.max() < HUGE or sums.min() < 1 / HUGE:
        return DOUBTFUL
    single = np.asarray(case.get("M")).dtype == np.float32  # as the plan then is
    if single and not 1e-34 < sums.min() < sums.max() < 1e38:
        return DOUBTFUL
    apart = np.ptp(sums) / sums.max()
    return SOUND if apart <= 9e-7 else DOUBTFUL if apart < 1e-5 else FLAWED
