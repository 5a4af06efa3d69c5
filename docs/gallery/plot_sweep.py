"""
What a byte buys
================

The budget is the one number to choose. Sweep it, draw quality against bytes, and see where more
stops paying.
"""

# %%
# The made-up shop again: hold back the latest fifth of each customer's rows, and choose how to
# learn once, at 100 kB. The plan found there serves all budgets, so that only the budget differs.

import matplotlib.pyplot as plt

import recsys
from recsys.data import pairs_to_choose_by
from recsys.datasets import shop

columns = {"user": "customer", "item": "product"}
before, after = recsys.leave_last(shop(), **columns, time="time", fraction=0.2)
train = recsys.Interactions.read(before, **columns)
valid, _ = pairs_to_choose_by(before, **columns, time="time")
plan = recsys.ItemBlend(budget="100KB").fit(train, valid=valid).plan_

# %%
# Bytes are those of the tables on disk, as `report` counts them: values, their columns, and the
# lengths of rows. The file adds ids and histories, which no budget can change.


def measured(model):
    """Return bytes and recall of a fitted model."""
    report = model.report()
    size = sum(report[part] for part in ("bytes_values", "bytes_indices", "bytes_rows"))
    return size, model.evaluate(after)["recall@20"]


BUDGETS = ("25KB", "50KB", "100KB", "200KB", "400KB", "800KB")
curves = {
    f"ItemBlend, {values}": [
        measured(recsys.ItemBlend(budget=budget, values=values).fit(train, plan=plan))
        for budget in BUDGETS
    ]
    for values in ("float32", "int8")
}
curves["ItemKNN, its k nearest"] = [
    measured(recsys.ItemKNN(neighbours=k).fit(train)) for k in (2, 5, 10, 20, 50, 100)
]
curves["SparseMF, dynamic"] = [
    measured(recsys.SparseMF(budget=budget, dim=128, epochs=20).fit(train))
    for budget in BUDGETS[1:]
]
print("kB on disk: recall@20")
for name, points in curves.items():
    print(f"{name:22}", "".join(f"{size / 1e3:6.0f}: {recall:.3f}" for size, recall in points))

# %%

COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#D55E00")
figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
for (name, points), colour in zip(curves.items(), COLOURS, strict=True):
    axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
least = recsys.Popularity().fit(train).evaluate(after)["recall@20"]
axes.axhline(least, color="#888888", linestyle=":", label="Popularity")
axes.set(xscale="log", xlabel="bytes on disk", ylabel="recall@20", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="lower right")

# %%
# Small budgets are where it matters which model spends them: in some tens of kilobytes a graph and
# factors of items together know more than the nearest neighbours do, and `SparseMF`, with two
# weights left for each customer and product, cannot tell them apart. From a hundred kilobytes or
# two on all are about alike, and more buys nothing: there is no more to know about this shop, and
# the plan was chosen for 100 kB. At one byte a weight, 100 kB hold about twice as many weights; at
# 25 kB the scale that each row then needs eats up what the bytes save.
