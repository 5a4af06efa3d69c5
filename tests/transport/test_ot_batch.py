"""`ot.solve_batch` against `ot.solve` problem by problem, slow twins, and POT."""

import warnings

import naive
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsenum import ConvergenceWarning, _formulas, ot
from sparsenum.ot.stacks import _cpu, _cpu_passes

few = settings(max_examples=25)


def stack(B=6, n=9, m=7, seed=0):
    """Random costs; masses with zeros, whose totals differ from problem to problem."""
    rng = np.random.default_rng(seed)
    a, b = rng.random((B, n)), rng.random((B, m))
    a[1, 3] = b[2, :2] = 0.0
    return rng.random((B, n, m)), a, b * (a.sum(axis=1) / b.sum(axis=1))[:, None]


def true_errors(P, a, b):
    violation = np.abs(P.sum(axis=2) - a).sum(axis=1) + np.abs(P.sum(axis=1) - b).sum(axis=1)
    return violation / a.sum(axis=1)


def assert_as_solve(result, M, a, b, regs, tol):
    for k, reg in enumerate(regs):
        single = ot.solve(M[k], a[k], b[k], reg, tol=tol)
        np.testing.assert_allclose(result.plan[k], single.plan, rtol=0, atol=1e-8)
        assert result.value[k] == pytest.approx(single.value, abs=1e-7)
        assert result.value_linear[k] == pytest.approx(single.value_linear, abs=1e-7)


# What is solved


@pytest.mark.parametrize("offset", [0.0, 2.0**40])
@pytest.mark.parametrize("max_iter", [0, 1, 3, 12, 1000])
@pytest.mark.parametrize("apart", [0.0, 4e-7, -4e-7])
def test_errors_and_costs_are_those_of_the_plans(apart, max_iter, offset):
    M, a, b = stack()
    M = np.round(M * 64) / 64 + offset
    b = b * (1 + apart)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = ot.solve_batch(3 * M, 0.5, a, b, max_iter=max_iter)
    true = true_errors(result.plan, a, b)
    np.testing.assert_allclose(result.marginal_error, true, rtol=2e-3, atol=1e-14)
    costs = (result.plan * 3 * M).sum(axis=(1, 2))
    np.testing.assert_allclose(result.value_linear, costs, rtol=1e-9, atol=0)
    singly = [one.marginal_error for one in map(result.__getitem__, range(len(result)))]
    np.testing.assert_allclose(singly, true, rtol=2e-3, atol=1e-14)


@few
@given(strategies.problems(regs=(0.01, 0.1, 1.0)), st.integers(1, 4))
def test_plans_equal_the_twins(problem, B):
    M, a, b, reg = problem
    regs = reg * np.arange(1, B + 1)
    result = ot.solve_batch(np.stack([M] * B), regs, a, b, tol=1e-12, reg_type="KL")
    assert result.converged.all()
    for k in range(B):
        expected, _, _ = naive.entropic_plan(M, a, b, regs[k])
        np.testing.assert_allclose(result.plan[k], expected, rtol=0, atol=1e-9)
        assert result.value[k] == pytest.approx(naive.value(expected, M, a, b, regs[k]), abs=1e-9)
        linear = naive.linear_value(expected, M)
        assert result.value_linear[k] == pytest.approx(linear, abs=1e-9)


@pytest.mark.parametrize("shape", [(9, 7), (7, 9), (1, 5), (5, 1), (20, 20)])
@pytest.mark.parametrize("reg", [1.0, 1e-1, 1e-2, 1e-3, 1e-4])
def test_same_as_solve_with_zero_masses_and_a_forbidden_pair(shape, reg):
    B, (n, m) = 4, shape
    rng = np.random.default_rng(n)
    M, a, b = rng.random((B, n, m)), rng.random((B, n)), rng.random((B, m))
    if min(shape) > 4:
        a[1, 3] = b[2, :2] = 0.0
        M[3, 2, 3] = np.inf
    b *= (a.sum(axis=1) / b.sum(axis=1))[:, None]
    result = ot.solve_batch(M, reg, a, b, tol=1e-10, reg_type="KL")
    assert result.status.tolist() == ["converged"] * B
    assert result.log["single"].size == 0  # all of these are for the kernel
    errors = true_errors(result.plan, a, b)
    assert (errors <= 1e-10 + 1e-14).all()
    np.testing.assert_allclose(result.marginal_error, errors, rtol=0, atol=1e-13)
    assert_as_solve(result, M, a, b, [reg] * B, 1e-10)


@pytest.mark.parametrize("method", ["log_sinkhorn", "sinkhorn"])
@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
def test_same_as_pot(method, reg_type):
    theirs = pytest.importorskip("ot.batch", reason="POT has batches from 0.9.6 on")
    rng = np.random.default_rng(3)
    M, a, b = rng.random((5, 8, 6)), rng.random((5, 8)), rng.random((5, 6))
    a, b = a / a.sum(axis=1)[:, None], b / b.sum(axis=1)[:, None]
    known = theirs.solve_batch(
        M, 0.2, a, b, max_iter=5000, tol=1e-13, method=method, reg_type=reg_type
    )
    ours = ot.solve_batch(M, 0.2, a, b, tol=1e-12, reg_type=reg_type)
    np.testing.assert_allclose(ours.plan, known.plan, rtol=0, atol=1e-11)
    np.testing.assert_allclose(ours.value, known.value, rtol=0, atol=1e-11)
    np.testing.assert_allclose(ours.value_linear, known.value_linear, rtol=0, atol=1e-11)


def test_entropy_counts_the_mass():
    M, a, b = stack()
    result = ot.solve_batch(M, 0.1, a, b, reg_type="entropy")
    P = result.plan
    logs = np.log(P, out=np.zeros_like(P), where=P > 0)
    expected = (P * M).sum(axis=(1, 2)) + 0.1 * (P * logs).sum(axis=(1, 2))
    np.testing.assert_allclose(result.value, expected, rtol=0, atol=1e-12)


def test_one_by_one():
    result = ot.solve_batch([[[3.0]], [[5.0]]], 1e-3, [[2.0], [1.0]], [[2.0], [1.0]])
    assert result.plan.ravel().tolist() == pytest.approx([2.0, 1.0])
    assert result.value_linear.tolist() == pytest.approx([6.0, 5.0])


def test_masses_for_all_problems_or_each_or_none():
    M, _, _ = stack()
    a, b = np.arange(1.0, 10.0) / 45, np.full(7, 1 / 7)
    first = ot.solve_batch(M, 0.1, a)
    second = ot.solve_batch(M, np.full(6, 0.1), np.tile(a, (6, 1)), np.tile(b, (6, 1)))
    np.testing.assert_allclose(first.plan, second.plan, rtol=1e-13)


@pytest.mark.parametrize("reg", [0.1, 1e-3])
def test_a_result_does_not_depend_on_threads_or_neighbours(monkeypatch, reg):
    M, a, b = stack(B=30)
    whole = ot.solve_batch(M, reg, a, b)
    monkeypatch.setattr("sparsenum._threads.BLOCK", 1)
    for threads in (1, 2, 5):
        blocks = ot.solve_batch(M, reg, a, b, n_threads=threads)
        for name in ("plan", "value", "value_linear", "marginal_error", "n_iter", "status"):
            np.testing.assert_array_equal(getattr(blocks, name), getattr(whole, name))
        np.testing.assert_array_equal(blocks.potentials[0], whole.potentials[0])
        np.testing.assert_array_equal(blocks.potentials[1], whole.potentials[1])


# What the kernel leaves to others


def test_large_problems_go_one_by_one(monkeypatch):
    M, a, b = stack()
    monkeypatch.setattr("sparsenum.ot.stacks.stack.SMALL", 5)
    result = ot.solve_batch(M, 1e-2, a, b, tol=1e-10, n_threads=2, reg_type="KL")
    assert result.log["single"].tolist() == list(range(6))
    assert result.converged.all()
    assert_as_solve(result, M, a, b, [1e-2] * 6, 1e-10)
    np.testing.assert_array_equal(result.n_iter, [x.n_iter for x in singles(M, a, b, 1e-2)])


def singles(M, a, b, reg):
    return [ot.solve(M[k], a[k], b[k], reg, tol=1e-10) for k in range(len(M))]


def test_what_the_kernel_misses_is_solved_one_by_one(monkeypatch):
    M, a, b = stack()
    kernel = _cpu.solve_stack

    def misses_problem_two(*arguments):
        kernel(*arguments)
        arguments[6][2] += 1.0  # spoils f

    monkeypatch.setattr(_cpu, "solve_stack", misses_problem_two)
    result = ot.solve_batch(M, 0.1, a, b, tol=1e-10, reg_type="KL")
    assert result.log["single"].tolist() == [2]
    assert_as_solve(result, M, a, b, [0.1] * 6, 1e-10)


def test_one_warning_for_all_that_missed():
    M, a, b = stack()
    with pytest.warns(ConvergenceWarning, match=r"6 of 6 .*max_iter: 6.* worst") as record:
        result = ot.solve_batch(M, 1e-3, a, b, max_iter=0)
    assert len(record) == 1
    assert not result.converged.any()
    assert set(result.status) == {"max_iter"}
    np.testing.assert_allclose(result.marginal_error, true_errors(result.plan, a, b), rtol=1e-9)


def test_precision_is_flagged_where_it_ends():
    M = np.random.default_rng(0).random((2, 5, 5))
    M[1] *= 1e13
    a = [0.1, 0.15, 0.2, 0.25, 0.3]  # no row goes whole to one column, so that potentials matter
    with pytest.warns(ConvergenceWarning, match=r"1 of 2 .*precision: 1"):
        result = ot.solve_batch(M, 1e-2, a, tol=1e-9)
    assert result.status.tolist() == ["converged", "precision"]


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"M": np.ones((2, 2))}, "M must have 3 dimensions"),
        ({"M": np.ones((2, 0, 2))}, "at least one problem, row and column"),
        ({"M": [[["x"]]]}, "M must be an array of real numbers"),
        ({"M": np.array([np.eye(2), [[np.nan, 1], [1, 1]]])}, "problem 1: M must hold numbers"),
        ({"M": np.array([np.eye(2), [[-np.inf, 1], [1, 1]]])}, "problem 1: M must hold numbers"),
        ({"M": np.array([np.eye(2), [[np.inf] * 2, [1, 1]]])}, "problem 1: M must leave each row"),
        ({"M": np.full((2, 2, 2), np.inf)}, "problem 0: M must hold"),
        ({"a": np.ones(3)}, r"a must have shape \(2,\), for all problems, or \(2, 2\): got \(3,\)"),
        ({"b": np.ones((3, 2))}, r"b must have shape .* got \(3, 2\)"),
        ({"a": [[1.0, 1.0], [-1.0, 3.0]]}, "problem 1: a must hold finite masses"),
        ({"a": [[1.0, 1.0], [np.nan, 3.0]]}, "problem 1: a must hold finite masses"),
        ({"b": [[1.0, 1.0], [0.0, 0.0]]}, "problem 1: b must have positive total mass"),
        ({"b": [[1.0, 1.0], [1.0, 2.0]]}, "problem 1: a must sum to the same total as b"),
        ({"reg": None}, "reg must be given"),
        ({"reg": -1.0}, "reg must be positive"),
        ({"reg": [1.0, np.nan]}, "problem 1: reg must be positive"),
        ({"reg": [1.0, 1.0, 1.0]}, "reg must be one number or one for each problem, 2: got 3"),
        ({"tol": 0}, "tol must be positive"),
        ({"max_iter": -1}, "max_iter must be at least 0"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
        ({"grad": "l2"}, "Unknown grad 'l2'"),
    ],
)
def test_bad_input(change, message):
    problem = {"M": np.stack([np.eye(2)] * 2), "a": [1.0, 1.0], "b": [1.0, 1.0], "reg": 0.5}
    with pytest.raises((ValueError, TypeError), match=message):
        ot.solve_batch(**{**problem, **change})


def test_infeasible_marginals_are_named():
    M = np.stack([np.eye(2), np.array([[0.0, np.inf], [0.0, 1.0]])])
    with pytest.raises(ValueError, match="problem 1: M forbids too many pairs"):
        ot.solve_batch(M, 0.5, [0.8, 0.2], [0.2, 0.8])


# The pieces, each against its slow twin


@given(strategies.problems(), st.data())
def test_iterate(problem, data):
    M, a, b, reg = problem
    g = data.draw(strategies.vectors(len(b)))
    f, P, c = np.empty(len(a)), np.empty(M.shape), np.empty(len(b))
    error = _cpu.iterate(M, a, b, g, reg, f, P, c)
    np.testing.assert_allclose(P, naive.plan(M, f, g, reg), rtol=1e-11)
    np.testing.assert_allclose(P.sum(axis=1), a, rtol=1e-12)
    np.testing.assert_allclose(c, P.sum(axis=0), rtol=1e-12)
    assert error == pytest.approx(np.abs(c - b).sum(), abs=1e-14)


@given(strategies.dense(dtypes=(np.float64,)))
def test_couplings(A):
    P, a = np.abs(A), np.full(len(A), 0.5)
    expected = np.triu(P.T @ (P / a[:, None]), 1)
    W = np.empty(expected.shape)
    _cpu.couplings(P, a, W)
    np.testing.assert_allclose(np.triu(W, 1), expected, rtol=1e-12)
    for kernel in (_cpu.dense_couplings, _cpu.sparse_couplings):
        W[:] = 0.0
        kernel(P, a, W)
        np.testing.assert_allclose(np.triu(W, 1), expected, rtol=1e-12)


@given(st.integers(1, 12), st.integers(0, 2**32))
def test_solve_laplacian(m, seed):
    rng = np.random.default_rng(seed)
    W, leak, x = np.triu(rng.random((m, m)), 1), rng.random(m) + 0.01, rng.random(m)
    weights = W + W.T
    expected = naive.solve(np.diag(weights.sum(axis=1) + leak) - weights, x)
    _formulas.solve_laplacian_v1(W, leak, x)
    np.testing.assert_allclose(x, expected, rtol=1e-9)


def test_solve_laplacian_keeps_the_digits_of_a_weak_bond():
    W = np.array([[0.0, 1.0, 0.0, 0.0], [0, 0, 1e-30, 0], [0, 0, 0, 1.0], [0, 0, 0, 0]])
    x = np.array([1.0, 0.0, 0.0, -1.0])  # a unit of flow through the whole chain
    _formulas.solve_laplacian_v1(W, np.zeros(4), x)
    np.testing.assert_allclose(x[[0, 1]] - x[[2, 3]], 1e30, rtol=1e-12)


@given(strategies.problems(), st.data())
def test_assess(problem, data):
    M, a, b, reg = problem
    f, g = data.draw(strategies.vectors(len(a))) - 4.0, data.draw(strategies.vectors(len(b))) - 4.0
    P = naive.plan(M, f, g, reg)
    sums = np.empty((1, 5))
    _cpu_passes.assess(M[None], a[None], b[None], np.array([reg]), f[None], g[None], sums)
    error = np.abs(P.sum(axis=1) - a).sum() + np.abs(P.sum(axis=0) - b).sum()
    reference = (P * (np.log(a)[:, None] + np.log(b))).sum()
    expected = [error, P.sum(), (P * M).sum(), (P * np.log(P)).sum(), reference]
    np.testing.assert_allclose(sums[0], expected, rtol=1e-9, atol=1e-14)


@given(strategies.problems(), st.data())
def test_plans(problem, data):
    M, a, b, reg = problem
    f, g = data.draw(strategies.vectors(len(a))) - 4.0, data.draw(strategies.vectors(len(b))) - 4.0
    P, mass = np.empty((1, *M.shape)), np.array([3.0])
    _cpu_passes.plans(M[None], f[None], g[None], np.array([reg]), mass, P)
    np.testing.assert_allclose(P[0], 3.0 * naive.plan(M, f, g, reg), rtol=1e-11)


def test_one_problem_of_a_stack_is_a_solution():
    M, a, b = stack()
    a[1, 2] = 0.0
    a /= a.sum(axis=1)[:, None] / b.sum(axis=1)[:, None]
    batch = ot.solve_batch(M, 0.1, a, b, tol=1e-12)
    assert len(batch) == 6
    for k in range(6):
        single = ot.solve(M[k], a[k], b[k], 0.1, tol=1e-12, reg_type="entropy")
        np.testing.assert_allclose(batch[k].plan, single.plan, rtol=0, atol=1e-11)
        np.testing.assert_allclose(batch[k].potential_a, batch.potential_a[k], rtol=0, atol=1e-12)
        np.testing.assert_allclose(batch.potential_b[k], single.potential_b, rtol=0, atol=1e-9)
        for of in ("value", "value_linear"):
            ours, theirs = batch.gradient(of), single.gradient(of)
            for name in "abM":
                np.testing.assert_allclose(
                    getattr(ours, name)[k], getattr(theirs, name), rtol=0, atol=1e-8
                )
    assert batch[0].converged
    with pytest.raises(NotImplementedError, match="reg_type must be"):
        ot.solve_batch(M, 0.1, reg_type="l2")


@pytest.mark.parametrize("axis", [1, 2])
def test_a_mass_that_only_an_empty_side_could_serve_is_refused(axis):
    M = np.array([[[np.inf, 1.0], [1.0, 0.0]]])
    sides = np.array([[1.0, 0.0]]), np.array([[2e-51, 1.0]])
    with pytest.raises(ValueError, match=r"^problem 0: M must leave each"):
        ot.solve_batch(M, 0.1, *(sides if axis == 1 else sides[::-1]))


def test_rows_and_columns_that_are_forbidden_without_mass_are_no_matter():
    M = np.array([[1e9, 1e9 + 1, np.inf], [1e9 + 2, 1e9, np.inf], [np.inf, np.inf, np.inf]])
    a = np.array([0.3, 0.7, 0.0])
    result = ot.solve_batch(M[None], 0.1, a, a[[1, 0, 2]])
    expected = ot.solve(M[:2, :2], a[:2], a[[1, 0]], 0.1).plan
    np.testing.assert_allclose(result.plan[0, :2, :2], expected, rtol=0, atol=1e-9)
