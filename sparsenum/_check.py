"""Checks of arguments: each coerces or raises, naming argument, expectation, value and remedy."""

import math
import operator
from collections.abc import Collection, Mapping, Set
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum import _system

SMALLEST, LARGEST = 1e-300, 1e150  # of which the inverse, and the square, are numbers


def real_array(value: Any, name: str, ndim: int, dtype: Any = np.float64) -> NDArray[Any]:
    """Return `value` as a C-contiguous array of `dtype` with `ndim` dimensions."""
    if np.ma.is_masked(value):
        raise TypeError(
            f"{name} must have a number in each place: got a masked array; fill it first, a cost "
            "with infinity where a pair is forbidden"
        )
    if hasattr(value, "tocsr"):
        raise TypeError(
            f"{name} must be a dense array: got the sparse {type(value).__name__}, whose missing "
            "entries may mean zero or infinity; convert it first, as with toarray()"
        )
    try:
        array = np.asarray(value)
        if np.iscomplexobj(array):
            raise TypeError
        array = np.ascontiguousarray(array, dtype=dtype) if array.ndim else array
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be an array of real numbers: got {type(value).__name__} that cannot be "
            f"read as {np.dtype(dtype)}; convert it first"
        ) from None
    if array.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} dimension{'s' * (ndim > 1)}: got shape {array.shape}"
        )
    return array


def shape_of(value: Any, name: str) -> tuple[int, ...]:
    """Return the shape of an array, or of what numpy would make of a sequence."""
    try:
        return tuple(np.shape(value))
    except ValueError:
        raise TypeError(
            f"{name} must be an array of real numbers: got {type(value).__name__} of parts of "
            "unequal shapes; make them alike first"
        ) from None


def items(value: Any, name: str, what: str, count: int) -> tuple[Any, ...]:
    """Return what a sequence of `count` things holds, each not yet checked."""
    try:
        if isinstance(value, str | Mapping | Set):
            raise TypeError
        found = tuple(value)
    except TypeError:
        raise TypeError(
            f"{name} must {what}: got {type(value).__name__}; pass a tuple or a list"
        ) from None
    if len(found) != count:
        raise ValueError(f"{name} must {what}: got {len(found)} items")
    return found


def float_type(value: Any) -> Any:
    """Return the dtype to read a value in: float32 for float32 arrays, float64 for all others."""
    return np.float32 if getattr(value, "dtype", None) == np.float32 else np.float64


def positive(value: Any, name: str, remedy: str) -> float:
    """Return `value` as a finite float above zero."""
    number = _number(value, name, remedy)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite: got {value!r}; {remedy}")
    return number


def moderate(value: Any, name: str, remedy: str) -> float:
    """Return `value` as a float above zero, and neither next to it nor next to infinity."""
    number = positive(value, name, remedy)
    if not SMALLEST <= number <= LARGEST:
        raise ValueError(
            f"{name} must be from {SMALLEST:.0e} to {LARGEST:.0e}: got {number:.3g}; change "
            "the unit of the costs, or of the masses"
        )
    return number


def non_negative(value: Any, name: str, remedy: str) -> float:
    """Return `value` as a finite float of at least zero."""
    number = _number(value, name, remedy)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be at least 0 and finite: got {value!r}; {remedy}")
    return number


def _number(value: Any, name: str, remedy: str) -> float:
    try:
        if np.iscomplexobj(value):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number: got {value!r}; {remedy}") from None
    except OverflowError:  # of an integer
        return math.inf


def share(value: Any, name: str) -> float:
    """Return `value` as a float if it lies from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number from 0 to 1: got {value!r}")
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{name} must be from 0 to 1: got {value!r}")
    return float(value)


def whole(value: Any, name: str, *, lower: int = 0, upper: int | None = None) -> int:
    """Return `value` as an int between `lower` and `upper`, both allowed."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number: got {value!r}") from None
    if number < lower or (upper is not None and number > upper):
        limits = f"at least {lower}" if upper is None else f"from {lower} to {upper}"
        raise ValueError(f"{name} must be {limits}: got {number}")
    return number


def choice(value: Any, name: str, allowed: Collection[str]) -> str:
    """Return `value` if it is one of the `allowed` words."""
    if not isinstance(value, str) or value not in allowed:
        words = ", ".join(repr(word) for word in allowed)
        raise ValueError(f"Unknown {name} {value!r}: expected one of {words}")
    return str(value)


def flag(value: Any, name: str) -> bool:
    """Return whether something is true, as `if` has it."""
    try:
        return bool(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be True or False: got {type(value).__name__}") from None


def function(value: Any, name: str) -> Any:
    """Return what can be called, or None."""
    if value is None or callable(value):
        return value
    raise TypeError(f"{name} must be a function: got {type(value).__name__}")


def require_memory(shape: tuple[int, int], what: str, remedy: str) -> None:
    """Raise unless the machine can hold a matrix of float64 of this shape."""
    needed = 8 * shape[0] * shape[1]
    if needed > _system.memory():
        raise MemoryError(
            f"{what} of shape {shape} needs {needed / 2**30:.1f} GiB, more than this machine has; "
            f"{remedy}"
        )
