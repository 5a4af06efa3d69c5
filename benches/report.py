"""Turn the JSON of pytest-benchmark into Markdown tables, so that no number is typed by hand.

``python benches/report.py benches/latest.json`` writes them to standard output;
``--readme README.md`` puts them between the markers ``<!-- bench:ot -->`` and ``<!-- /bench -->``,
for every marked section of the file. A group of benchmarks belongs to the section before the slash
of its name: "ot/assignment 500" to "ot".
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]

SECTION = re.compile(r"(<!-- bench:(?P<name>[\w-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
NOTHING = "-"


class Column(NamedTuple):
    """A heading and what stands below it; a column without any content is left out."""

    heading: str
    cell: Callable[[Record], str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, help="written by pytest --benchmark-json")
    parser.add_argument("--readme", type=Path, help="file whose marked sections are replaced")
    options = parser.parse_args()
    sections = markdown(json.loads(options.results.read_text(encoding="utf-8")))
    if options.readme is None:
        sys.stdout.write("\n".join(sections.values()))
        return 0
    try:
        text = replace_sections(options.readme.read_text(encoding="utf-8"), sections)
    except ValueError as error:
        sys.stderr.write(f"report: {options.readme}: {error}\n")
        return 2
    options.readme.write_text(text, encoding="utf-8")
    return 0


def markdown(results: dict[str, Any]) -> dict[str, str]:
    """Return the text of each section: a table for each group, and what it was measured on."""
    groups: dict[str, dict[str, list[Record]]] = {}
    for record in results["benchmarks"]:
        section, _, title = (record["group"] or record["name"]).partition("/")
        groups.setdefault(section, {}).setdefault(title or section, []).append(record)
    return {
        section: "\n".join(table(title, records) for title, records in tables.items())
        + f"\n{machine(next(iter(tables.values()))[0])}, {results['datetime'][:10]}.\n"
        for section, tables in groups.items()
    }


def table(title: str, records: list[Record]) -> str:
    """Return one group as a table, the fastest first."""
    records = sorted(records, key=median)
    best = min(map(median, filter(reached, records)), default=math.nan)
    columns = [
        Column("solver", lambda r: r["extra_info"].get("solver", r["name"])),
        Column("median", lambda r: duration(median(r))),
        Column("IQR", lambda r: duration(r["stats"]["iqr"]) if r["stats"]["rounds"] > 1 else ""),
        Column("iterations", lambda r: fact(r, "iterations", ",")),
        Column("verified error", lambda r: fact(r, "error", ".1e")),
        Column("recall@20", lambda r: fact(r, "recall@20", ".4f")),
        Column("ndcg@20", lambda r: fact(r, "ndcg@20", ".4f")),
        Column("weights", lambda r: fact(r, "weights", ",")),
        Column("bytes", lambda r: fact(r, "bytes", ",")),
        # Models of different quality are no race.
        Column(
            "against fastest", lambda r: "" if "recall@20" in r["extra_info"] else ratio(r, best)
        ),
    ]
    kept = [column for column in columns if any(column.cell(record) for record in records)]
    lines = [[column.heading for column in kept], [":--", *["--:"] * (len(kept) - 1)]]
    lines += [[column.cell(record) or NOTHING for column in kept] for record in records]
    return f"**{title}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine(record: Record) -> str:
    """Return what a benchmark ran on, as its record tells."""
    info = record["extra_info"]
    versions = [f"{name} {info[name]}" for name in ("python", "numpy", "numba", "POT")]
    threads = f"{info['threads']} thread{'s' * (info['threads'] > 1)}"
    return f"{info['cpu']} ({info['cpu_target']}), {threads}; {', '.join(versions)}"


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


def median(record: Record) -> float:
    return float(record["stats"]["median"])


def reached(record: Record) -> bool:
    """Return whether a plan is as good as was asked; a time without its error is no result."""
    info = record["extra_info"]
    return "tol" not in info or info.get("error", math.inf) <= info["tol"]


def ratio(record: Record, best: float) -> str:
    if not reached(record):
        return "tolerance missed"
    times = median(record) / best
    return f"{times:,.0f} x" if times >= 100 else f"{times:.3g} x"


def fact(record: Record, name: str, style: str) -> str:
    value = record["extra_info"].get(name)
    return "" if value is None else format(value, style)


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


if __name__ == "__main__":
    sys.exit(main())
