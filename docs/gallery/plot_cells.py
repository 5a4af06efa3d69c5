"""
Cells between two days
======================

A sequencer destroys the cells it measures, so nobody sees what a cell of Monday has become on
Tuesday. Transport couples the two populations: each cell of the first day is sent to the cells of
the second that it can most cheaply have turned into. Some divide and some die on the way, and for
that the marginals must give.
"""

# %%
# A made-up tissue, so that the truth is known
# --------------------------------------------
# 800 progenitors in 20 dimensions lie along a line, as if along a gene programme. What they turn
# into depends on where they are: low ones end in a fate A, high ones in a fate B, those in between
# in either, at random. Half of the cells bound for A divide, and half of those bound for B die.
# 1,200 cells of the second day are measured; no cell is measured on both days.

import matplotlib.pyplot as plt
import numpy as np

from sparsenum import ot

rng = np.random.default_rng(0)
DIM = 20
basis = np.linalg.qr(rng.normal(size=(DIM, 3)))[0].T  # directions of the programme and of the fates


def chance_of_b(programme):
    """Return how likely a progenitor is to end in fate B."""
    return 1 / (1 + np.exp(-4 * programme))


def day_one(n):
    """Return the programme of n progenitors, and the cells."""
    programme = rng.uniform(-1, 1, n)
    cells = programme[:, None] * basis[0] + rng.normal(0, 0.04, (n, DIM))
    return programme, cells


def day_two(n):
    """Return the cells that another sample of progenitors has turned into, and their fates."""
    programme, cells = day_one(20 * n)
    is_b = rng.random(len(cells)) < chance_of_b(programme)
    copies = np.where(is_b, rng.random(len(cells)) < 0.5, 1 + rng.integers(0, 2, len(cells)))
    born = rng.permutation(np.repeat(np.arange(len(cells)), copies))[:n]
    way = np.where(is_b[born, None], basis[1], basis[2])
    return cells[born] + 1.2 * way + rng.normal(0, 0.04, (n, DIM)), is_b[born]


programme, X = day_one(800)
Y, is_b = day_two(1200)

# %%
# The truth about each progenitor: how many descendants it has on average (1.5 in fate A, 0.5 in
# fate B), relative to the mean of all, and the share of them that is B.

chance = chance_of_b(programme)
descendants = 1.5 * (1 - chance) + 0.5 * chance
share_of_b = 0.5 * chance / descendants
descendants /= descendants.mean()

# %%
# Balanced, and not
# -----------------
# With exact marginals every progenitor must send the same mass. ``unbalanced=(rho, inf)`` keeps the
# second day exact, since those cells were seen, and lets the mass of the first give, at a price:
# what a progenitor sends is then an estimate of its growth. The cost is in units of its mean, so
# that `reg` and ``rho`` have a meaning.

M = ((X[:, None] - Y) ** 2).sum(axis=2)
M /= M.mean()
solutions = {
    "balanced": ot.solve(M, reg=0.03),
    "unbalanced": ot.solve(M, reg=0.03, unbalanced=(0.3, np.inf)),
}

# %%
# Single cells are noisy; the mean of 80 neighbours along the programme is not.

order = np.argsort(programme)


def smooth(values):
    """Return the running mean along the programme."""
    return np.convolve(values[order], np.full(80, 1 / 80), "valid")


where, truth = smooth(programme), {"fate": smooth(share_of_b), "growth": smooth(descendants)}
found = {}
for name, solution in solutions.items():
    sent = solution.marginals[0]
    found[name] = {"fate": (solution.plan @ is_b) / sent, "growth": sent / sent.mean()}
    print(
        f"{name:10}  {solution.status}, marginal error {solution.marginal_error:.0e}"
        + "".join(
            f"; {kind} off by {np.abs(smooth(values) - truth[kind]).mean():.3f}"
            for kind, values in found[name].items()
        )
    )

# %%
# On the left the cells in the plane of their two main directions, with the likeliest descendant of
# some; then what each progenitor (a dot) is thought to become, the running means, and the truth.
# The balanced plan makes too many progenitors ancestors of A, since A has more cells. The other one
# explains part of that by growth; the penalty keeps it from explaining all.

centre = np.concatenate([X, Y]).mean(axis=0)
axis = np.linalg.svd(np.concatenate([X, Y]) - centre, full_matrices=False)[2][:2]
flat_X, flat_Y = (X - centre) @ axis.T, (Y - centre) @ axis.T

figure, places = plt.subplots(1, 3, figsize=(12.5, 4), layout="constrained")
places[0].scatter(*flat_Y.T, c=np.where(is_b, "#D55E00", "#0072B2"), s=6, alpha=0.6, linewidths=0)
places[0].scatter(*flat_X.T, c="#222222", s=6, alpha=0.6, linewidths=0)
likeliest = solutions["unbalanced"].plan.argmax(axis=1)
for i in rng.choice(len(X), 60, replace=False):
    ends = np.stack([flat_X[i], flat_Y[likeliest[i]]])
    places[0].plot(*ends.T, color="#888888", linewidth=0.7)
places[0].set_title("Day one (black), fates A (blue) and B (orange)", loc="left", fontsize=10)
places[0].set(xticks=[], yticks=[])

titles = {"fate": "Share of the descendants in B", "growth": "Descendants, relative to the mean"}
for (kind, title), place in zip(titles.items(), places[1:], strict=True):
    for name, colour in (("balanced", "#CC79A7"), ("unbalanced", "#009E73")):
        values = found[name][kind]
        place.scatter(programme, values, s=5, color=colour, alpha=0.25, linewidths=0)
        place.plot(where, smooth(values), color=colour, linewidth=2.5, label=name)
    place.plot(where, truth[kind], color="#222222", linestyle="--", label="truth")
    place.set_title(title, loc="left", fontsize=10)
    place.set(xlabel="programme of the progenitor", ylim=(-0.05, 2.5 if kind == "growth" else 1.05))
    place.spines[["top", "right"]].set_visible(False)
places[1].legend(frameon=False)
