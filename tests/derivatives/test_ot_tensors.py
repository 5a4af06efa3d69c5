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


def nodes(root):
    seen, left = set(), [root]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [child for child, _ in node.next_functions]
    return len(seen)


def test_the_graph_holds_no_iterates():
    M, a, b = data(n=40, m=50, requires_grad=True)
    easy, hard = (ot.solve(M, a, b, reg) for reg in (1.0, 1e-3))
    assert hard.n_iter > easy.n_iter
    assert nodes(hard.plan.grad_fn) == nodes(easy.plan.grad_fn)


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


# Types


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_whole_numbers_give_floats(dtype):
    M = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    expected = ot.solve(M.double().numpy(), reg=0.5)
    points = torch.tensor([[0], [1]]).to(dtype)
    plans = [
        ot.solve(M, reg=0.5).plan,
        ot.sinkhorn([], [], M, 0.5),
        ot.solve_batch(M[None], 0.5).plan[0],
        ot.solve_sample(points, points, reg=0.5).plan,
        ot.solve_sample(points, points, reg=0.5, lazy=True).plan,
        ot.sinkhorn_divergence(points, points, reg=0.5).ab.plan,
    ]
    for plan in plans:
        assert plan.dtype == torch.get_default_dtype()
        np.testing.assert_allclose(plan, expected.plan, rtol=1e-6, atol=0)
    assert float(ot.sinkhorn2([], [], M, 0.5)) == pytest.approx(expected.value_linear, rel=1e-6)
    masses = torch.tensor([1, 1], dtype=torch.int64)
    assert ot.solve(M.double(), masses, masses, 0.5).plan.sum().item() == pytest.approx(2.0)


def test_whole_costs_take_the_type_of_learnt_masses():
    M = torch.tensor([[0, 1], [1, 0]])
    a = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    plan = ot.solve(M, a, a.detach(), 0.5).plan
    assert plan.dtype == torch.float64
    (plan[0] ** 2).sum().backward()
    assert torch.isfinite(a.grad).all()
    assert a.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_solved_in_float64_and_rounded_once(dtype):
    M = data()[0].to(dtype).requires_grad_()
    result = ot.solve(M, reg=0.1)
    assert result.plan.dtype == result.value.dtype == dtype
    expected = ot.solve(M.detach().double().numpy(), reg=0.1)
    torch.testing.assert_close(result.plan, torch.tensor(expected.plan).to(dtype), rtol=0, atol=0)
    result.value.backward()
    assert M.grad.dtype == dtype
    np.testing.assert_allclose(M.grad.double(), expected.plan, rtol=1e-2, atol=1e-3)


def test_a_device_may_be_named_as_torch_does():
    M, a, b = data()
    for device in ("cpu", M.device, torch.device("cpu")):
        assert ot.solve(M, a, b, 0.1, device=device).converged
        assert ot.solve_batch(M[None], 0.1, device=device).converged.all()
        assert ot.sinkhorn(a, b, M, 0.1, device=device).shape == M.shape


def test_sparse_tensors_are_refused():
    with pytest.raises(TypeError, match="dense"):
        ot.solve(torch.eye(3).to_sparse(), reg=0.1)


# Mixed libraries


def test_numpy_costs_and_learnt_masses():
    M, a, b = data()
    a.requires_grad_()
    result = ot.solve(M.numpy(), a, b.numpy(), 0.1)
    result.value_linear.backward()
    expected = ot.solve(M.numpy(), a.detach().numpy(), b.numpy(), 0.1).gradient("value_linear")
    np.testing.assert_allclose(a.grad, expected.a, rtol=1e-7, atol=1e-9)


def test_a_numpy_cloud_and_a_learnt_one():
    X = torch.tensor([[0.0], [1.0], [3.0]], requires_grad=True)
    Y = np.array([[0.5], [2.0]])
    for one, other in ((X, Y), (Y, X)):
        X.grad = None
        ot.solve_sample(one, other, reg=0.5).value.backward()
        assert X.grad.abs().max() > 0


def test_two_libraries_with_derivatives_are_refused():
    jax = pytest.importorskip("jax")
    M, a, _ = data()
    with pytest.raises(TypeError, match="jax and torch"):
        ot.solve(M, jax.numpy.asarray(a.numpy()), None, 0.1)
    with pytest.raises(TypeError, match="jax and torch"):
        ot.solve_sample(M, jax.numpy.asarray(M.numpy()), reg=0.1)


def test_an_attribute_that_fails_is_no_other_answer():
    result = ot.solve(*data(), 0.1)
    with pytest.raises(AttributeError):
        _ = result.marginal_c


# Points


def test_the_slope_of_a_distance_is_finite_where_points_coincide():
    X = torch.tensor([[0.0, 0.0], [1.0, 0.0]], **DOUBLE, requires_grad=True)
    ot.sinkhorn_divergence(X, X.detach(), metric="euclidean", reg=0.1).value.backward()
    np.testing.assert_allclose(X.grad, 0.0, rtol=0, atol=1e-6)
    ot.solve_sample(X, X, metric="euclidean", reg=0.1).value.backward()
    assert torch.isfinite(X.grad).all()


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock"])
def test_far_from_the_origin_no_digits_cancel(metric):
    rng = np.random.default_rng(0)
    X, Y = (torch.tensor(rng.random((k, 2)) + 4096, dtype=torch.float32) for k in (6, 5))
    expected = ot.solve_sample(X.numpy(), Y.numpy(), metric=metric, reg=0.1)
    X.requires_grad_()
    result = ot.solve_sample(X, Y, metric=metric, reg=0.1)
    np.testing.assert_allclose(result.plan.detach(), expected.plan, rtol=1e-5, atol=0)
    result.value.backward()
    near = (X.detach() - 4096).requires_grad_()
    ot.solve_sample(near, Y - 4096, metric=metric, reg=0.1).value.backward()
    np.testing.assert_allclose(X.grad, near.grad, rtol=1e-3, atol=1e-5)


def test_other_metrics():
    rng = np.random.default_rng(0)
    X, Y = (torch.tensor(rng.random((k, 2)) + 0.1) for k in (6, 5))
    for metric in ("cosine", "chebyshev", lambda x, y: abs(x - y).sum() ** 3):
        plan = ot.solve_sample(X, Y, metric=metric, reg=0.1).plan
        expected = ot.solve_sample(X.numpy(), Y.numpy(), metric=metric, reg=0.1).plan
        np.testing.assert_allclose(plan, expected, rtol=1e-7, atol=0)
    with pytest.raises(NotImplementedError, match="metric must be one of sqeuclidean"):
        ot.solve_sample(X.requires_grad_(), Y, metric="chebyshev", reg=0.1)


# Values


def test_changing_the_data_leaves_derivatives_alone():
    leaves = [x.requires_grad_() for x in data()]
    expected = ot.solve(*(x.detach().numpy().copy() for x in leaves), 0.1)
    M, a, b = (x * 1.0 for x in leaves)
    result = ot.solve(M, a, b, 0.1)
    with torch.no_grad():
        for x in (M, a, b):
            x.mul_(2.0)
    numbers = result.value, result.value_linear, result.plan.max()
    sum(numbers).backward()
    one_by_one = expected.gradient().M + expected.gradient("value_linear").M
    bar = (expected.plan == expected.plan.max()).astype(float)
    one_by_one += expected.pullback(bar).M
    np.testing.assert_allclose(leaves[0].grad, one_by_one, rtol=1e-6, atol=1e-8)


def test_a_barycenter_of_tensors_is_a_tensor():
    A = torch.rand(6, 3, **DOUBLE)
    A, M = A / A.sum(0), torch.rand(6, 6, **DOUBLE)
    q, log = ot.barycenter(A, M, 0.1, log=True)
    assert isinstance(q, torch.Tensor)
    assert isinstance(log["f"], torch.Tensor)
    np.testing.assert_array_equal(q, ot.barycenter(A.numpy(), M.numpy(), 0.1))
    with pytest.raises(NotImplementedError, match="A has no derivatives through barycenter"):
        ot.barycenter(A.requires_grad_(), M, 0.1)


def test_a_stack_of_tensors_can_be_taken_apart():
    M, a, b = data(requires_grad=True)
    result = ot.solve_batch(torch.stack([M, 2 * M]), 0.1, a, b, reg_type="KL")
    assert len(result) == 2
    one = result[1]
    torch.testing.assert_close(one.plan, ot.solve(2 * M, a, b, 0.1).plan)
    one.value.backward()
    assert M.grad.abs().max() > 0


def test_a_stack_of_many_goes_back_without_a_loop(monkeypatch):
    M = torch.rand(50, 4, 5, **DOUBLE, requires_grad=True)
    monkeypatch.setattr("sparsenum.ot.stacks.solution.BatchSolution.__getitem__", None)
    result = ot.solve_batch(M, 0.1)
    (result.plan**2).sum().backward()
    result.pullback(2 * result.plan.detach())
    np.testing.assert_allclose(
        M.grad, result.pullback(2 * result.plan.detach()).M, rtol=1e-9, atol=1e-12
    )
