"""Tell a slower program from a noisy machine: a run of benchmarks beside older ones.

A time is the lower quartile of its rounds: other work on the machine only adds, and the least of
them may be luck. Peers and floors are the control, as no change of ours can make them slower: the
median of their ratios new / old is the machine's doing and divided out. What is left counts as
slower beyond three times its noise, and never below a fifth. The noise has three parts: how well a
benchmark's own rounds tell its quartile, the scatter of the control in its section, and, with
several older runs, how much these differ: where the machine is shared, that is the part that no
single run can know.

How many of the control look slower is said, as the rate of false alarms. Where it is too small all
benchmarks take its place, and a change that slows down more than half of them alike passes for a
slower machine.
"""

import math
from collections.abc import Iterable
from statistics import median
from typing import Any, NamedTuple

from benches.reporting.records import TICK, WORDS, Record, is_peer, reached, section, status

FLOOR = math.log(1.2)  # a smaller change is none
NOISES = 3.0  # of which a change must be larger
# Without other rounds to tell: a run of seconds differs from the next by about so much.
SPREAD_OF_ONE = 0.08
ENOUGH = 10  # benchmarks of a section to tell their scatter; fewer have that of all
NORMAL_80 = 1.28  # standard deviations, within which four fifths of a normal distribution lie
SHOWN = math.log(1.5)  # a slow-down that a benchmark should be able to show
QUALITY = ("recall@20", "ndcg@20")
MOST = 8  # names in a sentence
ALL = "all"
LOSS = 0.01  # share of the quality that may go: what another order of sums can do
MACHINE = ("cpu", "python", "numpy", "numba", "threads")


class Change(NamedTuple):
    """A benchmark, old and new; logarithms of the ratio without drift, and of what is allowed."""

    name: str
    old: float
    new: float
    excess: float
    allowed: float
    lost: str  # what is no longer reached, if anything
    peer: bool

    @property
    def slower(self) -> bool:
        """Return whether the time grew by more than noise and drift explain."""
        return self.excess > self.allowed

    @property
    def faster(self) -> bool:
        """Return whether the time shrank by more than noise and drift explain."""
        return -self.excess > self.allowed


class Comparison(NamedTuple):
    """All benchmarks that the runs share, the machine's drift, and what only the old run has.

    The scatter of the ratios is by section, that of all under ALL.
    """

    changes: list[Change]
    drift: float
    scatter: dict[str, float]
    gone: list[str]
    machines: list[str]

    @property
    def regressions(self) -> list[Change]:
        """Return what of ours is slower, or no longer as good."""
        ours = (change for change in self.changes if not change.peer)
        return [change for change in ours if change.slower or change.lost]

    @property
    def peers(self) -> list[Change]:
        """Return those whose code is the same: what changes there is the machine's doing."""
        return [change for change in self.changes if change.peer]

    @property
    def blind(self) -> list[Change]:
        """Return what is too noisy to show a slow-down worth noticing."""
        return [change for change in self.changes if change.allowed >= SHOWN]


def compare(new: dict[str, Any], *old: dict[str, Any]) -> Comparison:
    """Hold one run against older ones; all as read from the JSON."""
    after = _by_name(new)
    before = [_by_name(run) for run in old]
    names = [name for name in after if all(name in run for run in before)]
    if not names:
        raise ValueError("the runs have no benchmark in common")
    timed = [name for name in names if all(reached(run[name]) for run in (after, *before))]
    ratios = [_ratios(after, run, timed) for run in before]
    excess = {name: [ratio[name] for _, ratio in ratios] for name in timed}
    scatter = _scatters({name: median(ratio) for name, ratio in excess.items()}, after)
    return Comparison(
        [
            _change(
                name,
                after[name],
                [run[name] for run in before],
                excess.get(name),
                scatter.get(section(after[name]), scatter[ALL]),
            )
            for name in names
        ],
        median(drift for drift, _ in ratios),
        scatter,
        [name for name in before[-1] if name not in after],
        _machines(before[-1][names[0]], after[names[0]]),
    )


def _change(
    name: str, new: Record, old: list[Record], excess: list[float] | None, scatter: float
) -> Change:
    """Judge one benchmark by what it exceeds each older run by, if it was timed in all."""
    excess = excess or [0.0]
    between = (max(excess) - min(excess)) / 2
    noise = math.hypot(max(map(_doubt, (new, *old))), scatter, between)
    allowed = max(FLOOR, NOISES * noise)
    times = median(map(_time, old)), _time(new)
    return Change(name, *times, median(excess), allowed, _lost(old[-1], new), is_peer(new))


def _by_name(run: dict[str, Any]) -> dict[str, Record]:
    return {record["fullname"]: record for record in run["benchmarks"]}


def _ratios(
    after: dict[str, Record], before: dict[str, Record], names: list[str]
) -> tuple[float, dict[str, float]]:
    """Return the drift between two runs, and what each benchmark differs by without it."""
    found = {name: math.log(_time(after[name]) / _time(before[name])) for name in names}
    drift = median(found[name] for name in _control(found, after)) if found else 0.0
    return drift, {name: ratio - drift for name, ratio in found.items()}


def _scatters(ratios: dict[str, float], after: dict[str, Record]) -> dict[str, float]:
    """Return the scatter of the ratios of each section that is large enough, and of all."""
    found: dict[str, list[float]] = {ALL: []}
    for name in _control(ratios, after):
        for group in (section(after[name]), ALL):
            found.setdefault(group, []).append(ratios[name])
    return {
        name: _scatter(some) for name, some in found.items() if name == ALL or len(some) >= ENOUGH
    }


def _control(names: Iterable[str], after: dict[str, Record]) -> list[str]:
    """Return what a change of ours cannot move, peers and floors, or all if these are too few."""
    names = list(names)
    peers = [name for name in names if is_peer(after[name])]
    return peers if len(peers) >= ENOUGH else names


def _scatter(ratios: Iterable[float]) -> float:
    """Return the standard deviation of ratios, judged by the middle four fifths.

    What is to be found must not widen what is allowed: a fifth may be slower without a trace.
    """
    sizes = sorted(map(abs, ratios))
    return sizes[int(0.8 * (len(sizes) - 1))] / NORMAL_80 if sizes else 0.0


def _time(record: Record) -> float:
    return max(float(record["stats"]["q1"]), TICK)


def _doubt(record: Record) -> float:
    """Return how far off the quartile of the rounds may be, as a share of it.

    Few rounds may lie close together by luck.
    """
    stats = record["stats"]
    spread = max(float(stats["iqr"]) / _time(record), SPREAD_OF_ONE)
    return spread / math.sqrt(stats["rounds"])


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
        f"{len(found.changes)} benchmarks compared; the machine's drift {factor:.2f} x is "
        f"divided out, ratios scatter by "
        + ", ".join(f"{scatter:.0%} in {name}" for name, scatter in found.scatter.items())
        + "."
    ]
    if found.peers:
        alarms = sum(change.slower for change in found.peers)
        lines.append(f"False alarms among peers and floors: {alarms} of {len(found.peers)}.")
    lines += [f"The runs differ in {difference}." for difference in found.machines]
    if found.gone:
        lines.append(f"Only in the old run: {', '.join(found.gone)}.")
    if found.blind:
        names = [change.name.rpartition("::")[2] for change in found.blind]
        others = f", and {len(names) - MOST} others" if len(names) > MOST else ""
        lines.append(
            f"Too noisy to show a slow-down of {math.exp(SHOWN):.1f} x: {len(names)} "
            f"({', '.join(names[:MOST])}{others}). More than one older run tells more."
        )
    lines.append("")
    lines += _listed("Regressions", found.regressions)
    lines += _listed("Faster", [c for c in found.changes if c.faster and not c.peer])
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
