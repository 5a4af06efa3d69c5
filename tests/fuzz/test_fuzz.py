"""A short run of the fuzzer, and the fuzzer itself: a fault that is planted has to be found."""

import numpy as np
import pytest

from fuzz import judge as judging
from fuzz.case import FORMS, Case
from fuzz.run import LIMIT, Name, judged, names_of, run, supervised, table
from fuzz.shrink import shrunk
from sparsenum import ot

PLAIN = Case("solve", {"M": np.array([[0.0, 1.0], [1.0, 0.0]]), "reg": 0.5})


@pytest.mark.parametrize("number", range(40))
def test_transport_problems_are_solved_or_refused(number):
    verdict = judged(Name("transport", 0, number).case())
    assert not verdict.failed, verdict


@pytest.mark.parametrize("number", range(8))
def test_tables_are_read_split_and_learned_from(number):
    verdict = judged(Name("tables", 0, number).case())
    assert not verdict.failed, verdict


def test_a_case_is_drawn_again_from_its_name():
    first, second = (str(Name("transport", 3, 14).case()) for _ in range(2))
    assert first == second != str(Name("transport", 3, 15).case())


def test_a_case_is_python_that_can_be_pasted():
    case = Case("solve", {"M": np.array([[0, 1], [1, 0]]), "reg": 0.5}, {"M": "fortran"})
    pasted = eval(str(case), {"ot": ot, "np": np, "FORMS": FORMS})
    assert pasted.plan.tolist() == ot.solve([[0.0, 1.0], [1.0, 0.0]], reg=0.5).plan.tolist()


# What a judge must notice, planted in the answers of a right solver.


def planted(monkeypatch, **changes):
    """Let the solver give another answer than the right one."""
    right = judging.ANSWERS["solve"]

    def wrong(case):
        found = right(case)
        for name, change in changes.items():
            setattr(found[0], name, change(getattr(found[0], name)))
        return found

    monkeypatch.setitem(judging.ANSWERS, "solve", wrong)


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        ("marginals", {"plan": lambda P: P * (1 + 1e-8)}),
        ("optimality", {"plan": lambda P: P + 1e-6 * np.array([[1, -1], [-1, 1]])}),
        ("plan", {"plan": lambda P: P - 1}),
        ("plan", {"plan": lambda P: P * np.nan}),
        ("value", {"value": lambda v: v + 1e-6}),
        ("cost", {"linear": lambda v: v * 1.001}),
        ("status", {"status": lambda s: "max_iter"}),
        ("error", {"error": lambda e: 1e-8, "converged": lambda c: False}),
        ("numbers", {"value": lambda v: np.nan}),
        ("potentials", {"f": lambda f: f * np.nan}),
        ("shape", {"plan": lambda P: P[:1]}),
    ],
)
def test_planted_faults_are_found(monkeypatch, fault, changes):
    assert judged(PLAIN) == judging.Verdict("right")
    planted(monkeypatch, **changes)
    verdict = judged(PLAIN)
    assert verdict.kind == "SILENT WRONG"
    if fault not in ("error", "potentials"):  # others may be told first
        assert verdict.fault[1] == fault


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("M must be kinder"), "WRONGLY REFUSED"),
        (ValueError("math domain error"), "BARE EXCEPTION"),
        (ZeroDivisionError("float division by zero"), "BARE EXCEPTION"),
        (RuntimeWarning("overflow encountered in exp"), "LEAKED WARNING"),
    ],
)
def test_exceptions_are_told_apart(monkeypatch, error, kind):
    def raising(case):
        raise error

    monkeypatch.setitem(judging.ANSWERS, "solve", raising)
    assert judged(PLAIN).kind == kind


def test_what_is_no_problem_has_to_be_refused(monkeypatch):
    flawed = PLAIN.changed(a=np.array([0.5, -0.5]))
    assert judged(flawed).kind == "refused"
    monkeypatch.setitem(judging.ANSWERS, "solve", lambda case: [])
    assert judged(flawed).fault == ("SILENT WRONG", "taken")


def test_failing_cases_are_shrunk_to_what_makes_them_fail():
    M = np.random.default_rng(0).random((9, 7))
    M[4, 5] = 37.5
    case = Case("solve", {"M": M, "reg": 0.123, "tol": 1e-7}, {"M": "strided"})
    small = shrunk(case, lambda c: float(c.get("M").max()) > 30)
    assert str(small) == "ot.solve(M=np.array([[40.0]]), reg=1.0)"


# Processes.


def end_at_three(number):
    if number == 3:
        raise SystemExit
    return number**2


def test_a_process_that_dies_costs_one_case():
    found = list(supervised(end_at_three, [1, 2, 3, 4]))
    assert found == [(1, 1), (2, 4), (3, None), (4, 16)]


def test_a_run_is_the_same_whoever_shares_it():
    names = names_of("transport", 1, 4)
    outcomes = run(names, jobs=2)
    assert [found.verdict for found in outcomes] == [judged(name.case()) for name in names]
    assert all(found.seconds < LIMIT for found in outcomes)
    assert f"{len(names):14,d}" not in table(outcomes).splitlines()[0]
