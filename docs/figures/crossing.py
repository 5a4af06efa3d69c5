"""When which solver is fastest: time against reg, on one random problem of assignment."""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import ot as pot

from sparsenum import ot
from sparsenum.plot import COLOURS, STYLE

N, TOL, REPEATS = 400, 1e-9, 5
REGS = np.logspace(-0.5, -4, 8)
SWEEPS = 20_000  # where Sinkhorn's method is given up

M = np.random.default_rng(0).random((N, N))


def fastest(run, *arguments):
    """Return the least CPU milliseconds of some runs, after one that compiles."""
    run(*arguments)
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        run(*arguments)
        seconds.append(time.process_time() - start)
    return 1e3 * min(seconds)


def default(reg):
    return ot.solve(M, reg=reg, tol=TOL).plan


def sinkhorn(reg):
    """Return the plan, None where it is not reached."""
    solution = ot.solve(M, reg=reg, tol=TOL, method="sinkhorn", max_iter=SWEEPS)
    return solution.plan if solution.converged else None


with warnings.catch_warnings(), plt.rc_context(STYLE):
    warnings.simplefilter("ignore")  # what missed its tolerance is not drawn
    easy = [reg for reg in REGS if sinkhorn(reg) is not None]
    times = {
        "default": (REGS, [fastest(default, reg) for reg in REGS]),
        'method="sinkhorn"': (easy, [fastest(sinkhorn, reg) for reg in easy]),
    }
    uniform = np.full(N, 1 / N)
    exact = fastest(pot.emd, uniform, uniform, M)
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for (name, (regs, each)), colour in zip(times.items(), COLOURS, strict=False):
        axes.plot(regs, each, "o-", color=colour, label=name)
    axes.axhline(exact, color="#888888", linestyle=":", label="POT ot.emd, no entropy")
    axes.set(xscale="log", yscale="log", xlabel="reg / largest cost", ylabel="CPU milliseconds")
    axes.invert_xaxis()
    axes.legend(frameon=False)
