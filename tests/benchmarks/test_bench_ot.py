"""The transport benchmarks: peers solve our problem, and whatever happens is a result."""

import operator
import signal
import subprocess
import sys
import time
from pathlib import Path

import naive
import numpy as np
import pytest
from scipy.optimize import linprog

from benches.transport import worker
from benches.transport.problems import GRID, PROBLEMS, README, Problem, stack
from benches.transport.solvers import BATCH, SINGLE, SOLVERS, Outcome, Solver
from benches.transport.worker import Task, Workers, judge, violation

ENTROPIC = [name for name in SINGLE if "no entropy" not in name]
REG, TOL = 0.07, 1e-4  # a plan off by a factor in reg or in the cost is off by much more
TASK = Task("somebody's", "tiny", REG, TOL, limit=10.0)
LARGE = {"assignment 2000", "assignment 5000", "fields 64 squared", "blobs 64 L1"}


@pytest.fixture(scope="module")
def tiny():
    rng = np.random.default_rng(7)
    a, b = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(8))
    M = rng.random((5, 8))
    return Problem("tiny", "tiny", M / M.max(), a, b)


def first_good(solver, problem, reg, tol):
    if not solver.is_installed:
        pytest.skip(f"{solver.name} is not installed: pip install {solver.package}")
    for attempt in solver.attempts(problem, reg, tol):
        outcome = attempt()
        if violation(outcome.plan, problem).max() <= tol:
            return outcome
    raise AssertionError("no attempt was good enough")


# Solvers


@pytest.mark.filterwarnings("default")  # peers' own affairs
@pytest.mark.parametrize("name", ENTROPIC)
def test_entropic_solvers_find_the_plan_of_the_naive_twin(name, tiny):
    plan, n_iter = first_good(SOLVERS[name], tiny, REG, TOL)
    expected, _, _ = naive.entropic_plan(tiny.M, tiny.a, tiny.b, REG)
    assert plan.dtype == np.float64
    assert np.abs(plan - expected).sum() <= 10 * TOL
    assert n_iter >= 0


def test_exact_transport_has_the_cost_of_the_linear_program(tiny):
    plan, _ = first_good(SOLVERS["POT ot.emd, no entropy"], tiny, REG, TOL)
    n, m = tiny.M.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    least = linprog(tiny.M.ravel(), A_eq=np.vstack([rows, columns]), b_eq=[*tiny.a, *tiny.b]).fun
    assert (plan * tiny.M).sum() == pytest.approx(least, rel=1e-6)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", BATCH)
def test_batch_solvers_find_the_plans_of_the_naive_twin(name):
    some = stack(4, 6)
    plans, _ = first_good(SOLVERS[name], some, REG, TOL)
    for M, plan in zip(some.M, plans, strict=True):
        expected, _, _ = naive.entropic_plan(M, some.a, some.b, REG)
        assert np.abs(plan - expected).sum() <= 10 * TOL


# Verdicts


def endless():
    while True:
        pass


def broken():
    raise ArithmeticError("no pivot")


def offering(*plans):
    outcomes = [(lambda plan=plan: Outcome(np.array(plan), 3)) for plan in plans]
    return lambda problem, reg, tol: iter(outcomes)


def verdict_on(attempts, **changes):
    problem = Problem("two", "two", np.eye(2), np.full(2, 0.5), np.full(2, 0.5))
    solver = Solver("somebody's", attempts, "numpy", "numpy")
    return judge(solver, problem, TASK._replace(**changes))


GOOD, BAD = [[0.5, 0.0], [0.0, 0.5]], [[0.5, 0.0], [0.0, 0.25]]


def test_the_first_plan_that_is_good_enough_counts_and_is_timed_again():
    verdict = verdict_on(offering(BAD, GOOD, BAD), rounds=4)
    assert verdict["status"] == "solved"
    assert (verdict["error"], verdict["nnz"], verdict["iterations"]) == (0.0, 2, 3)
    assert len(verdict["seconds"]) == 4
    assert verdict["version"] == np.__version__


def test_the_error_is_that_of_both_marginals():
    verdict = verdict_on(offering([[0.5, 0.1], [0.0, 0.5]]))
    assert verdict["status"] == "missed"
    assert verdict["error"] == pytest.approx(0.2)


def test_what_is_no_number_or_fails_or_takes_too_long_is_a_result():
    assert verdict_on(offering([[np.nan, 0.0], [0.0, 0.5]]))["status"] == "nan"
    failed = verdict_on(lambda *_: iter([broken]))
    assert (failed["status"], failed["note"]) == ("failed", "ArithmeticError: no pivot")
    slow = verdict_on(lambda *_: iter([endless]), limit=0.05)
    assert (slow["status"], slow["seconds"]) == ("timeout", [0.05])


def test_the_clock_counts_work_and_not_waiting():
    def wait():
        time.sleep(0.2)
        return Outcome(np.array(GOOD), None)

    assert verdict_on(lambda *_: iter([wait]))["seconds"][0] < 0.1


def test_compiled_code_that_takes_too_long_ends_with_its_process():
    code = (
        "from benches.transport import worker\n"
        "worker.GRACE = 0.05\n"
        "worker._stopped(lambda: sum(range(10**15)), 0.05)"  # hears no signal
    )
    root = Path(worker.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60)
    assert done.returncode == -signal.SIGVTALRM
    assert worker._obituary(done.returncode, 5.0) == {
        "status": "timeout",
        "note": None,
        "seconds": [5.0],
    }


# Processes


@pytest.fixture
def workers():
    some = Workers()
    yield some
    some.close()


def test_a_solver_answers_from_its_own_process(workers):
    task = Task("ours, solve_batch", "warm-up, stack", 1e-1, 1e-6, limit=60.0, rounds=3)
    verdict = workers.ask(task)
    assert (verdict["status"], verdict["solved"], verdict["problems"]) == ("solved", 4, 4)
    assert verdict["error"] <= 1e-6
    assert (verdict["n"], verdict["m"], len(verdict["seconds"])) == (16, 16, 3)
    assert workers.ask(task) is verdict


def test_a_process_that_ends_without_a_word_is_a_failure(workers, monkeypatch):
    monkeypatch.setattr(worker, "serve", operator.not_)
    verdict = workers.ask(Task("POT ot.sinkhorn", "warm-up", 1e-2, 1e-9, limit=1.0))
    assert (verdict["status"], verdict["note"]) == ("failed", "its process ended: 0")
    assert verdict["family"] == PROBLEMS["warm-up"]().family


def test_a_solver_that_is_not_installed_is_named_with_the_remedy(workers, monkeypatch):
    monkeypatch.setattr("benches.transport.solvers.find_spec", lambda _: None)
    verdict = workers.ask(Task("OTT-JAX Sinkhorn", "warm-up", 1e-2, 1e-9, limit=1.0))
    assert (verdict["status"], verdict["note"]) == (
        "absent",
        "not installed: pip install ott-jax",
    )


def test_who_had_no_time_for_a_loose_tolerance_is_not_asked_for_a_tight_one(workers, monkeypatch):
    asked = []

    def answer(task):
        asked.append(task.tol)
        return {"status": "timeout" if task.reg < 1e-2 else "solved", "seconds": [1.0]}

    monkeypatch.setattr(workers, "_asked", answer)
    hard = Task("POT ot.sinkhorn", "warm-up", 1e-3, 1e-3, limit=1.0)
    assert workers.ask(hard)["status"] == "timeout"
    assert "out of time at 1e-03" in workers.ask(hard._replace(tol=1e-9))["note"]
    easy = hard._replace(reg=1e-1)
    assert {workers.ask(easy._replace(tol=tol))["status"] for tol in (1e-3, 1e-9)} == {"solved"}
    workers.ask(hard._replace(rounds=9))
    assert asked == [1e-3, 1e-3, 1e-9]


# Problems


@pytest.fixture(scope="module")
def made():
    return {name: make() for name, make in PROBLEMS.items() if name not in LARGE}


@pytest.mark.parametrize("name", sorted(PROBLEMS.keys() - LARGE))
def test_problems_are_balanced_and_scaled(name, made):
    some = made[name]
    assert some.M.shape[-2:] == (some.a.size, some.b.size)
    assert (some.M.min() >= 0.0, some.M.max()) == (True, 1.0)
    assert (some.a.sum(), some.b.sum()) == pytest.approx((1.0, 1.0))
    assert ((some.a == 0).any() and (some.b == 0).any()) == ("zero masses" in name)


@pytest.mark.parametrize("name", ["ink L1", "blobs 28 L1", "fields 32 L1", "clouds 2-D L1"])
def test_problems_are_the_same_each_time(name, made):
    for one, other in zip(made[name][2:], PROBLEMS[name]()[2:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_problems_of_a_family_differ_in_size(made):
    kinds = [(some.family, some.M.shape) for some in made.values()]
    assert len(set(kinds)) == len(kinds)


def test_every_problem_of_the_tables_and_of_the_grid_exists():
    assert {*README, *GRID} <= PROBLEMS.keys()
