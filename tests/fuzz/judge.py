"""The verdict on a case: right, honest or refused, or one of the failures."""

import inspect
import re
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fuzz import judge_tables
from fuzz.answers import ANSWERS, PROBLEMS, WARNS, Whole
from fuzz.case import Case
from fuzz.judge_transport import complaints
from fuzz.soundness import FLAWED, SOUND, soundness
from fuzz.table_answers import TABLE_ANSWERS
from sparsenum import ot
from sparsenum.errors import ConvergenceWarning, DeviceError, ProtocolWarning, RuleWarning

RIGHT, HONEST, REFUSED = "right", "honest", "refused"
WRONG, BARE, HANG, LEAKED = "SILENT WRONG", "BARE EXCEPTION", "HANG", "LEAKED WARNING"
UNCALLED = "WRONGLY REFUSED"  # there was nothing wrong with the problem
BROKEN = "JUDGE BROKEN"
CLASSES = (RIGHT, HONEST, REFUSED, WRONG, BARE, HANG, LEAKED, UNCALLED, BROKEN)
FAILURES = CLASSES[3:]


@dataclass(frozen=True)
class Verdict:
    """Class of a case, and why."""

    kind: str
    why: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is a failure."""
        return self.kind in FAILURES

    @property
    def fault(self) -> tuple[str, str]:
        """What two cases with the same fault have in common."""
        return self.kind, self.why.split(":")[0]


def judge(case: Case) -> Verdict:
    """Call a door, and judge what it does."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("error")
        for ours in (ConvergenceWarning, ProtocolWarning, RuleWarning):
            warnings.simplefilter("always", ours)
        try:
            found = (ANSWERS | TABLE_ANSWERS)[case.door](case)
        except Warning as warning:
            return Verdict(LEAKED, f"{origin(warning)}: {warning}")
        except (TypeError, ValueError, DeviceError, NotImplementedError, MemoryError) as error:
            return judge_refusal(case, error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # polars panics outside of Exception
            return Verdict(BARE, f"{type(error).__name__} at {origin(error)}: {error}")
    if case.door in TABLE_ANSWERS:
        wrong = next(judge_tables.complaints(case, found), None)
        return Verdict(RIGHT) if wrong is None else Verdict(WRONG, wrong)
    with np.errstate(all="ignore"):
        return judge_answers(case, found, bool(heard))


def judge_refusal(case: Case, error: Exception) -> Verdict:
    """An error has to name an argument, and there must be something wrong with the case."""
    said = f"{type(error).__name__} at {origin(error)}: {error}"
    if not any(re.search(rf"\b{name}\b", str(error)) for name in argument_names(case)):
        return Verdict(BARE, said)
    return Verdict(REFUSED if has_cause(case) else UNCALLED, said)


def argument_names(case: Case) -> Iterable[str]:
    """Return the names by which an error may call what is wrong."""
    if case.door in TABLE_ANSWERS:
        return judge_tables.ARGUMENTS
    return inspect.signature(getattr(ot, case.door)).parameters.keys() | case.arguments.keys()


def has_cause(case: Case) -> bool:
    """Return whether something about a case may be refused."""
    if case.door in TABLE_ANSWERS:
        return judge_tables.may_be_refused(case)
    if soundness(case) != SOUND:
        return True
    with np.errstate(all="ignore"):
        return not all(p.feasible and p.holds for p in PROBLEMS[case.door](case))


def judge_answers(case: Case, found: list, warned: bool) -> Verdict:
    """Each answer must be right, or say how far it is off, and warn."""
    if soundness(case) == FLAWED:
        return Verdict(WRONG, "taken: a problem that is no problem was answered")
    wrong = next(faults(case, found), None)
    if wrong is not None:
        return Verdict(WRONG, wrong)
    converged = all(answer.converged for answer in found)
    if case.door in WARNS and case.get("warn", True) and warned == converged:
        return Verdict(WRONG, f"warning: {warned}, converged {converged}")
    return Verdict(RIGHT if converged else HONEST)


def faults(case: Case, found: list) -> Iterator[str]:
    """Yield what is wrong with the answers to each problem, and with them as a whole."""
    parts = [answer for answer in found if not isinstance(answer, Whole)]
    for problem, answer in zip(PROBLEMS[case.door](case), parts, strict=True):
        yield from complaints(problem, answer)
    for answer in found[len(parts) :]:
        yield from answer.wrong()


def origin(error: BaseException) -> str:
    """Return the place in the package where an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/sparsenum/" in f.filename or "/recsys/" in f.filename]
    last = (ours or list(frames))[-1]
    return f"{last.filename.rsplit('/', 1)[-1]} {last.name}"
