"""Markdown tables from the records of pytest-benchmark, so that no number is typed by hand."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from benches.reporting.growth import growths
from benches.reporting.races import NEAR, OURS, Race, by_tolerance, entrants, lost, races, share
from benches.reporting.records import (
    ABSENT,
    WORDS,
    Record,
    by_group,
    is_floor,
    median,
    reached,
    section,
    solver,
    status,
    title,
)

NOTHING = "-"
ELSEWHERE = " \\*"  # after a time of another machine or day than that of most: no race with theirs
QUALITY = "ndcg@20"
GRID = "profile"  # too many problems for a table each: its section says who won
SOURCES = {"summary": GRID, "quality": "recsys"}  # where other sections take their records from


class Column(NamedTuple):
    """A heading and what stands below it; a column without any content is left out."""

    heading: str
    cell: Callable[[Record], str]


def markdown(results: dict[str, Any]) -> dict[str, str]:
    """Return the text of each section: its tables, and what they were measured on."""
    head = {"datetime": results["datetime"]}
    records = [head | record for record in results["benchmarks"]]
    usual = machine(records[0]) if records else ""
    sections: dict[str, list[str]] = {}
    for group in by_group(records).values():
        if section(group[0]) != GRID:
            sections.setdefault(section(group[0]), []).append(table(title(group[0]), group, usual))
    run = by_tolerance(races(records))
    if run:
        sections |= {"summary": [summary(run)], GRID: [standings(run)]}
    judged = [record for record in records if section(record) == "recsys" and reached(record)]
    if judged:
        sections["quality"] = [quality(judged)]
    return {
        name: "\n".join([*tables, f"{usual}.\n", *elsewhere(records, name, usual)])
        for name, tables in sections.items()
    }


def elsewhere(records: list[Record], name: str, usual: str) -> list[str]:
    """Return what was measured on other machines or days than most, in a section."""
    solvers: dict[str, dict[str, None]] = {}
    for record in records:
        if section(record) == SOURCES.get(name, name) and machine(record) != usual:
            solvers.setdefault(machine(record), {})[solver(record)] = None
    told = (f"{'; '.join(names)}: {where}." for where, names in solvers.items())
    if name in SOURCES:  # where no times stand
        return [f"{words}\n" for words in told]
    return [f"\\* {words} These times are no race with the others.\n" for words in told]


def table(name: str, records: list[Record], usual: str) -> str:
    """Return one group as a table: the fastest first, or each solver's series in its order."""
    series = len({solver(record) for record in records}) < len(records)
    order = step if series else median
    records = sorted(records, key=lambda r: (status(r) == ABSENT, order(r)))
    racing = [record for record in records if reached(record) and not is_floor(record)]
    best = min(map(median, racing), default=math.nan)
    floor = min(map(median, filter(is_floor, records)), default=math.nan)
    columns = [
        Column("solver", solver),
        Column("size", lambda r: fact(r, "size", ",")),
        Column("asked error", lambda r: fact(r, "tol", ".0e") if series else ""),
        Column("median", lambda r: "" if status(r) == ABSENT else time_of(r, usual)),
        Column("IQR", lambda r: duration(r["stats"]["iqr"]) if r["stats"]["rounds"] > 1 else ""),
        Column("iterations", lambda r: fact(r, "iterations", ",")),
        Column("verified error", lambda r: fact(r, "error", ".1e")),
        Column("recall@20", lambda r: fact(r, "recall@20", ".4f")),
        Column("ndcg@20", lambda r: fact(r, "ndcg@20", ".4f")),
        Column("weights", lambda r: fact(r, "weights", ",")),
        Column("bytes", lambda r: fact(r, "bytes", ",")),
        Column("nnz", lambda r: fact(r, "nnz", ",")),
        Column("peak memory", lambda r: memory(r["extra_info"].get("peak_bytes"))),
        Column("of the floor", lambda r: of_floor(median(r) / floor)),
        Column("against fastest", lambda r: against(r, math.nan if series else best)),
    ]
    kept = [column for column in columns if any(column.cell(record) for record in records)]
    cells = [[column.cell(record) for column in kept] for record in records]
    body = grid([column.heading for column in kept], cells)
    return f"**{name}**\n\n{body}" + fitted(records)


def grid(headings: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table, the first column to the left and numbers to the right."""
    lines = [headings, [":--", *["--:"] * (len(headings) - 1)]]
    lines += [[cell or NOTHING for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fitted(records: list[Record]) -> str:
    """Return how the time of each solver of a group grows with the size, in one line."""
    laws = [
        f"{growth.solver}: {growth.quantity} ^ {growth.exponent:.2f}" for growth in growths(records)
    ]
    return f"\nTime grows as: {'; '.join(laws)}.\n" if laws else ""


def summary(run: dict[float, list[Race]]) -> str:
    """Return what share of problems each entropic solver solves and wins, at each tolerance."""
    rows = []
    for name in entrants(race for some in run.values() for race in some):
        solved, won, _ = zip(*(standing(name, some) for some in run.values()), strict=True)
        rows.append((name, *solved, *won))
    rows.sort(key=lambda row: row[1:], reverse=True)  # who solves most of the hardest comes first
    tolerances = [f"{tol:.0e}" for tol in run]
    headings = ["solver", *(f"solved to {tol}" for tol in tolerances)]
    headings += [f"won at {tol}" for tol in tolerances]
    return grid(headings, [[name, *map(percent, shares)] for name, *shares in rows])


def standing(name: str, some: list[Race]) -> tuple[float, float, float]:
    """Return the shares that a solver solves, wins, and is near the best on, of those it ran."""
    mine = [race for race in some if name in race.entrants]
    solved = share(mine, (math.isfinite(race.time(name)) for race in mine))
    won = share(mine, (race.won(name) for race in mine))
    return solved, won, share(mine, (race.ratio(name) <= NEAR for race in mine))


def standings(run: dict[float, list[Race]]) -> str:
    """Return all shares, tolerance by tolerance, and every problem that ours did not win."""
    texts = []
    headings = ["solver", "problems", "solved", "beats other packages", f"within {NEAR:.0f} x"]
    for tol, some in run.items():
        rows = [
            [name, str(sum(name in race.entrants for race in some))]
            + [percent(part) for part in standing(name, some)]
            for name in entrants(some)
        ]
        texts.append(f"**to {tol:.0e}, entropic solvers**\n\n{grid(headings, rows)}")
        if lost(some):
            texts.append(f"**to {tol:.0e}, not won**\n\n{defeats(some)}")
    return "\n".join(texts)


def defeats(some: list[Race]) -> str:
    """Return every problem that ours did not win."""
    headings = ["problem", OURS, "fastest rival", "its time", "ours against it"]
    return grid(headings, [[race.group, *defeat(race)] for race in lost(some)])


def defeat(race: Race) -> list[str]:
    """Return our time on a problem, who was faster, its time, and how ours compares."""
    ours, rival = race.time(OURS), race.rival(OURS)
    time = race.time(rival)
    mine = duration(ours) if math.isfinite(ours) else WORDS[status(race.entrants[OURS])]
    if not math.isfinite(time):
        return [mine, "none got there", "", ""]
    return [mine, rival, duration(time), factor(ours / time) if math.isfinite(ours) else ""]


def quality(judged: list[Record]) -> str:
    """Return how good each model's lists are on each set, and in how many bytes, the best first."""
    sets = {title(group[0]).partition(",")[0]: group for group in by_group(judged).values()}
    cells: dict[str, dict[str, str]] = {}
    worth: dict[str, float] = {}  # of the best on each set, in sum
    for name, group in sets.items():
        best = max(record["extra_info"][QUALITY] for record in group)
        for record in group:
            found, size = record["extra_info"][QUALITY], memory(record["extra_info"]["bytes"])
            cells.setdefault(solver(record), {})[name] = f"{found:.4f} in {size}"
            worth[solver(record)] = worth.get(solver(record), 0.0) + found / best
    order = sorted(cells, key=lambda who: -worth[who])
    return grid([QUALITY, *sets], [[who, *(cells[who].get(n, "") for n in sets)] for who in order])


def time_of(record: Record, usual: str) -> str:
    """Return the time of a record, marked if it was not taken where the others were."""
    return duration(median(record)) + ELSEWHERE * (machine(record) != usual)


def machine(record: Record) -> str:
    """Return what a benchmark ran on and when, as its record tells."""
    info = record["extra_info"]
    versions = [f"{name} {info[name]}" for name in ("python", "numpy", "numba", "POT")]
    threads = f"{info['threads']} thread{'s' * (info['threads'] > 1)}"
    where = f"{info['cpu']} ({info['cpu_target']}), {threads}"
    return f"{where}; {', '.join(versions)}, {record['datetime'][:10]}"


def against(record: Record, best: float) -> str:
    """Return a time over the best one, or why there is no result."""
    if not reached(record):
        return WORDS.get(status(record), status(record))
    # Models of different quality are no race, nor are problems of different sizes.
    no_race = math.isnan(best) or is_floor(record) or "recall@20" in record["extra_info"]
    return "" if no_race else factor(median(record) / best)


def step(record: Record) -> tuple[str, float]:
    """Return where a record stands in its solver's series: by size, or by ever less error."""
    info = record["extra_info"]
    return solver(record), info.get("size", -info.get("tol", 0.0))


def of_floor(times: float) -> str:
    """Return what share of a floor a time is, if there is a floor and the share worth saying."""
    if math.isnan(times):
        return ""
    return f"{1 / times:.0%}" if times < 100 else "< 1%"


def percent(part: float) -> str:
    return "" if math.isnan(part) else f"{part:.1%}"


def factor(times: float) -> str:
    return f"{times:,.0f} x" if times >= 100 else f"{times:.3g} x"


def fact(record: Record, name: str, style: str) -> str:
    value = record["extra_info"].get(name)
    return "" if value is None else format(value, style)


def memory(size: float | None) -> str:
    if size is None:
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
