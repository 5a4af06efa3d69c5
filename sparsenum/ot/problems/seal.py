"""What a result needs of the caller's cost later: a copy of a small one, a seal on a large one."""

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems import _cpu_digest

COPIED = 2**20  # bytes up to which a cost is copied, in a few hundredths of the time of a solve


@dataclass(frozen=True, slots=True)
class Seal:
    """Tells whether a cost that is not ours holds what it held when it was solved.

    Attributes
    ----------
    cost : ndarray
        The cost, read in place.
    digest : int or None
        Of its bytes; None where nobody can write to it.
    """

    cost: NDArray[Any]
    digest: int | None

    @classmethod
    def on(cls, cost: NDArray[Any], given: Any) -> tuple[NDArray[Any], "Seal"]:
        """Return a cost to solve, and a seal on it: a copy of what the caller gave, if small."""
        if not _is_shared(cost, given) or _is_frozen(cost):
            return cost, cls(cost, None)
        if cost.nbytes <= COPIED:
            cost = cost.copy()
            return cost, cls(cost, None)
        return cost, cls(cost, _digest(cost))

    def check(self) -> None:
        """Raise if the cost was written to."""
        if self.digest is not None and _digest(self.cost) != self.digest:
            raise RuntimeError(
                "M was changed in place after it was solved, and what was asked for now depends "
                "on it: ask before you change it, or pass a copy"
            )


def _is_shared(cost: NDArray[Any], given: Any) -> bool:
    """Return whether the caller may hold the memory of a cost, too."""
    if isinstance(given, np.ndarray):
        return np.may_share_memory(cost, given)
    return not isinstance(given, list | tuple)


def _is_frozen(x: Any) -> bool:
    """Return whether nobody in this process can write to an array."""
    while isinstance(x, np.ndarray):
        if x.flags.writeable:
            return False
        x = x.base
    return isinstance(x, bytes | mmap.mmap)


def _digest(cost: NDArray[Any]) -> int:
    words = np.uint32 if cost.nbytes % 8 else np.uint64
    return int(_cpu_digest.digest(cost.reshape(-1).view(words)))
