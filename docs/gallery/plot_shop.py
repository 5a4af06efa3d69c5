"""
A recommender from a raw CSV file
=================================

From the table that a till writes to lists of products for each customer, in a file of a fixed size.
"""

# %%
# The table is a year of a made-up shop, with the dirt that real ones have: returns, missing
# customers, rows twice. Write it as CSV, to begin where everybody begins.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import recsys
from recsys.data import pairs_to_choose_by
from recsys.datasets import shop

folder = Path(tempfile.mkdtemp())
sales = shop()
sales.write_csv(folder / "sales.csv")
sales.head()

# %%
# Hold back the latest fifth of each customer's purchases, read the rest, and look at the account of
# the rows: each is counted once.

columns = {"user": "customer", "item": "product"}
before, after = recsys.leave_last(folder / "sales.csv", **columns, time="time", fraction=0.2)
train = recsys.Interactions.read(before, **columns, weight="quantity", time="time")
print(train.report.summary())

# %%
# Train the default model within 100 kB. How it learns is chosen on pairs that it holds back itself:
# here on the latest of half of the customers, and any of the others. The test rows stay unseen.

valid, told_by = pairs_to_choose_by(before, **columns, time="time")
model = recsys.ItemBlend(budget="100KB").fit(train, valid=valid)
report = model.report()
used = sum(report[part] for part in ("bytes_values", "bytes_indices", "bytes_rows"))
print(f"{len(model.history_)} looks; {report['weights']:,} weights in {used:,} bytes")

# %%
# Is it any good? Compare with the least one could do, and with neighbours of items.

rivals = {
    "Popularity": recsys.Popularity().fit(train),
    "ItemKNN": recsys.ItemKNN().fit(train),
    "ItemBlend": model,
}
for name, rival in rivals.items():
    metrics = rival.evaluate(after)
    print(
        f"{name:12}{rival.report()['weights']:8,} weights"
        f"   recall@20 {metrics['recall@20']:.4f}   ndcg@20 {metrics['ndcg@20']:.4f}"
    )

# %%
# Lists come as a polars frame, for customers by their own ids…

model.recommend(["C00417", "C00512"], k=3)

# %%
# … and for strangers by what is in their basket:

basket = train.items.filter(train.items.str.starts_with("TEA"))[:2].to_list()
print(basket)
model.recommend_from(basket, k=5)

# %%
# Why this one? The parts of a score add up to it.

first = model.recommend(["C00417"], k=1)["item"][0]
model.explain("C00417", first).contributions.head()

# %%
# The model knows nothing of departments, which are the first letters of a product's number. Its
# lists follow the taste of customers all the same: each row shows, for the customers who bought
# most in one department, from where they get their twenty products.

lists = model.recommend(k=20)
departments = sorted({item.split("-")[0] for item in train.items})
number = {name: i for i, name in enumerate(departments)}
of_item = np.array([number[item.split("-")[0]] for item in train.items])
taken = np.zeros((train.n_users, len(departments)))
buyer = np.repeat(np.arange(train.n_users), train.matrix.row_counts)
np.add.at(taken, (buyer, of_item[train.matrix.indices]), 1)
favourite = taken.argmax(axis=1)
shown = np.zeros((len(departments), len(departments)))
of_list = [number[item.split("-")[0]] for item in lists["item"]]
np.add.at(shown, (np.repeat(favourite, 20), of_list), 1)
shown /= shown.sum(axis=1, keepdims=True)

figure, axes = plt.subplots(figsize=(6.4, 5.4), layout="constrained")
image = axes.imshow(shown, cmap="Blues", vmin=0)
axes.set_xticks(range(len(departments)), departments, rotation=60)
axes.set_yticks(range(len(departments)), departments)
axes.set(
    xlabel="department of the products in their lists", ylabel="department they bought most in"
)
figure.colorbar(image, label="share of the list", shrink=0.8)

# %%
# Keep it: one file, written whole or not at all, without pickle.

model.save(folder / "model.npz")
same = recsys.load(folder / "model.npz").recommend(["C00417"], k=3)
print(same.equals(model.recommend(["C00417"], k=3)))

# %%
# All of this without Python:
#
# .. code-block:: sh
#
#    recsys split sales.csv --user customer --item product --time time --fraction 0.2 --out parts
#    recsys train parts/train.parquet --user customer --item product --time time \
#        --budget 100KB --out model.npz
#    recsys evaluate model.npz parts/test.parquet
#    recsys recommend model.npz --users C00417,C00512 --k 3 --out lists.csv
