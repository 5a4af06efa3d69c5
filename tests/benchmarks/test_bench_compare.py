"""Two runs side by side: what is slower is found, what is noise or another machine is not."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benches.compare import compare, in_words

REPORT = Path(__file__).parents[2] / "benches" / "report.py"
N = 40


def run_of(seed, *, drift=1.0, noise=0.04, rounds=9):
    """Return a run of benchmarks from 1 ms up, other work on the machine adding to each round."""
    rng = np.random.default_rng(seed)
    benchmarks = []
    for k in range(N):
        times = drift * 1e-3 * 1.2**k * (1 + rng.exponential(noise, rounds))
        q1, median, q3 = np.percentile(times, [25, 50, 75])
        stats = {"q1": q1, "median": median, "iqr": q3 - q1, "rounds": rounds}
        info = {"cpu": "A CPU", "threads": 1, "solver": f"solver {k}", "tol": 1e-9, "error": 1e-10}
        benchmarks.append(
            {"fullname": f"bench.py::test[{k}]", "name": f"test[{k}]", "group": f"ot/{k}"}
            | {"stats": stats, "extra_info": info}
        )
    return {"datetime": "2026-11-21T12:00:00", "benchmarks": benchmarks}


def slowed(run, which, by):
    run = copy.deepcopy(run)
    for name in ("q1", "median", "iqr"):
        run["benchmarks"][which]["stats"][name] *= by
    return run


def names(changes):
    return [change.name for change in changes]


@pytest.mark.parametrize("rounds", [1, 9])
def test_a_planted_slow_down_is_found_alone_on_a_machine_of_another_speed(rounds):
    old = run_of(0, rounds=rounds)
    for seed in (1, 2, 3):
        new = slowed(run_of(seed, drift=1.8, rounds=rounds), 7, 1.5)
        found = compare(new, old)
        assert names(found.regressions) == ["bench.py::test[7]"]
        assert found.drift == pytest.approx(np.log(1.8), abs=0.05)
        assert found.blind == []


def test_what_became_slower_all_together_is_found_beside_peers():
    def with_peers(run):
        for record in run["benchmarks"][::2]:
            record["extra_info"]["solver"] = "POT"
        return run

    new = run_of(1, drift=1.8)
    for which in range(1, N, 2):
        new = slowed(new, which, 1.5)
    found = compare(with_peers(new), with_peers(run_of(0)))
    assert names(found.regressions) == [f"bench.py::test[{k}]" for k in range(1, N, 2)]
    assert found.scatter["ot"] < 0.1


def test_sections_have_a_scatter_of_their_own_if_they_are_large_enough():
    old, new = run_of(0), run_of(1)
    for k in range(N - 12, N):
        old["benchmarks"][k]["group"] = new["benchmarks"][k]["group"] = f"sparse/{k}"
        new = slowed(new, k, 2.0 if k % 2 else 0.5)
    found = compare(new, old)
    assert set(found.scatter) == {"ot", "sparse", "all"}
    assert found.scatter["ot"] < 0.1 < 0.4 < found.scatter["sparse"]
    assert found.regressions == []


@pytest.mark.parametrize("rounds", [1, 9])
def test_unchanged_runs_are_quiet(rounds):
    old = run_of(0, rounds=rounds)
    for seed in range(1, 30):
        found = compare(run_of(seed, drift=0.7, rounds=rounds), old)
        assert names(found.regressions) == []
        assert not any(change.faster for change in found.changes)


def test_a_noisy_benchmark_is_called_blind_instead_of_slow():
    old, new = run_of(0), slowed(run_of(1), 7, 1.5)
    stats = old["benchmarks"][7]["stats"]
    stats["iqr"] = stats["q1"]
    found = compare(new, old)
    assert found.regressions == []
    assert names(found.blind) == ["bench.py::test[7]"]
    assert "Too noisy to show a slow-down of 1.5 x: 1 (test[7])." in in_words(found)


def test_where_older_runs_differ_more_is_allowed_and_nowhere_else():
    olds = [run_of(0), slowed(run_of(1, drift=1.3), 7, 1.6), slowed(run_of(2), 7, 1.1)]
    new = slowed(slowed(run_of(3, drift=0.8), 7, 1.7), 9, 1.5)
    assert names(compare(new, olds[0]).regressions) == ["bench.py::test[7]", "bench.py::test[9]"]
    assert names(compare(new, *olds).regressions) == ["bench.py::test[9]"]


def test_a_peer_is_no_regression_but_a_false_alarm():
    old = run_of(0)
    for k in (3, 4):
        old["benchmarks"][k]["extra_info"]["solver"] = "POT ot.sinkhorn"
    found = compare(slowed(slowed(old, 3, 1.5), 9, 1.5), old)
    assert names(found.regressions) == ["bench.py::test[9]"]
    assert "False alarms among peers and floors: 1 of 2." in in_words(found)


def test_a_fifth_may_be_slower_without_widening_what_is_allowed():
    old, new = run_of(0), run_of(1)
    for k in range(7):
        new = slowed(new, k, 1.5)
    assert len(compare(new, old).regressions) == 7


def test_small_changes_are_none():
    steady = run_of(0, noise=0.0)
    assert compare(slowed(steady, 3, 1.19), steady).regressions == []
    assert names(compare(slowed(steady, 3, 1.21), steady).regressions) == ["bench.py::test[3]"]


def test_what_became_faster_is_no_regression():
    old = run_of(0)
    found = compare(slowed(old, 5, 0.5), old)
    assert found.regressions == []
    assert names(change for change in found.changes if change.faster) == ["bench.py::test[5]"]


def test_a_tolerance_no_longer_reached_is_a_regression_at_any_speed():
    old = run_of(0)
    new = slowed(old, 4, 0.1)
    new["benchmarks"][4]["extra_info"]["error"] = 1e-3
    (change,) = compare(new, old).regressions
    assert (change.name, change.lost) == ("bench.py::test[4]", "tolerance missed")


def test_quality_lost_is_a_regression():
    old = run_of(0)
    for record in old["benchmarks"]:
        record["extra_info"] |= {"recall@20": 0.2, "ndcg@20": 0.1}
    new = copy.deepcopy(old)
    new["benchmarks"][2]["extra_info"]["ndcg@20"] = 0.0995
    assert compare(new, old).regressions == []
    new["benchmarks"][2]["extra_info"]["ndcg@20"] = 0.0985
    (change,) = compare(new, old).regressions
    assert (change.name, change.lost) == ("bench.py::test[2]", "ndcg@20 0.1000 -> 0.0985")


def test_what_only_one_run_has_and_what_the_machines_differ_in_is_said():
    old, new = run_of(0), run_of(1)
    del new["benchmarks"][0]
    for record in new["benchmarks"]:
        record["extra_info"]["cpu"] = "Another CPU"
    text = in_words(compare(new, old))
    assert "Only in the old run: bench.py::test[0]." in text
    assert "The runs differ in cpu: A CPU -> Another CPU." in text


def test_the_command_ends_with_1_if_and_only_if_something_is_slower(tmp_path):
    old = run_of(0)
    paths = {"old": old, "same": run_of(1), "slow": slowed(run_of(2), 9, 1.5)}
    paths["other"] = {"benchmarks": [old["benchmarks"][0] | {"fullname": "another"}]}
    for name, run in paths.items():
        (tmp_path / name).write_text(json.dumps(run))

    def outcome(name):
        command = [sys.executable, REPORT, tmp_path / name, "--compare", tmp_path / "old"]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
        return done.returncode, done.stdout + done.stderr

    status, text = outcome("same")
    assert (status, "Regressions: none." in text) == (0, True)
    status, text = outcome("slow")
    assert (status, "| bench.py::test[9] |" in text) == (1, True)
    assert outcome("other") == (2, "report: the runs have no benchmark in common\n")
