"""
Digits in between
=================

What lies halfway between a 1 and a 0? Mixing the pixels shows both at once, like a double
exposure. Transport moves the ink instead: the stroke opens up.
"""

# %%
# Two digits of scikit-learn's set, refined to 28 x 28 pixels, as histograms of ink that sum to one.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from sparsenum import ot

SIDE = 28
digits = load_digits()


def histogram(digit, which=0):
    """Return an image of a digit as a vector of ink that sums to one."""
    pixels = digits.images[digits.target == digit][which]
    ink = zoom(np.pad(pixels, 1), SIDE / 10, order=2).clip(0)
    return (ink / ink.sum()).ravel()


one, zero = histogram(1), histogram(0)

# %%
# The cost of moving ink from pixel to pixel is the squared distance, the largest of them 1.

row, column = np.divmod(np.arange(SIDE**2), SIDE)
M = np.subtract.outer(row, row) ** 2.0 + np.subtract.outer(column, column) ** 2.0
M /= M.max()

# %%
# Two ways from one digit to the other
# ------------------------------------
# The **barycenter** with weights ``1 - t`` and ``t`` is the image that is cheapest to reach from
# both. **Displacement** follows the plan: each bit of ink walks on a straight line from the pixel
# it leaves to the one it is sent to, and is drawn where it has come to at time ``t``.
#
# A small `reg` keeps lines sharp. Empty pixels need no care: rows and columns without mass are left
# out.

REG = 5e-4
times = np.linspace(0, 1, 7)
ends = np.stack([one, zero], axis=1)
between = [ot.barycenter(ends, M, REG, weights=[1 - t, t]) for t in times]

solution = ot.solve(M, one, zero, REG)
plan = solution.sparse_plan.tocoo()
print(f"{solution.status}: error {solution.marginal_error:.0e}, {plan.nnz:,} pairs of pixels")


def displaced(t):
    """Return where the ink is at time t, shared among the four pixels around each place."""
    y = (1 - t) * row[plan.row] + t * row[plan.col]
    x = (1 - t) * column[plan.row] + t * column[plan.col]
    image = np.zeros((SIDE + 1, SIDE + 1))
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - y % 1) * np.abs(1 - right - x % 1)
            np.add.at(image, (y.astype(int) + down, x.astype(int) + right), share * plan.data)
    return image[:SIDE, :SIDE]


# %%

rows = {
    "mixed": [(1 - t) * one + t * zero for t in times],
    "barycenter": between,
    "displaced": [displaced(t) for t in times],
}
figure, axes = plt.subplots(3, len(times), figsize=(10, 4.6), layout="constrained")
for (name, images), line in zip(rows.items(), axes, strict=True):
    line[0].set_ylabel(name)
    for image, place in zip(images, line, strict=True):
        place.imshow(np.reshape(image, (SIDE, SIDE)), cmap="gray_r")
        place.set(xticks=[], yticks=[])
for t, place in zip(times, axes[0], strict=True):
    place.set_title(f"t = {t:.2f}", fontsize=10)

# %%
# Between four
# ------------
# Barycenters take any number of histograms. Here four digits stand in the corners, and each image
# between them is a barycenter with the weights of its place.

# sphinx_gallery_thumbnail_number = 2
corners = np.stack([histogram(digit) for digit in (1, 0, 7, 3)], axis=1)
STEPS = 5
figure, axes = plt.subplots(STEPS, STEPS, figsize=(6.4, 6.4), layout="constrained")
for (i, j), place in np.ndenumerate(axes):
    y, x = i / (STEPS - 1), j / (STEPS - 1)
    weights = [(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x]
    image = ot.barycenter(corners, M, 1e-3, weights=weights)
    place.imshow(image.reshape(SIDE, SIDE), cmap="gray_r")
    place.set(xticks=[], yticks=[])
