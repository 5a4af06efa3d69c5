"""Turn the JSON of pytest-benchmark into tables and figures, and hold two runs side by side.

``python benches/report.py benches/latest.json`` writes Markdown tables to standard output; of
several files it takes the benchmarks together, the last one of each. ``--figures DIR`` draws the
figures, and writes a page with them and the tables, in a folder; ``--readme README.md`` puts
tables between the markers ``<!-- bench:ot -->`` and ``<!-- /bench -->``, for every marked section
of the file; ``--save FILE`` keeps what all that is made of; ``--compare OLD.json`` says what
became slower than in an older run, or in several, and ends with status 1 if anything did.

A group of benchmarks belongs to the section before the slash of its name: "ot/assignment 500" to
"ot". The section "summary" says who wins how often, "profile" at which tolerance and what we lose,
"quality" what recommenders find.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

# A script finds its own folder only; the benchmarks are imported by their full names.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches import compare
from benches.reporting.records import solver
from benches.reporting.tables import markdown

SECTION = re.compile(r"(<!-- bench:(?P<name>[\w-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
PAGE = "report.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "results", type=Path, nargs="+", help="written by pytest --benchmark-json, or by --save"
    )
    parser.add_argument("--readme", type=Path, help="file whose marked sections are replaced")
    parser.add_argument("--figures", type=Path, help="folder for figures and a page with them")
    parser.add_argument("--save", type=Path, help="file for the benchmarks, one a line")
    parser.add_argument("--drop", nargs="+", default=[], help="solvers that are left out")
    parser.add_argument("--compare", type=Path, nargs="+", metavar="OLD", help="older runs")
    options = parser.parse_args()
    try:
        runs = [read(path) for path in options.results]
        results = without(together(runs) if len(runs) > 1 else runs[0], options.drop)
        if options.compare is not None:
            return tell(compare.compare(results, *map(read, options.compare)))
        sections = markdown(results)
        if options.readme is not None:
            text = replace_sections(options.readme.read_text(encoding="utf-8"), sections)
            options.readme.write_text(text, encoding="utf-8")
        if options.figures is not None:
            write_page(options.figures, results, sections)
        if options.save is not None:
            options.save.write_text(in_lines(results), encoding="utf-8")
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"report: {error}\n")
        return 2
    if options.readme is None and options.figures is None and options.save is None:
        sys.stdout.write("\n".join(sections.values()))
    return 0


def read(path: Path) -> dict[str, Any]:
    """Read the JSON of a run."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not results.get("benchmarks"):
        raise ValueError(f"{path} holds no benchmarks: expected what pytest --benchmark-json wrote")
    return results


def together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the benchmarks of several runs, the last one of each, under the head of the first.

    Those of a later run say when they ran.
    """
    kept: list[dict[str, Any]] = runs[0]["benchmarks"]
    for run in runs[1:]:
        comes = [{"datetime": run["datetime"]} | record for record in run["benchmarks"]]
        newer = {record["fullname"] for record in comes}
        kept = [record for record in kept if record["fullname"] not in newer] + comes
    return runs[0] | {"benchmarks": kept}


def without(results: dict[str, Any], dropped: list[str]) -> dict[str, Any]:
    """Return results without some solvers; one that is not there is an error."""
    unknown = set(dropped) - {solver(record) for record in results["benchmarks"]}
    if unknown:
        raise ValueError(f"--drop must name solvers of the results: got {sorted(unknown)}")
    kept = [record for record in results["benchmarks"] if solver(record) not in dropped]
    return results | {"benchmarks": kept}


def in_lines(results: dict[str, Any]) -> str:
    """Return JSON with a line for each benchmark, without what tables and comparisons ignore."""
    records = [
        {name: fact for name, fact in record.items() if name != "options"}
        for record in results["benchmarks"]
    ]
    head = json.dumps(results | {"benchmarks": []}, indent=1)
    lines = ",\n".join(json.dumps(record, separators=(",", ":")) for record in records)
    return head.replace('"benchmarks": []', f'"benchmarks": [\n{lines}\n]') + "\n"


def tell(found: compare.Comparison) -> int:
    """Say what changed between runs, and return whether anything became worse."""
    sys.stdout.write(compare.in_words(found))
    return int(bool(found.regressions))


def write_page(folder: Path, results: dict[str, Any], sections: dict[str, str]) -> None:
    """Draw the figures into a folder, and write a page with them and all tables."""
    from benches.reporting.figures import draw

    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(results["benchmarks"], folder)
    lines = ["# Benchmarks", ""]
    lines += [f"![{figure.caption}]({figure.path.name})\n" for figure in drawn]
    first = ("summary", "profile", "quality")  # who wins
    order = sorted(sections, key=lambda name: name not in first)
    lines += [f"## {name}\n\n{sections[name]}" for name in order]
    (folder / PAGE).write_text("\n".join(lines), encoding="utf-8")
    sys.stdout.write(f"{folder / PAGE}: {len(sections)} sections, {len(drawn)} figures\n")


def replace_sections(text: str, sections: dict[str, str]) -> str:
    """Return a text with each marked section renewed; sections without results stay."""
    found = {match["name"] for match in SECTION.finditer(text)}
    if not found & sections.keys():
        wanted = ", ".join(f"<!-- bench:{name} --> ... <!-- /bench -->" for name in sections)
        raise ValueError(f"no section to replace: expected {wanted}")

    def renew(match: re.Match[str]) -> str:
        body = sections.get(match["name"])
        return match[0] if body is None else f"{match[1]}\n{body}\n{match[3]}"

    return SECTION.sub(renew, text)


if __name__ == "__main__":
    sys.exit(main())
