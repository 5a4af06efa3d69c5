"""Tensors of torch through every door: same numbers, same type, derivatives that hold."""

import warnings

import numpy as np
import pytest

from sparsenum import ot
from sparsenum.errors import ConvergenceWarning

torch = pytest.importorskip("torch", reason="make test-torch installs it")
DOUBLE = {"dtype": torch.float64}


def data(seed=0, n=6, m=8, **keywords):
    rng = np.random.default_rng(seed)
    M, a, b = rng.random((n, m)), rng.random(n) + 0.1, rng.random(m) + 0.1
    return [torch.tensor(x, **(DOUBLE | keywords)) for x in (M, a / a.sum(), b / b.sum())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solve_gives_back_what_it_was_given(dtype):
    M, a, b = data(dtype=dtype)
    result = ot.solve(M, a, b, 0.1)
    expected = ot.solve(
        M.double().numpy(), *(x.double().numpy() / x.double().numpy().sum() for x in (a, b)), 0.1
    )
    close = 1e-6 if dtype is torch.float32 else 1e-9
    for name in (
        "plan",
        "value",
        "value_linear",
        "potential_a",
        "potential_b",
        "marginal_a",
        "marginal_b",
    ):
        got = getattr(result, name)
        assert isinstance(got, torch.Tensor)
        assert got.dtype == dtype
        np.testing.assert_allclose(got.detach(), getattr(expected, name), rtol=0, atol=close)
    assert result.converged
    assert result.status == "converged"
    assert result.sparse_plan.shape == (6, 8)
    assert result._backend.__name__ == "torch"
    with pytest.raises(AttributeError):
        _ = result.no_such_thing


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
def test_gradcheck(seed, reg_type):
    M, a, b = data(seed, requires_grad=True)

    def everything(M, a, b):
        a, b = a / a.sum(), b / b.sum()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = ot.solve(M, a, b, 0.1, reg_type=reg_type, tol=1e-13)
        return result.value, result.value_linear, result.plan, *result.potentials

    assert torch.autograd.gradcheck(everything, (M, a, b), eps=1e-5, atol=1e-6, rtol=1e-4)


def test_zero_masses_and_infinite_costs_have_finite_derivatives():
    M, a, b = data(1)
    a[0] = b[2] = 0.0
    M[1, 1] = np.inf
    a, b = a / a.sum(), b / b.sum()
    inputs = [x.clone().requires_grad_() for x in (M, a, b)]
    result = ot.solve(*inputs, 0.1)
    (result.value + result.value_linear + (result.plan**2).sum()).backward()
    for x in inputs:
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("grad", ["autodiff", "envelope", "last_step", "detach"])
def test_grad_says_what_is_differentiable(grad):
    result = ot.solve(*data(requires_grad=True), 0.1, grad=grad)
    assert result.value.requires_grad == (grad != "detach")
    for name in ("plan", "value_linear", "potential_a"):
        assert getattr(result, name).requires_grad == (grad in ("autodiff", "last_step"))


def test_only_what_asks_gets_a_derivative():
    M, a, b = data()
    M.requires_grad_()
    ot.solve(M, a, b, 0.1).plan.max().backward()
    assert a.grad is None
    assert M.grad.shape == M.shape


def test_writing_to_a_plan_leaves_the_solution_alone():
    result = ot.solve(*data(), 0.1)
    kept = result.solution.plan.copy()
    result.plan.zero_()
    np.testing.assert_array_equal(result.solution.plan, kept)


def test_sinkhorn_takes_tensors_as_pot_does():
    M, a, b = data(requires_grad=True)
    plan, log = ot.sinkhorn(a, b, M, 0.1, log=True)
    again, _ = ot.sinkhorn(a, b, M, 0.1, log=True, warmstart=log["warmstart"])
    torch.testing.assert_close(plan, again)
    rebuilt = log["u"][:, None] * torch.exp(-M / 0.1) * log["v"]
    torch.testing.assert_close(rebuilt, plan)
    cost = ot.sinkhorn2(a, b, M, 0.1)
    torch.testing.assert_close(cost, (plan * M).sum())
    cost.backward()
    assert torch.isfinite(M.grad).all()


def test_columns_of_b_are_problems_of_their_own():
    M, a, b = data(requires_grad=True)
    targets = torch.stack([b, b.flip(0)], dim=1)
    costs, log = ot.sinkhorn2(a, targets, M, 0.1, log=True)
    assert costs.shape == (2,)
    assert log["u"].shape == (6, 2)
    for cost, target in zip(costs, targets.T, strict=True):
        torch.testing.assert_close(cost, ot.sinkhorn2(a, target, M, 0.1))
    costs.sum().backward()
    assert M.grad.shape == M.shape


def test_empty_masses_are_uniform():
    M, _, _ = data()
    torch.testing.assert_close(
        ot.sinkhorn([], [], M, 0.1), ot.sinkhorn(torch.ones(6) / 6, torch.ones(8) / 8, M, 0.1)
    )


def test_the_graph_holds_no_iterates():
    M, a, b = data(n=40, m=50, requires_grad=True)
    plan = ot.solve(M, a, b, 1e-3).plan
    assert len(plan.grad_fn.next_functions) <= 4  # one node, from the inputs to the plan


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_samples_are_differentiable_where_there_is_a_cost_matrix(metric):
    rng = np.random.default_rng(0)
    X, Y = (torch.tensor(rng.random((k, 2)), requires_grad=True) for k in (5, 6))

    def value(X, Y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return ot.solve_sample(X, Y, metric=metric, reg=0.1, tol=1e-13).value

    assert torch.autograd.gradcheck(value, (X, Y), eps=1e-5, atol=1e-6, rtol=1e-4)
    lazy = ot.solve_sample(X, Y, reg=0.1, lazy=True)
    assert isinstance(lazy.value, torch.Tensor)
    assert not lazy.value.requires_grad


@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_is_differentiable(shared):
    rng = np.random.default_rng(0)
    shapes = [(3, 4, 5), (4,) if shared else (3, 4), (5,) if shared else (3, 5)]
    M, a, b = (torch.tensor(rng.random(s) + 0.1, requires_grad=True) for s in shapes)

    def everything(M, a, b):
        a, b = (x / x.sum(-1, keepdim=True) for x in (a, b))
        result = ot.solve_batch(M, 0.1, a, b, tol=1e-13)
        return result.value, result.value_linear, result.plan, *result.potentials

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert torch.autograd.gradcheck(everything, (M, a, b), eps=1e-5, atol=1e-6, rtol=1e-4)
        detached = ot.solve_batch(M, 0.1, grad="detach")
    assert not detached.value.requires_grad
    assert not detached.plan.requires_grad
    assert detached.value.shape == (3,)
