"""
The colours of another photograph
=================================

Give a summer palace the colours of a flower: find the palette of each photograph, and transport one
palette onto the other.
"""

# %%
# `examples/colours.py` of the repository is this page as a program, for two pictures of your own:
# ``python examples/colours.py --picture one.jpg --colours other.jpg``. Its functions for pictures
# are borrowed here: `palette` finds 200 colours that stand for all pixels, and the share of pixels
# that each stands for; `recoloured` shifts every pixel as the palette around it is shifted.

import matplotlib.pyplot as plt
import numpy as np

from examples.colours import palette, photographs, recoloured
from sparsenum import ot

palace, flower = (photograph[::2, ::2] for photograph in photographs())
(X, a), (Y, b) = palette(palace, 200), palette(flower, 200)

# %%
# One call couples the palettes: points with masses on either side, and the squared distance of
# colours as the cost. The plan is sparse.

solution = ot.solve_sample(X, Y, a, b, reg=2e-3)
plan = solution.sparse_plan
print(f"{solution.status} after {solution.n_iter} iterations: error {solution.marginal_error:.0e}")
print(f"{plan.nnz:,} of {X.shape[0] * Y.shape[0]:,} pairs of colours carry mass")

# %%
# Each colour goes to the mean of the colours its mass is sent to.

moved = X.copy()
moved[a > 0] = (plan @ Y)[a > 0] / a[a > 0, None]
pictures = {"Picture": palace, "Colours": flower, "Result": recoloured(palace, X, moved)}

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
for (title, image), place in zip(pictures.items(), axes, strict=True):
    place.imshow(image)
    place.set_title(title, loc="left")
    place.set_axis_off()

# %%
# The Sinkhorn divergence tells how far apart the palettes are, without the bias of the entropy. It
# is not zero afterwards: a mean is a little duller than what it is the mean of, and the smaller
# `reg`, the less so.

for name, Z in (("before", X), ("after", moved)):
    print(f"{name}: {ot.sinkhorn_divergence(Z, Y, a, b, reg=2e-3).value:.5f}")

# %%
# In the space of colours
# -----------------------
# Every tenth colour of the palace, the flower's palette faint behind it, and the way it goes.

figure, places = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
for place, (x, y) in zip(places, ((0, 1), (2, 1)), strict=True):
    place.scatter(Y[:, x], Y[:, y], c=Y.clip(0, 1), s=8000 * b, alpha=0.35, linewidths=0)
    some = np.arange(0, len(X), 10)
    shift = (moved - X)[some]
    place.quiver(
        *X[some][:, [x, y]].T, *shift[:, [x, y]].T,
        color=X[some].clip(0, 1), angles="xy", scale_units="xy", scale=1, width=0.005,
    )  # fmt: skip
    place.scatter(*X[some][:, [x, y]].T, c=X[some].clip(0, 1), s=30, edgecolors="k", linewidths=0.3)
    place.set(xlabel=("red", "green", "blue")[x], aspect="equal")
places[0].set_ylabel("green")
