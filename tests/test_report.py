"""The benchmark report: tables that cannot be typed wrong, in the places marked for them."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[1] / "benches" / "report.py"
MACHINE = {"cpu": "A CPU", "cpu_target": "a-cpu", "threads": 1}
MACHINE |= dict.fromkeys(("python", "numpy", "numba", "POT"), "1.2")


def record(group, solver, median, rounds=5, **info):
    return {
        "name": f"test[{solver}]",
        "group": group,
        "stats": {"median": median, "iqr": median / 10, "rounds": rounds},
        "extra_info": {**MACHINE, "solver": solver, **info},
    }


RECORDS = [
    record("ot/first", "slow", 2.5, rounds=1, iterations=12345, error=5e-10, tol=1e-9),
    record("ot/first", "quick", 0.0125, iterations=31, error=2e-14, tol=1e-9),
    record("ot/first", "sloppy", 0.0005, iterations=None, error=1e-3, tol=1e-9),
    record("ot/first", "silent", 0.0001, tol=1e-9),
    record("startup", "import", 0.25),
]


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"datetime": "2026-11-20T22:00:00", "benchmarks": RECORDS}))
    return path


def run(*arguments):
    return subprocess.run(
        [sys.executable, REPORT, *arguments], capture_output=True, encoding="utf-8", timeout=60
    )


def rows(text):
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {first: rest for first, *rest in cells}


def test_times_stand_beside_their_errors(results):
    done = run(results)
    assert (done.returncode, done.stderr) == (0, "")
    table = rows(done.stdout)
    assert table["quick"] == ["12.5 ms", "1.25 ms", "31", "2.0e-14", "1 x"]
    assert table["slow"] == ["2.5 s", "-", "12,345", "5.0e-10", "200 x"]
    assert "A CPU (a-cpu), 1 thread; python 1.2" in done.stdout


def test_a_time_without_its_error_is_no_result(results):
    table = rows(run(results).stdout)
    assert table["sloppy"][-1] == "tolerance missed"
    assert table["silent"][-1] == "tolerance missed"


def test_columns_without_content_are_left_out(results):
    startup = run(results).stdout.partition("**startup**")[2]
    assert "iterations" not in startup
    assert rows(startup)["import"] == ["250 ms", "25 ms", "1 x"]


def test_marked_sections_are_replaced_and_nothing_else(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(
        "Before\n<!-- bench:ot -->\nold\n<!-- /bench -->\nbetween\n"
        "<!-- bench:other -->\nkept\n<!-- /bench -->\nafter µ\n",
        encoding="utf-8",
    )
    assert run(results, "--readme", readme).returncode == 0
    once = readme.read_text(encoding="utf-8")
    assert "old" not in once
    assert "| quick |" in once
    assert "<!-- bench:other -->\nkept\n<!-- /bench -->\nafter µ\n" in once
    assert once.startswith("Before\n<!-- bench:ot -->\n")
    run(results, "--readme", readme)
    assert readme.read_text(encoding="utf-8") == once


def test_a_file_without_markers_is_an_error_and_stays(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("Nothing here\n")
    done = run(results, "--readme", readme)
    assert done.returncode == 2
    assert "<!-- bench:ot -->" in done.stderr
    assert readme.read_text() == "Nothing here\n"


def test_the_readme_shows_what_was_measured():
    root = REPORT.parents[1]
    report = runpy.run_path(str(REPORT))
    results = json.loads((root / "benches" / "results.json").read_text("utf-8"))
    readme = (root / "README.md").read_text("utf-8")
    assert report["replace_sections"](readme, report["markdown"](results)) == readme
    assert readme.count("| --: |") >= 4
