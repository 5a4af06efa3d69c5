"""The script that compares solvers on a GPU runs through, whoever is missing, fails or is slow."""

import json
import time

import numpy as np
import pytest

from benches import gpu

pytestmark = pytest.mark.usefixtures("cuda")


def broken(problem):
    raise ArithmeticError("no such luck")


def slow(problem):
    if len(problem.M) > 5:  # warms up in no time
        return lambda: time.sleep(10)
    return lambda: None


def test_every_solver_gets_a_row(monkeypatch, capsys, tmp_path):
    solvers = (
        gpu.SOLVERS[0],
        ("absent", broken, ("no_such_package",)),
        ("broken", broken, ("numpy",)),
        ("slow", slow, ("numpy",)),
    )
    monkeypatch.setattr(gpu, "SOLVERS", solvers)
    monkeypatch.setattr(gpu, "CAP", 0.05)
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    monkeypatch.setattr(gpu, "problems", lambda n: iter([gpu.Problem("tiny", cost(n), 0.1)]))
    monkeypatch.setattr(gpu.sys, "argv", ["gpu.py", "--small", "--out", str(tmp_path / "rows")])
    monkeypatch.setattr(gpu, "timed", patient(gpu.timed))
    assert gpu.main() == 0
    rows = json.loads((tmp_path / "rows").read_text())["rows"]
    ours, absent, failed, late, stack, peer = rows
    assert ours["error"] <= gpu.TOL
    assert absent["outcome"] == "no_such_package is not installed"
    assert failed["outcome"] == "failed: ArithmeticError: no such luck"
    assert late["outcome"].startswith("over")
    assert stack["error"] <= 1e-6
    assert "POT" in peer["solver"]
    table = capsys.readouterr().out
    assert table.count("\n| ") == len(rows) + 2
    assert "GB/s" in table


def cost(n):
    return np.random.default_rng(0).random((n, n))


def patient(timed):
    """Let ours take the time that a simulator needs."""

    def run(make, *args):
        if make is not slow:
            gpu.CAP = 60.0
        try:
            return timed(make, *args)
        finally:
            gpu.CAP = 0.05

    return run


def test_nothing_starts_when_the_time_is_over(monkeypatch):
    monkeypatch.setattr(gpu, "BUDGET", 0.0)
    monkeypatch.setattr(gpu, "problems", lambda n: iter([gpu.Problem("tiny", cost(n), 0.1)]))
    monkeypatch.setattr(gpu, "SOLVERS", (("broken", broken, ("numpy",)),))
    assert [row["outcome"] for row in gpu.transport(5, 3, gpu.Clock())] == ["not run: no time left"]


def test_the_violation_is_that_of_the_worst_plan():
    plans = np.full((2, 2, 4), 1 / 8)
    plans[1, 0] *= 1.5
    assert gpu.violation(plans) == pytest.approx(0.25 + 0.25)
