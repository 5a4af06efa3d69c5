"""Derivatives of torch that compose: second order, mapped, forwards, with respect to reg."""

import warnings

import numpy as np
import pytest

from sparsenum import ot
from sparsenum.errors import ConvergenceWarning

torch = pytest.importorskip("torch", reason="make test-torch installs it")
DOUBLE = torch.float64
# What torch itself says when its forward mode is first used.
LOADING = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
OUTPUTS = {
    "value": lambda result: result.value,
    "value_linear": lambda result: result.value_linear,
    "plan": lambda result: result.plan,
    "potentials": lambda result: result.potentials,
    "marginals": lambda result: result.marginals,
}


def data(seed=0, n=3, m=4, normalised=True):
    rng = np.random.default_rng(seed)
    M, a, b = rng.random((n, m)), rng.random(n) + 0.1, rng.random(m) + 0.1
    if normalised:
        a, b = a / a.sum(), b / b.sum()
    arrays = *(torch.tensor(x) for x in (M, a, b)), torch.tensor(0.2, dtype=DOUBLE)
    return [x.requires_grad_() for x in arrays]


def quietly(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*arguments, **options)


def assert_twice_differentiable(function, inputs):
    assert torch.autograd.gradcheck(function, inputs, eps=1e-5, atol=1e-6, rtol=1e-4)
    assert torch.autograd.gradgradcheck(function, inputs, eps=1e-5, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("of", OUTPUTS)
@pytest.mark.parametrize(
    ("reg_type", "rho"),
    [("KL", None), ("entropy", None), ("KL", (0.5, np.inf)), ("entropy", 0.7)],
)
def test_everything_has_two_derivatives(of, reg_type, rho):
    def function(M, a, b, reg):
        if rho is None:
            a, b = a / a.sum(), b / b.sum()
        options = {"reg_type": reg_type, "unbalanced": rho, "tol": 1e-13}
        return OUTPUTS[of](quietly(ot.solve, M, a, b, reg, **options))

    assert_twice_differentiable(function, data())


@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
@pytest.mark.parametrize("rho", [None, 0.7, (0.5, np.inf)])
def test_numbers_are_those_of_numpy(reg_type, rho):
    inputs = data(5)
    options = {"reg_type": reg_type, "unbalanced": rho}
    plain = ot.solve(*(x.detach().numpy() for x in inputs[:3]), 0.2, **options)
    result = ot.solve(*inputs, **options)
    names = "value", "value_linear", "plan", "potential_a", "potential_b", "marginal_a"
    for name in names:
        got, expected = getattr(result, name), getattr(plain, name)
        np.testing.assert_allclose(got.detach(), expected, rtol=1e-9, atol=1e-12)


def test_sinkhorn2_has_two_derivatives():
    def function(M, a, b, reg):
        return quietly(ot.sinkhorn2, a / a.sum(), b / b.sum(), M, reg, stopThr=1e-13)

    assert_twice_differentiable(function, data(1))


@pytest.mark.parametrize("of", ["value", "value_linear", "plan"])
def test_a_stack_has_two_derivatives(of):
    M, a, b, _ = data(2)
    M = torch.stack([M, M.flip(0)]).detach().requires_grad_()
    regs = torch.tensor([0.2, 0.3], dtype=DOUBLE, requires_grad=True)

    def function(M, a, b, regs):
        return OUTPUTS[of](quietly(ot.solve_batch, M, regs, a / a.sum(), b / b.sum(), tol=1e-13))

    assert_twice_differentiable(function, (M, a, b, regs))


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock"])
def test_a_divergence_has_two_derivatives(metric):
    rng = np.random.default_rng(0)
    X, Y = (torch.tensor(rng.random((k, 2)), requires_grad=True) for k in (3, 2))

    def function(X, Y):
        return quietly(ot.sinkhorn_divergence, X, Y, metric=metric, reg=0.3, tol=1e-13).value

    assert_twice_differentiable(function, (X, Y))


def test_large_plans_take_the_iterative_solver_and_have_two_derivatives():
    rng = np.random.default_rng(0)
    M = torch.tensor(rng.random((150, 130)), requires_grad=True)
    way = torch.tensor(rng.standard_normal(M.shape))

    def slope(M):
        (g,) = torch.autograd.grad(
            (ot.solve(M, reg=0.1, tol=1e-12).plan ** 2).sum(), M, create_graph=True
        )
        return g

    (second,) = torch.autograd.grad((slope(M) * way).sum(), M)
    step = 1e-4
    ahead, behind = (slope((M + s * way).detach().requires_grad_()) for s in (step, -step))
    expected = ((ahead - behind) / (2 * step)).detach()
    np.testing.assert_allclose(second, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_second_derivatives_at_zero_masses_are_one_sided():
    M, a, b, reg = (x.detach() for x in data(3, 4, 4))
    little = 1e-6

    def slope(mass):
        x = torch.cat([torch.tensor([mass], dtype=DOUBLE), a[1:] / a[1:].sum() * (1 - mass)])
        x.requires_grad_()
        value = quietly(ot.solve, M, x, b, reg, tol=1e-14).value
        (g,) = torch.autograd.grad(value, x, create_graph=True)
        return x, g[0] - g[1]

    x, at_zero = slope(0.0)
    (moved,) = torch.autograd.grad(at_zero, x)
    way = torch.cat([torch.ones(1, dtype=DOUBLE), -a[1:] / a[1:].sum()])
    expected = float((slope(little)[1] - slope(0.0)[1]).detach() / little)
    assert float(moved @ way) == pytest.approx(expected, rel=1e-3)


def plan_norm(M):
    return (ot.solve(M, reg=0.2).plan ** 2).sum()


@LOADING
def test_functional_transforms():
    M = data()[0].detach()
    M2 = torch.stack([M, 2 * M])
    leaf = M.clone().requires_grad_()
    (first,) = torch.autograd.grad(plan_norm(leaf), leaf)
    second = torch.autograd.functional.hessian(plan_norm, M)
    close = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(torch.func.grad(plan_norm)(M), first, **close)
    torch.testing.assert_close(torch.func.jacfwd(plan_norm)(M), first, **close)
    torch.testing.assert_close(torch.func.hessian(plan_norm)(M), second, **close)
    torch.testing.assert_close(torch.func.jacrev(torch.func.jacrev(plan_norm))(M), second, **close)
    each = torch.stack([plan_norm(x) for x in M2])
    torch.testing.assert_close(torch.func.vmap(plan_norm)(M2), each, **close)
    slopes = torch.func.vmap(torch.func.grad(plan_norm))(M2)
    torch.testing.assert_close(slopes[0], first, **close)
    batch = torch.func.vmap(lambda X: ot.solve_batch(X, 0.2).value)(M2[None])
    torch.testing.assert_close(batch, ot.solve_batch(M2, 0.2).value[None], **close)


@LOADING
def test_forward_mode():
    M = data()[0].detach()
    leaf = M.clone().requires_grad_()
    (first,) = torch.autograd.grad(plan_norm(leaf), leaf)
    forward = torch.autograd.forward_ad
    with forward.dual_level():
        tangent = forward.unpack_dual(plan_norm(forward.make_dual(M, M.cos()))).tangent
    torch.testing.assert_close(tangent, (first * M.cos()).sum())


def test_what_a_map_does_not_know_is_refused_by_name():
    M2 = torch.stack([data()[0].detach()] * 2)
    with pytest.raises(NotImplementedError, match="status is not known under vmap"):
        torch.func.vmap(lambda M: ot.solve(M, reg=0.2).value * (ot.solve(M, reg=0.2).status == ""))(
            M2
        )
    assert (
        torch.func.grad(lambda M: ot.solve(M, reg=0.2).value * ot.solve(M, reg=0.2).converged)(
            M2[0]
        ).shape
        == M2[0].shape
    )


@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
def test_the_slope_in_reg_is_the_entropy(reg_type):
    M, a, b, reg = data()
    ot.solve(M, a, b, reg, reg_type=reg_type).value.backward()
    P, a, b = (x.detach() for x in (ot.solve(M, a, b, reg).plan, a, b))
    reference = torch.outer(a, b) if reg_type == "KL" else 1.0
    expected = (P * (P / reference).log()).sum()
    torch.testing.assert_close(reg.grad, expected, rtol=1e-6, atol=0)


def test_reg_alone_may_be_a_tensor():
    M = data()[0].detach().numpy()
    reg = torch.tensor(0.2, dtype=DOUBLE, requires_grad=True)
    ot.solve(M, reg=reg).value.backward()
    assert float(reg.grad) == pytest.approx(ot.solve(M, reg=0.2).gradient().reg)
    assert isinstance(ot.solve(M, reg=torch.tensor(0.2)).value, float)


def test_a_penalty_has_no_derivative_and_says_so():
    M, a, b, reg = data()
    rho = torch.tensor(1.0, requires_grad=True)
    with pytest.raises(NotImplementedError, match="unbalanced has no derivatives"):
        ot.solve(M, a, b, reg, unbalanced=rho)
