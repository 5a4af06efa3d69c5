"""Pictures of training under a budget."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sparsenum.plot import COLOURS, FAINT, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE = COLOURS[:2]


def training_figure(
    path: str | os.PathLike[str],
    history: Sequence[Mapping[str, Any]],
    *,
    dense_weights: int,
    baselines: Mapping[str, float],
    metric: str = "recall@20",
) -> None:
    """Draw what a training under a budget did, epoch by epoch, as a PNG.

    Four panels: the weights and optimizer floats held, beside what dense tables would hold; the
    share of weights exchanged; the share of positions ever tried, over the density; and the
    metric on the validation table, over the baselines.

    Parameters
    ----------
    path : path
        The file to write.
    history : sequence of mapping
        ``history_`` of a fitted `SparseMF`.
    dense_weights : int
        Weights of the tables without zeros.
    baselines : mapping
        For each baseline, by the name to show, its value of the metric.
    metric : str, default "recall@20"
        Key of the metric in `history`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If no entry of `history` has the metric.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError(
            "training_figure needs matplotlib, which is not installed: "
            'pip install "sparsenum[plot]"'
        ) from None
    looks = [entry for entry in history if entry.get(metric) is not None]
    if not looks:
        raise ValueError(f"history must have {metric!r} in some entry; train with valid=")
    epochs = [entry["epoch"] for entry in history]
    with rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
        figure = Figure(figsize=(14.0, 7.6), dpi=150, layout=layout)
        (budget, exchange), (explored, quality) = figure.subplots(2, 2)
        _draw_budget(budget, history, dense_weights)
        _draw_exchange(exchange, epochs, [entry["fraction"] for entry in history])
        density = history[-1]["weights"] / dense_weights
        _draw_explored(explored, epochs, [entry["explored"] for entry in history], density)
        _draw_quality(
            quality, [e["epoch"] for e in looks], [e[metric] for e in looks], baselines, metric
        )
        for axes in (budget, exchange, explored, quality):
            axes.set_xlim(0, epochs[-1] * 1.02)
            axes.set_ylim(bottom=0)
            axes.set_xlabel("epoch")
        figure.savefig(path)


def _draw_budget(axes: "Axes", history: Sequence[Mapping[str, Any]], dense: int) -> None:
    epochs = [entry["epoch"] for entry in history]
    weights = [entry["weights"] / 1e3 for entry in history]
    floats = [entry["optimizer_floats"] / 1e3 for entry in history]
    axes.plot(epochs, weights, color=BLUE, linewidth=2.5)
    axes.plot(epochs, floats, color=ORANGE, linewidth=2.5, linestyle=(0, (4, 4)))
    _label(axes, epochs[0], weights[0], "weights", BLUE, above=True)
    _label(axes, epochs[0], weights[0], "optimizer floats", ORANGE, above=False)
    axes.set_ylim(top=2 * weights[0])
    axes.set_ylabel("thousands")
    axes.set_title(f"The budget holds in every epoch: {weights[-1] * 1e3 / dense:.1%} of dense")


def _draw_exchange(axes: "Axes", epochs: Sequence[int], fraction: Sequence[float]) -> None:
    axes.bar(epochs, [100 * value for value in fraction], color=BLUE, width=0.8)
    axes.set_ylabel("% of the weights")
    axes.set_title("Weak weights make room for promising ones, ever fewer")


def _draw_explored(
    axes: "Axes", epochs: Sequence[int], explored: Sequence[float], density: float
) -> None:
    axes.plot(epochs, [100 * value for value in explored], color=BLUE, linewidth=2.5)
    axes.axhline(100 * density, color=FAINT, linewidth=1.5)
    _label(axes, epochs[-1], 100 * density, "active at a time", "#666666", above=False, right=True)
    _label(axes, epochs[-1], 100 * explored[-1], "tried so far", BLUE, above=False, right=True)
    axes.set_ylim(top=130 * max(explored))
    axes.set_ylabel("% of all positions")
    axes.set_title("More positions are tried than the budget holds")


def _draw_quality(
    axes: "Axes",
    epochs: Sequence[int],
    values: Sequence[float],
    baselines: Mapping[str, float],
    metric: str,
) -> None:
    axes.plot(epochs, values, "o-", color=BLUE, linewidth=2.5)
    _label(axes, epochs[-1], values[-1], "dynamic sparse", BLUE, above=True, right=True)
    for name, value in baselines.items():
        axes.axhline(value, color=FAINT, linewidth=1.5)
        _label(axes, epochs[-1], value, name, "#666666", above=True, right=True)
    axes.set_ylim(top=1.2 * max([*values, *baselines.values()]))
    axes.set_ylabel(metric)
    axes.set_title("Held-out purchases found among 20 suggestions")


def _label(
    axes: "Axes", x: float, y: float, text: str, colour: str, *, above: bool, right: bool = False
) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(0, 5 if above else -5),
        textcoords="offset points",
        ha="right" if right else "left",
        va="bottom" if above else "top",
        color=colour,
        weight="bold",
    )
