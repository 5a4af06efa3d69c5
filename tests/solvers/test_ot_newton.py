"""The shared Newton step: its direction against the dense system, and what it accepts."""

import naive
import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from sparsenum.ot.problems import dense as problem
from sparsenum.ot.problems.dense import Problem
from sparsenum.ot.problems.support import Restricted
from sparsenum.ot.solvers import newton
from sparsenum.ot.solvers.newton import (
    Pace,
    direction,
    dual,
    line_search,
    newton_step,
    sinkhorn_sweep,
)
from sparsenum.sparse import CSR


def near(case, error):
    """A problem and an iterate of it with at most this error."""
    whole = Problem(*case)
    at = whole.iterate(np.zeros(len(whole.b)))
    while at.error > error:
        at = whole.sinkhorn_sweep(at)
    return whole, at


@given(strategies.problems(), st.data())
def test_dual_gradient_by_finite_differences(case, data):
    whole = Problem(*case)
    g = data.draw(strategies.vectors(len(whole.b))) / 4
    at = whole.iterate(g)
    h = 1e-5
    for j in range(len(g)):
        step = h * np.eye(len(g))[j]
        up, down = whole.iterate(g + step), whole.iterate(g - step)
        slope = (dual(whole, up) - dual(whole, down)) / (2 * h)
        assert slope == pytest.approx(whole.b[j] - at.column_sums[j], abs=1e-8)


@pytest.mark.parametrize("route", ["dense", "sparse", "factorised", "support"])
@given(strategies.problems(), st.sampled_from([0.1, 1.0]))
def test_direction_is_that_of_the_damped_schur_complement(route, case, damping):
    whole, at = near(case, 1e-5)
    assume(at.error > 1e-9)
    here = whole
    if route == "support":
        here = Restricted(CSR.from_dense(whole.M + 1.0), whole.a, whole.b, whole.reg)
        at = here.iterate(at.g)
    pace = Pace(damping, stalled=route == "factorised")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problem, "DENSE_ABOVE", 0.0 if route == "dense" else 2.0)
        x = direction(here, at, pace, 1e-14)
    P = naive.plan(whole.M + (route == "support"), at.f, at.g, whole.reg)
    exact = naive.newton_direction(P, whole.a, at.column_sums, whole.b, damping)
    np.testing.assert_allclose(x, exact, rtol=0, atol=1e-3 * np.abs(exact).max())
    assert (pace.cg == 0) == (route == "factorised")


@pytest.mark.parametrize(
    ("unknowns", "entries", "factorised"), [(30, 0, True), (29, 20, True), (29, 0, False)]
)
def test_a_stalled_iteration_is_replaced_by_a_factorisation(
    monkeypatch, unknowns, entries, factorised
):
    rng = np.random.default_rng(0)
    whole, at = near((rng.random((20, 30)), np.full(20, 0.05), np.full(30, 1 / 30), 0.05), 1e-3)
    monkeypatch.setattr(newton, "CG_MAX_ITER", 2)
    monkeypatch.setattr(newton, "DIRECT_MOST", unknowns)
    monkeypatch.setattr(newton, "DIRECT_SPARSE", entries)  # for each of the 30 unknowns
    monkeypatch.setattr(problem, "DENSE_ABOVE", 2.0)
    pace = Pace(1e-3)
    x = direction(whole, at, pace, 1e-14)
    assert (pace.stalled, pace.cg) == (factorised, 2)
    P = whole.plan(at.f, at.g)
    exact = naive.newton_direction(P, whole.a, at.column_sums, whole.b, 1e-3)
    close = np.allclose(x, exact, rtol=0, atol=1e-2 * np.abs(exact).max())
    assert close == factorised  # two iterations are too few


@given(strategies.problems(), st.data())
def test_line_search_only_accepts_progress(case, data):
    whole = Problem(*case)
    at = whole.iterate(np.zeros(len(whole.b)))
    step = data.draw(strategies.vectors(len(whole.b)))
    better, length = line_search(whole, at, step)
    if better is None:
        assert length == pytest.approx(newton.SHRINK**newton.TRIALS)
    else:
        np.testing.assert_allclose(better.g, at.g + length * whole.reg * step, rtol=0, atol=1e-15)
        gain = dual(whole, better) - dual(whole, at)
        assert gain > 0.0 or better.error < at.error or better.error == at.error == 0.0


def test_line_search_takes_the_ascent_and_refuses_the_descent():
    rng = np.random.default_rng(0)
    whole = Problem(rng.random((6, 5)), np.full(6, 1 / 6), np.full(5, 0.2), 0.1)
    at = whole.iterate(rng.random(5))
    uphill = whole.b - at.column_sums
    assert line_search(whole, at, uphill)[0] is not None
    assert line_search(whole, at, -uphill)[0] is None


@given(strategies.problems())
def test_newton_step_close_to_the_solution_is_full_and_nearly_quadratic(case):
    whole, at = near(case, 1e-4)
    assume(at.error > 1e-8)
    pace = Pace(1e-8)
    better, settled = newton_step(whole, at, pace, 1e-12)
    assert settled
    assert better.error <= 1e-2 * at.error
    assert (pace.newton, pace.refused) == (1, 0)


def test_pace_learns_from_its_steps():
    pace = Pace(1e-2)
    pace.accepted(1.0, 100.0)
    assert (pace.damping, pace.cap, pace.newton) == (pytest.approx(2e-3), 16.0, 1)
    pace.accepted(0.1, 1.0)
    assert (pace.damping, pace.cap) == (pytest.approx(1.2e-2), 8.0)
    pace.rejected()
    assert pace.damping == pytest.approx(0.12)
    assert pace.counts() == {"newton": 2, "refused": 1, "cg": 0}
    for _ in range(100):
        pace.accepted(1.0, 1e9)
    assert (pace.damping, pace.cap) == (newton.DAMPING_LEAST, newton.CAP_MOST)


@given(strategies.problems())
def test_cautious_sweep_is_sinkhorns_where_columns_are_not_far_off(case):
    whole = Problem(*case)
    at = whole.iterate(np.zeros(len(whole.b)))
    np.testing.assert_allclose(
        sinkhorn_sweep(whole, at).g, whole.sinkhorn_sweep(at).g, rtol=1e-12, atol=1e-14
    )


def test_steps_are_finite_where_a_column_is_empty(monkeypatch):
    whole = Problem(np.random.default_rng(0).random((4, 3)), np.full(4, 0.25), np.ones(3) / 3, 1e-3)
    at = whole.iterate(np.array([0.0, 0.0, -5.0]))
    assert at.column_sums[2] == 0.0
    assert sinkhorn_sweep(whole, at).g[2] == pytest.approx(-5.0 + 1e-3 * newton.SWEEP_MOST)
    monkeypatch.setattr(problem, "DENSE_ABOVE", 2.0)
    for stalled in (False, True):
        assert np.isfinite(direction(whole, at, Pace(1e-2, stalled=stalled), 1e-9)).all()
