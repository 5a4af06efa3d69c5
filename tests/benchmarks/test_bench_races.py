"""Who wins how often: shares and profiles beside problems small enough to judge by eye."""

import math

import pytest

from benches.reporting.races import by_tolerance, entrants, lost, profile, races
from benches.reporting.tables import standings, summary

TOL = 1e-9


def record(group, solver, median, status="solved", tol=TOL):
    return {
        "name": solver,
        "group": group,
        "stats": {"median": median},
        "extra_info": {"solver": solver, "tol": tol, "status": status},
    }


def problem(group, tol=TOL, **times):
    """Return records of one problem; None is a time-out."""
    names = {"auto": "ours, auto", "paper": "ours, SNS", "pot": "POT log", "regot": "RegOT ssns"}
    return [
        record(group, names[key], time or 5.0, "solved" if time else "timeout", tol)
        for key, time in times.items()
    ]


RECORDS = [
    *problem("profile/a, tol 1e-9", auto=1.0, paper=0.5, pot=4.0, regot=8.0),
    *problem("profile/b, tol 1e-9", auto=3.0, paper=None, pot=1.0, regot=None),
    *problem("profile/c, tol 1e-9", auto=None, paper=None, pot=None, regot=2.0),
    *problem("profile/d, tol 1e-9", auto=1.0, paper=None, pot=None, regot=None),
    *problem("profile/a, tol 1e-3", tol=1e-3, auto=1.0, pot=2.0),
    record("profile/a, tol 1e-9", "POT emd, no entropy", 0.001),
    record("profile/a, tol 1e-9", "GeomLoss", 0.001, "absent"),
    record("ot/README, 3 x 3", "ours, auto", 1.0),
    record("sparse/other", "ours", 1.0),
]


@pytest.fixture
def hard():
    return by_tolerance(races(RECORDS))[TOL]


def test_only_entropic_solvers_that_are_installed_take_part(hard):
    assert [race.group for race in hard] == [f"{name}, tol 1e-9" for name in "abcd"]
    assert entrants(hard) == ["ours, auto", "ours, SNS", "POT log", "RegOT ssns"]


def test_tolerances_are_raced_apart():
    found = by_tolerance(races(RECORDS))
    assert {tol: len(some) for tol, some in found.items()} == {1e-9: 4, 1e-3: 1}
    assert list(found) == [1e-9, 1e-3]


def test_without_the_grid_the_few_problems_take_its_place():
    (race,) = races(record for record in RECORDS if not record["group"].startswith("profile"))
    assert race.group == "README, 3 x 3"


def test_profiles_are_ratios_to_the_best_where_solved(hard):
    assert profile(hard, "ours, auto") == [1.0, 2.0, 3.0]
    assert profile(hard, "ours, SNS") == [1.0]
    assert profile(hard, "POT log") == [1.0, 8.0]
    assert profile(hard, "RegOT ssns") == [1.0, 16.0]


def test_variants_of_one_package_are_no_rivals(hard):
    assert [race.won("ours, auto") for race in hard] == [True, False, False, True]
    assert [race.won("POT log") for race in hard] == [False, True, False, False]
    assert hard[0].rival("ours, auto") == "POT log"


def test_who_does_not_get_there_wins_nothing(hard):
    nobody = races(problem("profile/e", auto=None, pot=None))
    assert not nobody[0].won("ours, auto")
    assert nobody[0].ratio("POT log") == math.inf


def test_lost_races_are_listed_the_worst_first(hard):
    assert [race.group[0] for race in lost(hard)] == ["c", "b"]


def test_the_summary_says_what_each_solves_and_wins_at_each_tolerance():
    header, _, first, *_ = summary(by_tolerance(races(RECORDS))).splitlines()
    assert header == "| solver | solved to 1e-09 | solved to 1e-03 | won at 1e-09 | won at 1e-03 |"
    assert first == "| ours, auto | 75.0% | 100.0% | 50.0% | 100.0% |"


def test_who_did_not_run_at_a_tolerance_has_no_share_there():
    lines = summary(by_tolerance(races(RECORDS))).splitlines()
    assert "| RegOT ssns | 50.0% | - | 25.0% | - |" in lines


def test_standings_say_shares_and_reasons():
    text = standings(by_tolerance(races(RECORDS)))
    assert "| ours, auto | 4 | 75.0% | 50.0% | 50.0% |" in text
    assert "| POT log | 4 | 50.0% | 25.0% | 25.0% |" in text
    assert "| b, tol 1e-9 | 3 s | POT log | 1 s | 3 x |" in text
    assert "| c, tol 1e-9 | timed out | RegOT ssns | 2 s | - |" in text
    assert text.count("not won") == 1  # nothing was lost at the easy tolerance
