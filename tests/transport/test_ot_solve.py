"""`ot.solve` against a slow twin and POT: properties, edges, and how a solve ends."""

import os
import threading

import naive
import numpy as np
import ot as pot
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsenum import ConvergenceWarning, ot

METHODS = ["auto", "sns-paper", "sinkhorn"]
TIGHT = {"tol": 1e-12}
few = settings(max_examples=25)


def solve(problem, **options):
    return ot.solve(*problem, **{**TIGHT, **options})


def assert_same_plan(result, expected, atol=1e-9):
    np.testing.assert_allclose(result, expected, rtol=0, atol=atol)


def true_error(result, a, b):
    P = result.plan
    return (np.abs(P.sum(axis=1) - a).sum() + np.abs(P.sum(axis=0) - b).sum()) / a.sum()


def random_problem(n=12, m=9, reg=0.1, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
    return rng.random((n, m)), a / a.sum(), b / b.sum(), reg


# Properties, for all methods


@pytest.mark.parametrize("method", METHODS)
@few
@given(strategies.problems())
def test_plan_equals_the_twins_and_has_the_marginals(method, problem):
    M, a, b, reg = problem
    result = solve(problem, method=method)
    expected, _, _ = naive.entropic_plan(*problem)
    assert result.converged
    assert result.status == "converged"
    assert (result.plan >= 0).all()
    assert true_error(result, a, b) <= 1e-12 + 1e-14
    assert result.marginal_error == pytest.approx(true_error(result, a, b), abs=1e-14)
    np.testing.assert_allclose(result.marginal_a, result.plan.sum(axis=1), rtol=0, atol=1e-14)
    np.testing.assert_allclose(result.marginal_b, result.plan.sum(axis=0), rtol=0, atol=1e-14)
    assert_same_plan(result.plan, expected)
    assert result.value == pytest.approx(naive.value(expected, M, a, b, reg), abs=1e-9)
    assert result.value_linear == pytest.approx(naive.linear_value(expected, M), abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@few
@given(strategies.problems(), st.floats(-10, 10))
def test_a_constant_added_to_the_cost_changes_the_value_only(method, problem, shift):
    M, a, b, reg = problem
    result, shifted = (solve((C, a, b, reg), method=method) for C in (M, M + shift))
    assert_same_plan(shifted.plan, result.plan)
    assert shifted.value == pytest.approx(result.value + shift, abs=1e-8)


@pytest.mark.parametrize("method", METHODS)
@few
@given(strategies.problems(), st.randoms(use_true_random=False))
def test_permuting_permutes_and_transposing_transposes(method, problem, random):
    M, a, b, reg = problem
    rows, columns = list(range(len(a))), list(range(len(b)))
    random.shuffle(rows)
    random.shuffle(columns)
    result = solve(problem, method=method)
    permuted = solve((M[np.ix_(rows, columns)], a[rows], b[columns], reg), method=method)
    assert_same_plan(permuted.plan, result.plan[np.ix_(rows, columns)])
    transposed = solve((M.T, b, a, reg), method=method)
    assert_same_plan(transposed.plan, result.plan.T)
    assert transposed.value == pytest.approx(result.value, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@few
@given(strategies.problems(), st.floats(1e-6, 1e6), st.floats(1e-3, 1e3))
def test_units_of_cost_and_of_mass_do_not_matter(method, problem, unit, mass):
    M, a, b, reg = problem
    result = solve(problem, method=method)
    scaled = solve((M * unit, a * mass, b * mass, reg * unit), method=method)
    assert_same_plan(scaled.plan / mass, result.plan)
    assert scaled.value_linear / (unit * mass) == pytest.approx(result.value_linear, abs=1e-9)
    np.testing.assert_allclose(
        naive.plan(M * unit, *scaled.potentials, reg * unit), scaled.plan, rtol=0, atol=1e-12 * mass
    )


@few
@given(strategies.problems())
def test_potentials_reproduce_the_plan_and_restart_the_solver(problem):
    M, _, _, reg = problem
    result = solve(problem)
    f, g = result.potentials
    assert f is result.potential_a
    assert g is result.potential_b
    np.testing.assert_allclose(naive.plan(M, f, g, reg), result.plan, rtol=0, atol=1e-13)
    for method in METHODS:
        again = solve(problem, potentials_init=(f, g), method=method)
        assert again.converged
        assert again.n_iter <= 1


# POT


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "m", "reg"), [(12, 9, 0.1), (5, 17, 0.05), (1, 4, 1.0)])
def test_plan_and_values_are_those_of_pot(method, n, m, reg):
    problem = M, a, b, reg = random_problem(n, m, reg)
    result = solve(problem, method=method)
    theirs = pot.solve(*problem, tol=1e-13, max_iter=100_000)
    assert_same_plan(result.plan, theirs.plan, 1e-10)
    assert result.value == pytest.approx(float(theirs.value), abs=1e-10)
    assert result.value_linear == pytest.approx(float(theirs.value_linear), abs=1e-10)
    in_logs = pot.bregman.sinkhorn_log(a, b, M, reg, stopThr=1e-13, numItermax=100_000)
    assert_same_plan(result.plan, in_logs, 1e-10)


def test_values_of_mass_other_than_one_are_those_of_pot():
    M, a, b, reg = random_problem()
    result = solve((M, 7 * a, 7 * b, reg))
    theirs = pot.solve(M, 7 * a, 7 * b, reg, tol=1e-13, max_iter=100_000)
    assert result.value == pytest.approx(float(theirs.value), abs=1e-9)
    assert result.value_linear == pytest.approx(float(theirs.value_linear), abs=1e-9)


# Edges: cost, masses, reg, and the tolerance to ask for

RNG = np.random.default_rng(1)
C = RNG.random((6, 5))
A = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 1.0]) / 10
B = np.array([3.0, 1.0, 2.0, 2.0, 2.0]) / 10
PERMUTED = (1.0 - np.eye(8) + 0.3 * RNG.random((8, 8)))[RNG.permutation(8)]
WALLED = np.where(RNG.random((6, 5)) < 0.3, np.inf, C)
WALLED[0] = WALLED[:, 0] = 0.5
READ_ONLY = C.copy()
READ_ONLY.flags.writeable = False
EDGES = {
    "no mass in some rows and columns": (C, [0, 2, 3, 0, 4, 1], [0, 1, 0, 4, 5], 0.1),
    "mass in one row and one column": (C, [0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0], 0.1),
    "infinite cost where there is no mass": (
        np.where(np.arange(6)[:, None] == 2, np.inf, C),
        [1, 2, 0, 1, 2, 1],
        [1, 1, 2, 1, 2],
        0.1,
    ),
    "1 x 1": ([[710.0]], [1.0], [1.0], 1.0),
    "1 x n": (C[:1], [1.0], B, 0.1),
    "n x 1": (C[:, :1], A, [1.0], 0.1),
    "more columns than rows": (C.T, B, A, 0.1),
    "uniform by default": (C, None, None, 0.1),
    "float32": (C.astype("f"), A.astype("f"), B.astype("f"), np.float32(0.1)),
    "whole numbers": ((10 * C).astype(int), [1, 2, 3, 1, 2, 1], [3, 1, 2, 2, 2], 1),
    "lists": (C.tolist(), A.tolist(), B.tolist(), 0.1),
    "Fortran order": (np.asfortranarray(C), A, B, 0.1),
    "a strided view": (np.repeat(C, 2, axis=1)[:, ::2], np.repeat(A, 2)[::2], B, 0.1),
    "read-only": (READ_ONLY, A, B, 0.1),
    "duplicate points": (C[[0, 0, 0, 1, 1, 2]][:, [0, 0, 1, 1, 1]], A, B, 0.05),
    "constant cost": (np.full((6, 5), 3.0), A, B, 0.1),
    "tiny masses": (C, [1e-12, 1, 1e-12, 1, 1, 1], [1, 1e-12, 1, 1, 1], 0.1),
    "totals within rounding": (C, A, B * (1 + 1e-8), 0.1),
    "total 7": (C, 7 * A, 7 * B, 0.1),
    "total 1e-3": (C, 1e-3 * A, 1e-3 * B, 0.1),
    "cost + 1e6": (C + 1e6, A, B, 0.1, 1e-7),
    "cost * 1e6": (C * 1e6, A, B, 1e5),
    "cost * 1e-6": (C * 1e-6, A, B, 1e-7),
    "negative cost": (-C, A, B, 0.1),
    "infinite costs": (WALLED, A, B, 0.1),
    "almost a permutation": (PERMUTED, None, None, 0.01),
    "large reg": (C, A, B, 1e4),
    "one outlier": (np.where(np.eye(6, 5) > 0, 1e3, C), A, B, 0.1),
}


def as_float(x, length):
    x = np.full(length, 1.0 / length) if x is None else np.array(x, np.float64)
    return x / x.sum(), x.sum()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", EDGES)
def test_edges(name, method):
    M, a, b, reg, *tol = EDGES[name]
    before = [np.array(x) for x in (M, a, b)]
    result = ot.solve(M, a, b, reg, tol=tol[0] if tol else 1e-11, method=method)
    for x, copy in zip((M, a, b), before, strict=True):
        np.testing.assert_array_equal(np.array(x), copy)
    cost = np.array(M, np.float64)
    (a, mass), (b, _) = as_float(a, len(cost)), as_float(b, cost.shape[1])
    expected, _, _ = naive.entropic_plan(cost - cost.min(), a, b, float(reg))
    assert result.converged
    single = np.array(M).dtype == np.float32  # the plan comes in the precision of the cost
    assert result.plan.dtype == (np.float32 if single else np.float64)
    atol = 1e-7 if single else 100 * result.log["tol"]
    assert_same_plan(result.plan / mass, expected, atol=atol)
    assert not result.plan[a == 0].any()
    assert not result.plan[:, b == 0].any()
    assert not result.plan[np.isinf(cost)].any()
    assert np.isneginf(result.potential_a).tolist() == (a == 0).tolist()
    assert np.isneginf(result.potential_b).tolist() == (b == 0).tolist()
    assert result.value_linear == pytest.approx(
        mass * naive.linear_value(expected, cost), rel=1e-8, abs=1e-12
    )
    value = mass * naive.value(expected, cost, a, b, float(reg))
    value -= mass * np.log(mass) * float(reg)  # from KL(P | a b') with a, b and P of this mass
    assert result.value == pytest.approx(value, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_plan_forced_onto_a_triangle_is_reached(method):
    M = np.array([[0.0, np.inf], [0.0, 0.0]])  # the lower left is allowed and yet must be empty
    result = ot.solve(M, reg=1.0, method=method, tol=1e-4)
    assert_same_plan(result.plan, np.eye(2) / 2, 1e-4)


@pytest.mark.parametrize("name", ["no mass in some rows and columns", "total 7", "infinite costs"])
@pytest.mark.parametrize("tol", [1e-9, 1e-3])
def test_sparse_plan_is_the_plan_without_its_smallest_entries(name, tol):
    M, a, b, _ = EDGES[name]
    result = ot.solve(M, a, b, 0.01, tol=tol)
    sparse = result.sparse_plan.toarray()
    kept = sparse > 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(sparse[kept], result.plan[kept], rtol=1e-12)
    assert result.plan[~kept].sum() <= 0.01 * tol * np.sum(a)
    floor = 0.01 * tol * np.sum(a) / (np.count_nonzero(a) * np.count_nonzero(b))
    assert result.plan[~kept].max() <= floor * (1 + 1e-9)


def test_plan_that_cannot_be_held_is_refused(monkeypatch):
    result = ot.solve(C, A, B, 0.1)
    monkeypatch.setattr(os, "sysconf", lambda name: 15)  # 225 bytes of memory, 240 wanted
    with pytest.raises(MemoryError, match=r"^plan of shape \(6, 5\).*use sparse_plan"):
        _ = result.plan
    assert result.sparse_plan.shape == (6, 5)


def test_threads_do_not_disturb_each_other():
    problems = [random_problem(60, 50, 0.01, seed) for seed in range(2)]
    alone = [ot.solve(*problem).plan for problem in problems]
    together = [None, None]
    start = threading.Barrier(2)

    def work(i):
        start.wait()
        for _ in range(5):
            together[i] = ot.solve(*problems[i]).plan

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


# How a solve ends


def falls_short(status, problem, **options):
    """Solve, and check the one warning, its words and the honest error."""
    with pytest.warns(ConvergenceWarning) as caught:
        result = ot.solve(*problem, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert str(caught[0].message).startswith("Transport did not converge: marginal error ")
    assert (result.status, result.converged) == (status, False)
    assert result.marginal_error > result.log["tol"]
    assert result.marginal_error == pytest.approx(
        true_error(result, problem[1], problem[2]), rel=1e-9, abs=1e-14
    )
    return result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("limit", [0, 3, 22])
def test_max_iter(method, limit):
    result = falls_short("max_iter", random_problem(reg=0.01), method=method, max_iter=limit)
    assert result.n_iter == result.log["niter"] == limit
    assert len(result.log["err"]) == len(result.log["seconds"]) == limit + 1
    if method != "auto":  # whose last record may belong to another reg
        assert result.log["err"][-1] == pytest.approx(result.marginal_error, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_time_limit(method):
    result = falls_short("time_limit", random_problem(reg=0.01), method=method, time_limit=1e-9)
    assert result.n_iter == 0


@pytest.mark.parametrize("method", METHODS)
def test_callback_watches_and_stops(method):
    steps = []

    def watch(step):
        steps.append(step)
        return step.n_iter == 7

    result = falls_short("stopped", random_problem(reg=0.01), method=method, callback=watch)
    assert [step.n_iter for step in steps] == list(range(8))
    assert [step.marginal_error for step in steps] == result.log["err"]
    assert [step.seconds for step in steps] == sorted(result.log["seconds"])
    assert result.n_iter == 7


@pytest.mark.parametrize("method", ["auto", "sns-paper"])
@pytest.mark.parametrize(("scale", "tol"), [(1.0, 1e-17), (1e16, 1e-9), (1e18, 1e-9)])
def test_precision(scale, tol, method):
    M, a, b, reg = random_problem()
    # The published method's sweeps are still far from potentials of that size at the limit.
    why = "max_iter" if method == "sns-paper" and scale > 1e15 else "precision"
    result = falls_short(why, (scale * M, a, b, reg), tol=tol, method=method)
    assert np.isfinite(result.plan).all()
    if scale == 1.0:
        assert result.marginal_error < 1e-13


@pytest.mark.parametrize("method", ["auto", "sns", "sns-paper"])
def test_newton_methods_tell_how_their_iterations_divide(method):
    log = ot.solve(*random_problem(40, 30, 0.005), method=method).log
    assert log["sinkhorn"] + log["newton"] + log["refused"] == log["niter"]
    assert log["newton"] > 0
    assert log["cg"] > 0
    assert log["method"] == method


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_floats_mean_infinity(dtype):
    huge = np.where(np.isinf(WALLED), np.finfo(dtype).max, WALLED).astype(dtype)
    walled = np.where(np.isinf(WALLED), np.inf, huge)
    expected = ot.solve(walled, A, B, 0.1, tol=1e-12)
    for result in (
        ot.solve(huge, A, B, 0.1, tol=1e-12),
        ot.solve(huge, A, B, 0.1, tol=1e-12, method="sinkhorn"),
        ot.solve_batch(huge[None], 0.1, A, B, tol=1e-12)[0],
    ):
        assert result.converged
        rounding = np.finfo(dtype).eps  # of a plan, which is of the type of its cost
        np.testing.assert_allclose(result.plan, expected.plan, rtol=rounding, atol=1e-9)
    penalised = (ot.solve(M, A, B, 0.1, unbalanced=1.0).plan for M in (huge, walled))
    np.testing.assert_array_equal(*penalised)


def test_results_are_shown_on_one_line():
    result = ot.solve(C, A, B, 0.1)
    found = (
        repr(result).split(", value=")[0],
        repr(result.gradient()),
        repr(ot.solve_batch(C[None], 0.1, A, B)).split(", marginal")[0],
        repr(ot.sinkhorn_divergence(C, C, reg=1.0)).split(", ")[0],
    )
    assert found == (
        "Solution(shape=(6, 5)",
        "Gradient(shape=(6, 5))",
        "BatchSolution(shape=(1, 6, 5), converged=1 of 1",
        "Divergence(value=0",
    )
    assert f"status='converged', n_iter={result.n_iter}, marginal_error=" in repr(result)
