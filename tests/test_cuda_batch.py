"""A stack on a device gives what it gives on the CPU, to rounding."""

import naive
import numpy as np
import pytest

from sparsenum import ConvergenceWarning, ot
from sparsenum.ot import batch

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
