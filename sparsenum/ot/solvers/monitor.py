"""Stopping rules of the solvers, and the record of their errors."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["converged", "max_iter", "time_limit", "stopped", "stalled", "precision"]

# The loop aims a little below the tolerance, so that the rounding of the final check cannot
# turn a converged result into one that just missed.
GOAL = 0.9

PRINT_PERIOD = 10  # iterations between two lines of verbose output

# An error this small that has not fallen by a thousandth for this long will not fall any more.
PATIENCE, SMALL, PROGRESS = 100, 1e-6, 0.999


@dataclass(frozen=True, slots=True)
class Step:
    """The state of a solve that a callback receives at the start and after each iteration.

    Attributes
    ----------
    n_iter : int
        Iterations done: Sinkhorn sweeps and Newton steps together.
    marginal_error : float
        1-norm of the violation of the marginals, relative to the total mass.
    seconds : float
        Time since the start.

    See Also
    --------
    sparsenum.ot.solve : whose `callback` receives it.

    Examples
    --------
    >>> from sparsenum import ot
    >>> errors = []
    >>> note = lambda step: errors.append(step.marginal_error)
    >>> result = ot.solve([[0.0, 1.0], [1.0, 0.0]], reg=0.5, callback=note)
    >>> errors[-1] < 1e-9
    True
    """

    n_iter: int
    marginal_error: float
    seconds: float


Callback = Callable[[Step], bool | None]


@dataclass(slots=True)
class Monitor:
    """Watch the error of each iterate; `proceed` returns whether to go on."""

    tol: float
    max_iter: int
    time_limit: float | None = None
    callback: Callback | None = None
    status: Status = "max_iter"
    errors: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    _start: float = field(default_factory=time.perf_counter)
    _best: float = math.inf
    _best_at: int = 0

    def forerunner(self, tol: float) -> "Monitor":
        """Return a monitor for a coarser problem, solved first in the time that is left."""
        left = None
        if self.time_limit is not None:
            left = self.time_limit - (time.perf_counter() - self._start)
        return Monitor(tol, self.max_iter, left)

    def tick(self, error: float) -> bool:
        """Record an iterate on the way to the target; return whether there is time for more."""
        if self.errors and not self.wants_more():
            return False
        elapsed = time.perf_counter() - self._start
        # The next iteration may take as long as this one, and the verdict as long as the first.
        ahead = elapsed - self.seconds[-1] + self.seconds[0] if self.seconds else elapsed
        self.errors.append(error)
        self.seconds.append(elapsed)
        n_iter = len(self.errors) - 1
        if not math.isfinite(error):
            self.status = "precision"
        elif self.callback is not None and self.callback(Step(n_iter, error, elapsed)):
            self.status = "stopped"
        elif self.time_limit is not None and elapsed + ahead > self.time_limit:
            self.status = "time_limit"
        return self.wants_more()

    def wants_more(self) -> bool:
        """Return whether the limits and the callback allow another iteration."""
        return self.status == "max_iter" and len(self.errors) - 1 < self.max_iter

    def proceed(self, error: float) -> bool:
        """Record an iterate of the target problem; return whether to go on from it."""
        more = self.tick(error)
        n_iter = len(self.errors)
        if error <= GOAL * self.tol:
            self.status = "converged"
            return False
        if error < PROGRESS * self._best:
            self._best, self._best_at = error, n_iter
        elif more and error < SMALL and n_iter - self._best_at > PATIENCE:
            self.status = "stalled"
            return False
        return more


def printing(callback: Callback | None) -> Callback:
    """Return a callback that writes a table of errors to standard output on its way."""

    def show(step: Step) -> bool | None:
        if step.n_iter % (20 * PRINT_PERIOD) == 0:
            sys.stdout.write(f"{'It.':<5s}|{'Err':<12s}\n{'-' * 19}\n")
        if step.n_iter % PRINT_PERIOD == 0:
            sys.stdout.write(f"{step.n_iter:5d}|{step.marginal_error:8e}|\n")
        return callback(step) if callback is not None else None

    return show
