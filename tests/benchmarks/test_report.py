"""The benchmark report: tables that cannot be typed wrong, in the places marked for them."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[2] / "benches" / "report.py"
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


WORDS = {
    "absent": "not installed",
    "timeout": "timed out",
    "missed": "tolerance missed",
    "nan": "not a number",
    "failed": "failed",
}


@pytest.mark.parametrize("status", WORDS)
def test_what_went_wrong_is_a_row_in_words(tmp_path, status):
    wrong = record("ot/x", "rival", 1e-9, tol=1e-9, error=0.0, status=status)
    good = record("ot/x", "ours, auto", 2.0, tol=1e-9, error=1e-10, status="solved")
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"datetime": "2026-11-20", "benchmarks": [wrong, good]}))
    table = rows(run(path).stdout.partition("| solver | solved")[0])
    assert table["rival"][-1] == WORDS[status]
    assert table["ours, auto"][-1] == "1 x"
    assert (table["rival"][0] == "-") == (status == "absent")
    assert (list(table)[-1] == "rival") == (status == "absent")  # else the fastest first


def test_a_clock_that_saw_nothing_breaks_nothing(tmp_path):
    some = [record("ot/x", "ours, auto", 0.0, tol=1.0, error=0.0), record("ot/x", "floor", 0.0)]
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"datetime": "2026-11-20", "benchmarks": some}))
    assert "| ours, auto | 0.001 µs |" in run(path).stdout


def test_the_share_of_a_floor_is_shown(tmp_path):
    some = [record("sparse/x", "floor, copy", 1.0), record("sparse/x", "ours", 4.0)]
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"datetime": "2026-11-20", "benchmarks": some}))
    table = rows(run(path).stdout)
    assert table["ours"][-2:] == ["25%", "1 x"]  # a floor takes part in no race
    assert table["floor, copy"][-2:] == ["100%", "-"]


def test_growth_is_fitted_and_rows_go_by_size(tmp_path):
    sizes = [1000, 250, 500]
    some = [record("scale/x", "ours", 1e-6 * n**1.5, size=n, quantity="n") for n in sizes]
    some += [record("scale/x", "other", 1.0, size=n, quantity="n") for n in sizes[:2]]
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"datetime": "2026-11-20", "benchmarks": some}))
    text = run(path).stdout
    ours = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| ours |")]
    assert ours == ["250", "500", "1,000"]
    assert "Time grows as: ours: n ^ 1.50.\n" in text  # no law from two points


def test_series_go_by_ever_less_error(tmp_path):
    tols = [1e-6, 1e-9, 1e-3]
    some = [record("accuracy/x", "ours", 1.0, tol=tol, error=tol / 2) for tol in tols]
    some.append(record("accuracy/x", "ours", 9.0, tol=1e-12, error=1.0))
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"datetime": "2026-11-20", "benchmarks": some}))
    lines = [line.split(" | ") for line in run(path).stdout.splitlines() if "| ours |" in line]
    assert [line[1] for line in lines] == ["1e-03", "1e-06", "1e-09", "1e-12"]
    assert [line[-1].strip(" |") for line in lines] == ["-", "-", "-", "tolerance missed"]


FIGURES = [
    record("ot/first", "ours, auto", 0.0125, error=2e-14, tol=1e-9),
    record("ot/first", "POT slow", 2.5, error=5e-10, tol=1e-9),
    record("ot/second", "ours, auto", 0.0125, error=2e-14, tol=1e-3),
    *(record("accuracy/some case", "ours", 1.0, tol=t, error=t) for t in (1e-3, 1e-6)),
    *(record("scale/products", "ours", n**1.5, size=n, quantity="nnz") for n in (1e3, 1e4, 1e5)),
    *(
        record(f"recsys/shop, {k}", name, 1.0, bytes=1000 * k, **{"ndcg@20": 0.1 * k})
        for k, name in enumerate(["blend", "dense tables"], 1)
    ),
    *(
        record(f"sparse/spmv, 9 x 9, {density:.0%}", name, time * density, density=density)
        for density in (0.1, 0.5)
        for name, time in (("ours", 1.0), ("dense BLAS", 0.2 / density))
    ),
]


def test_figures_show_what_there_is_and_stand_in_a_page(tmp_path):
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"datetime": "2026-11-20", "benchmarks": FIGURES}))
    folder = tmp_path / "report"
    done = run(path, "--figures", folder)
    assert (done.returncode, done.stderr) == (0, "")
    shown = {
        "profile-1e-09": ["ours, auto", "POT slow", "% of 1 problems solved"],
        "profile-1e-03": ["ours, auto"],
        "accuracy-grid": ["ours, auto", "The median problem"],
        "accuracy": ["some case", "violation of the marginals"],
        "scale": ["products", "nnz", "1k"],
        "quality": ["blend", "dense tables", "ndcg@20"],
        "sparsity": ["spmv, 9 x 9", "times as fast as dense BLAS", "ours, even at 20 %"],
    }
    assert {file.stem for file in folder.glob("*.svg")} == set(shown)
    page = (folder / "report.md").read_text("utf-8")
    for stem, words in shown.items():
        picture = (folder / f"{stem}.svg").read_text("utf-8")
        assert [word for word in words if word not in picture] == []
        assert f"({stem}.svg)" in page
    assert "| ours, auto | 12.5 ms |" in page


def test_figures_of_one_section_need_no_other(tmp_path):
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"datetime": "2026-11-20", "benchmarks": FIGURES[:2]}))
    run(path, "--figures", tmp_path / "report")
    assert [file.stem for file in (tmp_path / "report").glob("*.svg")] == ["profile-1e-09"]


@pytest.mark.parametrize("text", ["no JSON", '{"benchmarks": []}'])
def test_what_is_no_run_is_an_error(tmp_path, text):
    path = tmp_path / "latest.json"
    path.write_text(text)
    done = run(path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert str(path) in done.stderr


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


def test_models_are_ranked_by_quality_over_all_sets(tmp_path):
    def model(name, group, ndcg, size):
        return record(f"recsys/{group}, 3 x 4", name, 1.0, **{"ndcg@20": ndcg, "bytes": size})

    some = [model("small", "films", 0.2, 5e3), model("large", "films", 0.25, 2e6)]
    some.append(model("small", "books", 0.1, 7e3))
    some.append(record("recsys/books, 3 x 4", "missing", 1.0, status="absent"))
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"datetime": "2026-11-20", "benchmarks": some}))
    lines = run(path).stdout.splitlines()
    at = lines.index("| ndcg@20 | films | books |")
    assert lines[at + 2 : at + 4] == [
        "| small | 0.2000 in 5 kB | 0.1000 in 7 kB |",
        "| large | 0.2500 in 2 MB | - |",
    ]


def test_several_runs_are_kept_together_the_last_of_each_benchmark(tmp_path):
    def named(full, *given, **info):
        return record(*given, **info) | {"fullname": full, "options": {"timer": "t"}}

    files = [tmp_path / "old.json", tmp_path / "new.json"]
    stays, goes = named("a", "ot/a", "quick", 0.5), named("b", "ot/b", "quick", 0.5)
    comes = named("b", "ot/b", "quick", 0.25)
    for path, some in zip(files, ([goes, stays], [comes]), strict=True):
        path.write_text(json.dumps({"datetime": path.stem, "benchmarks": some}))
    saved = tmp_path / "saved.json"
    assert run(*files, "--save", saved).returncode == 0
    kept = json.loads(saved.read_text("utf-8"))
    assert kept["datetime"] == "old"
    comes["datetime"] = "new"  # when it ran, as the head says when the first run did
    without = [{k: v for k, v in one.items() if k != "options"} for one in (stays, comes)]
    assert kept["benchmarks"] == without
    assert len(saved.read_text("utf-8").splitlines()) == len(without) + 5


def test_times_of_another_day_or_machine_are_marked_and_told(tmp_path):
    files = [tmp_path / "old.json", tmp_path / "new.json"]
    late = record("ot/a", "late", 0.25)
    late["extra_info"] |= {"cpu": "Another CPU", "threads": 2}
    for path, day, some in zip(
        files, ("2026-11-20T1", "2026-11-30T1"), (record("ot/a", "early", 0.5), late), strict=True
    ):
        named = some | {"fullname": some["name"]}
        path.write_text(json.dumps({"datetime": day, "benchmarks": [named]}))
    told = run(*files).stdout
    table = rows(told)
    assert table["late"][0] == r"250 ms \*"
    assert table["early"][0] == "500 ms"
    assert "A CPU (a-cpu), 1 thread; python 1.2, numpy 1.2, numba 1.2, POT 1.2, 2026-11-20." in told
    assert r"\* late: Another CPU (a-cpu), 2 threads; " in told
    assert "2026-11-30. These times are no race with the others." in told
    again = tmp_path / "saved.json"  # what was put together is read like any run
    run(*files, "--save", again)
    assert run(again).stdout == told


def test_solvers_that_are_dropped_are_in_no_table(results, tmp_path):
    assert set(rows(run(results, "--drop", "sloppy", "import").stdout)) >= {"slow", "quick"}
    assert not {"sloppy", "import"} & set(rows(run(results, "--drop", "sloppy", "import").stdout))
    done = run(results, "--drop", "nobody")
    assert done.returncode == 2
    assert "--drop must name solvers of the results: got ['nobody']" in done.stderr


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
    sections = report["markdown"](results)
    assert {match["name"] for match in report["SECTION"].finditer(readme)} <= sections.keys()
    assert report["replace_sections"](readme, sections) == readme
    assert "| ours, auto |" in readme
    figure = (root / re.search(r"!\[.*\]\((.*\.svg)\)", readme)[1]).read_text("utf-8")
    problems = int(re.search(r"\| ours, auto \| (\d+) \|", sections["profile"])[1])
    assert f"% of {problems} problems solved" in figure  # drawn of the same results


def test_the_reproduction_page_says_what_was_measured():
    root = REPORT.parents[1]
    page = (root / "docs" / "reproduction.md").read_text("utf-8")
    results = json.loads((root / "benches" / "results.json").read_text("utf-8"))
    cases = {"assignment": [], "MNIST squared": [], "MNIST L1": []}
    for one in results["benchmarks"]:
        case = re.match(
            r"ot/(assignment|MNIST squared|MNIST L1)\b.*(500 x 500|116 x 165)", one["group"]
        )
        solver = one["extra_info"]["solver"]
        if case and solver in (
            "ours, SNS as published",
            "ours, Sinkhorn",
            "POT ot.emd, no entropy",
        ):
            cases[case[1]].append((one["stats"]["median"], one["extra_info"].get("iterations")))
    times = [[seconds for seconds, _ in case] for case in cases.values()]
    counts = [[f"{count:,}" for _, count in case[:2]] for case in cases.values()]
    assert all(f"| {sns} and {sinkhorn}" in page for sns, sinkhorn in counts)
    (a, slow, _), (b, middle, _), (c, other, _) = times
    assert f"{1e3 * a:.1f} ms, and {slow:.2f} s for our fused Sinkhorn" in page
    assert (
        f"{1e3 * b:.1f} ms and {1e3 * middle:.0f} ms; {1e3 * c:.1f} ms and {1e3 * other:.0f} ms"
        in page
    )
    exact = [1e3 * case[2] for case in times]
    assert "takes {:.1f}, {:.1f} and {:.1f} ms".format(*exact) in page
