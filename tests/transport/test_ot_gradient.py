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

    expected = difference(lambda *data: solved(*data).value, M, a, b, way)
    assert along(solved(M, a, b).gradient(), way) == pytest.approx(expected, rel=1e-5)
    for missing in (lambda s: s.gradient("value_linear"), lambda s: s.pullback(M)):
        with pytest.raises(NotImplementedError, match="unbalanced"):
            missing(solved(M, a, b))
