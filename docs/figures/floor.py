"""The floor of float64: the error reached against max(M) / reg, where 1e-300 is asked for."""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from sparsenum import ot
from sparsenum.plot import COLOURS, STYLE

N = 60
REGS = np.logspace(0, -6, 7)

rng = np.random.default_rng(0)
problems = {
    "random costs": rng.random((N, N)),
    "points in the plane": ((rng.random((N, 1, 2)) - rng.random((1, N, 2))) ** 2).sum(axis=2),
}
with warnings.catch_warnings(), plt.rc_context(STYLE):
    warnings.simplefilter("ignore")  # no plan is so exact: that is the point
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    ratios = 1 / REGS
    for (name, M), colour in zip(problems.items(), COLOURS, strict=False):
        reached = [ot.solve(M / M.max(), reg=reg, tol=1e-300).marginal_error for reg in REGS]
        axes.plot(ratios, reached, "o", color=colour, label=name)
    axes.plot(ratios, 1e-16 * ratios, color="#888888", label="1e-16 max(M) / reg")
    axes.axhline(1e-9, color="#BBBBBB", linestyle=":", label="the default tolerance")
    axes.set(xscale="log", yscale="log", xlabel="max(M) / reg", ylabel="violation of the marginals")
    axes.legend(frameon=False)
