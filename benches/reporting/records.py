"""What a record of pytest-benchmark says: what it measured, how well, and whether that counts."""

import math
from collections.abc import Iterable
from typing import Any

Record = dict[str, Any]

TICK = 1e-9  # seconds: what a clock may call nothing at all
ABSENT = "absent"
FLOOR = "floor"  # what the name of a solver begins with that only moves the bytes
NO_ENTROPY = "no entropy"  # what solvers of the unregularised problem have in their names
# What the names of solvers begin with whose code a change of ours cannot make slower.
PEERS = (
    FLOOR,
    *("POT", "RegOT", "OTT-JAX", "mdot-tnt", "GeomLoss", "implicit", "Cornac"),
    *("scipy", "numpy", "polars", "SVD", "GF-CF"),
    *("dense BLAS", "dense Cholesky", "dense masks", "dense product"),
)
# What is written where a time would be no result, by the word that a record has for it.
WORDS = {
    ABSENT: "not installed",
    "timeout": "timed out",
    "missed": "tolerance missed",
    "nan": "not a number",
    "failed": "failed",
}


def section(record: Record) -> str:
    """Return the first part of a group's name: "ot" of "ot/assignment 500"."""
    return (record["group"] or record["name"]).partition("/")[0]


def title(record: Record) -> str:
    """Return the rest of a group's name, or all of a name without a slash."""
    whole = record["group"] or record["name"]
    return whole.partition("/")[2] or whole


def by_group(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each group, in the order they came in."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["group"] or record["name"], []).append(record)
    return groups


def solver(record: Record) -> str:
    return str(record["extra_info"].get("solver", record["name"]))


def median(record: Record) -> float:
    return max(float(record["stats"]["median"]), TICK)


def status(record: Record) -> str:
    """Return how a benchmark ended; a time without the error that was asked for is no result."""
    info = record["extra_info"]
    if "status" in info:
        return str(info["status"])
    good = "tol" not in info or info.get("error", math.inf) <= info["tol"]
    return "solved" if good else "missed"


def reached(record: Record) -> bool:
    return status(record) == "solved"


def is_floor(record: Record) -> bool:
    """Return whether a time is what nothing can be faster than, and no solver's."""
    return solver(record).startswith(FLOOR)


def is_peer(record: Record) -> bool:
    """Return whether a time is that of others' code; what is unknown counts as ours."""
    return solver(record).startswith(PEERS)
