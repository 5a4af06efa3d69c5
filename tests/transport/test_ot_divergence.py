"""The Sinkhorn divergence against a slow twin and POT, and what makes it one."""

from dataclasses import replace

import naive
import numpy as np
import ot as pot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sparsenum import ConvergenceWarning, ot

METRICS = ["sqeuclidean", "cityblock"]


def samples(n=15, m=12, d=2, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    return rng.random((n, d)), 0.7 * rng.random((m, d)) + 0.3, a, b


def twin(X, Y, a, b, metric, reg):
    """The definition, from three plans of the slow solver."""
    total = linear = 0.0
    for share, (U, u), (V, v) in (
        (1.0, (X, a), (Y, b)),
        (-0.5, (X, a), (X, a)),
        (-0.5, (Y, b), (Y, b)),
    ):
        M = cdist(U, V, metric)
        P = naive.entropic_plan(M, u, v, reg)[0]
        total += share * naive.value(P, M, u, v, reg)
        linear += share * naive.linear_value(P, M)
    return total, linear


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("reg", [0.1, 1.0])
def test_both_values_are_the_twins(metric, reg):
    X, Y, a, b = samples()
    result = ot.sinkhorn_divergence(X, Y, a, b, metric, reg)
    value, linear = twin(X, Y, a, b, metric, reg)
    assert result.converged
    assert result.status == "converged"
    assert result.value == pytest.approx(value, abs=1e-9)
    assert result.value_linear == pytest.approx(linear, abs=1e-8)
    assert result.value == result.ab.value - 0.5 * (result.aa.value + result.bb.value)


def test_both_values_are_pots():
    X, Y, a, b = samples()
    ours = ot.sinkhorn_divergence(X, Y, a, b, reg=0.1)
    theirs = pot.solve_sample(X, Y, a, b, reg=0.1, debias=True, tol=1e-12, max_iter=100_000)
    assert ours.value == pytest.approx(theirs.value, abs=1e-8)
    assert ours.value_linear == pytest.approx(theirs.value_linear, abs=1e-8)
    np.testing.assert_allclose(ours.ab.plan, theirs.plan, rtol=0, atol=1e-9)
    older = pot.bregman.empirical_sinkhorn_divergence(X, Y, 0.1, a, b, stopThr=1e-12)
    assert ours.value_linear == pytest.approx(float(older), abs=1e-8)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(METRICS), st.sampled_from([0.01, 0.1, 10.0]))
def test_never_negative_symmetric_and_zero_for_equal_samples(seed, metric, reg):
    X, Y, a, b = samples(9, 7, seed=seed)
    result = ot.sinkhorn_divergence(X, Y, a, b, metric, reg)
    assert result.value > 0
    mirrored = ot.sinkhorn_divergence(Y, X, b, a, metric, reg)
    assert mirrored.value == pytest.approx(result.value, abs=1e-8)
    assert ot.sinkhorn_divergence(X, X, a, a, metric, reg).value == 0.0
    order = np.random.default_rng(seed).permutation(len(X))
    shuffled = ot.sinkhorn_divergence(X, X[order], a, a[order], metric, reg)
    assert shuffled.value == pytest.approx(0.0, abs=1e-8)


def test_a_shift_costs_its_square_whatever_the_reg():
    X, _, a, _ = samples()
    for reg in (0.01, 1.0, 100.0):
        shifted = ot.sinkhorn_divergence(X, X + np.array([0.3, 0.4]), a, a, reg=reg)
        assert shifted.value == pytest.approx(0.25, abs=1e-7)


def test_a_large_reg_compares_means_and_a_small_one_transports():
    X, Y, a, b = samples()
    far = ot.sinkhorn_divergence(X, Y, a, b, reg=1e5)
    assert far.value == pytest.approx(np.sum((a @ X - b @ Y) ** 2), rel=1e-4)
    near = ot.sinkhorn_divergence(X, Y, a, b, reg=1e-4)
    assert near.value == pytest.approx(pot.emd2(a, b, cdist(X, Y, "sqeuclidean")), rel=5e-3)


def test_masses_scale_and_zero_masses_do_not_count():
    X, Y, a, b = samples()
    a[3] = b[0] = 0.0
    a, b = a / a.sum(), b / b.sum()
    result = ot.sinkhorn_divergence(X, Y, a, b, reg=0.05)
    less = ot.sinkhorn_divergence(np.delete(X, 3, 0), Y[1:], np.delete(a, 3), b[1:], reg=0.05)
    assert result.value == pytest.approx(less.value, abs=1e-12)


def test_what_stopped_short_says_so():
    X, Y, a, b = samples()
    with pytest.warns(ConvergenceWarning, match="did not converge") as said:
        result = ot.sinkhorn_divergence(X, Y, a, b, reg=1e-3, max_iter=2)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert (result.converged, result.status) == (False, "max_iter")
    assert result.worst.marginal_error == max(
        s.marginal_error for s in (result.ab, result.aa, result.bb)
    )


X, Y, _, _ = samples(5, 4)
BAD = [
    ({"X_a": X[:, 0]}, "X_a must have 2 dimensions"),
    ({"X_a": X[:, :1]}, "X_a and X_b must have points of one dimension: got 1 and 2"),
    ({"X_b": np.full((4, 2), np.nan)}, "X_b must hold finite coordinates"),
    ({"metric": "taxi"}, "metric must be one that scipy's cdist knows"),
    ({"reg": None}, "reg must be given"),
    ({"tol": 0.0}, "tol must be positive"),
    ({"a": np.ones(3)}, "a must have one mass for each row of M, 5"),
    ({"a": np.ones(5), "b": np.ones(4)}, "a must sum to the same total as b"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_samples_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        ot.sinkhorn_divergence(**{"X_a": X, "X_b": Y, "reg": 0.1} | change)


def test_what_missed_its_tolerance_is_worse_than_totals_that_differ():
    X = np.random.default_rng(0).normal(size=(9, 2))
    a, b = np.full(9, 1 / 9), np.full(9, (1 - 5e-7) / 9)
    exact = ot.sinkhorn_divergence(X, X + 1, a, b, reg=0.5)
    assert exact.converged
    assert exact.ab.marginal_error > 1e-7  # what no plan is without
    missed = replace(exact.aa, converged=False, status="max_iter", marginal_error=2e-9)
    assert replace(exact, aa=missed).status == "max_iter"
    assert not replace(exact, aa=missed).converged
