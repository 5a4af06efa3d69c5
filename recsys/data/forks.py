"""Forked processes, in which polars' engine stands still: its threads do not survive a fork."""

import os
import re
from pathlib import Path

_TASKS = Path("/proc/self/task")
_WORKER = re.compile(r"polars-\d")
_runs = _is_lost = False


def engine_is_lost() -> bool:
    """Return whether polars would wait forever for threads that stayed in another process."""
    return _is_lost


def require_engine(task: str) -> None:
    """Raise a RuntimeError where polars' engine is lost, instead of waiting forever."""
    if _is_lost:
        raise RuntimeError(
            f"{task} needs polars' threads, which do not survive a fork: got a process forked from "
            "one in which polars was at work; do this before the fork, or start processes by "
            "multiprocessing.get_context('spawn'). Fitted models recommend, explain and save here"
        )


def _look() -> None:
    """Note whether the threads of polars run; where that cannot be known, they may."""
    global _runs
    try:
        names = [(task / "comm").read_text() for task in _TASKS.iterdir()]
        _runs = any(map(_WORKER.match, names))
    except OSError:
        _runs = True


def _lose() -> None:
    global _is_lost
    _is_lost = _is_lost or _runs


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_look, after_in_child=_lose)
