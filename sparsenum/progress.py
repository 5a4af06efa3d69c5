"""Progress of long work: a line that rewrites itself on a terminal, a few plain lines elsewhere."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self, TextIO

TERMINAL_PERIOD, PLAIN_PERIOD = 0.1, 5.0  # seconds between two lines
BAR = 24  # characters


class Progress:
    """Say how far a piece of work has come, how long it took and how long it will take.

    Parameters
    ----------
    label : str
        What is being done.
    total : int, optional
        Steps in all; without it there is neither a bar nor a time left.
    stream : text file, optional
        Where to write; standard error by default. If it is closed or breaks, the work goes on.

    Examples
    --------
    >>> with Progress("solve", total=10) as progress:
    ...     for done in range(1, 11):
    ...         progress.update(done, note="error 1e-3")
    """

    def __init__(self, label: str, total: int | None = None, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._rewrites = self._is_terminal()
        self._done: int | None = None
        self._note = ""
        self._start = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def update(self, done: int, note: str = "") -> None:
        """Tell that `done` steps are behind us; most calls write nothing."""
        self._done, self._note = done, note
        now = time.monotonic()
        if now - self._shown >= (TERMINAL_PERIOD if self._rewrites else PLAIN_PERIOD):
            self._shown = now
            self._write("" if self._rewrites else "\n", done)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._done is not None:
            self._write("\n", self._done)

    def _write(self, end: str, done: int) -> None:
        line = self._line(done, time.monotonic() - self._start)
        if self._rewrites:
            width = shutil.get_terminal_size().columns - 1
            line = "\r" + line[:width].ljust(width)
        try:
            self._stream.write(line + end)
            self._stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # no stream, a broken one, a closed one: no reason to lose the work

    def _line(self, done: int, elapsed: float) -> str:
        steps, left = f"{done} steps", ""
        if self._total:
            share = min(done / self._total, 1.0)
            if self._rewrites:
                steps = f"[{'#' * round(BAR * share):.<{BAR}}] {share:4.0%}"
            else:
                steps = f"{done}/{self._total} ({share:.0%})"
            if 0 < share < 1:
                left = f"{_clock(elapsed / share - elapsed)} left"
        parts = (self._note, _clock(elapsed), left)
        return f"{self._label}: " + ", ".join(filter(None, (steps, *parts)))

    def _is_terminal(self) -> bool:
        try:
            return self._stream.isatty()
        except (AttributeError, ValueError):
            return False


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
