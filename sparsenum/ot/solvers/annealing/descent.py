"""Descent in reg: Newton's method on supports that shrink with it, whatever holds the marginals."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

from sparsenum.ot.solvers.monitor import GOAL, Monitor
from sparsenum.ot.solvers.newton import DAMPING_PER_ERROR, Pace

# Left out is what carries less than e^-COARSE of its row and of its column, and at the end less
# than a hundredth of the tolerance in all; the room is for potentials to move in.
COARSE, ROOM, DROPPED = 12.0, 4.0, 1e-2
FACTOR_IN_NEED = 2.0  # step in reg after a level that took more than one support
SWEEPS, SWEEP_GOAL = 6, 0.05  # sweeps before Newton's method, and the error that ends them
SPARSE = 0.28  # density from which a level has Newton steps, too
LEVEL_GOAL, TAIL_GOAL = 2e-3, 1e-4  # errors at which a level, and a coarse support, are left
LEVEL_STEPS, LEVEL_ROUNDS, TARGET_ROUNDS = 12, 10, 60


class Iterated(Protocol):
    """Potentials and what follows from them."""

    @property
    def error(self) -> float:
        """How far the marginals are from what they should be."""


P = TypeVar("P", bound=Iterated)


class View(Protocol[P]):
    """A problem at one reg, on the pairs of one support."""

    @property
    def reg(self) -> float:
        """Strength of the entropy."""

    @property
    def density(self) -> float:
        """Share of all pairs that are in the support."""

    def sweep(self, at: P) -> P:
        """Return the point after one pass of alternating maximisation."""

    def step(self, at: P, pace: Pace, goal: float) -> P:
        """Return the point after a Newton step, or after a sweep where the step led nowhere."""

    def cut(self, at: P, reg: float, width: float) -> tuple[Self, P]:
        """Return the view of the pairs with a share e^-width of their row or column at `reg`."""

    def strayed(self, at: P, start: P) -> bool:
        """Return whether the potentials have left where the support was cut for them."""


V = TypeVar("V", bound=View)  # type: ignore[type-arg]


@dataclass(slots=True)
class Descent(Generic[V, P]):
    """The state of a descent in reg: the point reached, and the view it was reached in."""

    view: V
    at: P
    monitor: Monitor
    factor: float  # of reg from one level to the next
    start: P = field(init=False)  # where the support was cut
    pace: Pace = field(default_factory=lambda: Pace(0.0))

    def __post_init__(self) -> None:
        self.start = self.at

    def cut(self, reg: float, width: float) -> None:
        """Go on at `reg` on the pairs that may have a share e^-width of their row or column."""
        self.view, self.at = self.view.cut(self.at, reg, width)
        self.start = self.at

    def strayed(self) -> bool:
        """Return whether the potentials have left where the support was cut for them."""
        return self.view.strayed(self.at, self.start)

    def refine(self, goal: float, max_steps: int) -> bool:
        """Sweep, then take Newton steps on the support; return whether the goal was reached."""
        sweeps = 0
        while self.at.error > SWEEP_GOAL and sweeps < SWEEPS and self.monitor.tick(self.at.error):
            self.at = self.view.sweep(self.at)
            sweeps += 1
        self.pace.damping = DAMPING_PER_ERROR * self.at.error
        for _ in range(max_steps):
            if self.at.error <= goal or self.strayed() or not self.monitor.tick(self.at.error):
                break
            self.at = self.view.step(self.at, self.pace, goal)
        return self.at.error <= goal

    def finish(self) -> None:
        """Solve on the support to the tolerance."""
        while not self.strayed() and self.monitor.proceed(self.at.error):
            self.at = self.view.step(self.at, self.pace, 0.5 * GOAL * self.monitor.tol)

    def lower(self, target: float) -> None:
        """Follow the solution from a large reg down to the last level above the target."""
        reg, more = self.view.reg, self.monitor.wants_more
        while reg > target and more():
            sparse = self.view.density < SPARSE
            rounds, reached = 1, self.refine(LEVEL_GOAL, LEVEL_STEPS if sparse else 0)
            while sparse and not reached and rounds < LEVEL_ROUNDS and more():
                self.cut(reg, COARSE + ROOM)
                rounds, reached = rounds + 1, self.refine(LEVEL_GOAL, LEVEL_STEPS)
            reg /= self.factor if rounds == 1 else FACTOR_IN_NEED
            if reg > target:
                self.cut(reg, COARSE + ROOM)

    def reach(self, target: float, whole_error: Callable[[P], float]) -> None:
        """Meet the monitor's tolerance at the target, on the whole cost too.

        Where the support missed something, it is cut again around the better potentials; the
        monitor has the status at the end.
        """
        self.lower(target)
        full = math.log(1.0 / (DROPPED * self.monitor.tol))
        for _ in range(TARGET_ROUNDS):
            if not self.monitor.wants_more():
                return
            if self.at.error > TAIL_GOAL or self.view.reg > target:
                self.cut(target, COARSE + ROOM)
                if not self.refine(TAIL_GOAL, 2 * LEVEL_STEPS):
                    continue
            self.cut(target, full + ROOM)
            self.finish()
            if self.monitor.status == "converged":
                if whole_error(self.at) <= self.monitor.tol:
                    return
                self.monitor.status = "max_iter"  # what was left out matters after all: go on
        if self.monitor.wants_more():
            self.monitor.status = "stalled"
