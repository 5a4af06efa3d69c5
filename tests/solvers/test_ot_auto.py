"""The solver without knobs, on problems that break others: hard costs, tiny masses, small reg."""

import math
import time
import warnings

import naive
import numpy as np
import ot as pot
import pytest
from transport_problems import FAMILIES, METHODS, problem

from sparsenum import ConvergenceWarning, ot
from sparsenum.ot.problems.dense import Problem
from sparsenum.ot.solvers.annealing.auto import annealed_newton, sweeps_needed
from sparsenum.ot.solvers.annealing.stages import Annealer, Stage
from sparsenum.ot.solvers.monitor import Monitor

REGS = [1e-1, 1e-2, 1e-3, 1e-4, 3e-5]  # in units of the largest cost


def true_error(P, a, b):
    return np.abs(P.sum(axis=1) - a).sum() + np.abs(P.sum(axis=0) - b).sum()


# Robustness: a plan of the right form with the right marginals is the one solution there is.


@pytest.mark.parametrize("reg", REGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_case_converges(family, reg):
    M, a, b, reg = problem(family, reg)
    result = ot.solve(M, a, b, reg)
    P = naive.plan(M, *result.potentials, reg)
    assert result.converged
    assert (P >= 0).all()
    assert true_error(P, a, b) <= 1e-9 + 1e-11
    np.testing.assert_allclose(result.plan, P, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("reg", [1e-1, 3e-2])
@pytest.mark.parametrize("family", FAMILIES)
def test_potentials_are_those_of_the_naive_twin(family, reg):
    M, a, b, reg = problem(family, reg, seed=1)
    result = ot.solve(M, a, b, reg, tol=1e-12)
    P, f, g = naive.entropic_plan(M, a, b, reg, tol=1e-12)
    np.testing.assert_allclose(result.plan, P, rtol=0, atol=1e-11)
    shift = a @ (result.potential_a - f)
    heavy = a > 1e-6, b > 1e-6
    for mine, theirs, there in zip(result.potentials, (f + shift, g - shift), heavy, strict=True):
        np.testing.assert_allclose(mine[there], theirs[there], rtol=0, atol=1e-4 * reg)


@pytest.mark.parametrize("family", ["clouds", "random", "permuted"])
def test_plans_are_pots_at_a_hundredth(family):
    M, a, b, reg = problem(family, 1e-2, seed=2)
    theirs = pot.bregman.sinkhorn_log(a, b, M, reg, stopThr=1e-10, numItermax=20_000)
    assert true_error(theirs, a, b) < 1e-8
    np.testing.assert_allclose(ot.solve(M, a, b, reg).plan, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("reg", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("family", ["clouds", "l1 grid", "tiny masses"])
def test_units_and_shifts_of_the_cost_do_not_matter(family, reg):
    M, a, b, reg = problem(family, reg, seed=3)
    P = ot.solve(M, a, b, reg).plan
    for unit in (1e6, 1e-6):
        np.testing.assert_allclose(ot.solve(unit * M, a, b, unit * reg).plan, P, rtol=0, atol=2e-9)
    lost = 1e6 * np.finfo(float).eps / reg  # what the shift takes from each entry of the plan
    shifted = ot.solve(M + 1e6, a, b, reg, tol=max(1e-9, 20 * lost))
    np.testing.assert_allclose(shifted.plan, P, rtol=0, atol=1e-9 + 100 * lost)


def test_a_tolerance_above_every_error_is_met_at_once():
    assert ot.solve(*problem("random", 1e-4), tol=1e3).converged


# Routes


@pytest.mark.parametrize(
    ("family", "reg", "route"),
    [
        ("random", 1e-1, "easy"),
        ("clouds", 1e-1, "easy"),
        ("clouds", 3e-2, "easy"),
        ("clouds", 2e-2, "dense"),
        ("l1 clouds", 3e-2, "dense"),  # begun by Sinkhorn's method, which is too slow
        ("clouds in 20-D", 1e-2, "dense"),
        ("random", 1e-4, "sparse"),
        ("clouds", 1e-3, "sparse"),
        ("l1 grid", 1e-3, "sparse"),
        ("walled", 1e-3, "sparse"),
    ],
)
def test_each_problem_takes_its_route(family, reg, route):
    M, a, b, reg = problem(family, reg)
    log = ot.solve(M, a, b, reg).log
    assert ("support" in log) == (route == "sparse")
    assert ("newton" in log) == (route != "easy")
    if route == "sparse":
        assert 1 <= log["scans"] <= 12
        assert max(M.shape) <= log["support"] <= 0.7 * M.size
    assert log["niter"] == log["sinkhorn"] + log.get("newton", 0) + log.get("refused", 0)


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize(
    ("errors", "sweeps"),
    [([0.1, 0.1], math.inf), ([0.1, 0.2], math.inf), ([0.2, 0.02], 1.0), ([1e-7, 1e-7], 1.0)],
)
def test_sweeps_are_foreseen_by_the_rate(errors, sweeps, tol):
    stage = Stage(np.zeros(1), np.zeros(1), 1.0, errors)
    expected = sweeps * max(math.log10(errors[-1] / tol), 0.0)
    assert sweeps_needed(stage, tol) == pytest.approx(expected)


def test_an_easy_looking_problem_that_is_not_is_finished_by_newton(monkeypatch):
    monkeypatch.setattr("sparsenum.ot.solvers.annealing.auto.sweeps_needed", lambda *_: 0.0)
    result = ot.solve(*problem("clouds", 1e-2))
    assert result.converged
    assert result.log["newton"] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stage_in_float32_is_near_sinkhorn_in_float64(family):
    M, a, b, reg = problem(family, 0.1)
    whole = Problem(M, a, b, reg)
    annealer = Annealer(whole, Monitor(1e-9, 1000))
    stage = annealer.stage(-reg * annealer.log_b, reg, 6, 0.0)
    assert len(stage.errors) == 6
    at = whole.iterate(np.zeros(len(b)))
    for _ in range(6):
        at = whole.sinkhorn_sweep(at)
    assert whole.iterate(stage.psi + reg * np.log(b)).error == pytest.approx(at.error, abs=2e-5)
    assert np.isfinite(stage.phi).all()
    lifted = np.outer(np.maximum(a, 1e-12), np.maximum(b, 1e-12))
    P = lifted * naive.plan(M, stage.phi, stage.psi, reg)  # after the columns' turn
    np.testing.assert_allclose(np.abs(P.sum(axis=0) - b).sum(), 0.0, rtol=0, atol=2e-5)


# Starts


@pytest.mark.parametrize("reg", REGS)
@pytest.mark.parametrize("family", ["random", "clouds", "l1 grid", "walled"])
def test_warm_starts(family, reg):
    M, a, b, reg = problem(family, reg, seed=4)
    cold = ot.solve(M, a, b, reg, tol=1e-8)
    exact = ot.solve(M, a, b, reg, tol=1e-8, potentials_init=cold.potentials)
    assert exact.converged
    assert exact.n_iter <= 1
    noise = 1e-3 * reg * np.random.default_rng(0).standard_normal(len(b))
    start = cold.potential_a, cold.potential_b + noise
    near = ot.solve(M, a, b, reg, tol=1e-8, potentials_init=start)
    assert near.converged
    assert near.n_iter < cold.n_iter


@pytest.mark.parametrize("reg", [1e-1, 1e-3])
def test_a_start_with_a_column_that_gets_nothing(reg):
    M, a, b, reg = problem("clouds", reg, seed=5)
    b = np.where(np.arange(len(b)) == 7, 1e-12, b)
    f, g = ot.solve(M, a, b / b.sum(), reg).potentials
    g = np.where(np.arange(len(b)) == 7, -1e9, g)
    assert (
        ot.solve(M, a, b / b.sum(), reg, potentials_init=(f, g), tol=1e-13).marginal_error < 1e-13
    )


def test_any_start_at_all():
    M, a, b, reg = problem("clouds", 1e-3, seed=6)
    start = 1e3 * np.random.default_rng(0).standard_normal((2, 120))
    assert ot.solve(M, a, b, reg, potentials_init=(start[0, :90], start[1])).converged


# Ends


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reg", [1e-1, 1e-3])
@pytest.mark.parametrize("family", ["clouds", "l1 grid"])
@pytest.mark.parametrize("limit", [0, 1, 2, 5, 8])
def test_max_iter_is_a_hard_cap_everywhere(family, reg, method, limit):
    M, a, b, reg = problem(family, reg)
    with pytest.warns(ConvergenceWarning):
        result = ot.solve(M, a, b, reg, tol=1e-13, method=method, max_iter=limit)
    assert result.status == "max_iter"
    assert result.n_iter == limit
    P = naive.plan(M, *result.potentials, reg)
    assert result.marginal_error == pytest.approx(true_error(P, a, b), rel=1e-8)


@pytest.mark.parametrize("limit", [*range(10, 30, 3), 40])
def test_max_iter_is_a_hard_cap_on_the_way_down(limit):
    M, a, b, reg = problem("l1 grid", 1e-4)
    with pytest.warns(ConvergenceWarning):
        result = ot.solve(M, a, b, reg, max_iter=limit, tol=1e-12)
    assert result.n_iter == limit
    assert result.marginal_error > 1e-12


@pytest.mark.parametrize("stop", [0, 1, 3, 7, 10, 15, 20, 25])
@pytest.mark.parametrize("method", METHODS)
def test_a_callback_stops_at_once(method, stop):
    M, a, b, reg = problem("l1 grid", 1e-4)
    steps = []

    def watch(step):
        steps.append(step)
        return step.n_iter == stop

    with pytest.warns(ConvergenceWarning):
        result = ot.solve(M, a, b, reg, method=method, callback=watch)
    assert (result.status, result.n_iter, len(steps)) == ("stopped", stop, stop + 1)
    P = naive.plan(M, *result.potentials, reg)
    assert result.marginal_error == pytest.approx(true_error(P, a, b), rel=1e-8)


@pytest.mark.alone
@pytest.mark.parametrize("method", METHODS)
def test_a_time_limit_stops_at_once(method):
    M, a, b, reg = problem("l1 grid", 1e-4)
    options = {"method": method, "time_limit": 0.05}
    # The first solve of a process loads kernels, and may be out of time before its first iteration.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ot.solve(M, a, b, reg, method=method, max_iter=3)
    with pytest.warns(ConvergenceWarning):
        result = ot.solve(M, a, b, reg, **options, callback=lambda _: time.sleep(0.02))
    assert result.status == "time_limit"
    assert 1 <= result.n_iter <= 3


def test_a_stop_at_the_last_step_of_a_certified_result_is_not_a_failure():
    M, a, b, reg = problem("clouds", 1e-3)
    last = ot.solve(M, a, b, reg).n_iter
    result = ot.solve(M, a, b, reg, max_iter=last)
    assert (result.status, result.n_iter) == ("converged", last)


def test_the_algorithm_restores_what_it_borrows_from_the_monitor():
    M, a, b, reg = problem("clouds", 1e-1)
    monitor = Monitor(1e-9, 777)
    at, counts = annealed_newton(Problem(M, a, b, reg), np.zeros(len(b)), monitor)
    assert (monitor.max_iter, monitor.status, counts) == (777, "converged", {})
    assert at.error <= 1e-9
