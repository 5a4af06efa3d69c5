"""The first case of the SNS paper, run again: error against iterations."""

import matplotlib.pyplot as plt
import numpy as np

from sparsenum import ot
from sparsenum.plot import COLOURS, STYLE

N, ETA, TOL = 500, 1200, 1e-9
METHODS = {"Sinkhorn-Newton-Sparse": "sns-paper", "Sinkhorn": "sinkhorn"}

M = np.random.default_rng(0).random((N, N))
M /= M.max()
with plt.rc_context(STYLE):
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for (name, method), colour in zip(METHODS.items(), COLOURS[1:], strict=False):
        solution = ot.solve(M, reg=1 / ETA, tol=TOL, method=method)
        errors = solution.log["err"]
        label = f"{name}: {solution.n_iter:,} iterations"
        axes.plot(range(1, len(errors) + 1), errors, color=colour, linewidth=2.2, label=label)
    axes.axhline(TOL, color="#BBBBBB", linewidth=1, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="iteration", ylabel="violation of the marginals")
    axes.legend(frameon=False)
