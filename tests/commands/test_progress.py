"""Progress: quiet off a terminal, one line on it, and never the reason that work is lost."""

import io

import pytest

from sparsenum import progress
from sparsenum.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Let a test say what time it is."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_off_a_terminal_one_plain_line_every_five_seconds_and_the_last(clock):
    stream = io.StringIO()
    with Progress("fit", total=100, stream=stream) as shown:
        for done in range(1, 13):
            clock[0] = float(done)
            shown.update(done, note="loss 0.1")
    assert stream.getvalue().splitlines() == [
        "fit: 5/100 (5%), loss 0.1, 5.0 s, 1:35 left",
        "fit: 10/100 (10%), loss 0.1, 10.0 s, 1:30 left",
        "fit: 12/100 (12%), loss 0.1, 12.0 s, 1:28 left",
    ]


def test_on_a_terminal_one_line_rewrites_itself(clock):
    stream = Terminal()
    with Progress("fit", total=4, stream=stream) as shown:
        for done in range(1, 5):
            clock[0] = float(done)
            shown.update(done)
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert written.endswith("\n")
    lines = [line.rstrip() for line in written.split("\r")[1:]]
    assert lines[0] == "fit: [######..................]  25%, 1.0 s, 3.0 s left"
    assert lines[-1] == "fit: [########################] 100%, 4.0 s"


def test_a_narrow_terminal_cuts_the_line(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    with Progress("fit", total=4, stream=stream) as shown:
        shown.update(1, "a long note")
    assert max(map(len, stream.getvalue().strip("\n").split("\r"))) == 19


def test_without_a_total_steps_are_counted(clock):
    stream = io.StringIO()
    with Progress("solve", stream=stream) as shown:
        clock[0] = 3725.0
        shown.update(7, "error 1e-3")
    assert stream.getvalue().splitlines()[-1] == "solve: 7 steps, error 1e-3, 1:02:05"


def test_work_that_took_no_step_says_nothing():
    stream = io.StringIO()
    with Progress("solve", stream=stream):
        pass
    assert stream.getvalue() == ""


def test_a_closed_stream_does_not_stop_the_work(clock):
    stream = Terminal()
    with Progress("solve", stream=stream) as shown:
        stream.close()
        clock[0] = 10.0
        shown.update(1)


def test_no_stream_at_all(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    with Progress("solve") as shown:
        shown.update(1)


def test_a_failure_ends_the_line_and_passes_through():
    stream = Terminal()

    def work():
        with Progress("solve", stream=stream) as shown:
            shown.update(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert stream.getvalue().endswith("\n")
