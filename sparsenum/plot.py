"""Pictures of transport: what moves where, and how fast each solver came to know it."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import scipy.sparse
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers can tell apart; the first curve leads.
COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00")
INK, FAINT = "#222222", "#BBBBBB"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11.0,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12.0,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def transport_figure(
    path: str | os.PathLike[str],
    source: ArrayLike,
    target: ArrayLike,
    plan: "scipy.sparse.sparray",
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    tol: float,
) -> None:
    """Draw two images, the plan between them and the errors of solvers against time, as a PNG.

    Parameters
    ----------
    path : path
        The file to write.
    source, target : array_like, shape (height, width)
        The images whose mass is moved.
    plan : sparse array, shape (n, m)
        The plan between their pixels, row by row.
    curves : mapping
        For each solver, by the name to show, a log with ``seconds`` and ``err``, as in
        ``Solution.log``.
    tol : float
        Tolerance, drawn as a line to be reached.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError(
            "transport_figure needs matplotlib, which is not installed: "
            'pip install "sparsenum[plot]"'
        ) from None
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.04)
    with rc_context(STYLE):
        figure = Figure(figsize=(14.0, 5.4), dpi=150, layout=layout)
        axes = figure.subplot_mosaic(
            [["source", "plan", "errors"], ["target", "plan", "errors"]], width_ratios=(1, 2.3, 2.7)
        )
        _draw_image(axes["source"], source, "This ink ...")
        _draw_image(axes["target"], target, "... moves here")
        _draw_plan(axes["plan"], plan)
        _draw_curves(axes["errors"], curves, tol)
        figure.savefig(path)


def _draw_image(axes: "Axes", image: ArrayLike, title: str) -> None:
    axes.imshow(np.asarray(image), cmap="gray_r", interpolation="nearest")
    axes.set_title(title)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=FAINT)


def _draw_plan(axes: "Axes", plan: Any) -> None:
    """Draw one dot for each entry, darker for more mass, the heaviest on top."""
    entries = plan.tocoo()
    order = np.argsort(entries.data)
    n, m = entries.shape
    axes.scatter(
        entries.col[order],
        entries.row[order],
        c=np.log10(entries.data[order]),
        cmap="Blues",
        s=1.2,
        linewidths=0,
        rasterized=True,
    )
    axes.set(xlim=(-0.5, m - 0.5), ylim=(n - 0.5, -0.5), aspect="equal")
    axes.set(xticks=[0, m - 1], yticks=[0, n - 1])
    axes.set(xlabel="to pixel (row by row; darker: more ink)", ylabel="from pixel")
    axes.set_title(f"{entries.nnz / (n * m):.0%} of all pairs of pixels move ink")


def _draw_curves(
    axes: "Axes", curves: Mapping[str, Mapping[str, Sequence[float]]], tol: float
) -> None:
    for place, (colour, (name, log)) in enumerate(zip(COLOURS, curves.items(), strict=False)):
        seconds, errors = np.asarray(log["seconds"]), np.asarray(log["err"])
        axes.plot(seconds, errors, color=colour, linewidth=2.2)
        axes.plot(seconds[-1], errors[-1], "o", color=colour, markersize=6)
        axes.annotate(
            f"{name}\n{seconds[-1]:.2g} s",
            (seconds[-1], errors[-1]),
            # Names of fast solvers hang lower, so that they can run on below those of slow ones.
            xytext=(0, -9 - 30 * (len(curves) - 1 - place)),
            textcoords="offset points",
            color=colour,
            weight="bold",
            va="top",
        )
    axes.axhline(tol, color=FAINT, linewidth=1.0, zorder=0)
    axes.annotate(
        f"tolerance {np.format_float_scientific(tol, precision=1, trim='-', exp_digits=1)}",
        (1.0, tol),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=9.0,
    )
    axes.set(yscale="log", xlabel="seconds", ylabel="violation of the marginals (1-norm)")
    axes.set_title("Error against time")
    axes.margins(x=0.02)
    axes.set_xlim(right=1.35 * axes.get_xlim()[1])  # room for the names, which follow the ends
    axes.set_ylim(bottom=axes.get_ylim()[0] / 50 ** len(curves))
