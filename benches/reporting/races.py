"""Who wins how often: entropic solvers on the problems of one tolerance, à la Dolan and Moré.

A problem is one group of records. A solver's ratio on it is its time over that of the fastest that
reached the tolerance, infinite where it did not; its profile is the share of problems on which the
ratio is at most tau [1]_.

References
----------
.. [1] Dolan, Moré, "Benchmarking optimization software with performance profiles", Mathematical
   Programming 2002.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from benches.reporting.records import (
    ABSENT,
    NO_ENTROPY,
    Record,
    by_group,
    median,
    reached,
    section,
    solver,
    status,
)

OURS = "ours, auto"  # what users get without asking for a method
NEAR = 2.0  # times the fastest: as good, to who waits


class Race(NamedTuple):
    """The records of one problem at one tolerance, by solver; exact transport runs elsewhere."""

    group: str
    tol: float
    entrants: dict[str, Record]

    def time(self, name: str) -> float:
        """Return a solver's time, infinite without a result."""
        record = self.entrants.get(name)
        return median(record) if record is not None and reached(record) else math.inf

    @property
    def best(self) -> float:
        """Return the least time to a result."""
        return min(map(self.time, self.entrants))

    def ratio(self, name: str) -> float:
        """Return a solver's time over the best one, infinite without a result."""
        time = self.time(name)
        return time / self.best if math.isfinite(time) else math.inf

    def rival(self, name: str) -> str:
        """Return the fastest solver of another package, which may not have reached the end."""
        others = [other for other in self.entrants if package(other) != package(name)]
        return min(others, key=self.time, default="")

    def won(self, name: str) -> bool:
        """Return whether no other package is faster; one's own variants are no rivals."""
        time = self.time(name)
        return math.isfinite(time) and time <= self.time(self.rival(name))


def package(name: str) -> str:
    """Return whose solver it is: "POT" of "POT ot.sinkhorn"."""
    return name.replace(",", " ").split()[0]


def races(records: Iterable[Record]) -> list[Race]:
    """Return the races of the whole grid, or of the few problems in its place if it was not run."""
    records = list(records)
    grid = [record for record in records if section(record) == "profile"]
    grid = grid or [record for record in records if section(record) == "ot"]
    found = []
    for group, entries in by_group(grid).items():
        entrants = {
            solver(record): record
            for record in entries
            if NO_ENTROPY not in solver(record) and status(record) != ABSENT
        }
        if OURS in entrants:
            tol = next(iter(entrants.values()))["extra_info"]["tol"]
            found.append(Race(group.partition("/")[2], tol, entrants))
    return found


def by_tolerance(all_races: Iterable[Race]) -> dict[float, list[Race]]:
    """Return races by tolerance, the hardest first."""
    found: dict[float, list[Race]] = {}
    for race in sorted(all_races, key=lambda race: race.tol):
        found.setdefault(race.tol, []).append(race)
    return found


def entrants(some: Iterable[Race]) -> list[str]:
    """Return the solvers of some races, ours first."""
    names = dict.fromkeys(name for race in some for name in race.entrants)
    return sorted(names, key=lambda name: (name != OURS, package(name) != "ours", name))


def share(some: list[Race], truths: Iterable[bool]) -> float:
    return sum(truths) / len(some) if some else math.nan


def profile(some: list[Race], name: str) -> list[float]:
    """Return a solver's ratios on the problems that it solved, sorted: the steps of its profile."""
    return sorted(ratio for race in some if math.isfinite(ratio := race.ratio(name)))


def lost(some: Iterable[Race], name: str = OURS) -> list[Race]:
    """Return the races that a solver did not win, the worst first."""
    beaten = [race for race in some if not race.won(name)]
    return sorted(beaten, key=lambda race: (-race.ratio(name), race.group))
