"""Transport between samples, with and without the cost matrix."""

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sparsenum import ConvergenceWarning, ot
from sparsenum.ot.points import (
    CLUSTER,
    PointProblem,
    _boxes,
    box_costs,
    coarsened,
    costs,
    extended,
    tree_order,
)
from sparsenum.ot.problem import Iterate, Problem, gather

METRICS = ["sqeuclidean", "cityblock"]


def clouds(n, m, d=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), 0.7 * rng.standard_normal((m, d)) + 0.5


def point_problem(n=300, m=260, d=2, metric="sqeuclidean", reg=0.05, seed=0):
    X, Y = (Z[tree_order(Z)] for Z in clouds(n, m, d, seed))
    rng = np.random.default_rng(seed)
    return PointProblem(X, Y, metric, rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m)), reg)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 2, 3, 7])
def test_costs_are_scipys(metric, d):
    X, Y = clouds(20, 30, d)
    np.testing.assert_allclose(costs(X, Y, metric), cdist(X, Y, metric), rtol=1e-13)


@pytest.mark.parametrize("metric", METRICS)
def test_box_costs_are_lower_bounds_that_are_reached(metric):
    X, Y = clouds(64, 48, 3)
    bounds = box_costs(_boxes(X, 8), _boxes(Y, 8), metric)
    least = cdist(X, Y, metric).reshape(8, 8, 6, 8).min(axis=(1, 3))
    assert (bounds <= least + 1e-12).all()
    points = box_costs(_boxes(X, 1), _boxes(Y, 1), metric)
    np.testing.assert_allclose(points, costs(X, Y, metric), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 1000])
def test_tree_order_is_a_permutation_of_neighbours(n):
    X = clouds(n, 1)[0]
    order = tree_order(X)
    assert sorted(order) == list(range(n))
    if n == 1000:
        runs = X[order].reshape(-1, 8, 2)
        shuffled = X.reshape(-1, 8, 2)
        assert np.ptp(runs, axis=1).mean() < 0.25 * np.ptp(shuffled, axis=1).mean()


def test_tree_order_of_one_point_repeated():
    assert sorted(tree_order(np.zeros((50, 2)))) == list(range(50))


@pytest.mark.parametrize("metric", METRICS)
def test_what_lies_within_is_what_the_matrix_says(metric):
    p = point_problem(metric=metric)
    rng = np.random.default_rng(1)
    f, g = rng.normal(0, 0.3, p.a.size), rng.normal(0, 0.3, p.b.size)
    found = p.within(f, g, 0.8)
    M = costs(p.X, p.Y, metric)
    wanted = gather(M, f, g, np.full(f.size, 0.8), np.full(g.size, -np.inf))
    assert 0 < found.nnz < M.size
    np.testing.assert_array_equal(found.indptr, wanted.indptr)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.data, wanted.data)


@pytest.mark.parametrize("metric", METRICS)
def test_iterates_and_marginals_are_those_of_the_matrix(metric):
    p = point_problem(metric=metric)
    dense = Problem(costs(p.X, p.Y, metric), p.a, p.b, p.reg)
    g = np.random.default_rng(2).normal(0, 0.1, p.b.size)
    ours, theirs = p.iterate(g), dense.iterate(g)
    np.testing.assert_allclose(ours.f, theirs.f, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours.column_sums, theirs.column_sums, rtol=1e-10, atol=1e-18)
    for one, other in zip(p.marginals(ours.f, g), dense.marginals(ours.f, g), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-15)


def test_clusters_keep_mass_and_centre():
    p = point_problem(1000, 900)
    q = coarsened(p)
    assert q.a.size == -(-1000 // CLUSTER)
    assert q.a.sum() == pytest.approx(1)
    np.testing.assert_allclose(q.a @ q.X, p.a @ p.X)
    np.testing.assert_allclose(q.b @ q.Y, p.b @ p.Y)
    assert q.reg >= p.reg


def test_extension_is_the_soft_minimum_over_the_coarse_points():
    p = point_problem(60, 50)
    q = coarsened(p)
    rng = np.random.default_rng(3)
    f, g = rng.normal(size=q.a.size), rng.normal(size=q.b.size)
    phi, psi = extended(q, Iterate(f, g, q.b, 0.0), p)
    M = costs(p.X, q.Y, p.metric)
    np.testing.assert_allclose(phi, -q.reg * np.log(np.exp((g - M) / q.reg).sum(axis=1)))
    M = costs(q.X, p.Y, p.metric)
    np.testing.assert_allclose(psi, -q.reg * np.log(np.exp((f[:, None] - M) / q.reg).sum(axis=0)))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("reg", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("size", [(40, 30), (1700, 1600)])
def test_lazy_gives_the_same_as_the_matrix(metric, reg, size):
    X, Y = clouds(*size)
    rng = np.random.default_rng(4)
    a, b = rng.dirichlet(np.ones(size[0])), rng.dirichlet(np.ones(size[1]))
    a[3] = b[5] = 0.0
    a, b = 7 * a / a.sum(), 7 * b / b.sum()
    lazy = ot.solve_sample(X, Y, a, b, metric, reg, lazy=True)
    whole = ot.solve_sample(X, Y, a, b, metric, reg)
    assert lazy.converged
    assert whole.converged
    assert lazy.value == pytest.approx(whole.value, rel=1e-7)
    assert lazy.value_linear == pytest.approx(whole.value_linear, rel=1e-7)
    np.testing.assert_allclose(lazy.marginal_a, a, atol=1e-8)
    np.testing.assert_allclose(lazy.sparse_plan.toarray(), whole.plan, atol=1e-8)
    assert lazy.log["scales"] == (1 if size[0] == 40 else 2)
    if size[0] == 40:
        np.testing.assert_allclose(lazy.plan, whole.plan, atol=1e-8)


def test_lazy_never_holds_a_matrix():
    X, Y = clouds(4000, 4000)
    ot.solve_sample(X[:1600], Y[:1600], reg=0.01, lazy=True)  # compiles
    tracemalloc.start()
    try:
        result = ot.solve_sample(X, Y, reg=0.003, lazy=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.converged
    assert peak < 4000 * 4000 * 8  # the cost alone


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (5, 1), (9, 8)])
def test_few_points(n, m):
    X, Y = clouds(n, m, 3)
    lazy = ot.solve_sample(X, Y, reg=0.2, lazy=True)
    np.testing.assert_allclose(
        lazy.plan, ot.solve(cdist(X, Y, "sqeuclidean"), reg=0.2).plan, atol=1e-9
    )


def test_a_lazy_solve_stops_when_told():
    X, Y = clouds(300, 300)
    for options, status in (({"max_iter": 2}, "max_iter"), ({"time_limit": 1e-9}, "time_limit")):
        with pytest.warns(ConvergenceWarning):
            result = ot.solve_sample(X, Y, reg=0.01, lazy=True, **options)
        assert (result.converged, result.status) == (False, status)
        assert result.marginal_error > 1e-9


X, Y = clouds(5, 4)
BAD = [
    ({"X_a": X[:, 0]}, "X_a must have 2 dimensions"),
    ({"X_a": X[:, :1]}, "X_a and X_b must have points of one dimension: got 1 and 2"),
    ({"X_b": np.full((4, 2), np.nan)}, "X_b must hold finite coordinates"),
    ({"X_b": np.empty((0, 2))}, "X_b must have at least one point"),
    ({"metric": "euclidean"}, "Unknown metric 'euclidean'"),
    ({"reg": None}, "reg must be given"),
    ({"reg": -1.0}, "reg must be positive"),
    ({"tol": 0.0}, "tol must be positive"),
    ({"a": np.ones(3)}, "a must have one mass for each row of M, 5"),
    ({"a": np.ones(5), "b": np.ones(4)}, "a must sum to the same total as b"),
]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_samples_are_named(change, words, lazy):
    good = {"X_a": X, "X_b": Y, "reg": 0.1, "lazy": lazy}
    with pytest.raises(ValueError, match=words):
        ot.solve_sample(**good | change)
