"""What each way to spend a budget keeps of a dense model's quality, from docs/dsl.csv."""

import csv

import matplotlib.pyplot as plt
import numpy as np

from sparsenum.plot import COLOURS, STYLE

DENSITIES = ("at 50 %", "at 20 %", "at 10 %")
PROBLEMS = ("ML-1M", "Amazon-Sports")

with open("../dsl.csv", newline="") as file:  # the directive runs a script in its folder
    rows = [row for row in csv.DictReader(file) if row["backbone"] == "MF"]
with plt.rc_context(STYLE):
    figure, places = plt.subplots(1, 2, figsize=(12, 4), layout="constrained", sharey=True)
    for place, problem in zip(places, PROBLEMS, strict=True):
        some = [row for row in rows if row["problem"] == problem]
        width = 0.8 / len(some)
        for k, (row, colour) in enumerate(zip(some, COLOURS, strict=True)):
            kept = [float(row[density]) for density in DENSITIES]
            at = np.arange(len(DENSITIES)) + (k - (len(some) - 1) / 2) * width
            place.bar(at, kept, width, color=colour, label=row["model"])
        place.axhline(100, color="#BBBBBB", linewidth=1, zorder=0)
        place.set_xticks(range(len(DENSITIES)), DENSITIES)
        place.set_title(problem)
    places[0].set_ylabel("ndcg@20, % of the dense model's")
    places[1].legend(frameon=False, ncols=2, loc="upper right", fontsize=9)
    places[1].set_ylim(0, 128)
