"""A solver on its course: a process for its package, a CPU clock, and a verdict in any case.

A run that takes too long is stopped, in Python by an exception and in compiled code by the end of
the process; a crash ends the process too. Both are results. The clock counts the CPU time of all
threads of the solver's process, so that neighbours on the machine are not counted.
"""

import ctypes
import math
import multiprocessing
import os
import resource
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benches.transport.problems import PROBLEMS, Problem
from benches.transport.solvers import SOLVERS, Attempt, Outcome, Solver

CLOCK = "CPU time of the process"
THREADS = 1
GRACE = 0.5  # seconds after the limit at which compiled code is ended
WARM_LIMIT = 60.0  # seconds: kernels may have to be compiled
START, HUNG = 300.0, 20.0  # seconds, and limits of wall time, after which a process is given up
PRESENT = 1e-12  # of a mass of 1: entries of a plan that count as such

# One thread also where it must be said before the import; and POT is not to import every package
# of tensors that it finds, which takes seconds.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
ENVIRONMENT |= {f"POT_BACKEND_DISABLE_{name}": "1" for name in ("PYTORCH", "JAX", "TENSORFLOW")}

Verdict = dict[str, Any]


class Task(NamedTuple):
    """What to solve and by whom; for how long, and how often if there is time."""

    solver: str
    problem: str
    reg: float
    tol: float
    limit: float
    rounds: int = 1
    patience: float = 0.5  # seconds for all rounds together


class OutOfTimeError(Exception):
    """Raised by the clock where Python runs."""


# In the process of a package


def serve(connection: Connection) -> None:
    """Solve what is asked until nobody asks any more."""
    os.environ |= ENVIRONMENT
    warm = set()
    while (task := connection.recv()) is not None:
        solver = SOLVERS[task.solver]
        if solver.name not in warm:
            _warm_up(solver)
            warm.add(solver.name)
        connection.send(judge(solver, problem_of(task.problem), task))


def _warm_up(solver: Solver) -> None:
    for name, reg, tol in solver.warm_up:
        easy = Task(solver.name, name, reg, tol, limit=WARM_LIMIT)
        judge(solver, PROBLEMS[name](), easy)


@lru_cache(maxsize=1)
def problem_of(name: str) -> Problem:
    return PROBLEMS[name]()


def judge(solver: Solver, problem: Problem, task: Task) -> Verdict:
    """Solve a problem and say how it went; what was solved is timed again if there is time."""
    facts = about(problem, solver)
    with warnings.catch_warnings(), threadpool_limits(THREADS):
        warnings.simplefilter("ignore")  # stopping short is no failure here: the error is on record
        return facts | _first_good(solver.attempts(problem, task.reg, task.tol), problem, task)


def about(problem: Problem, solver: Solver) -> Verdict:
    """Return what is known of a run before it."""
    n, m = problem.M.shape[-2:]
    release = version(solver.package) if solver.is_installed else None
    return {"name": problem.name, "family": problem.family, "n": n, "m": m, "version": release}


def _first_good(attempts: Iterator[Attempt], problem: Problem, task: Task) -> Verdict:
    verdict: Verdict = {"status": "failed", "note": "nothing to try", "seconds": [0.0]}
    try:
        for attempt in attempts:
            verdict = _tried(attempt, problem, task)
            if verdict["status"] in ("solved", "timeout"):
                break
        while verdict["status"] == "solved" and _is_worth_repeating(verdict["seconds"], task):
            verdict["seconds"].append(_timed(attempt, task.limit)[1])
    except Exception as error:  # whatever a package does is a result
        verdict |= {"status": "failed", "note": _in_words(error)}
    return verdict


def _is_worth_repeating(seconds: list[float], task: Task) -> bool:
    return len(seconds) < task.rounds and sum(seconds) + seconds[0] <= task.patience


def _tried(attempt: Attempt, problem: Problem, task: Task) -> Verdict:
    before = resident()
    outcome, seconds, note = _stopped(attempt, task.limit)
    if outcome is None:
        return {"status": "failed" if note else "timeout", "note": note, "seconds": [seconds]}
    plan = np.asarray(outcome.plan, dtype=np.float64)
    errors = np.atleast_1d(violation(plan, problem))  # one for each problem of a stack
    error = float(errors.max())
    several = {"problems": errors.size, "solved": int((errors <= task.tol).sum())}
    return (several if errors.size > 1 else {}) | {
        "status": "nan" if math.isnan(error) else "solved" if error <= task.tol else "missed",
        "seconds": [seconds],
        "error": error if math.isfinite(error) else None,
        "iterations": outcome.n_iter,
        "nnz": int((plan > PRESENT).sum()),
        "peak_bytes": None if before is None else peak() - before,
    }


def violation(plan: np.ndarray, problem: Problem) -> np.ndarray:
    """Return the 1-norm of the violation of both marginals."""
    rows = np.abs(plan.sum(axis=-1) - problem.a).sum(axis=-1)
    return rows + np.abs(plan.sum(axis=-2) - problem.b).sum(axis=-1)


def _stopped(attempt: Attempt, limit: float) -> tuple[Outcome | None, float, str | None]:
    """Run an attempt; without an outcome, say what went wrong, and nothing if time was up."""
    start = cpu_seconds()
    try:
        outcome, seconds = _timed(attempt, limit)
    except OutOfTimeError:
        return None, limit, None
    except Exception as error:  # whatever a package does is a result
        return None, cpu_seconds() - start, _in_words(error)
    return outcome, seconds, None


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _timed(attempt: Attempt, limit: float) -> tuple[Outcome, float]:
    with _time_limit(limit):
        start = cpu_seconds()
        outcome = attempt()
        return outcome, cpu_seconds() - start


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise after some seconds of CPU time; end the process if nothing comes of it."""
    signal.signal(signal.SIGPROF, _raise)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds + GRACE)  # nobody listens: it is deadly
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)


def cpu_seconds() -> float:
    """Return the CPU time of this process; its own clock is coarse while it is being limited."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _raise(*_: Any) -> None:
    raise OutOfTimeError


def resident() -> int | None:
    """Return the bytes in use, and count the peak from here; None where glibc is not."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed is not in use
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _status("VmRSS")
    except (OSError, AttributeError):
        return None


def peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


# In the process of the benchmark


class Workers:
    """One process for each package, begun when it is needed and again when it has ended."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[Any, Connection]] = {}
        self._known: dict[Task, Verdict] = {}

    def ask(self, task: Task) -> Verdict:
        """Return how a solver did, from memory if it was asked before.

        Who ran out of time at a looser tolerance is not asked again: it would once more.
        """
        same = task._replace(rounds=1, patience=0.0)
        if same not in self._known:
            self._known[same] = self._hopeless(same) or self._asked(task)
        return self._known[same]

    def _hopeless(self, task: Task) -> Verdict | None:
        for known, verdict in self._known.items():
            looser = known == task._replace(tol=known.tol) and known.tol > task.tol
            if looser and verdict["status"] == "timeout":
                return verdict | {"note": f"not run: out of time at {known.tol:.0e} already"}
        return None

    def _asked(self, task: Task) -> Verdict:
        solver = SOLVERS[task.solver]
        if not solver.is_installed:
            note = f"not installed: pip install {solver.package}"
            ending: Verdict = {"status": "absent", "note": note, "seconds": [0.0]}
            return about(problem_of(task.problem), solver) | ending
        if solver.package not in self._running:
            self._running[solver.package] = _started()
        process, connection = self._running[solver.package]
        try:
            connection.send(task)
            if not connection.poll(START + HUNG * task.limit):
                process.terminate()
            return connection.recv()
        except (EOFError, ConnectionError):
            del self._running[solver.package]
            process.join()
            ending = _obituary(process.exitcode, task.limit)
            return about(problem_of(task.problem), solver) | ending

    def close(self) -> None:
        """End all processes."""
        for process, connection in self._running.values():
            connection.send(None)
            process.join(10.0)
            process.kill()
        self._running.clear()


def _started() -> tuple[Any, Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    there.close()  # so that the end of the process is the end of the pipe
    return process, here


def _obituary(exitcode: int, limit: float) -> Verdict:
    if -exitcode in (signal.SIGVTALRM, signal.SIGTERM):  # its own clock, or the patience above
        return {"status": "timeout", "note": None, "seconds": [limit]}
    return {"status": "failed", "note": f"its process ended: {exitcode}", "seconds": [limit]}
