"""Transport of numbers at the edges: masses next to zero, sentinels, offsets, totals, tiny reg."""

import warnings

import naive
import numpy as np
import pytest
from scipy.special import logsumexp

from sparsenum import ConvergenceWarning, ot

METHODS = ["auto", "sns-paper", "sinkhorn"]
RNG = np.random.default_rng(11)
C = RNG.random((6, 5))
LITTLE = np.array([1e-300, 0.2, 0.2, 0.2, 0.2, 0.2])
NONE = np.where(LITTLE < 0.1, 0.0, LITTLE)
SIZES = [1e4, 1e9, 1e20, 1e29]


def assert_close(x, y, atol=1e-8):
    np.testing.assert_allclose(x, y, rtol=0, atol=atol)


def soft_minimum(M, g, mass, reg):
    """The potential at which a row of the plan sums to its mass, by the formula."""
    return (
        reg * np.log(mass)
        + np.min(M - g)
        - reg * np.log(np.exp((np.min(M - g) - M + g) / reg).sum())
    )


# Masses that cannot matter


@pytest.mark.parametrize("method", ["sns", "sinkhorn", "sinkhorn_log", "sinkhorn_stabilized"])
def test_a_mass_next_to_nothing_does_not_ruin_the_cost(method):
    cost = ot.sinkhorn2([1, 1e-290], [0.5, 0.5], [[0.0, 1], [1, 0]], 1.0, method=method)
    assert cost == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("little", [1e-320, 1e-300, 1e-262, 1e-199, 1e-150, 1e-60])
def test_little_masses_are_as_none_and_have_potentials(method, little):
    a = np.where(NONE > 0, NONE, little)
    result, without = (ot.solve(C, x, None, 0.1, method=method) for x in (a, NONE))
    assert result.converged
    assert result.value == pytest.approx(without.value, abs=1e-8)
    assert_close(result.plan, without.plan, 1e-9)
    f, g = result.potentials
    assert f[0] == pytest.approx(soft_minimum(C[0], g, little, 0.1), abs=1e-7)


def test_little_masses_of_columns_are_as_none():
    without = ot.solve(C.T, None, NONE, 0.1)
    result = ot.solve(C.T, None, LITTLE, 0.1)
    assert result.value == pytest.approx(without.value, abs=1e-9)
    assert np.isfinite(result.potentials[1]).all()
    for of in ("value", "value_linear"):
        assert_close(result.gradient(of).b, without.gradient(of).b, 1e-7)


def test_narrow_gaussians_are_solved():
    x = np.arange(100.0)
    M = (x[:, None] - x) ** 2 / 99**2
    for centre, width in ((20, 1.0), (10, 1.2), (5, 1.9)):
        a = np.exp(-((x - centre) ** 2) / (2 * width**2))
        b = np.exp(-((x - 75) ** 2) / (2 * (width + 0.3) ** 2))
        a, b = a / a.sum(), b / b.sum()
        assert min(a.min(), b.min()) < 1e-261
        some = np.ix_(a > 1e-40, b > 1e-40)
        P, _, _ = naive.entropic_plan(M[some], a[a > 1e-40], b[b > 1e-40], 0.05, tol=1e-12)
        cost = ot.sinkhorn2(a, b, M, 0.05)
        assert cost == pytest.approx(float((P * M[some]).sum()), abs=1e-9)


def test_lazy_clouds_leave_little_masses_out():
    X, Y = RNG.random((40, 2)), RNG.random((30, 2))
    a = np.full(40, 1 / 39)
    a[7] = 1e-290
    lazy = ot.solve_sample(X, Y, a, None, reg=0.1, lazy=True)
    result = ot.solve_sample(X, Y, a, None, reg=0.1)
    assert lazy.value == pytest.approx(result.value, abs=1e-8)
    assert_close(lazy.potentials[0], result.potentials[0], 1e-6)
    assert_close(np.asarray(lazy.lazy_plan[:]), result.plan, 1e-8)


def test_batches_leave_little_masses_out():
    batch = ot.solve_batch(np.stack([C, C]), 0.1, np.stack([LITTLE, NONE]))
    assert batch.value[0] == pytest.approx(batch.value[1], abs=1e-9)
    single = ot.solve(C, LITTLE, None, 0.1)
    assert_close(batch.potentials[0][0], single.potentials[0], 1e-7)
    assert_close(batch[0].potentials[0], single.potentials[0], 1e-7)


def test_divergences_and_barycenters_leave_little_masses_out():
    X, Y = RNG.random((6, 2)), RNG.random((5, 2))
    some, none = (ot.sinkhorn_divergence(X, Y, a, None, reg=0.1).value for a in (LITTLE, NONE))
    assert some == pytest.approx(none, abs=1e-9)
    M = RNG.random((6, 7))
    A = np.stack([LITTLE, np.roll(NONE, 2)], axis=1)
    q, log = ot.barycenter(A, M, 0.1, log=True)
    assert_close(q, ot.barycenter(np.where(A < 0.1, 0.0, A), M, 0.1), 1e-9)
    assert log["f"][0, 0] == pytest.approx(
        soft_minimum(M[0], log["g"][:, 0], 1e-300, 0.1), abs=1e-7
    )


@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
def test_unbalanced_leaves_little_masses_out(reg_type):
    options = {"reg": 0.1, "unbalanced": 1.0, "reg_type": reg_type}
    some, none = (ot.solve(C, a, None, **options) for a in (LITTLE, NONE))
    assert some.converged
    assert some.value == pytest.approx(none.value, abs=1e-9)
    assert np.isfinite(some.potentials[0]).all()


# Sentinels and outliers


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_sentinels_on_pairs_that_can_be_avoided_are_as_infinity(size, share):
    n = 30
    rng = np.random.default_rng(3)
    M, taken = rng.random((n, n)), rng.random((n, n)) < share
    for _ in range(2):
        taken[np.arange(n), rng.permutation(n)] = False
    taken[0, 1] = True
    meant = ot.solve(np.where(taken, np.inf, M), reg=0.02)
    for method in ("auto", "sinkhorn") if share < 0.5 else ("auto",):
        result = ot.solve(np.where(taken, size, M), reg=0.02, method=method)
        assert result.converged
        assert_close(result.plan, meant.plan)


@pytest.mark.parametrize("size", SIZES)
def test_sentinels_in_batches_and_unbalanced(size):
    M = np.where(np.eye(5, 6, 1) > 0, size, RNG.random((5, 6)))
    meant = np.where(size == M, np.inf, M)
    batch = ot.solve_batch(M[None], 0.05)
    assert batch.converged.all()
    assert_close(batch.plan[0], ot.solve(meant, reg=0.05).plan)
    for rho in (1.0, (np.inf, 0.5), (0.5, np.inf)):
        result = ot.solve(M, reg=0.05, unbalanced=rho)
        assert result.converged
        assert_close(result.plan, ot.solve(meant, reg=0.05, unbalanced=rho).plan)


def test_sentinels_that_must_be_used_are_used():
    M = np.array([[0.0, 1e6], [1e6, 0.0]])
    result = ot.solve(M, [0.6, 0.4], [0.5, 0.5], reg=1.0)
    assert result.converged
    assert_close(result.plan, [[0.5, 0.1], [0.0, 0.4]], 1e-7)


@pytest.mark.parametrize("far", [1e3, 1e5, 1e7])
def test_a_point_far_from_all_others_changes_nothing_for_them(far):
    rng = np.random.default_rng(5)
    X, Y = rng.random((12, 2)), rng.random((12, 2))
    X[3] = Y[5] = far
    result = ot.solve_sample(X, Y, reg=0.05)
    assert result.converged
    rows, columns = np.delete(np.arange(12), 3), np.delete(np.arange(12), 5)
    M = ((X[rows, None] - Y[columns]) ** 2).sum(axis=2)
    expected = ot.solve(M, np.full(11, 1 / 12), np.full(11, 1 / 12), 0.05)
    assert_close(result.plan[np.ix_(rows, columns)], expected.plan)
    assert result.plan[3, 5] == pytest.approx(1 / 12, abs=1e-9)


# Constants


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("constant", [1e6, 1e12, -1e12])
def test_a_constant_on_all_costs_costs_no_digits(method, constant):
    M = C + constant
    result, plain = (ot.solve(x, reg=0.1, method=method) for x in (M, M - constant))
    assert result.converged
    assert_close(result.plan, plain.plan, 1e-9)
    assert_close(result.sparse_plan.toarray(), plain.plan, 1e-9)
    assert result.value_linear - constant == pytest.approx(plain.value_linear, abs=1e-3)
    gradient = result.gradient("value_linear")
    assert_close(gradient.M, plain.gradient("value_linear").M, 1e-6)


def test_constants_of_rows_and_columns_cost_no_digits():
    M = C + np.array([1e12, 0, 0, -1e12, 0, 5e11])[:, None] + np.array([0, 1e12, 0, 0, 0])
    result = ot.solve(M, reg=0.1)
    assert result.converged
    level = M - M.min(axis=1, keepdims=True)
    level -= level.min(axis=0)
    assert_close(result.plan, ot.solve(level, reg=0.1).plan, 1e-9)


def test_float32_costs_keep_their_type_without_their_constant():
    M = (C + 1e7).astype(np.float32)
    result = ot.solve(M, reg=0.1)
    assert result.converged
    assert result.plan.dtype == np.float32
    assert_close(result.plan, ot.solve(M.astype(float) - 1e7, reg=0.1).plan, 1e-7)


def test_constants_in_batches_unbalanced_and_barycenters():
    M = C + 1e12
    level = M - 1e12
    batch = ot.solve_batch(np.stack([M, C]), 0.1, reg_type="KL")
    assert batch.converged.all()
    assert_close(batch.plan[0], ot.solve(level, reg=0.1).plan, 1e-9)
    assert_close(batch[0].plan, batch.plan[0], 1e-12)
    assert batch.value[0] - 1e12 == pytest.approx(ot.solve(level, reg=0.1).value, abs=1e-2)
    for rho in ((np.inf, 0.5), (0.5, np.inf)):
        some, plain = (ot.solve(x, reg=0.1, unbalanced=rho) for x in (M, level))
        assert_close(some.plan, plain.plan, 1e-8)
    A = RNG.random((6, 2))
    A /= A.sum(axis=0)
    assert_close(ot.barycenter(A, M, 0.1), ot.barycenter(A, level, 0.1), 1e-9)


def test_masses_that_do_not_count_have_no_entries_in_common():
    X = np.array([[-1.3], [-0.2], [-3.6], [-1.4], [1.5]])
    a = np.array([3e-272, 2e-225, 2e-266, 1.0, 8e-240])
    M = (X - X.T) ** 2
    for f, g in (
        ot.solve(M, a, a, 0.015).potentials,
        ot.solve(M, a, a, 0.015, reg_type="entropy").potentials,
        tuple(x[0] for x in ot.solve_batch(M[None], 0.015, a, a).potentials),
    ):
        P = np.exp((f[:, None] + g - M) / 0.015)
        np.testing.assert_allclose(P.sum(axis=0), a, rtol=1e-9, atol=0)
        np.testing.assert_allclose(P.sum(axis=1), a, rtol=1e-9, atol=1e-200)


def test_penalties_next_to_zero_bend_nothing():
    M, a, b = np.random.default_rng(0).random((5, 4)), np.full(5, 0.2), np.full(4, 0.25)
    free = a[:, None] * b * np.exp(-M / 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for rho in (1e-300, 1e-100, 1e-15):
            plan = ot.solve(M, a, b, 0.3, unbalanced=rho, max_iter=10).plan
            np.testing.assert_allclose(plan, free, rtol=1e-9, atol=0)


@pytest.mark.parametrize("reg", [1e-300, 1e-100, 1e-30])
def test_a_reg_next_to_zero_gives_a_finite_plan(reg):
    result = ot.solve([[0.0, 1.0], [1.0, 0.0]], reg=reg)
    assert_close(result.plan, [[0.5, 0.0], [0.0, 0.5]], 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = ot.solve(C, reg=reg, max_iter=100)
    assert np.isfinite(result.plan).all()
    assert (result.plan >= 0).all()
    error = abs(result.plan.sum(axis=1) - 1 / 6).sum() + abs(result.plan.sum(axis=0) - 0.2).sum()
    assert error == pytest.approx(result.marginal_error, abs=1e-12)


# Totals


def test_totals_beyond_float64_and_float32_are_refused():
    with pytest.raises(ValueError, match=r"^a must have a total that float64 can hold"):
        ot.solve(np.ones((2, 2)), [1.7e308] * 2, [1.7e308] * 2, 1.0)
    with pytest.raises(ValueError, match=r"^problem 0: a must have a total that float64 can hold"):
        ot.solve_batch(np.ones((1, 2, 2)), 1.0, [1.7e308] * 2, [1.7e308] * 2)
    with pytest.raises(ValueError, match=r"^A must have columns whose totals float64 can hold"):
        ot.barycenter(np.full((2, 2), 1.7e308), np.ones((2, 2)), 1.0)
    for total in (1e39, 1e-39):
        with pytest.raises(ValueError, match=r"^a must lead to a total that a plan of float32"):
            ot.solve(np.eye(2, dtype=np.float32), [total] * 2, [total] * 2, 1.0)
        assert ot.solve(np.eye(2), [total] * 2, [total] * 2, 1.0).converged


def test_the_error_is_against_the_masses_of_the_caller():
    a, b = np.array([0.5, 0.5]), np.array([0.5, 0.5 + 9e-7])
    result = ot.solve(np.eye(2), a, b, 1.0)
    assert result.marginal_error == pytest.approx(9e-7, rel=1e-3)
    off = abs(result.plan.sum(axis=0) - b).sum() + abs(result.plan.sum(axis=1) - a).sum()
    assert off == pytest.approx(9e-7, rel=1e-3)
    assert ot.solve_batch(np.eye(2)[None], 1.0, a, b).marginal_error == pytest.approx(
        9e-7, rel=1e-3
    )


@pytest.mark.parametrize("n", [1000, 100_000])
def test_the_tolerance_on_totals_belongs_to_the_type(n):
    rng = np.random.default_rng(2)
    x = np.exp(3 * rng.standard_normal(n)).astype(np.float32)
    total = np.float32(0)
    for block in x.reshape(-1, 100).sum(axis=1):
        total += block
    a = x / total
    assert a.dtype == np.float32
    result = ot.solve(rng.random((n, 2)), a, None, 1.0)
    assert result.converged
    with pytest.raises(ValueError, match=r"^a must sum to the same total"):
        ot.solve(rng.random((n, 2)), 1.01 * a, None, 1.0)


def test_a_batch_refuses_what_one_solve_refuses():
    M, b = np.array([[[0.0, np.inf]]]), [1 - 1e-10, 1e-10]
    with pytest.raises(ValueError, match=r"M must leave each column with mass a finite cost"):
        ot.solve(M[0], [1.0], b, 1.0)
    with pytest.raises(ValueError, match=r"^problem 0: M must leave each column"):
        ot.solve_batch(M, 1.0, [1.0], b)
    with pytest.raises(ValueError, match=r"^problem 0: M must leave each row"):
        ot.solve_batch(M.swapaxes(1, 2), 1.0, b, [1.0])


# Unbalanced transport whose mass comes and goes


def unbalanced_logs(M, a, b, reg, rho, kind):
    """Return the logarithms of the unbalanced plan by alternating maximisation in logarithms."""
    reference = np.add.outer(np.log(a), np.log(b))
    C = M if kind == "KL" else M + reg * reference
    phi, psi = np.zeros(len(a)), np.zeros(len(b))
    kappa = [1 / (1 + reg / x) for x in rho]
    for _ in range(100_000):
        old = phi
        phi = -kappa[0] * reg * logsumexp((psi - C) / reg + np.log(b), axis=1)
        psi = -kappa[1] * reg * logsumexp((phi[:, None] - C) / reg + np.log(a)[:, None], axis=0)
        if np.abs(phi - old).max() <= 1e-13 * max(reg, np.abs(phi).max()):
            return reference + (phi[:, None] + psi - C) / reg
    raise AssertionError("choose a kinder problem")


@pytest.mark.parametrize("kind", ["KL", "entropy"])
@pytest.mark.parametrize("constant", [0.0, 5e2, 3e3, 1e6, -3e2])
@pytest.mark.parametrize("rho", [(1.0, 1.0), (0.3, 2.0)])
def test_unbalanced_plans_underflow_with_dignity(kind, constant, rho):
    a, b = LITTLE[1:] * [1, 2, 3, 1, 2], np.array([0.3, 0.5, 0.1, 0.4])
    M = C[1:, 1:] + constant
    result = ot.solve(M, a, b, 0.5, unbalanced=rho, reg_type=kind)
    assert result.converged
    logs = unbalanced_logs(M, a, b, 0.5, rho, kind)
    np.testing.assert_allclose(result.plan, np.exp(logs), rtol=1e-6, atol=1e-300)
    if constant == 3e3:
        assert_close(result.plan, 0.0, 0)
        rest = 0.5 * a.sum() * b.sum() if kind == "KL" else 0.0
        assert result.value == pytest.approx(rho[0] * a.sum() + rho[1] * b.sum() + rest, rel=1e-12)


def test_unbalanced_masses_whose_product_underflows():
    a = b = np.array([1.0, 1e-200])
    result = ot.solve(np.eye(2), a, b, 0.1, unbalanced=1.0, reg_type="entropy")
    logs = unbalanced_logs(np.eye(2), a, b, 0.1, (1.0, 1.0), "entropy")
    assert result.converged
    assert_close(result.plan, np.exp(logs), 1e-9)


def test_an_unbalanced_plan_that_overflows_is_refused():
    with pytest.raises(ValueError, match=r"^M must not be so negative that float64 cannot hold"):
        ot.solve(np.full((2, 2), -1e5), reg=1.0, unbalanced=1.0)


@pytest.mark.parametrize("rho", [0.5, 1e-3, (np.inf, 0.5), (0.5, np.inf)])
@pytest.mark.parametrize("max_iter", [0, 1, 3, 7])
@pytest.mark.parametrize("reg", [1e-6, 1e-3, 1.0])
def test_a_stopped_unbalanced_result_is_finite_and_honest(rho, max_iter, reg):
    rng = np.random.default_rng(max_iter)
    for M in (np.array([[1.0, 2.0], [1.0, 0.0]]), rng.random((7, 5)), 100 * rng.random((4, 6))):
        a, b = rng.random(len(M)) + 0.1, rng.random(M.shape[1]) + 0.1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = ot.solve(M, a, b, reg, unbalanced=rho, max_iter=max_iter)
        P = result.plan
        assert np.isfinite(P).all()
        assert (P >= 0).all()
        assert np.isfinite([result.value, result.value_linear]).all()
        assert 0 <= result.marginal_error < np.inf
        assert_close(result.marginals[0], P.sum(axis=1), 1e-9)
        phi, psi = (
            x - reg * np.log(mass) for x, mass in zip(result.potentials, (a, b), strict=True)
        )
        pairs = zip((a, b), (phi, psi), np.broadcast_to(rho, 2), (1, 0), strict=True)
        with np.errstate(over="ignore"):
            off = sum(abs(P.sum(axis=axis) - m * np.exp(-x / r)).sum() for m, x, r, axis in pairs)
        if P.sum() > 1e-250:  # else both have underflowed
            assert result.marginal_error == pytest.approx(off / P.sum(), rel=1e-4, abs=1e-7)
        assert result.converged == (result.marginal_error <= 1e-9)
