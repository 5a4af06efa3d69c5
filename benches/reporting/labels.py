"""Names beside what they name, in figures, moved apart where they would overlap."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from benches.reporting.palette import Look
from sparsenum.plot import FAINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 9.5  # points
LINE = 1.35 * SIZE  # points from one line of text to the next
GAP = 7.0  # points between a point and its name


SAMPLE = (1.03, 1.10)  # share of the axes' width at which a sample of the line is drawn


class End(NamedTuple):
    """Where a curve ends, and its look."""

    x: float
    y: float
    look: Look


def name_ends(axes: "Axes", ends: Mapping[str, End]) -> None:
    """Write the name of each curve to the right of the axes, at the height of its end."""
    axes.figure.draw_without_rendering()  # places the axes
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    box = axes.get_window_extent()
    point = axes.figure.dpi / 72
    height = {name: round(axes.transData.transform(ends[name][:2])[1]) for name in ends}
    names = sorted(ends, key=lambda name: -height[name])[::-1]  # of equal ones the first on top
    heights = [height[name] for name in names]
    room = LINE * point
    for k in range(1, len(names)):
        heights[k] = max(heights[k], heights[k - 1] + room)
    over = max(0.0, heights[-1] - box.y1) if names else 0.0
    for k in range(len(names) - 1, -1, -1):
        above = heights[k + 1] - room if k + 1 < len(names) else heights[k] - over
        heights[k] = min(heights[k], above)
    for name, height in zip(names, heights, strict=True):
        end, y = ends[name], (height - box.y0) / box.height
        colour, style, width = end.look
        link = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", end[:2], (SAMPLE[0], y), textcoords="axes fraction", arrowprops=link)
        sample = axes.plot(SAMPLE, (y, y), transform=axes.transAxes, clip_on=False)
        sample[0].set(color=colour, linestyle=style, linewidth=width)
        axes.annotate(
            name,
            (SAMPLE[1], y),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            fontsize=SIZE,
            va="center",
        )


def name_points(
    axes: "Axes", points: Mapping[str, tuple[float, float]], colours: Mapping[str, str]
) -> None:
    """Write the name of each point where it covers neither a point nor another name."""
    axes.figure.draw_without_rendering()
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    point = axes.figure.dpi / 72
    places = {name: axes.transData.transform(at) / point for name, at in points.items()}
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places.values()]
    box = axes.get_window_extent()
    inside = (box.x0 / point, box.y0 / point, box.x1 / point, box.y1 / point)
    for name in sorted(places, key=lambda name: tuple(places[name])):
        x, y = places[name]
        width = _width(axes, name) / point
        spots = [
            (side, step * LINE)
            for step in (0, 1, -1, 2, -2, 3, -3, 4, -4)
            for side in (GAP, -GAP - width, -width / 2)
            if step or side != -width / 2
        ]
        dx, dy = min(spots, key=lambda spot: _cost(x, y, width, *spot, taken, inside))
        taken.append((x + dx, y + dy - LINE / 2, x + dx + width, y + dy + LINE / 2))
        axes.annotate(
            name,
            points[name],
            xytext=(dx + width / 2, dy),
            textcoords="offset points",
            color=colours[name],
            fontsize=SIZE,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7}
            if abs(dy) > LINE
            else None,
        )


def note(axes: "Axes", text: str, at: tuple[float, float], where: object = "axes fraction") -> None:
    """Write a remark, faint, just above and to the right of a place."""
    axes.annotate(
        text,
        at,
        xycoords=where,
        xytext=(4, 4),
        textcoords="offset points",
        color="#666666",
        fontsize=SIZE,
    )


def _width(axes: "Axes", text: str) -> float:
    """Return how many pixels a name is wide."""
    written = axes.text(0, 0, text, fontsize=SIZE)
    width = written.get_window_extent().width
    written.remove()
    return float(width)


def _cost(
    x: float,
    y: float,
    width: float,
    dx: float,
    dy: float,
    taken: list[tuple[float, float, float, float]],
    inside: tuple[float, float, float, float],
) -> float:
    """Return how bad a place for a name is: what it covers, what sticks out, how far it is."""
    left, low, right, high = x + dx, y + dy - LINE / 2, x + dx + width, y + dy + LINE / 2
    covered = sum(
        max(0.0, min(right, b[2]) - max(left, b[0])) * max(0.0, min(high, b[3]) - max(low, b[1]))
        for b in taken
    )
    out = max(0.0, inside[0] - left) + max(0.0, right - inside[2])
    out += max(0.0, inside[1] - low) + max(0.0, high - inside[3])
    return covered + LINE * out + 0.5 * abs(dy)
