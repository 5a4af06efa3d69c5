"""Make a failing case small and round, so that it can be read and pasted into a test."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fuzz.case import Case

NEEDED = {
    *("M", "A", "X_a", "X_b", "reg"),
    *("users", "items", "user_ids", "item_ids", "library", "time_style", "model", "k"),
    *("asked", "test_users", "test_items", "unknown", "exclude_seen", "hide", "fraction"),
}
FEW = 12  # numbers of an array that are tried one by one


def shrunk(case: Case, fails: Callable[[Case], bool], seconds: float = 10.0) -> Case:
    """Return a smaller case that fails in the same way: the first candidate that does, again."""
    end = time.process_time() + seconds
    smaller = True
    while smaller and time.process_time() < end:
        smaller = False
        for candidate in candidates(case):
            if time.process_time() > end:
                break
            if fails(candidate):
                case, smaller = candidate, True
                break
    return case


def candidates(case: Case) -> Iterator[Case]:
    """Yield simpler cases, those that leave out most first."""
    yield from cuts(case)
    yield from plainer(case)
    for name, x in case.arguments.items():
        for simpler in rounder(x):
            if written_shorter(simpler, x):
                yield case.changed(**{name: simpler})


def cuts(case: Case) -> Iterator[Case]:
    """Yield the case without a half, a quarter, ... one position of each axis."""
    for axis, size in sorted(case.sizes().items(), key=lambda pair: -pair[1]):
        width = size // 2
        while width:
            for start in range(0, size, width):
                if size - len(range(size)[start : start + width]) >= 1:
                    yield case.cut(axis, slice(start, start + width))
            width //= 2


def plainer(case: Case) -> Iterator[Case]:
    """Yield the case with fewer options, and arrays that are just arrays."""
    for name in case.arguments.keys() - NEEDED:
        yield case.without(name)
    for name in case.forms:
        yield case.unformed(name)


def rounder(x: Any) -> Iterator[Any]:
    """Yield values with fewer digits."""
    if isinstance(x, tuple):
        for k, part in enumerate(x):
            for simpler in rounder(part):
                yield (*x[:k], simpler, *x[k + 1 :])
    elif isinstance(x, np.ndarray) and x.dtype.kind in "fiu":
        yield from rounder_arrays(x)
    elif isinstance(x, float) and np.isfinite(x):
        yield from (1.0, significant(x, 1), significant(x, 2))


def rounder_arrays(x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield arrays of plainer numbers: all at once, then one by one."""
    if x.dtype != np.float64:
        yield x.astype(float)
    yield np.zeros_like(x)
    yield np.ones_like(x)
    for digits in (1, 2, 3):
        yield significant(x, digits).astype(x.dtype)
    for place in range(x.size) if x.size <= FEW else ():
        for number in (0, 1, significant(x.flat[place], 1)):
            changed = x.copy()
            changed.flat[place] = number
            yield changed


def significant(x: Any, digits: int) -> Any:
    """Return numbers rounded to some significant digits."""
    with np.errstate(all="ignore"):
        text = np.vectorize(lambda v: float(f"{float(v):.{digits - 1}e}"), otypes=[float])(x)
    return text if np.ndim(x) else float(text)


def written_shorter(new: Any, old: Any) -> bool:
    """Return whether a value takes less room on the page, or as much and smaller numbers."""
    return weight(new) < weight(old)


def weight(x: Any) -> tuple[int, float]:
    """Return what a value costs to read."""
    if isinstance(x, tuple):
        weights = [weight(part) for part in x]
        return sum(w for w, _ in weights), sum(s for _, s in weights)
    numbers = np.ravel(x)
    length = sum(len(f"{v:g}" if float(f"{v:g}") == v else repr(float(v))) for v in numbers)
    type_name = 8 if isinstance(x, np.ndarray) and x.dtype != np.float64 else 0
    with np.errstate(all="ignore"):
        return length + type_name, float(np.abs(numbers.astype(float)).sum())
