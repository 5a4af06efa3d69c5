"""Figures of the report: who wins, what accuracy costs, how time grows, what bytes buy.

Colours are Okabe and Ito's, one for each package, a line style for each of its variants; names
stand beside what they name.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median as median_of
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

from benches.reporting.growth import break_even, growths
from benches.reporting.labels import End, name_ends, name_points, note
from benches.reporting.palette import OURS, Look, is_ours, looks
from benches.reporting.races import by_tolerance, entrants, profile, races
from benches.reporting.records import Record, by_group, median, reached, section, solver, title
from benches.reporting.tables import memory
from sparsenum.plot import FAINT, INK, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 6.6, 4.8  # inches of a panel
FAR = 1000.0  # times the fastest, where profiles end
WORTH_DRAWING = 0.6  # of the best quality: what is worse would crowd the rest
LETTERS = 64  # of a line below a panel
DENSE = "dense BLAS"


class Drawing(NamedTuple):
    """A figure that was written."""

    path: Path
    caption: str


def draw(records: list[Record], folder: Path, suffix: str = ".svg") -> list[Drawing]:
    """Draw every figure that the records hold something for."""
    try:
        from matplotlib import rc_context
    except ImportError:
        raise ImportError(
            'figures need matplotlib, which is not installed: pip install "sparsenum[plot]"'
        ) from None
    drawn = []
    with rc_context(STYLE | {"svg.hashsalt": "sparsenum"}):
        for stem, caption, figure in _figures(records):
            path = folder / f"{stem}{suffix}"
            figure.savefig(path, metadata={"Date": None} if suffix == ".svg" else None)
            drawn.append(Drawing(path, caption))
    return drawn


def _figures(records: list[Record]) -> Iterator[tuple[str, str, "Figure"]]:
    tolerances = by_tolerance(races(records))
    for tol, some in tolerances.items():
        figure, (axes,) = _panels(1)
        draw_profile(axes, some, tol)
        yield f"profile-{tol:.0e}", f"Performance profiles to {tol:.0e}", figure
    if len(tolerances) > 1:
        figure, (axes,) = _panels(1)
        draw_typical(axes, tolerances)
        yield "accuracy-grid", "Time of the median problem against accuracy", figure
    for stem, caption, panel, groups in (
        ("accuracy", "Time against accuracy", draw_accuracy, _accuracy(records)),
        ("scale", "Time against size", draw_growth, _named(records, "scale")),
        ("quality", "Quality against bytes", draw_quality, _named(records, "recsys")),
        ("sparsity", "Break-even of sparsity", draw_sparsity, _by_operation(records)),
    ):
        if groups:
            figure, some_axes = _panels(len(groups))
            for axes, (name, group) in zip(some_axes, groups.items(), strict=False):
                panel(axes, name, group)
            yield stem, caption, figure


def _panels(n: int, across: int = 2) -> tuple["Figure", list["Axes"]]:
    """Return a figure with room for n panels, in rows of two."""
    from matplotlib.figure import Figure

    columns = min(n, across)
    rows = -(-n // columns)
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows), dpi=120, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[n:]:
        axes.set_axis_off()
    return figure, list(grid)


def _named(records: Iterable[Record], name: str) -> dict[str, list[Record]]:
    """Return the groups of a section, by title, without what ended without a result."""
    good = (record for record in records if section(record) == name and reached(record))
    return {title(group[0]): group for group in by_group(good).values()}


def _accuracy(records: Iterable[Record]) -> dict[str, list[Record]]:
    return _named(records, "accuracy")


def _by_operation(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each sparse operation that has a dense peer, over all densities."""
    found: dict[str, list[Record]] = {}
    for name, group in _named(records, "sparse").items():
        if any(solver(record) == DENSE for record in group):
            found.setdefault(name.rpartition(", ")[0], []).extend(group)
    return found


def draw_profile(axes: "Axes", some: list[Any], tol: float) -> None:
    """Draw the share of problems that each solver solves within tau times the best."""
    names = entrants(some)
    curves = {}
    for name, look in looks(names).items():
        ratios = [ratio for ratio in profile(some, name) if ratio <= FAR]
        shares = [100 * (k + 1) / len(some) for k in range(len(ratios))]
        x = [1.0, *ratios, FAR]
        y = [0.0, *shares, shares[-1] if shares else 0.0]
        axes.step(x, y, where="post", **_line(look))
        curves[name] = End(FAR, y[-1], look)
    axes.set(xscale="log", xlim=(1, FAR), ylim=(0, 102))
    axes.set(xlabel="times the fastest solver's time", ylabel=f"% of {len(some)} problems solved")
    axes.set_title(f"Entropic transport to {tol:.0e}")
    _ticks(axes.xaxis, "{:,.0f}")
    name_ends(axes, curves)


def draw_accuracy(axes: "Axes", name: str, group: list[Record]) -> None:
    """Draw the time of each solver over the error that it left."""
    curves = {}
    for who, look in looks(map(solver, group)).items():
        mine = sorted((r for r in group if solver(r) == who), key=lambda r: -r["extra_info"]["tol"])
        times = [median(record) for record in mine]
        errors = [record["extra_info"]["error"] for record in mine]
        axes.plot(errors, times, marker="o", **_line(look))
        curves[who] = End(errors[-1], times[-1], look)
    axes.set(xscale="log", yscale="log", ylabel="seconds")
    axes.set(xlabel="violation of the marginals that is left (1-norm)", title=name)
    axes.invert_xaxis()
    name_ends(axes, curves)


def draw_typical(axes: "Axes", tolerances: dict[float, list[Any]]) -> None:
    """Draw the time that half of the problems take at most, as far as half are solved."""
    curves = {}
    names = entrants(race for some in tolerances.values() for race in some)
    for name, look in looks(names).items():
        points = []
        for tol, some in tolerances.items():
            times = [race.time(name) for race in some if name in race.entrants]
            if times and math.isfinite(middle := median_of(times)):
                points.append((tol, middle))
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", **_line(look))
            curves[name] = End(*min(points), look)
    axes.set(xscale="log", yscale="log", xlabel="violation of the marginals asked for (1-norm)")
    axes.set(ylabel="seconds", title="The median problem of the grid")
    axes.invert_xaxis()
    name_ends(axes, curves)


def draw_growth(axes: "Axes", name: str, group: list[Record]) -> None:
    """Draw the times of each solver over the size, and the law that fits them."""
    laws = growths(group)
    curves = {}
    for law in laws:
        look = looks(other.solver for other in laws)[law.solver]
        line = [law.factor * size**law.exponent for size in law.sizes]
        axes.plot(law.sizes, line, **_line(look))
        axes.plot(law.sizes, law.times, "o", color=look.colour, markersize=6)
        label = f"{law.solver}: {law.quantity}$^{{{law.exponent:.2f}}}$"
        curves[label] = End(law.sizes[-1], line[-1], look)
    axes.set(xscale="log", yscale="log", ylabel="seconds", title=name)
    axes.set_xlabel(laws[0].quantity if laws else "")
    axes.set_xticks(sorted({size for law in laws for size in law.sizes}))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: _count(value))
    name_ends(axes, curves)


def draw_quality(axes: "Axes", name: str, group: list[Record]) -> None:
    """Draw what each model finds over the bytes that it takes; far worse ones are only named."""
    from matplotlib.ticker import LogLocator, NullFormatter

    points: dict[tuple[float, float], str] = {}
    for who, record in sorted(
        ((solver(r), r["extra_info"]) for r in group), key=lambda p: len(p[0])
    ):
        points.setdefault((record["bytes"], record["ndcg@20"]), who)  # the shorter of two names
    least = WORTH_DRAWING * max(y for _, y in points)
    shown = {who: (x, y) for (x, y), who in points.items() if y >= least}
    colours = {who: OURS if is_ours(who) else INK for who in shown}
    for who, (x, y) in shown.items():
        axes.plot(x, y, "o", color=colours[who], markersize=7)
    axes.set(xscale="log", xlabel="bytes of the tables", ylabel="ndcg@20")
    axes.set_title(name.partition(",")[0])
    axes.margins(0.18, 0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(lambda value, _: memory(value))
    axes.xaxis.set_minor_formatter(NullFormatter())
    below = [f"{who} {y:.3f}" for (_, y), who in points.items() if y < least]
    if below:
        lower = fill(f"Lower: {'; '.join(below)}", LETTERS)
        axes.set_xlabel(f"{axes.get_xlabel()}\n{lower}")
    name_points(axes, shown, colours)


def draw_sparsity(axes: "Axes", name: str, group: list[Record]) -> None:
    """Draw how many times faster than a dense product each solver is, over the density."""
    dense = {r["extra_info"]["density"]: median(r) for r in group if solver(r) == DENSE}
    curves = {}
    for who, look in looks(sorted({solver(r) for r in group} - {DENSE})).items():
        mine = sorted((r["extra_info"]["density"], median(r)) for r in group if solver(r) == who)
        gains = [dense[density] / time for density, time in mine]
        percent = [100 * density for density, _ in mine]
        axes.plot(percent, gains, marker="o", **_line(look))
        even = break_even(percent, gains)
        label = f"{who}, even at {even:.0f} %" if even else who
        curves[label] = End(percent[-1], gains[-1], look)
    axes.axhline(1.0, color=FAINT, linewidth=1.2, zorder=0)
    note(axes, "as fast as dense", (0.0, 1.0), ("axes fraction", "data"))
    axes.set(xscale="log", yscale="log", title=name)
    axes.set(xlabel="% of the entries that are not zero", ylabel="times as fast as dense BLAS")
    _ticks(axes.xaxis, "{:,g}")
    _ticks(axes.yaxis, "{:,g}")
    name_ends(axes, curves)


def _line(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "linestyle": look.style, "linewidth": look.width}


def _count(value: float) -> str:
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:,.0f}"


def _ticks(axis: Any, style: str) -> None:
    axis.set_major_formatter(lambda value, _: style.format(value))
