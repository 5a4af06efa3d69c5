"""The pieces of the transport solvers, each against its slow twin."""

import naive
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from sparsenum._formulas import column_update_v1, exp_or_zero_v1, exp_v1, highest_v1
from sparsenum._numba import kernel
from sparsenum.ot.problems import _cpu as _cpu_dense
from sparsenum.ot.problems.dense import Problem
from sparsenum.ot.solvers import _cpu as _cpu_scaling

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
    _cpu_dense.row_update(M, a, g, reg, f, sums)
    return f, sums


@kernel
def fill_exponentials(x, out):
    for i in range(x.size):
        out[i] = exp_or_zero_v1(x[i])


def exponentials(x):
    out = np.empty(len(x))
    fill_exponentials(x, out)
    return out


def stage(M, a, g, reg):
    n, m = M.shape
    top, u, sums = np.empty(n), np.empty(n, np.float32), np.empty(m, np.float32)
    K = np.empty((n, m), np.float32)
    _cpu_scaling.anneal_stage(M, a, g, reg, K, top, u, sums)
    return top, K, u, sums


def test_exponential_is_exact_to_rounding():
    x = np.concatenate([np.linspace(-599.9, 0.3, 300_001), -np.logspace(-18, 0, 1000), [0.0]])
    np.testing.assert_allclose(exponentials(x), np.exp(x), **EXACT)
    assert exponentials(np.zeros(1))[0] == 1.0
    np.testing.assert_allclose([exp_v1(-700.0)], [np.exp(-700.0)], **EXACT)


def test_exponential_is_zero_far_out_and_never_denormal():
    assert exponentials(np.array([-600.0, -745.0, -1e9, -1e300, -np.inf])).tolist() == [0.0] * 5


def test_exponential_in_float32():
    x = np.linspace(-60.0, 0.0, 400_001, dtype=np.float32)[1:]
    _, K, _, _ = stage(-x.astype(np.float64)[None, :], np.ones(1), np.zeros(len(x)), 1.0)
    np.testing.assert_allclose(K[0], np.exp(x.astype(np.float64)), rtol=3e-7, atol=0)
    assert K[0, -1] == 1.0
    _, K, _, _ = stage(np.array([[0.0, 60.1, 1e9, 1e300, np.inf]]), np.ones(1), np.zeros(5), 1.0)
    assert K[0].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


@given(states(), st.sampled_from([0.0, 1e6]))
def test_anneal_stage(state, shift):
    M, a, _, reg, g = state
    top, K, u, sums = stage(M + shift, a, g, reg)
    expected = naive.anneal_stage(M, a, g, reg)
    close = {"rtol": 1e-5 if shift == 0.0 else 1e-4, "atol": 1e-25}
    np.testing.assert_allclose(top + shift, expected[0], rtol=0, atol=1e-15 + 1e-15 * shift)
    np.testing.assert_allclose(K, expected[1], **close)
    np.testing.assert_allclose(u, expected[2], **close)
    np.testing.assert_allclose(sums, expected[3], **close)


@given(states())
def test_scaled_plan(state):
    M, a, _, reg, g = state
    f, _ = potentials(M, a, g, reg)
    expected = naive.plan(M, f, g, reg) / np.sqrt(a)[:, None]
    for dtype, rtol in ((np.float64, 1e-11), (np.float32, 1e-6)):
        Q = np.empty(M.shape, dtype)
        _cpu_dense.scaled_plan(M, a, f, g, reg, Q)
        np.testing.assert_allclose(Q, expected, rtol=rtol, atol=1e-13)


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
    column_update_v1(M, b, f, reg, g)
    np.testing.assert_allclose(g, naive.column_update(M, b, f, reg), **CLOSE)


@given(states())
def test_plan_and_its_sums(state):
    M, a, b, reg, g = state
    f, _ = potentials(M, a, g, reg)
    expected = naive.plan(M, f, g, reg)
    P, rows, columns = np.empty_like(M), np.empty_like(a), np.empty_like(b)
    _cpu_dense.plan(M, f, g, reg, P)
    _cpu_dense.plan_sums(M, f, g, reg, rows, columns)
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
    _cpu_scaling.scaling_sweep(K, a, v, u, sums)
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


@pytest.mark.parametrize("size", range(12))
def test_highest_is_the_maximum_of_a_stretch(size):
    rng = np.random.default_rng(size)
    x = rng.standard_normal(size + 4)
    x[rng.random(x.size) < 0.3] = -np.inf
    expected = max(x[2 : 2 + size], default=-np.inf)
    assert highest_v1(x, 2, 2 + size) == expected
