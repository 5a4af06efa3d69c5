"""How much memory a call takes beyond what the process held before."""

import contextlib
import ctypes
import resource
import sys
from pathlib import Path
from typing import Any

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # see proc(5)
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes that ru_maxrss counts in


class Peak:
    """The growth of the resident set from `start` to its peak.

    Linux forgets earlier peaks on request. Elsewhere only what exceeds the largest peak so far
    shows, and the record says so.
    """

    def start(self) -> None:
        """Begin to watch: give what is free back to the system first, or it would hide growth."""
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        try:
            RESET.write_text(RESET_PEAK)
            self._kind, self._before = "resident set", _status("VmRSS")
        except OSError:
            self._kind, self._before = "growth of ru_maxrss", _maximum()

    def facts(self) -> dict[str, Any]:
        """Return what to put on record: the bytes, and by what they were counted."""
        exact = self._kind == "resident set"
        top = _status("VmHWM") if exact else _maximum()
        return {"peak_bytes": max(0, top - self._before), "peak_by": self._kind}


def _status(name: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{STATUS} says nothing of {name}")


def _maximum() -> int:
    return UNIT * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
