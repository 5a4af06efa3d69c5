"""The pieces of the transport solvers, each against its slow twin."""

import naive
import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from sparsenum.ot import _cpu
from sparsenum.ot.newton import line_search, newton_direction
from sparsenum.ot.problem import Problem

CLOSE = {"rtol": 1e-11, "atol": 1e-13}
EXACT = {"rtol": 4e-16, "atol": 0}  # what exp_v1 promises


@st.composite
def states(draw):
    """A problem, some of its pairs forbidden, and any g."""
    M, a, b, reg = draw(strategies.problems(regs=(0.05, 0.2, 1.0)))
    forbidden = draw(strategies.hnp.arrays(np.bool_, M.shape))
    forbidden[:, 0] = forbidden[0] = False
    return np.where(forbidden, np.inf, M), a, b, reg, draw(strategies.vectors(len(b)))


def potentials(M, a, g, reg):
    f, sums = np.empty(len(a)), np.empty(len(g))
    _cpu.row_update(M, a, g, reg, f, sums)
    return f, sums


def exponentials(x):
    P = np.empty((1, len(x)))
    _cpu.plan(-x[None, :], np.zeros(1), np.zeros(len(x)), 1.0, P)
    return P[0]


def test_exponential_is_exact_to_rounding():
    x = np.concatenate([np.linspace(-599.9, 0.3, 300_001), -np.logspace(-18, 0, 1000), [0.0]])
    np.testing.assert_allclose(exponentials(x), np.exp(x), **EXACT)
    assert exponentials(np.zeros(1))[0] == 1.0
    np.testing.assert_allclose([_cpu.exp_v1(-700.0)], [np.exp(-700.0)], **EXACT)


def test_exponential_is_zero_far_out_and_never_denormal():
    assert exponentials(np.array([-600.0, -745.0, -1e9, -1e300, -np.inf])).tolist() == [0.0] * 5


@given(states())
def test_row_update(state):
    M, a, _, reg, g = state
    f, sums = potentials(M, a, g, reg)
    np.testing.assert_allclose(f, naive.row_update(M, a, g, reg), **CLOSE)
    np.testing.assert_allclose(sums, naive.plan(M, f, g, reg).sum(axis=0), **CLOSE)


@given(states())
def test_column_update(state):
    M, _, b, reg, g = state
    f = np.linspace(-1.0, 1.0, len(M))
    _cpu.column_update(M, b, f, reg, g)
    np.testing.assert_allclose(g, naive.column_update(M, b, f, reg), **CLOSE)


@given(states())
def test_plan_and_its_sums(state):
    M, a, b, reg, g = state
    f, _ = potentials(M, a, g, reg)
    expected = naive.plan(M, f, g, reg)
    P, rows, columns = np.empty_like(M), np.empty_like(a), np.empty_like(b)
    _cpu.plan(M, f, g, reg, P)
    _cpu.plan_sums(M, f, g, reg, rows, columns)
    np.testing.assert_allclose(P, expected, **CLOSE)
    np.testing.assert_allclose(rows, expected.sum(axis=1), **CLOSE)
    np.testing.assert_allclose(columns, expected.sum(axis=0), **CLOSE)
    assert (P[np.isinf(M)] == 0.0).all()


@given(states(), st.sampled_from([1e-1, 1e-3, 1e-9]))
def test_count_and_fill_keep_what_exceeds_its_rows_or_its_columns_floor(state, share):
    M, a, b, reg, g = state
    f, sums = potentials(M, a, g, reg)
    row_floor, column_floor = share * np.pi * a, share * np.e * sums
    result = Problem(M, a, b, reg).sparse_plan(f, g, row_floor, column_floor)
    expected = naive.plan_above(naive.plan(M, f, g, reg), row_floor, column_floor)
    assert result.row_counts.tolist() == np.count_nonzero(expected, axis=1).tolist()
    np.testing.assert_allclose(result.to_dense(), expected, **CLOSE)


@given(states())
def test_scaling_sweep(state):
    M, a, _, reg, g = state
    K = np.exp(-M / reg)
    v = np.exp(g)
    u, sums = np.empty_like(a), np.empty_like(v)
    _cpu.scaling_sweep(K, a, v, u, sums)
    expected, expected_sums = naive.scaling_sweep(K, a, v)
    np.testing.assert_allclose(u, expected, **CLOSE)
    np.testing.assert_allclose(sums, expected_sums, **CLOSE)


@given(states())
def test_sinkhorn_sweep_makes_columns_then_rows_exact(state):
    M, a, b, reg, g = state
    problem = Problem(M, a, b, reg)
    at = problem.iterate(g)
    after = problem.sinkhorn_sweep(at)
    np.testing.assert_allclose(after.g, naive.column_update(M, b, at.f, reg), **CLOSE)
    np.testing.assert_allclose(after.f, naive.row_update(M, a, after.g, reg), **CLOSE)
    assert after.error == pytest.approx(np.abs(after.column_sums - b).sum(), abs=1e-15)


def test_sinkhorn_sweep_where_a_column_has_underflowed():
    rng = np.random.default_rng(0)
    M, a = rng.random((4, 3)), np.full(4, 0.25)
    problem = Problem(M, a, np.full(3, 1 / 3), 1e-3)
    at = problem.iterate(np.array([0.0, 0.0, -5.0]))
    assert at.column_sums[2] == 0.0
    after = problem.sinkhorn_sweep(at)
    np.testing.assert_allclose(after.g, naive.column_update(M, problem.b, at.f, 1e-3), rtol=1e-10)


@given(strategies.problems(), st.data())
def test_dual_gradient_by_finite_differences(case, data):
    problem = Problem(*case)
    g = data.draw(strategies.vectors(len(problem.b))) / 4
    at = problem.iterate(g)
    h = 1e-5
    for j in range(len(g)):
        step = h * np.eye(len(g))[j]
        up, down = problem.iterate(g + step), problem.iterate(g - step)
        slope = (problem.dual(up) - problem.dual(down)) / (2 * h)
        assert slope == pytest.approx(problem.b[j] - at.column_sums[j], abs=1e-8)


@given(strategies.problems(), st.sampled_from([0.1, 1.0]))
def test_newton_direction_is_that_of_the_damped_schur_complement(case, damping):
    problem = Problem(*case)
    at = problem.iterate(np.zeros(len(problem.b)))
    while at.error > 1e-5:
        at = problem.sinkhorn_sweep(at)
    assume(at.error > 0.0)
    result = newton_direction(problem, at, damping)
    P = problem.plan(at.f, at.g)
    exact = naive.newton_direction(P, problem.a, at.column_sums, problem.b, damping)
    np.testing.assert_allclose(result.x, exact, rtol=0, atol=1e-3 * np.abs(exact).max())
    assert result.converged


@given(strategies.problems(), st.data())
def test_line_search_only_accepts_progress(case, data):
    problem = Problem(*case)
    at = problem.iterate(np.zeros(len(problem.b)))
    step = data.draw(strategies.vectors(len(problem.b)))
    better, length = line_search(problem, at, step)
    if better is None:
        assert length < 0.4**5
    else:
        np.testing.assert_allclose(better.g, at.g + length * problem.reg * step, atol=1e-15)
        assert problem.dual(better) > problem.dual(at) or better.error <= 0.9 * at.error


def test_line_search_takes_the_ascent_and_refuses_the_descent():
    rng = np.random.default_rng(0)
    problem = Problem(rng.random((6, 5)), np.full(6, 1 / 6), np.full(5, 0.2), 0.1)
    at = problem.iterate(rng.random(5))
    uphill = problem.b - at.column_sums
    assert line_search(problem, at, uphill)[0] is not None
    assert line_search(problem, at, -uphill)[0] is None
