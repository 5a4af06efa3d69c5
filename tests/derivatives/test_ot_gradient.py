"""Derivatives against finite differences of the solver itself."""

import warnings

import naive
import numpy as np
import pytest

from sparsenum import ot
from sparsenum.errors import ConvergenceWarning

STEP = 1e-5


def problem(seed, bare=False):
    """A small random problem with n != m, some of its masses zero on demand."""
    rng = np.random.default_rng(seed)
    n, m = rng.integers(4, 12, 2) + np.array([0, 2])
    M, a, b = rng.random((n, m)), rng.random(n) + 0.1, rng.random(m) + 0.1
    if bare:
        a[0] = b[1] = 0.0
    return M, a / a.sum(), b / b.sum()


def accurate(M, a, b, reg, reg_type="KL"):
    """Solve as far as float64 goes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return ot.solve(M, a, b, reg, reg_type=reg_type, tol=1e-13)


def direction(rng, M, a, b):
    """A direction in which masses stay positive and totals equal, though they change."""
    da, db = (x * rng.standard_normal(x.size) for x in (a, b))
    da += (1.0 - da.sum()) * a
    db += (1.0 - db.sum()) * b
    return rng.standard_normal(M.shape), da, db


def difference(number, M, a, b, way):
    """Differentiate a number along a direction by a central difference."""
    dM, da, db = (STEP * d for d in way)
    return (number(M + dM, a + da, b + db) - number(M - dM, a - da, b - db)) / (2 * STEP)


def along(gradient, way):
    dM, da, db = way
    return np.sum(gradient.M * dM) + gradient.a @ da + gradient.b @ db


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
@pytest.mark.parametrize("reg", [0.3, 0.02])
@pytest.mark.parametrize("seed", range(5))
def test_values_follow_their_gradients(seed, reg, reg_type, bare):
    M, a, b = problem(seed, bare)
    way = direction(np.random.default_rng(seed), M, a, b)
    solution = accurate(M, a, b, reg, reg_type)
    for of in ("value", "value_linear"):
        expected = difference(
            lambda *data, of=of: getattr(accurate(*data, reg, reg_type), of), M, a, b, way
        )
        assert along(solution.gradient(of), way) == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("reg", [0.3, 0.02])
@pytest.mark.parametrize("seed", range(5))
def test_plan_and_potentials_follow_the_pullback(seed, reg, bare):
    M, a, b = problem(seed, bare)
    rng = np.random.default_rng(seed)
    way = direction(rng, M, a, b)
    plan_bar, f_bar, g_bar = rng.random(M.shape), rng.random(a.size), rng.random(b.size)

    def number(*data):
        solution = accurate(*data, reg)
        f, g = (np.where(np.isfinite(x), x, 0.0) for x in solution.potentials)
        return np.sum(plan_bar * solution.plan) + f_bar @ f + g_bar @ g

    pulled = accurate(M, a, b, reg).pullback(plan_bar, (f_bar, g_bar))
    assert along(pulled, way) == pytest.approx(difference(number, M, a, b, way), rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_pullback_is_the_adjoint_of_the_naive_derivative(seed):
    M, a, b = problem(seed)
    rng, reg = np.random.default_rng(seed), 0.1
    way = direction(rng, M, a, b)
    plan_bar = rng.random(M.shape)
    solution = accurate(M, a, b, reg)
    moved = naive.plan_derivative(solution.plan, reg, *way)
    assert along(solution.pullback(plan_bar), way) == pytest.approx(np.sum(plan_bar * moved))


def test_sparse_and_dense_plans_have_one_pullback(monkeypatch):
    rng = np.random.default_rng(0)
    X, Y = rng.random((60, 2)), rng.random((70, 2))
    M = ((X[:, None] - Y) ** 2).sum(axis=2)
    bar = rng.random(M.shape)
    solution = accurate(M, None, None, 1e-3)
    sparse = solution.pullback(bar)
    monkeypatch.setattr("sparsenum.ot.solutions.operator.SPARSE", 0.0)
    dense = solution.pullback(bar)
    for one, other in zip((sparse.a, sparse.b, sparse.M), (dense.a, dense.b, dense.M), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * np.abs(other).max())


@pytest.mark.parametrize("side", ["a", "b"])
def test_no_mass_means_the_limit_of_little_mass(side):
    M, a, b = problem(3)
    if side == "b":
        M, a, b = M.T, b, a
    a[2] = 0.0
    a /= a.sum()
    bar = np.random.default_rng(1).random(M.shape)
    little = a.copy()
    little[2] = 1e-9
    swap = (lambda *x: x) if side == "a" else (lambda M, a, b: (M.T, b, a))
    results = [accurate(*swap(M, mass, b), 0.1) for mass in (a, little)]
    for none, some in (
        [r.gradient() for r in results],
        [r.pullback(bar if side == "a" else bar.T) for r in results],
    ):
        np.testing.assert_allclose(none.M, some.M, rtol=0, atol=1e-6)
        # The constant between a and b depends on where there is mass; their sums do not.
        sums = np.add.outer(none.a, none.b), np.add.outer(some.a, some.b)
        np.testing.assert_allclose(*sums, rtol=0, atol=1e-6)


def test_an_infinite_cost_has_no_derivative():
    M, a, b = problem(1)
    M[0, 0] = np.inf
    solution = accurate(M, a, b, 0.1)
    for gradient in (solution.gradient(), solution.gradient("value_linear")):
        assert gradient.M[0, 0] == 0.0
        assert all(np.isfinite(getattr(gradient, name)).all() for name in "abM")


def test_a_constant_is_split_evenly():
    M, a, b = problem(0)
    for gradient in (accurate(M, a, b, 0.1).gradient(), accurate(M, a, b, 0.1).pullback(M)):
        assert gradient.a.mean() == pytest.approx(gradient.b.mean())


def test_what_does_not_fit_is_refused():
    M, a, b = problem(0)
    solution = ot.solve(M, a, b, 0.1)
    with pytest.raises(ValueError, match="plan must have shape"):
        solution.pullback(M.T)
    with pytest.raises(ValueError, match="potentials must have shape"):
        solution.pullback(potentials=(b, None))
    with pytest.raises(ValueError, match="Unknown of"):
        solution.gradient("cost")
    lazy = ot.solve_sample([[0.0], [1.0]], [[0.0], [2.0]], reg=0.5, lazy=True)
    with pytest.raises(ValueError, match="lazy=False"):
        lazy.gradient()


@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
@pytest.mark.parametrize("rho", [0.5, (0.3, 2.0), (np.inf, 0.5), (0.5, np.inf)])
def test_unbalanced_values_follow_their_gradients(rho, reg_type):
    M, a, b = problem(2)
    b = 1.5 * b
    rng = np.random.default_rng(0)
    way = (
        rng.standard_normal(M.shape),
        a * rng.standard_normal(a.size),
        b * rng.standard_normal(b.size),
    )

    def solved(M, a, b):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return ot.solve(M, a, b, 0.1, unbalanced=rho, reg_type=reg_type, tol=1e-12)

    for of in ("value", "value_linear"):
        expected = difference(lambda *data, of=of: getattr(solved(*data), of), M, a, b, way)
        assert along(solved(M, a, b).gradient(of), way) == pytest.approx(expected, rel=1e-5)
    bar, f_bar, g_bar = rng.random(M.shape), rng.random(a.size), rng.random(b.size)

    def number(*data):
        found = solved(*data)
        f, g = found.potentials
        return np.sum(bar * found.plan) + f_bar @ f + g_bar @ g

    pulled = solved(M, a, b).pullback(bar, (f_bar, g_bar))
    assert along(pulled, way) == pytest.approx(difference(number, M, a, b, way), rel=1e-5)


@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
@pytest.mark.parametrize("rho", [None, 0.5, (np.inf, 0.5)])
def test_everything_follows_reg(rho, reg_type):
    M, a, b = problem(4)
    rng = np.random.default_rng(0)
    bar, f_bar, g_bar = rng.random(M.shape), rng.random(a.size), rng.random(b.size)

    def solved(reg):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return ot.solve(M, a, b, reg, unbalanced=rho, reg_type=reg_type, tol=1e-13)

    def number(found):
        f, g = found.potentials
        return np.sum(bar * found.plan) + f_bar @ f + g_bar @ g

    at, ahead, behind = (solved(0.1 + step) for step in (0.0, STEP, -STEP))
    for of in ("value", "value_linear"):
        expected = (getattr(ahead, of) - getattr(behind, of)) / (2 * STEP)
        assert at.gradient(of).reg == pytest.approx(expected, rel=1e-5)
    expected = (number(ahead) - number(behind)) / (2 * STEP)
    assert at.pullback(bar, (f_bar, g_bar)).reg == pytest.approx(expected, rel=1e-5)


def test_a_penalised_mass_of_zero_has_the_slope_of_a_small_one():
    M, a, b = problem(3)
    a[2] = 0.0
    little = a.copy()
    little[2] = 1e-7
    values = [ot.solve(M, x, b, 0.1, unbalanced=0.5, tol=1e-12) for x in (a, little)]
    expected = (values[1].value - values[0].value) / 1e-7
    assert values[0].gradient().a[2] == pytest.approx(expected, rel=1e-3)


def test_a_row_that_only_infinite_costs_leave_empty_pays_its_penalty():
    M, a, b = problem(3)
    M[2] = np.inf
    solution = ot.solve(M, a, b, 0.1, unbalanced=0.5, tol=1e-12)
    step = np.zeros(a.size)
    step[2] = STEP
    ahead, behind = (
        ot.solve(M, x, b, 0.1, unbalanced=0.5, tol=1e-12).value for x in (a + step, a - step)
    )
    assert solution.gradient().a[2] == pytest.approx((ahead - behind) / (2 * STEP), rel=1e-5)


@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
def test_a_stack_has_the_derivatives_of_its_problems(reg_type):
    problems = [problem(0, True), problem(0)]
    M, a, b = (np.stack(x) for x in zip(*problems, strict=True))
    M[1, 0, 0] = np.inf
    a[1] *= 3.0
    b[1] *= 3.0
    rng = np.random.default_rng(0)
    bars = rng.random(M.shape), (rng.random(a.shape), rng.random(b.shape))
    stack = ot.solve_batch(M, [0.1, 0.2], a, b, tol=1e-12, reg_type=reg_type)
    for k, reg in enumerate((0.1, 0.2)):
        single = ot.solve(M[k], a[k], b[k], reg, tol=1e-12, reg_type=reg_type)
        bar = bars[0][k], (bars[1][0][k], bars[1][1][k])
        for mine, other in (
            (stack.gradient(), single.gradient()),
            (stack.gradient("value_linear"), single.gradient("value_linear")),
            (stack.pullback(*bars), single.pullback(*bar)),
        ):
            for name in ("a", "b", "M", "reg"):
                got, expected = getattr(mine, name)[k], getattr(other, name)
                np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)
