"""Arrays of jax: the same doors, and derivatives that compose."""

import warnings

import numpy as np
import pytest

from sparsenum import ot
from sparsenum.errors import ConvergenceWarning

jax = pytest.importorskip("jax", reason="make test-jax installs it")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy
RNG = np.random.default_rng(0)
M = RNG.random((3, 4))
A, B = RNG.dirichlet(np.ones(3)), RNG.dirichlet(np.ones(4))


def test_jax_gets_jax_back_and_derivatives():
    forbidden = M.copy()
    forbidden[0, 0] = np.inf
    expected = ot.solve(forbidden, reg=0.1)
    x = jnp.asarray(forbidden)
    result = ot.solve(x, reg=0.1)
    assert isinstance(result.plan, jax.Array)
    assert result.converged
    np.testing.assert_allclose(result.plan, expected.plan, rtol=1e-9, atol=0)
    for number, of in (
        (lambda M: ot.solve(M, reg=0.1).value, "value"),
        (lambda M: ot.sinkhorn2([], [], M, 0.1), "value_linear"),
    ):
        np.testing.assert_allclose(jax.grad(number)(x), expected.gradient(of).M, rtol=0, atol=1e-9)


def everything(M, a, b, reg):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = ot.solve(M, a / a.sum(), b / b.sum(), reg, tol=1e-13)
    return result.value, result.value_linear, result.plan, *result.potentials, *result.marginals


def test_everything_has_two_derivatives_both_ways():
    from jax.test_util import check_grads

    inputs = jnp.asarray(M), jnp.asarray(A), jnp.asarray(B), jnp.asarray(0.2)
    options = {"order": 2, "modes": ("fwd", "rev"), "atol": 1e-3, "rtol": 1e-3}
    check_grads(jax.jit(everything), inputs, **options)


@pytest.mark.parametrize("rho", [0.7, (0.5, np.inf)])
@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
def test_unbalanced_results_have_derivatives(rho, reg_type):
    from jax.test_util import check_grads

    def number(M, a, b):
        result = ot.solve(M, a, b, 0.2, unbalanced=rho, reg_type=reg_type, tol=1e-12)
        return result.value, result.value_linear, result.plan

    inputs = jnp.asarray(M), jnp.asarray(A), jnp.asarray(B)
    check_grads(number, inputs, order=1, modes=("rev",), atol=1e-4, rtol=1e-4)


def plan_norm(M):
    return (ot.solve(M, reg=0.2).plan ** 2).sum()


def test_transforms_compose():
    x = jnp.asarray(M)
    solution = ot.solve(M, reg=0.2)
    expected = solution.pullback(2 * solution.plan).M
    close = {"rtol": 1e-7, "atol": 1e-10}
    np.testing.assert_allclose(jax.grad(plan_norm)(x), expected, **close)
    np.testing.assert_allclose(jax.jit(jax.grad(plan_norm))(x), expected, **close)
    np.testing.assert_allclose(jax.jacfwd(plan_norm)(x), expected, **close)
    pair = jnp.stack([x, 2 * x])
    each = jax.jit(jax.vmap(jax.grad(plan_norm)))(pair)
    np.testing.assert_allclose(each[0], expected, **close)
    np.testing.assert_allclose(jax.vmap(plan_norm)(pair)[1], plan_norm(2 * x), **close)
    second = jax.hessian(plan_norm)(x)
    np.testing.assert_allclose(second, jax.jacrev(jax.jacrev(plan_norm))(x), **close)


def test_stacks_samples_and_divergences():
    pair = jnp.stack([M, 2 * M])
    slopes = jax.grad(lambda M: ot.solve_batch(M, 0.2).value.sum())(pair)
    np.testing.assert_allclose(
        slopes, ot.solve_batch(np.asarray(pair), 0.2).plan, rtol=0, atol=1e-9
    )
    values = jax.jit(lambda M: ot.solve_batch(M, 0.2).value)(pair)
    np.testing.assert_allclose(values, ot.solve_batch(np.asarray(pair), 0.2).value, rtol=1e-9)
    X, Y = jnp.asarray(RNG.random((4, 2))), jnp.asarray(RNG.random((3, 2)))

    def divergence(X):
        return ot.sinkhorn_divergence(X, Y, metric="euclidean", reg=0.1).value

    slope, step = jax.grad(divergence)(X), 1e-5
    moved = (divergence(X.at[0, 0].add(step)) - divergence(X.at[0, 0].add(-step))) / (2 * step)
    assert float(slope[0, 0]) == pytest.approx(float(moved), rel=1e-5)
    np.testing.assert_allclose(jax.jit(jax.grad(divergence))(X), slope, rtol=1e-7, atol=1e-10)


def test_reg_has_a_derivative():
    slope = jax.grad(lambda reg: ot.solve(jnp.asarray(M), reg=reg).value)(0.2)
    assert float(slope) == pytest.approx(ot.solve(M, reg=0.2).gradient().reg)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_whole_numbers_give_floats(dtype):
    x = jnp.asarray([[0, 1], [1, 0]], dtype)
    expected = ot.solve(np.asarray(x, float), reg=0.5).plan
    for plan in (
        ot.solve(x, reg=0.5).plan,
        ot.sinkhorn([], [], x, 0.5),
        ot.solve_batch(x[None], 0.5).plan[0],
    ):
        np.testing.assert_allclose(plan, expected, rtol=1e-7)


def test_unbalanced_cost_alone():
    expected = ot.solve(M, reg=0.1, unbalanced=1.0).value_linear
    assert float(ot.solve(jnp.asarray(M), reg=0.1, unbalanced=1.0).value_linear) == pytest.approx(
        expected
    )


def test_what_is_not_known_while_tracing_is_refused_by_name():
    with pytest.raises(NotImplementedError, match="status is not known under vmap or jit"):
        jax.jit(lambda M: ot.solve(M, reg=0.1).value * (ot.solve(M, reg=0.1).status == ""))(M)
    with pytest.raises(NotImplementedError, match="M has no derivatives through barycenter"):
        jax.grad(lambda M: ot.barycenter(np.eye(3), M, 0.1).sum())(jnp.asarray(M))


def test_detached_results_do_not_move():
    slope = jax.grad(lambda M: ot.solve(M, reg=0.1, grad="detach").value)(jnp.asarray(M))
    np.testing.assert_array_equal(slope, 0.0)
