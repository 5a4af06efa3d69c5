"""The only numba options of the project.

A kernel is a small jitted loop without checks. Three rules keep its numbers right:

* a kernel calls kernels of its own file, and those of `_formulas.py`, whose names carry a version,
  because numba's disk cache is keyed on the content of one file and would return stale results
  after a change elsewhere;
* fast-math is this set and never ``True``, which would drop the guards against NaN and infinity;
* options never depend on the environment (they are not part of numba's cache key), except for the
  cache itself: ``SPARSENUM_CACHE=0`` turns it off.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a loop at its first call and keep the machine code on disk where possible."""
    return _compile(function, {"reassoc", "contract", "arcp", "nsz"})


def formula(function: F) -> F:
    """Compile a scalar formula, to be called by kernels, in the order it is written in."""
    return _compile(function, {"contract"})


def _compile(function: F, fastmath: set[str]) -> F:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    if os.environ.get("SPARSENUM_CACHE", "1") != "0":
        try:
            return cast(F, numba.njit(cache=True, **options)(function))
        except RuntimeError:  # no folder to keep the cache in: compile in each process instead
            pass
    return cast(F, numba.njit(**options)(function))
