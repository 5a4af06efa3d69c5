"""How times grow with a size: straight lines through logarithms."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from benches.reporting.records import Record, median, reached, solver

FEWEST = 3  # sizes; through two points any line goes


class Growth(NamedTuple):
    """Seconds = factor * quantity ^ exponent, by least squares in log-log."""

    solver: str
    quantity: str
    exponent: float
    factor: float
    sizes: list[float]
    times: list[float]


def growths(records: Iterable[Record]) -> list[Growth]:
    """Return the law of each solver of a group that was timed at enough sizes."""
    points: dict[str, list[tuple[float, float]]] = {}
    quantity = ""
    for record in filter(reached, records):
        info = record["extra_info"]
        if "size" in info:
            quantity = info["quantity"]
            points.setdefault(solver(record), []).append((info["size"], median(record)))
    found = []
    for name, pairs in points.items():
        if len(pairs) >= FEWEST:
            sizes, times = map(list, zip(*sorted(pairs), strict=True))
            exponent, constant = np.polyfit(np.log(sizes), np.log(times), 1)
            law = float(exponent), float(np.exp(constant))
            found.append(Growth(name, quantity, *law, sizes, times))
    return found


def break_even(sizes: list[float], gains: list[float]) -> float | None:
    """Return the size at which a falling gain crosses one, on straight lines between logarithms."""
    for k in range(1, len(sizes)):
        if gains[k - 1] >= 1.0 > gains[k]:
            heights = np.log(gains[k - 1 : k + 1])[::-1]
            return float(np.exp(np.interp(0.0, heights, np.log(sizes[k - 1 : k + 1])[::-1])))
    return None
