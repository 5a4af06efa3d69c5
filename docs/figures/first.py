"""The picture on the first page: a sparse plan, the way to its accuracy, and what bytes buy."""

import matplotlib.pyplot as plt
import numpy as np

import recsys
from recsys.data import pairs_to_choose_by
from recsys.datasets import shop
from sparsenum import ot
from sparsenum.plot import COLOURS, STYLE

TOL = 1e-9
POINTS, LINES = 600, 250
BUDGETS = ("25KB", "50KB", "100KB", "200KB")


def clouds():
    """Return points of a ring and of two moons."""
    rng = np.random.default_rng(0)
    around, along = rng.uniform(0, 2 * np.pi, POINTS), rng.uniform(0, np.pi, POINTS)
    ring = 1.5 * np.stack([np.cos(around), np.sin(around)], axis=1)
    side = np.where(rng.random(POINTS) < 0.5, 1, -1)[:, None]
    moons = side * (np.stack([np.cos(along), np.sin(along)], axis=1) - [0.5, 0.2])
    noise = rng.normal(0, 0.06, (2, POINTS, 2))
    return ring + noise[0], moons + noise[1] + [4.2, 0.0]


def draw_plan(axes, X, Y, plan):
    rng = np.random.default_rng(1)
    entries = plan.tocoo()
    some = rng.choice(entries.nnz, LINES, replace=False, p=entries.data / entries.data.sum())
    for i, j in zip(entries.row[some], entries.col[some], strict=True):
        axes.plot(*np.stack([X[i], Y[j]]).T, color="#AAAAAA", linewidth=0.5, zorder=0)
    axes.scatter(*X.T, s=5, color=COLOURS[0])
    axes.scatter(*Y.T, s=5, color=COLOURS[2])
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    axes.set_title(f"{entries.nnz / (POINTS * POINTS):.1%} of all pairs carry mass")


def draw_errors(axes, M, reg):
    curves = {"SNS, as published": "sns-paper", "Sinkhorn": "sinkhorn"}
    for method in curves.values():
        ot.solve(M[:9, :9], reg=M.max(), method=method)  # compiles
    for (name, method), colour in zip(curves.items(), COLOURS[1:], strict=False):
        log = ot.solve(M, reg=reg, tol=TOL, method=method).log
        axes.plot(log["seconds"], log["err"], color=colour, linewidth=2, label=name)
    default = ot.solve(M, reg=reg, tol=TOL)
    axes.plot(
        default.log["seconds"][-1], default.marginal_error, "o", color=COLOURS[0], label="default"
    )
    axes.axhline(TOL, color="#BBBBBB", linewidth=1, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="seconds", ylabel="violation of the marginals")
    axes.set_title("Error against time")
    axes.legend(frameon=False, fontsize=9, loc=(0.02, 0.35))


def draw_budgets(axes):
    columns = {"user": "customer", "item": "product"}
    before, after = recsys.leave_last(shop(), **columns, time="time", fraction=0.2)
    train = recsys.Interactions.read(before, **columns)
    valid, _ = pairs_to_choose_by(before, **columns, time="time")
    plan = recsys.ItemBlend(budget="100KB").fit(train, valid=valid).plan_
    points = []
    for budget in BUDGETS:
        model = recsys.ItemBlend(budget=budget).fit(train, plan=plan)
        size = sum(model.report()[f"bytes_{part}"] for part in ("values", "indices", "rows"))
        points.append((size / 1e3, model.evaluate(after)["recall@20"]))
    axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[0], label="ItemBlend")
    least = recsys.Popularity().fit(train).evaluate(after)["recall@20"]
    axes.axhline(least, color=COLOURS[2], linestyle=":", label="Popularity")
    axes.set(ylim=(0, None), xlabel="kB on disk", ylabel="recall@20")
    axes.set_title("A budget, and what it buys")
    axes.legend(frameon=False, fontsize=9, loc="center right")


X, Y = clouds()
M = ((X[:, None] - Y) ** 2).sum(axis=2)
REG = 5e-4 * M.max()
with plt.rc_context(STYLE):
    figure, places = plt.subplots(
        1, 3, figsize=(14, 4.3), layout="constrained", width_ratios=(1.4, 1, 1)
    )
    draw_plan(places[0], X, Y, ot.solve(M, reg=REG).sparse_plan)
    draw_errors(places[1], M, REG)
    draw_budgets(places[2])
