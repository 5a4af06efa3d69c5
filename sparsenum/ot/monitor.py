"""When to stop, and what happened on the way."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["converged", "max_iter", "time_limit", "stopped", "precision"]

# The loop aims a little below the tolerance, so that the rounding of the final check cannot
# turn a converged result into one that just missed.
GOAL = 0.9


@dataclass(frozen=True, slots=True)
class Step:
    """What a callback is shown after each iteration.

    Attributes
    ----------
    n_iter : int
        Iterations done: Sinkhorn sweeps and Newton steps together.
    marginal_error : float
        1-norm of the violation of the marginals, relative to the total mass.
    seconds : float
        Time since the start.
    """

    n_iter: int
    marginal_error: float
    seconds: float


Callback = Callable[[Step], bool | None]


@dataclass(slots=True)
class Monitor:
    """Watch the error of each iterate; `proceed` says whether another iteration is wanted."""

    tol: float
    max_iter: int
    time_limit: float | None = None
    callback: Callback | None = None
    status: Status = "max_iter"
    errors: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    _start: float = field(default_factory=time.perf_counter)

    def proceed(self, error: float) -> bool:
        """Record the error of an iterate and return whether to go on from it."""
        elapsed = time.perf_counter() - self._start
        self.errors.append(error)
        self.seconds.append(elapsed)
        n_iter = len(self.errors) - 1
        stopped = self.callback is not None and self.callback(Step(n_iter, error, elapsed))
        if error <= GOAL * self.tol:
            self.status = "converged"
        elif stopped:
            self.status = "stopped"
        elif self.time_limit is not None and elapsed > self.time_limit:
            self.status = "time_limit"
        elif n_iter < self.max_iter:
            return True
        return False
