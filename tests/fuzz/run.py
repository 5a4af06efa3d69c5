"""Run many cases in processes that are watched: what hangs is killed, what fails is shrunk."""

import faulthandler
import multiprocessing
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from fuzz.case import Case
from fuzz.draw_tables import table_case
from fuzz.draw_transport import transport_case
from fuzz.judge import BROKEN, CLASSES, HANG, Verdict, judge
from fuzz.shrink import shrunk

LIMIT = 5.0  # seconds of processor time beyond which a case hangs
# Seconds of processor time, and on the clock, after which a process is killed: it may compile.
PATIENCE, DEADLOCK = 60.0, 600.0
SHOWN = 2  # cases that are shrunk of each fault of a door
DRAWS: dict[str, Callable[[int, int], Case]] = {
    "transport": transport_case,
    "tables": table_case,
}


@dataclass(frozen=True)
class Name:
    """What identifies a case: it can be drawn again from this."""

    what: str
    seed: int
    number: int

    def case(self) -> Case:
        """Draw the case."""
        return DRAWS[self.what](self.seed, self.number)


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    name: Name
    door: str
    verdict: Verdict
    seconds: float


def judged(case: Case) -> Verdict:
    """Return the verdict on a case, also where the judge itself fails."""
    try:
        return judge(case)
    except Exception:
        return Verdict(BROKEN, traceback.format_exc().strip().splitlines()[-1])


def outcome(name: Name) -> Outcome:
    """Draw and judge a case, against the clock of this process."""
    case, start = name.case(), time.process_time()
    verdict = judged(case)
    return Outcome(name, case.door, verdict, time.process_time() - start)


def second_outcome(name: Name) -> Outcome:
    """Judge a case twice, since the first call of a kernel compiles it; return the second."""
    outcome(name)
    return outcome(name)


def shrunk_text(failed: Outcome) -> str:
    """Return a failing case as Python, as small as it can be had."""
    case = failed.name.case()
    return str(shrunk(case, lambda smaller: judged(smaller).fault == failed.verdict.fault))


# Processes.


def serve(task: Callable[[Any], Any], inputs: list[Any], pipe: Any) -> None:
    """Do a task on each input; what takes too long ends the process."""
    with open(os.devnull, "w") as nowhere:
        for given in inputs:
            faulthandler.dump_traceback_later(DEADLOCK, exit=True, file=nowhere)
            signal.setitimer(signal.ITIMER_PROF, PATIENCE)
            pipe.send(task(given))
        faulthandler.cancel_dump_traceback_later()


def supervised(task: Callable[[Any], Any], inputs: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield inputs and results, None where the process died; a new one goes on from there."""
    spawn = multiprocessing.get_context("spawn")
    left = list(inputs)
    while left:
        here, there = spawn.Pipe(duplex=False)
        process = spawn.Process(target=serve, args=(task, left, there), daemon=True)
        process.start()
        there.close()
        try:
            while left:
                result = here.recv()
                yield left.pop(0), result
        except EOFError:
            yield left.pop(0), None
        process.join()


def spread_over(task: Callable[[Any], Any], inputs: list[Any], jobs: int) -> Iterator[Any]:
    """Yield inputs and results of a task that several processes share, as they come."""
    done: SimpleQueue[Any] = SimpleQueue()

    def drive(share: list[Any]) -> None:
        for pair in supervised(task, share):
            done.put(pair)

    with ThreadPoolExecutor(jobs) as pool:
        drivers = [pool.submit(drive, inputs[k::jobs]) for k in range(jobs)]
        for _ in inputs:
            yield done.get()
        for driver in drivers:
            driver.result()


def run(names: Iterable[Name], jobs: int) -> list[Outcome]:
    """Return what came of each case, in order."""
    outcomes = []
    for name, found in spread_over(outcome, list(names), jobs):
        if found is None or found.seconds > LIMIT:
            found = confirmed(name)
        outcomes.append(found)
    return sorted(outcomes, key=lambda found: found.name.number)


def confirmed(name: Name) -> Outcome:
    """Try a case that took too long once more, where everything is compiled."""
    (_, found), *_ = supervised(second_outcome, [name])
    if found is not None and found.seconds <= LIMIT:
        return found
    took = f"{found.seconds:.1f} s" if found else "killed"
    return Outcome(name, name.case().door, Verdict(HANG, took), LIMIT)


# Reports.


def table(outcomes: list[Outcome]) -> str:
    """Return how many cases of each door ended in each class."""
    counts = Counter((found.door, found.verdict.kind) for found in outcomes)
    kinds = [kind for kind in CLASSES if any(found.verdict.kind == kind for found in outcomes)]
    doors = sorted({found.door for found in outcomes})
    width = max(map(len, [*doors, "all"]))
    lines = [" ".join([" " * width, *(f"{kind:>14}" for kind in kinds), f"{'ms a case':>10}"])]
    for door in [*doors, "all"]:
        mine = [found for found in outcomes if door in (found.door, "all")]
        row = [sum(counts[d, kind] for d in doors if door in (d, "all")) for kind in kinds]
        mean = 1e3 * sum(found.seconds for found in mine) / max(len(mine), 1)
        lines.append(" ".join([door.ljust(width), *(f"{n:14,d}" for n in row), f"{mean:10.1f}"]))
    return "\n".join(lines)


def failures(outcomes: list[Outcome], jobs: int, shown: int = SHOWN) -> Iterator[str]:
    """Yield each kind of failure with its number and the first cases, shrunk."""
    kinds: dict[Any, list[Outcome]] = {}
    for found in outcomes:
        if found.verdict.failed:
            kinds.setdefault((found.door, found.verdict.fault), []).append(found)
    few = [found for group in kinds.values() for found in group[:shown]]
    hung = [found for found in few if found.verdict.kind == HANG]
    texts = {found.name: "hangs, not shrunk" for found in hung}
    for found, text in spread_over(shrunk_text, [x for x in few if x not in hung], jobs):
        texts[found.name] = text or "hangs when it is shrunk"
    for (door, _), group in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        yield f"\n{door}: {group[0].verdict.kind}, {len(group)} times"
        for found in group[:shown]:
            yield f"  case {found.name.number} of seed {found.name.seed}: {found.verdict.why[:300]}"
            yield f"    {texts[found.name]}"


def names_of(what: str, seed: int, count: int) -> list[Name]:
    """Return the first cases of a seed."""
    return list(map(partial(Name, what, seed), range(count)))
