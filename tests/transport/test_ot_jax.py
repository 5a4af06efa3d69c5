"""Arrays of jax: the same doors, and derivatives of values."""

import warnings

import numpy as np
import pytest

from sparsenum import ot

jax = pytest.importorskip("jax", reason="jax is not among the packages of the tests")
jax.config.update("jax_enable_x64", True)


def test_jax_gets_jax_back_and_derivatives():
    rng = np.random.default_rng(0)
    M = rng.random((5, 6))
    M[0, 0] = np.inf
    expected = ot.solve(M, reg=0.1)
    x = jax.numpy.asarray(M)
    result = ot.solve(x, reg=0.1)
    assert isinstance(result.plan, jax.Array)
    np.testing.assert_allclose(result.plan, expected.plan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for number, of in (
            (lambda M: ot.solve(M, reg=0.1).value, "value"),
            (lambda M: ot.sinkhorn2([], [], M, 0.1), "value_linear"),
        ):
            np.testing.assert_allclose(jax.grad(number)(x), expected.gradient(of).M)
    assert ot.solve_batch(x[None], 0.1).plan.shape == (1, 5, 6)
