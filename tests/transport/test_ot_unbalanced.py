"""Unbalanced transport against a slow twin and POT: parity, edges, and how a solve ends."""

import warnings

import naive
import numpy as np
import ot as pot
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sparsenum import ConvergenceWarning, ot
from sparsenum.ot.problems import _cpu_support
from sparsenum.ot.problems.dense import Problem, gather
from sparsenum.ot.solvers.annealing import unbalanced as algorithm
from sparsenum.ot.solvers.annealing.descent import COARSE, ROOM, Descent
from sparsenum.ot.solvers.annealing.unbalanced import Relaxed, direction, newton_step
from sparsenum.ot.solvers.newton import Pace

INF = np.inf
RHOS = [(0.3, 0.3), (0.2, 2.0), (INF, 0.5), (0.5, INF), (1e-2, 1e-2), (1e3, 1e3)]


def problem(n=12, m=9, reg=0.1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, m)), rng.random(n) + 0.1, rng.random(m) + 0.1, reg


def hard_problem(kind, n, seed=0):
    """A problem whose plan is sparse: costs up to one."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        M = rng.random((n, n))
    elif kind == "cloud":
        M = cdist(rng.random((n, 2)), rng.random((n, 2)), "sqeuclidean")
    else:  # with ties, and far from unique without the entropy
        pixels = np.indices((16, n // 16)).reshape(2, -1).T
        M = cdist(pixels, pixels, "cityblock")
    return M / M.max(), rng.random(len(M)) + 0.1, 1.3 * rng.random(M.shape[1]) + 0.1


def view_of(M, a, b, reg, rho):
    n, m = M.shape
    everything = gather(M, np.zeros(n), np.zeros(m), np.full(n, INF), np.full(m, INF))
    return Relaxed(Problem(M, a, b, reg), everything, reg, *rho)


def true_error(result, a, b, reg, rho):
    """Violation of the optimality conditions by the plan itself."""
    f, g = (x[s > 0] for x, s in zip(result.potentials, result.marginals, strict=True))
    a, b = a[result.marginal_a > 0], b[result.marginal_b > 0]
    P = result.plan[result.marginal_a > 0][:, result.marginal_b > 0]
    wanted_rows = a * np.exp(-(f - reg * np.log(a)) / rho[0])
    wanted_columns = b * np.exp(-(g - reg * np.log(b)) / rho[1])
    off = np.abs(P.sum(axis=1) - wanted_rows).sum() + np.abs(P.sum(axis=0) - wanted_columns).sum()
    return off / P.sum()


# Against the twin and POT


@settings(max_examples=25)
@given(strategies.problems(), st.sampled_from(RHOS[:4]), st.sampled_from([1.0, 5.0]))
def test_plan_and_values_equal_the_twins(problem, rho, more):
    M, a, b, reg = problem
    b = more * b
    result = ot.solve(M, a, b, reg, unbalanced=rho, tol=1e-12)
    expected, phi, psi = naive.unbalanced_plan(M, a, b, reg, rho)
    assert result.converged
    assert result.status == "converged"
    np.testing.assert_allclose(result.plan, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.potential_a, phi + reg * np.log(a), rtol=0, atol=1e-8)
    np.testing.assert_allclose(result.potential_b, psi + reg * np.log(b), rtol=0, atol=1e-8)
    np.testing.assert_allclose(result.marginal_a, expected.sum(axis=1), rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.marginal_b, expected.sum(axis=0), rtol=0, atol=1e-10)
    assert result.value == pytest.approx(naive.unbalanced_value(expected, M, a, b, reg, rho))
    assert result.value_linear == pytest.approx(naive.linear_value(expected, M), abs=1e-9)
    assert result.marginal_error == pytest.approx(true_error(result, a, b, reg, rho), abs=1e-13)
    np.testing.assert_allclose(result.sparse_plan.toarray(), result.plan, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rho", RHOS[:4])
def test_plan_is_pots(rho):
    M, a, b, reg = problem()
    theirs = pot.solve(M, a, b, reg=reg, unbalanced=rho, tol=1e-14, max_iter=200_000)
    ours = ot.solve(M, a, b, reg, unbalanced=rho)
    np.testing.assert_allclose(ours.plan, theirs.plan, rtol=0, atol=1e-8)
    assert ours.value_linear == pytest.approx(theirs.value_linear, abs=1e-8)
    if np.isfinite(rho).all():  # POT's value drops the masses in KL, and with them everything
        assert abs(theirs.value) < 1e-8


def test_one_number_is_both_penalties():
    M, a, b, reg = problem()
    one = ot.solve(M, a, b, reg, unbalanced=0.5)
    for both in (0.5, [0.5], (0.5, 0.5), np.array([0.5, 0.5])):
        np.testing.assert_array_equal(ot.solve(M, a, b, reg, unbalanced=both).plan, one.plan)
    other = ot.solve(M, a, b, reg, unbalanced=(0.5, 5.0), unbalanced_type="kl")
    assert np.abs(other.plan - one.plan).max() > 1e-3


def test_value_is_the_objective_of_pots_general_solver():
    M, a, b, reg = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        log = pot.unbalanced.lbfgsb_unbalanced(
            a, b, M, reg, (0.5, 2.0), reg_div="kl", log=True, stopThr=1e-14, numItermax=5000
        )[1]
    ours = ot.solve(M, a, b, reg, unbalanced=(0.5, 2.0))
    assert ours.value == pytest.approx(log["total_cost"], abs=1e-6)


def test_entropy_is_kl_with_another_cost():
    M, a, b, reg = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pot.unbalanced.sinkhorn_unbalanced(
            a, b, M, reg, 0.5, reg_type="entropy", stopThr=1e-14, numItermax=100_000
        )
    shifted = ot.solve(M + reg * np.log(np.outer(a, b)), a, b, reg, unbalanced=0.5)
    ours = ot.solve(M, a, b, reg, unbalanced=0.5, reg_type="entropy")
    np.testing.assert_allclose(ours.plan, theirs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.plan, shifted.plan, rtol=0, atol=1e-12)
    assert ours.value == pytest.approx(shifted.value - reg * a.sum() * b.sum())
    P = ours.plan
    value = naive.linear_value(P, M) + reg * np.sum(P * np.log(P) - P)
    for sums, mass in ((P.sum(axis=1), a), (P.sum(axis=0), b)):
        value += 0.5 * naive.divergence(sums, mass)
    assert ours.value == pytest.approx(value)


def test_infinite_penalties_are_the_balanced_problem():
    M, a, b, reg = problem()
    b *= a.sum() / b.sum()
    balanced = ot.solve(M, a, b, reg)
    infinite = ot.solve(M, a, b, reg, unbalanced=(INF, INF))
    large = ot.solve(M, a, b, reg, unbalanced=1e7)
    np.testing.assert_array_equal(infinite.plan, balanced.plan)
    np.testing.assert_allclose(large.plan, balanced.plan, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="a must sum to the same total as b"):
        ot.solve(M, a, 2 * b, reg, unbalanced=INF)


# Harder problems


@pytest.mark.parametrize("kind", ["random", "cloud", "grid"])
@pytest.mark.parametrize("reg", [1e-3, 5e-5])
@pytest.mark.parametrize("rho", [(0.05, 0.05), (5.0, 0.5), (INF, 0.5), (0.5, INF), (1e-3, 1e-3)])
def test_small_reg_reaches_the_tolerance(kind, reg, rho):
    M, a, b = hard_problem(kind, 128)
    result = ot.solve(M, a, b, reg, unbalanced=rho)
    assert result.converged
    assert true_error(result, a, b, reg, rho) <= 1e-9
    # No gap between primal and dual: nothing has a better objective.
    phi, psi = result.potential_a - reg * np.log(a), result.potential_b - reg * np.log(b)
    dual = reg * (a.sum() * b.sum() - result.marginal_a.sum())
    for potential, mass, penalty in ((phi, a, rho[0]), (psi, b, rho[1])):
        finite = np.isfinite(penalty)
        dual += penalty * mass @ -np.expm1(-potential / penalty) if finite else mass @ potential
    assert result.value == pytest.approx(dual, rel=1e-7)


def test_a_support_that_misses_something_is_cut_anew(monkeypatch):
    M, a, b = hard_problem("grid", 128)
    widths, cut = [], Descent.cut

    def too_narrow_once(descent, reg, width):
        last = reg == 1e-3 and width > COARSE + ROOM
        widths.append(width)
        cut(descent, reg, 8.0 if last and max(widths[:-1]) < width else width)

    monkeypatch.setattr(Descent, "cut", too_narrow_once)
    result = ot.solve(M, a, b, 1e-3, unbalanced=0.5)
    assert widths[-1] == widths[-2]
    assert result.converged
    assert true_error(result, a, b, 1e-3, (0.5, 0.5)) <= 1e-9


def test_supports_that_always_miss_something_are_given_up(monkeypatch):
    M, a, b = hard_problem("grid", 128)
    cut = Descent.cut
    monkeypatch.setattr(Descent, "cut", lambda descent, reg, width: cut(descent, reg, 6.0))
    with pytest.warns(ConvergenceWarning, match="no more progress"):
        result = ot.solve(M, a, b, 1e-3, unbalanced=0.5)
    assert (result.converged, result.status) == (False, "stalled")


def test_a_good_start_saves_the_way():
    M, a, b = hard_problem("cloud", 128)
    cold = ot.solve(M, a, b, 1e-3, unbalanced=0.5)
    warm = ot.solve(M, a, b, 1e-3, unbalanced=0.5, potentials_init=cold.potentials)
    assert warm.converged
    assert warm.n_iter <= 3 < cold.n_iter
    np.testing.assert_allclose(warm.plan, cold.plan, rtol=0, atol=1e-9)


# Edges


@pytest.mark.parametrize("rho", [(0.3, 0.3), (INF, 0.5), (0.5, INF)])
def test_zero_masses_are_left_out(rho):
    M, a, b, reg = problem()
    a[3] = b[0] = b[5] = 0.0
    result = ot.solve(M, a, b, reg, unbalanced=rho)
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    less = ot.solve(M[np.ix_(rows, columns)], a[rows], b[columns], reg, unbalanced=rho)
    np.testing.assert_allclose(result.plan[np.ix_(rows, columns)], less.plan, rtol=0, atol=1e-15)
    assert result.plan.sum() == pytest.approx(less.plan.sum())
    assert result.value == pytest.approx(less.value)
    assert result.potential_a[3] == result.potential_b[0] == -INF


def test_what_may_go_nowhere_pays_the_penalty():
    M, a, b, reg = problem()
    M[2] = M[:, 4] = INF
    M[5, 1] = INF
    result = ot.solve(M, a, b, reg, unbalanced=(0.3, 0.5))
    assert result.converged
    assert result.plan[2].sum() == result.plan[:, 4].sum() == result.plan[5, 1] == 0.0
    kept = np.delete(np.delete(M, 2, 0), 4, 1), np.delete(a, 2), np.delete(b, 4)
    expected = naive.unbalanced_plan(*kept, reg, (0.3, 0.5))[0]
    np.testing.assert_allclose(
        np.delete(np.delete(result.plan, 2, 0), 4, 1), expected, rtol=0, atol=1e-9
    )
    value = naive.unbalanced_value(result.plan, M, a, b, reg, (0.3, 0.5))
    assert result.value == pytest.approx(value)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (7, 1), (30, 5)])
def test_any_shape(n, m):
    M, a, b, reg = problem(n, m)
    result = ot.solve(M, a, b, reg, unbalanced=0.4, tol=1e-12)
    np.testing.assert_allclose(
        result.plan, naive.unbalanced_plan(M, a, b, reg, (0.4, 0.4))[0], rtol=0, atol=1e-10
    )


def test_totals_may_be_far_apart():
    M, a, b, reg = problem()
    result = ot.solve(M, 1e-3 * a, 1e3 * b, reg, unbalanced=0.4)
    expected = naive.unbalanced_plan(M, 1e-3 * a, 1e3 * b, reg, (0.4, 0.4))[0]
    np.testing.assert_allclose(result.plan, expected, rtol=1e-7)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("reg_type", ["KL", "entropy"])
def test_the_plan_has_the_marginals_that_are_reported(offset, reg_type):
    M, a, b, reg = problem()
    M = np.round(M * 64) / 64 + offset
    result = ot.solve(M, a, b, reg, unbalanced=(np.inf, 50.0), reg_type=reg_type)
    assert result.converged
    np.testing.assert_allclose(result.plan.sum(axis=1), a, rtol=1e-8, atol=0)
    for sums, axis in zip(result.marginals, (1, 0), strict=True):
        np.testing.assert_allclose(result.plan.sum(axis=axis), sums, rtol=1e-10, atol=0)


@pytest.mark.parametrize(("cost", "a", "b"), [(-300.0, 1.0, 1.0), (0.0, 1.0, 1e-154)])
def test_a_plan_that_float32_cannot_hold_is_refused(cost, a, b):
    masses = {"a": [a], "b": [b], "reg": 1.0, "unbalanced": 1.0}
    assert ot.solve(np.array([[cost]]), **masses).plan[0, 0] > 0
    with pytest.raises(ValueError, match=r"^unbalanced must lead to a total"):
        ot.solve(np.array([[cost]], np.float32), **masses)


def test_the_result_does_not_depend_on_threads():
    M, a, b = hard_problem("cloud", 128)
    one, two = (ot.solve(M, a, b, 1e-2, unbalanced=0.5, n_threads=k) for k in (1, 2))
    np.testing.assert_array_equal(one.plan, two.plan)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"max_iter": 3}, "max_iter"),
        ({"max_iter": 0}, "max_iter"),
        ({"time_limit": 1e-9}, "time_limit"),
        ({"callback": lambda step: step.n_iter >= 5}, "stopped"),
    ],
)
def test_a_solve_stops_when_told(options, status):
    M, a, b = hard_problem("cloud", 128)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        result = ot.solve(M, a, b, 1e-4, unbalanced=0.5, **options)
    assert (result.converged, result.status) == (False, status)
    assert result.marginal_error == pytest.approx(true_error(result, a, b, 1e-4, (0.5, 0.5)))
    assert result.marginal_error > 1e-9


def test_a_tolerance_beyond_float64_is_said_to_be():
    M, a, b = hard_problem("cloud", 64)
    with pytest.warns(ConvergenceWarning):
        result = ot.solve(M, a, b, 1e-3, unbalanced=0.5, tol=1e-18)
    assert result.status == "precision"
    assert result.marginal_error < 1e-11
    # Nor is there more where totals differ much and penalties are strong: potentials are large.
    with pytest.warns(ConvergenceWarning, match="float64 has no more"):
        result = ot.solve(M, a, 2 * b, 1e-4, unbalanced=1e5, tol=1e-10)
    assert result.status == "precision"


closed_row, closed_column, closed = (np.ones((3, 2)) for _ in range(3))
closed_row[1] = closed_column[:, 1] = closed[1:] = INF
BAD = [
    ({"unbalanced_type": "TV"}, NotImplementedError, "unbalanced_type must be 'KL': got 'TV'"),
    ({"unbalanced": 0.0}, ValueError, "unbalanced must be positive and finite"),
    ({"unbalanced": -INF}, ValueError, "unbalanced must be positive and finite"),
    ({"unbalanced": (1.0, np.nan)}, ValueError, "unbalanced must be positive and finite"),
    ({"unbalanced": (1, 2, 3)}, ValueError, "a number or a pair of them: got 3 items"),
    ({"unbalanced": "much"}, TypeError, "unbalanced must be a number"),
    ({"method": "sinkhorn"}, ValueError, "method must be 'auto' where unbalanced is given"),
    ({"M": closed_row, "unbalanced": (INF, 1.0)}, ValueError, "infinite costs in row 1"),
    ({"M": closed_column, "unbalanced": (1.0, INF)}, ValueError, "infinite costs in column 1"),
    ({"M": closed, "a": [0, 1, 1]}, ValueError, "M must have a finite cost between some masses"),
    ({"potentials_init": (np.zeros(3), np.zeros(3))}, ValueError, "lengths \\(3, 2\\)"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD)
def test_bad_input_is_named(change, error, words):
    with pytest.raises(error, match=words):
        ot.solve(**{"M": np.ones((3, 2)), "reg": 0.1, "unbalanced": 1.0, **change})


# Parts


@pytest.mark.parametrize("kappa", [1.0, 0.7, 0.01])
def test_relaxed_row_update(kappa):
    M, a, b, reg = problem()
    M[2, 3] = INF
    s = view_of(M, a, b, reg, (1.0, 1.0)).support
    g = np.random.default_rng(1).normal(size=b.size)
    f, P, rows, columns = np.empty(a.size), np.empty(s.nnz), np.empty(a.size), np.empty(b.size)
    args = (s.indptr, s.indices, s.data, a, g, reg, kappa, f, P, rows, columns)
    _cpu_support.relaxed_row_update(*args)
    expected = naive.relaxed_row_update(M, a, g, reg, kappa)
    ours = f, s.with_data(P).to_dense(), rows, columns
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("rho", RHOS)
def test_direction_is_that_of_the_whole_newton_system(rho):
    M, a, b, reg = problem()
    view = view_of(M, a, b, reg, rho)
    at = view.point(0.1 * np.random.default_rng(1).normal(size=b.size))
    P = naive.plan(M, at.f, at.g, reg)
    H = np.block([[np.diag(at.rows), P], [P.T, np.diag(at.columns)]])
    H += np.diag(np.concatenate([at.rows / rho[0], at.wanted / rho[1]])) * reg
    both = naive.solve(H, np.concatenate([at.rows - P.sum(axis=1), at.wanted - at.columns]))
    exact = at._replace(error=1e-12)  # so that nothing is dropped and the residual is small
    x = direction(view, exact, Pace(0.0), 1e-20)
    np.testing.assert_allclose(x, both[a.size :], rtol=0, atol=1e-4 * np.abs(both).max())


@pytest.mark.parametrize("rho", RHOS)
def test_slope_of_the_dual_is_what_the_columns_lack(rho):
    M, a, b, reg = problem()
    view = view_of(M, a, b, reg, rho)
    psi, x = 0.1 * np.random.default_rng(1).normal(size=(2, b.size))
    at, h = view.point(psi), 1e-5
    slope = (view.point(psi + h * x).value - view.point(psi - h * x).value) / (2 * h)
    assert slope == pytest.approx((at.wanted - at.columns) @ x, rel=1e-5)
    assert view.sweep(at).value > at.value


def test_a_step_that_leads_nowhere_is_refused(monkeypatch):
    view = view_of(*problem(), (0.5, 0.5))
    at, pace = view.point(np.zeros(9)), Pace(0.0)
    better = newton_step(view, at, pace, 1e-9)
    assert better.value > at.value
    assert (pace.newton, pace.refused) == (1, 0)
    downhill = -direction(view, at, pace, 1e-9)
    monkeypatch.setattr(algorithm, "direction", lambda *_: downhill)
    assert newton_step(view, at, pace, 1e-9) is None
    assert (pace.newton, pace.refused) == (1, 1)
