"""Entropic transport against its peers, at an equal error that is verified for every plan.

All are timed from their arrays to the dense plan, on one thread, in a process of their package.
`ot.emd` solves the problem without entropy, exactly, and is the honest reference at small `reg`.
Who fails, runs out of time or is not installed has a record that says so. Under ``--full`` the
whole grid of problems, regs and tolerances follows, for performance profiles.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from benches.transport.problems import GRID, README, REG, TOL, TOLERANCES
from benches.transport.solvers import BATCH, SINGLE
from benches.transport.worker import CLOCK, PRESENT, THREADS, Task, Verdict, Workers

TABLE_LIMIT = 2.5  # seconds for one run of a solver: `make bench` is to end in minutes
GRID_LIMIT = 2.0
BATCH_LIMIT = 4.0
BATCH_REGS = (1e-1, 1e-2, 1e-3)
BATCH_TOL = 1e-6
MANY = 15  # rounds of what is fast, where a table shows how much they differ
FEW = 3


class Clock:
    """The timer of pytest-benchmark, moved on by what the clock of another process showed."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def replay(self, seconds: Iterator[float]) -> None:
        """Let one round take as long as it took there."""
        self.now += next(seconds)


clock = Clock()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Keep the processes of solvers for all benchmarks of this file."""
    some = Workers()
    yield some
    some.close()


def suited(problem: str) -> list[str]:
    """Return the solvers that are made for a problem."""
    return [name for name, solver in SINGLE.items() if solver.costs in problem]


TASKS = {
    "test_table": [
        Task(solver, name, REG, TOL, TABLE_LIMIT, MANY)
        for name in README
        for solver in suited(name)
    ],
    "test_stack": [
        Task(solver, "stack", reg, BATCH_TOL, BATCH_LIMIT, MANY)
        for reg in BATCH_REGS
        for solver in BATCH
    ],
    "test_profile": [
        Task(solver, name, reg, tol, GRID_LIMIT, FEW)
        for name, regs in GRID.items()
        for reg in regs
        for solver in suited(name)
        for tol in TOLERANCES  # the loosest first: who has no time for it has none for others
    ],
}
ONLY_IN_FULL = "test_profile"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its tasks."""
    name = metafunc.function.__name__
    left_out = name == ONLY_IN_FULL and not metafunc.config.getoption("full")
    tasks = [] if left_out else TASKS[name]
    ids = [f"{t.problem}-{t.reg:.3g}-{t.tol:.0e}-{t.solver}" for t in tasks]
    metafunc.parametrize("task", tasks, ids=ids)


@pytest.mark.benchmark(timer=clock)
def test_table(benchmark: Any, workers: Workers, task: Task) -> None:
    record(benchmark, workers.ask(task), task, "ot/{problem}, {n} x {m}, reg 1/{eta:.0f}")


@pytest.mark.benchmark(timer=clock)
def test_stack(benchmark: Any, workers: Workers, task: Task) -> None:
    record(benchmark, workers.ask(task), task, "ot/{problem}, {n} x {m}, reg 1/{eta:.0f}")


@pytest.mark.benchmark(timer=clock)
def test_profile(benchmark: Any, workers: Workers, task: Task) -> None:
    group = "profile/{family} {n}x{m}, reg {reg:.3g}, tol {tol:.0e}"
    record(benchmark, workers.ask(task), task, group)


def record(benchmark: Any, verdict: Verdict, task: Task, group: str) -> None:
    """Write down how a solver did, with the seconds its own process took."""
    facts = {name: fact for name, fact in verdict.items() if fact is not None}
    seconds, problem = facts.pop("seconds"), facts.pop("name")
    facts |= {"solver": task.solver, "problem": problem, "reg": task.reg, "tol": task.tol}
    benchmark.group = group.format(eta=1 / task.reg, **facts)
    benchmark.pedantic(clock.replay, args=(iter(seconds),), rounds=len(seconds))
    facts |= {"limit": task.limit, "clock": CLOCK, "threads": THREADS}
    facts |= {"nnz_above": PRESENT, "peak_by": "growth of the resident set"}
    benchmark.extra_info |= facts
