"""The budget over training: weights, what is exchanged, and what has been explored."""

import matplotlib.pyplot as plt

import recsys
from recsys.datasets import shop
from sparsenum.plot import COLOURS, STYLE

EPOCHS = 30
RECIPES = ("dsl", "dsl-paper", "set", "prune")

train = recsys.Interactions.read(shop(), user="customer", item="product")
with plt.rc_context(STYLE):
    figure, places = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for recipe, colour in zip(RECIPES, COLOURS, strict=False):
        model = recsys.SparseMF(budget="10%", dim=64, epochs=EPOCHS, recipe=recipe).fit(train)
        for place, key in zip(places, ("weights", "fraction", "explored"), strict=True):
            values = [entry[key] for entry in model.history_]
            line = "-" if recipe != "set" else "--"
            place.plot(range(1, EPOCHS + 1), values, line, color=colour, linewidth=2, label=recipe)
    for place, title in zip(
        places, ("weights", "share exchanged", "share ever active"), strict=True
    ):
        place.set(title=title, xlabel="epoch", ylim=(0, None))
    places[0].ticklabel_format(axis="y", style="sci", scilimits=(3, 3))
    places[2].legend(frameon=False, ncols=2, fontsize=9, loc=(0.02, 0.74))
