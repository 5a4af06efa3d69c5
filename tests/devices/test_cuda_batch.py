"""A stack on a device gives what it gives on the CPU, to rounding."""

import naive
import numpy as np
import pytest

from sparsenum import ConvergenceWarning, ot

pytestmark = pytest.mark.usefixtures("cuda")


def stack(B=4, n=9, m=6, seed=0):
    """Random costs; masses with zeros, whose totals differ from problem to problem."""
    rng = np.random.default_rng(seed)
    a, b = 0.2 + rng.random((B, n)), 0.2 + rng.random((B, m))
    if min(n, m) > 3:
        a[0, 3] = b[B - 1, :2] = 0.0
    return rng.random((B, n, m)), a, b * (a.sum(axis=1) / b.sum(axis=1))[:, None]


def assert_as_on_the_cpu(M, reg, a=None, b=None, **options):
    here = ot.solve_batch(M, reg, a, b, **options)
    there = ot.solve_batch(M, reg, a, b, device="cuda", **options)
    assert there.status.tolist() == here.status.tolist()
    assert there.log["single"].tolist() == here.log["single"].tolist()
    np.testing.assert_allclose(there.plan, here.plan, rtol=0, atol=1e-10)
    np.testing.assert_allclose(there.potential_a, here.potential_a, rtol=0, atol=1e-10)
    np.testing.assert_allclose(there.potential_b, here.potential_b, rtol=0, atol=1e-10)
    np.testing.assert_allclose(there.value, here.value, rtol=0, atol=1e-10)
    np.testing.assert_allclose(there.value_linear, here.value_linear, rtol=0, atol=1e-10)
    np.testing.assert_allclose(there.marginal_error, here.marginal_error, rtol=0, atol=1e-12)
    return there


@pytest.mark.parametrize("shape", [(9, 6), (5, 8), (1, 1), (1, 3), (3, 1)])
def test_easy_and_hard_problems_with_zero_masses(shape):
    M, a, b = stack(4, *shape)
    if min(shape) > 3:
        M[2, 1, 2] = np.inf
    there = assert_as_on_the_cpu(M, [1.0, 0.1, 1e-2, 2e-3], a, b, tol=1e-12)
    assert there.status.tolist() == ["converged"] * 4
    if min(shape) > 3:
        assert there.log["newton"].max() > 0
        assert (there.n_iter > there.log["newton"]).any()


def test_plans_equal_the_twin():
    M, a, b = stack(2, 4, 5)
    result = ot.solve_batch(M, 0.1, a, b, tol=1e-12, device="cuda")
    for k in range(2):
        expected, _, _ = naive.entropic_plan(M[k], a[k], b[k], 0.1)
        np.testing.assert_allclose(result.plan[k], expected, rtol=0, atol=1e-10)


def test_no_problem_depends_on_its_neighbours():
    M, a, b = stack(5, 4, 3)
    whole = ot.solve_batch(M, 0.05, a, b, device="cuda")
    part = ot.solve_batch(M[3:], 0.05, a[3:], b[3:], device="cuda")
    np.testing.assert_array_equal(part.potential_a, whole.potential_a[3:])
    np.testing.assert_array_equal(part.n_iter, whole.n_iter[3:])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_costs_on_the_device_stay_there(dtype):
    from numba import cuda

    M, a, b = stack(3, 5, 4)
    M = M.astype(dtype)
    here = ot.solve_batch(M, 0.1, a, b, tol=1e-12)
    sides = cuda.to_device(a), cuda.to_device(b)
    there = ot.solve_batch(cuda.to_device(M), 0.1, *sides, tol=1e-12, device="cuda")
    plan = there.plan
    assert not isinstance(plan, np.ndarray)
    assert plan.dtype == dtype
    rounding = 1e-10 if dtype == np.float64 else 1e-7  # of the plan's entries, not of the solve
    np.testing.assert_allclose(plan.copy_to_host(), here.plan, rtol=0, atol=rounding)
    g = there.potential_b.copy_to_host()
    np.testing.assert_allclose(g, here.potential_b, rtol=0, atol=rounding)
    np.testing.assert_allclose(there.solution[2].plan, here[2].plan, rtol=0, atol=rounding)


def test_large_problems_go_one_by_one(monkeypatch):
    M, a, b = stack(2, 4, 3)
    expected = ot.solve_batch(M, 0.1, a, b, tol=1e-12)
    monkeypatch.setattr("sparsenum.ot.stacks.stack.SMALL", 5)
    large = ot.solve_batch(M, 0.1, a, b, tol=1e-12, device="cuda")
    assert large.log["single"].tolist() == [0, 1]
    np.testing.assert_allclose(large.plan, expected.plan, rtol=0, atol=1e-10)


def test_one_warning_for_all_that_missed():
    M, a, b = stack(2, 4, 3)
    with pytest.warns(ConvergenceWarning, match="2 of 2 .*max_iter: 2") as record:
        ot.solve_batch(M, 1e-3, a, b, max_iter=0, device="cuda")
    assert len(record) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"M": np.array([np.eye(2), [[np.nan, 1], [1, 1]]])}, "problem 1: M must hold numbers"),
        ({"M": np.array([np.eye(2), [[-np.inf, 1], [1, 1]]])}, "problem 1: M must hold numbers"),
        ({"M": np.array([np.eye(2), [[np.inf] * 2, [1, 1]]])}, "problem 1: M must leave each row"),
        ({"M": np.array([np.eye(2), [[np.inf, 1]] * 2])}, "problem 1: M must leave each column"),
        ({"M": np.full((2, 2, 2), np.inf)}, "problem 0: M must hold"),
        ({"M": np.ones((2, 2))}, "M must have 3 dimensions"),
        ({"a": [[1.0, 1.0], [-1.0, 3.0]]}, "problem 1: a must hold finite masses"),
        ({"reg": [1.0, np.nan]}, "problem 1: reg must be positive"),
    ],
)
def test_bad_input(change, message):
    problem = {"M": np.stack([np.eye(2)] * 2), "a": [1.0, 1.0], "b": [1.0, 1.0], "reg": 0.5}
    with pytest.raises(ValueError, match=message):
        ot.solve_batch(**{**problem, **change}, device="cuda")


def test_bad_input_on_the_device():
    from numba import cuda

    with pytest.raises(ValueError, match=r"M must have 3 dimensions: got shape \(2, 2\)"):
        ot.solve_batch(cuda.to_device(np.eye(2)), 0.1, device="cuda")
    with pytest.raises(TypeError, match="contiguous array of float64 or float32: got int64"):
        ot.solve_batch(cuda.to_device(np.ones((1, 2, 2), np.int64)), 0.1, device="cuda")
