"""Tell a slower program from a noisy machine: two runs of the same benchmarks, side by side.

A time is the least of its rounds, as other work on the machine only ever adds. What all benchmarks
have in common, the median of the ratios new / old, is the machine's doing and divided out. What is
left counts as slower beyond three times its noise, and never below a fifth: the noise is the spread
of a benchmark's own rounds together with the scatter of all ratios, since a benchmark may be steady
within a run and still differ between two.

A change that slows down more than half of all benchmarks alike passes for a slower machine. Peers
are the remedy: their code stays the same, and they are the larger half of the suite.
"""

import math
from statistics import median
from typing import Any, NamedTuple

from benches.records import WORDS, Record, reached, status

FLOOR = math.log(1.2)  # a smaller change is none
NOISES = 3.0  # of which a change must be larger
# Without other rounds to tell: a run of seconds differs from the next by about so much.
SPREAD_OF_ONE = 0.08
SHOWN = math.log(1.5)  # a slow-down that a benchmark should be able to show
QUALITY = ("recall@20", "ndcg@20")
LOSS = 0.01  # share of the quality that may go: what another order of sums can do
MACHINE = ("cpu", "python", "numpy", "numba", "threads")


class Change(NamedTuple):
    """A benchmark in two runs; logarithms of the ratio without drift, and of what is allowed."""

    name: str
    old: float
    new: float
    excess: float
    allowed: float
    lost: str  # what is no longer reached, if anything

    @property
    def slower(self) -> bool:
        """Return whether the time grew by more than noise and drift explain."""
        return self.excess > self.allowed

    @property
    def faster(self) -> bool:
        """Return whether the time shrank by more than noise and drift explain."""
        return -self.excess > self.allowed


class Comparison(NamedTuple):
    """All benchmarks that both runs have, the machine's drift, and what only one run has."""

    changes: list[Change]
    drift: float
    scatter: float
    gone: list[str]
    machines: list[str]

    @property
    def regressions(self) -> list[Change]:
        """Return what is slower, or no longer as good."""
        return [change for change in self.changes if change.slower or change.lost]

    @property
    def blind(self) -> list[Change]:
        """Return what is too noisy to show a slow-down worth noticing."""
        return [change for change in self.changes if change.allowed >= SHOWN]


def compare(new: dict[str, Any], old: dict[str, Any]) -> Comparison:
    """Hold one run against another; both as read from the JSON."""
    before = {record["fullname"]: record for record in old["benchmarks"]}
    after = {record["fullname"]: record for record in new["benchmarks"]}
    both = [name for name in before if name in after]
    if not both:
        raise ValueError("the runs have no benchmark in common")
    timed = [name for name in both if reached(before[name]) and reached(after[name])]
    ratios = {name: math.log(_time(after[name]) / _time(before[name])) for name in timed}
    drift = median(ratios.values()) if ratios else 0.0
    # A median again, so that what is to be found does not widen what is allowed; 1.5 of it are
    # one standard deviation of a normal distribution.
    scatter = 1.5 * median([abs(r - drift) for r in ratios.values()] or [0.0])
    changes = []
    for name in both:
        pair = before[name], after[name]
        excess = ratios[name] - drift if name in ratios else 0.0
        spread = max(map(_spread, pair))
        allowed = max(FLOOR, NOISES * math.hypot(spread, scatter))
        changes.append(Change(name, *map(_time, pair), excess, allowed, _lost(*pair)))
    gone = [name for name in before if name not in after]
    return Comparison(changes, drift, scatter, gone, _machines(before[both[0]], after[both[0]]))


def _time(record: Record) -> float:
    # A clock of a microsecond may well see nothing.
    return max(float(record["stats"]["min"]), 1e-9)


def _spread(record: Record) -> float:
    """Return the spread of the rounds, as a share of the least."""
    stats = record["stats"]
    return SPREAD_OF_ONE if stats["rounds"] < 2 else float(stats["iqr"]) / _time(record)


def _lost(before: Record, after: Record) -> str:
    if reached(before) and not reached(after):
        return WORDS.get(status(after), status(after))
    for metric in QUALITY:
        was, now = (record["extra_info"].get(metric) for record in (before, after))
        if was is not None and now is not None and now < (1 - LOSS) * was:
            return f"{metric} {was:.4f} -> {now:.4f}"
    return ""


def _machines(before: Record, after: Record) -> list[str]:
    """Return in what the machines differ: then times say little about the program."""
    old, new = before["extra_info"], after["extra_info"]
    return [
        f"{what}: {old.get(what)} -> {new.get(what)}"
        for what in MACHINE
        if old.get(what) != new.get(what)
    ]


def in_words(found: Comparison) -> str:
    """Return what is to be said about two runs, as Markdown."""
    factor = math.exp(found.drift)
    lines = [
        f"{len(found.changes)} benchmarks in both runs; the machine's drift {factor:.2f} x is "
        f"divided out, ratios scatter by {found.scatter:.0%}."
    ]
    lines += [f"The runs differ in {difference}." for difference in found.machines]
    if found.gone:
        lines.append(f"Only in the old run: {', '.join(found.gone)}.")
    if found.blind:
        names = ", ".join(change.name for change in found.blind)
        lines.append(f"Too noisy to show a slow-down of {math.exp(SHOWN):.1f} x: {names}.")
    lines.append("")
    lines += _listed("Regressions", found.regressions)
    lines += _listed("Faster", [change for change in found.changes if change.faster])
    return "\n".join(lines)


def _listed(heading: str, changes: list[Change]) -> list[str]:
    if not changes:
        return [f"{heading}: none.", ""]
    rows = [
        f"| {change.name} | {change.old:.3g} s | {change.new:.3g} s | "
        f"{math.exp(change.excess):.2f} x | {math.exp(change.allowed):.2f} x | "
        f"{change.lost or '-'} |"
        for change in sorted(changes, key=lambda change: -abs(change.excess))
    ]
    head = "| benchmark | before | now | ratio without drift | noise | no longer reached |"
    return [f"{heading}:", "", head, "| :-- | --: | --: | --: | --: | --: |", *rows, ""]
