"""The solver without knobs: easy problems by Sinkhorn, all others by annealed sparse Newton."""

import math

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.problems.dense import SAMPLE, Iterate, Problem, Vector
from sparsenum.ot.solvers.annealing import dense
from sparsenum.ot.solvers.annealing.spread import scales, typical, without_outliers
from sparsenum.ot.solvers.annealing.stages import Annealer, Stage
from sparsenum.ot.solvers.annealing.supports import COARSE, DROPPED, ROOM, descend
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.solvers.newton import Pace, newton_step
from sparsenum.ot.solvers.sinkhorn import sinkhorn

PLAIN_SPREAD = 8.0  # std(M) / reg below which Sinkhorn's method is begun at once
PLAIN_SWEEPS = 100  # further sweeps that it is granted there: Newton's would have no supports
EASY_SPREAD = 60.0  # std(M) / reg above which it is not worth a probe
PROBE_SWEEPS = 6
EASY_SWEEPS = 30  # further sweeps that it is granted after a probe
FLOOR = 1e-5  # float32 errors below this say nothing about the rate

START = 0.1  # first reg of the annealing, in units of the spread of the cost
STAGE_SWEEPS, STAGE_GOAL = 6, 0.05
SPARSE, SPARSE_AT_TARGET, SPARSE_IN_NEED = 0.28, 0.6, 0.6  # densities worth a support


def annealed_newton(
    problem: Problem, g: Vector, monitor: Monitor
) -> tuple[Iterate, dict[str, int]]:
    """Return the iterate that meets the monitor's tolerance, and the counts of its steps.

    An easy problem is one where a few sweeps at the target, in float32 unless they are likely to
    do, show a fast rate: it is left to Sinkhorn's method. Otherwise reg is annealed from a tenth
    of the spread of the cost, first by float32 sweeps on the dense kernel, then, as soon as the
    plan is sparse, by Newton's method on supports. Plans that stay dense, and whatever the
    supports could not certify, are finished by Newton's method on the dense plan.
    """
    if g.any():  # a start that may be good already
        start = problem.iterate(g)
        if not monitor.proceed(start.error):
            return start, {}
        if start.error < dense.NEAR:
            return dense_newton(problem, start, monitor)
    rows = np.linspace(0, problem.a.size - 1, min(problem.a.size, SAMPLE)).astype(np.int64)
    sample = problem.row_costs(rows)
    candidates = scales(sample, problem.reg)
    spread = typical(sample, candidates) / problem.reg
    if spread < PLAIN_SPREAD:
        at = _while_fast(problem, g, monitor, PLAIN_SWEEPS)
        if at.error < dense.NEAR:
            return _finished(problem, at, monitor, {})
        g = at.g if np.isfinite(at.g).all() else g
    annealer = Annealer(problem, monitor)
    psi, log_b = g - problem.reg * annealer.log_b, np.log(problem.b)
    if PLAIN_SPREAD <= spread < EASY_SPREAD:
        probe = annealer.stage(psi, problem.reg, PROBE_SWEEPS, 0.0)
        g = probe.psi + problem.reg * log_b
        if sweeps_needed(probe, monitor.tol) < EASY_SWEEPS:
            del annealer  # Sinkhorn's method brings a kernel of its own
            at = _while_fast(problem, g, monitor, 2 * EASY_SWEEPS)
            return _finished(problem, at, monitor, {})
        if probe.error < dense.NEAR:
            del annealer
            return dense_newton(problem, problem.iterate(g), monitor)
    plan, widest = without_outliers(problem, candidates, monitor, newton_step)
    if plan is not None:
        psi = plan.g - widest * log_b
    warm, factor, is_sparse = _anneal(problem, annealer, psi, widest, rows)
    g = warm.psi + problem.reg * log_b
    del annealer  # its kernel makes room for the supports
    if not (is_sparse and monitor.wants_more()):
        return dense_newton(problem, problem.iterate(g), monitor)
    at, counts, certified = descend(problem, monitor, warm, factor)
    if certified:
        return at, counts
    return _finished(problem, problem.iterate(at.g), monitor, counts)


def hastened_sinkhorn(
    problem: Problem, g: Vector, monitor: Monitor
) -> tuple[Iterate, dict[str, int]]:
    """Sweep at the target as Sinkhorn's method does; go over to Newton's where that is slow."""
    at = _while_fast(problem, g, monitor, PLAIN_SWEEPS)
    return annealed_newton(problem, at.g, monitor) if monitor.wants_more() else (at, {})


def sweeps_needed(probe: Stage, tol: float) -> float:
    """Predict from a probe how many more sweeps Sinkhorn's method needs."""
    last, before = probe.errors[-1], probe.errors[-2] if len(probe.errors) > 1 else 1.0
    rate = 0.1 if before < FLOOR else max(last, 0.1 * FLOOR) / before
    if rate >= 1.0:
        return math.inf
    return math.log(max(last / tol, 1.0)) / -math.log(rate)


def _while_fast(problem: Problem, g: Vector, monitor: Monitor, sweeps: int) -> Iterate:
    """Let Sinkhorn's method run while its rate promises an end within some more sweeps."""
    first = len(monitor.errors)

    def promising(error: float) -> bool:
        more = monitor.proceed(error)
        errors = monitor.errors[first:]
        probing = len(errors) <= PROBE_SWEEPS
        return more and (probing or dense.sweeps_left(errors, monitor.tol) < sweeps)

    return sinkhorn(problem, g, promising)


def _finished(
    problem: Problem, at: Iterate, monitor: Monitor, counts: dict[str, int]
) -> tuple[Iterate, dict[str, int]]:
    """Add dense Newton steps where the tolerance is missed and time is left."""
    if not monitor.wants_more():
        return at, counts
    at, more = dense_newton(problem, problem.iterate(at.g), monitor)
    return at, {key: counts.get(key, 0) + more.get(key, 0) for key in counts | more}


def dense_newton(problem: Problem, at: Iterate, monitor: Monitor) -> tuple[Iterate, dict[str, int]]:
    """Take Newton steps on the dense plan, Sinkhorn sweeps where they are refused."""
    pace = Pace(0.0)
    at = dense.newton(problem, at, monitor, pace, newton_step)
    return at, pace.counts()


def _anneal(
    problem: Problem,
    annealer: Annealer,
    psi: Vector,
    spread: float,
    rows: NDArray[np.int64],
) -> tuple[Stage, float, bool]:
    """Lower reg by dense stages until the next level is sparse enough, or the target is reached.

    Return the last stage, the factor by which the sparse levels should go on, and whether they can.
    """
    target = problem.reg
    full = math.log(1.0 / (DROPPED * annealer.monitor.tol))
    reg, hard = max(target, START * spread), 0
    while True:
        last = reg <= target * (1 + 1e-12)
        stage = annealer.stage(psi, reg, (2 if last else 1) * STAGE_SWEEPS, STAGE_GOAL)
        psi = stage.psi
        factor = 3.0 if stage.error <= STAGE_GOAL else 2.0
        hard = hard + 1 if stage.error > STAGE_GOAL else 0
        following = max(target, reg / factor)
        cut = full if following == target else COARSE
        width = (cut + ROOM) * following + (0.0 if last else 2.0 * reg)
        density = stage.density(problem.row_costs(rows), rows, width)
        enough = SPARSE_IN_NEED if hard >= 2 else SPARSE
        if following == target:
            enough = max(enough, SPARSE_AT_TARGET)
        if density < enough or last or not annealer.monitor.wants_more():
            return stage, factor, density < enough
        sweeps = len(stage.errors)
        lower = max(target, reg / (9.0 if sweeps <= 2 else 5.0 if sweeps <= 4 else 3.0))
        skip = (COARSE + ROOM) * following + 0.5 * reg
        if stage.density(problem.row_costs(rows), rows, skip) < SPARSE:
            lower = max(lower, following)
        reg = lower
