"""Annealed Newton on the dense cost alone, for devices where a pass over the cost is cheap.

`levels.py` reads the cost rarely, because that is what takes time on a CPU. On a GPU a pass over
all of it takes no longer than a few small launches, so supports are not worth their keep: only the
Hessian is sparse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, Self

from sparsenum.ot.problems.dense import UNDERFLOW
from sparsenum.ot.solvers.monitor import GOAL, Monitor
from sparsenum.ot.solvers.newton import DAMPING_PER_ERROR, Pace

NEAR = 0.02  # error from which Newton's method at the target converges at once
START, FACTOR = 0.1, 4.0  # reg of the annealing: the first, in units of the spread of M; its steps
FACTOR_IN_NEED = 2.0  # after a level that took Newton's method long
STAGE_SWEEPS, STAGE_GOAL = 20, 0.05  # Sinkhorn sweeps that a level begins with, and until when
LEVEL_GOAL, LEVEL_STEPS, LONG = 2e-3, 12, 5  # when a level is left; Newton steps in one
PROBE_SWEEPS, EASY_SWEEPS = 8, 100  # sweeps at the target: to find their rate, and worth going on


Step = Callable[[Any, Any, Pace, float], tuple[Any | None, bool]]


class DenseProblem(Protocol):
    """The operations that the method needs of a problem, on the host or on a device."""

    reg: float

    def at(self, reg: float) -> Self:
        """Return the same problem at another reg."""

    def iterate(self, g: Any) -> Any:
        """Eliminate f for a given g."""

    def sinkhorn_sweep(self, at: Any) -> Any:
        """Correct the columns, then the rows."""

    def relative(self, g: Any, reg: float) -> Any:
        """Return g + reg log b."""

    def newton_step(self, at: Any, pace: Pace, goal: float) -> tuple[Any | None, bool]:
        """Return the next iterate (None if refused), and whether a full step led there."""


def annealed(
    problem: DenseProblem, g: Any, spread: float, monitor: Monitor
) -> tuple[Any, dict[str, int]]:
    """Lower reg from a tenth of the spread of the cost to the target, then solve there.

    Each level starts from the potentials, relative to the masses, of the one before: some Sinkhorn
    sweeps, then Newton steps until a full one changes little. At the target Sinkhorn's method goes
    on if a few sweeps show that it will be done soon. A start that is good already is not annealed.
    """
    pace, factor = Pace(0.0), FACTOR
    start = problem.iterate(g)
    if start.error < NEAR:
        return _at_target(problem, start, monitor, pace), pace.counts()
    reg = max(problem.reg, START * spread)
    g = problem.relative(g, reg - problem.reg)
    while reg > problem.reg:
        before = pace.newton
        g = _level(problem.at(reg), g, monitor, pace).g
        if pace.newton - before > LONG:
            factor = FACTOR_IN_NEED
        lower = max(problem.reg, reg / factor)
        g, reg = problem.relative(g, lower - reg), lower
        if not monitor.wants_more():
            break
    return _at_target(problem, problem.iterate(g), monitor, pace), pace.counts()


def _at_target(problem: DenseProblem, at: Any, monitor: Monitor, pace: Pace) -> Any:
    """Finish at the target, by the method that is predicted to be shorter."""
    at, more = _probe(problem, at, monitor)
    return newton(problem, at, monitor, pace, type(problem).newton_step) if more else at


def _level(problem: DenseProblem, g: Any, monitor: Monitor, pace: Pace) -> Any:
    """Solve roughly at one reg above the target."""
    at = problem.iterate(g)
    for _ in range(STAGE_SWEEPS):
        if at.error <= STAGE_GOAL or not monitor.tick(at.error):
            break
        at = problem.sinkhorn_sweep(at)
    pace.damping = DAMPING_PER_ERROR * at.error
    for _ in range(LEVEL_STEPS):
        if at.error <= LEVEL_GOAL or not monitor.tick(at.error):
            break
        better, settled = None, False
        if at.least > UNDERFLOW:
            better, settled = problem.newton_step(at, pace, LEVEL_GOAL)
        at = better or problem.sinkhorn_sweep(at)
        if settled:
            break
    return at


def _probe(problem: DenseProblem, at: Any, monitor: Monitor) -> tuple[Any, bool]:
    """Sweep at the target while that looks short; return whether there is more to do."""
    errors: list[float] = []
    while monitor.proceed(at.error):
        errors.append(at.error)
        if len(errors) >= PROBE_SWEEPS and sweeps_left(errors, monitor.tol) > EASY_SWEEPS:
            return at, True
        at = problem.sinkhorn_sweep(at)
    return at, False


def sweeps_left(errors: list[float], tol: float) -> float:
    """Predict from the last two errors how many sweeps are missing."""
    before, last = errors[-2:]
    if not 0.0 < last < before:
        return math.inf
    return math.log(last / tol) / math.log(before / last)


def newton(problem: Any, at: Any, monitor: Monitor, pace: Pace, step: Step) -> Any:
    """Take Newton steps at the target, Sinkhorn sweeps where they are refused."""
    pace.damping = DAMPING_PER_ERROR * at.error
    while monitor.proceed(at.error):
        better = None
        if at.least > UNDERFLOW:
            better, _ = step(problem, at, pace, GOAL * monitor.tol)
        at = better or problem.sinkhorn_sweep(at)
    return at


def sinkhorn(problem: DenseProblem, g: Any, monitor: Monitor) -> Any:
    """Sweep until the monitor stops it."""
    at = problem.iterate(g)
    while monitor.proceed(at.error):
        at = problem.sinkhorn_sweep(at)
    return at
