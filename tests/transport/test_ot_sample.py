"""Transport between samples, with and without the cost matrix."""

import os
import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sparsenum import ConvergenceWarning, ot
from sparsenum.ot.problems.clouds import _cpu, points
from sparsenum.ot.problems.clouds.points import PointProblem, costs
from sparsenum.ot.problems.clouds.tree import BLOCK, CLUSTER, LEAF, boxes, tree_order
from sparsenum.ot.problems.dense import Problem, gather
from sparsenum.ot.problems.support import Restricted, narrow
from sparsenum.ot.solvers.annealing.multiscale import coarsened, extended

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


@pytest.mark.parametrize("size", [1, 4, 16])
def test_boxes_hold_their_points_and_bound_the_potential(size):
    X = clouds(61, 1, 3)[0]
    f = np.random.default_rng(5).standard_normal(61)
    for i, (low, high, slope, top) in enumerate(zip(*boxes(X, f, size), strict=True)):
        part, values = X[i * size : (i + 1) * size], f[i * size : (i + 1) * size]
        np.testing.assert_array_equal(low, part.min(axis=0))
        np.testing.assert_array_equal(high, part.max(axis=0))
        rest = values - (part - low) @ slope
        assert rest.max() == pytest.approx(top)


def test_boxes_follow_an_affine_potential():
    X = clouds(160, 1)[0]
    _, _, slope, top = boxes(X, X @ [2.0, -1.0] + 3.0, 16)
    np.testing.assert_allclose(slope, np.tile([2.0, -1.0], (10, 1)), rtol=1e-4)
    np.testing.assert_allclose(top, X.reshape(10, 16, 2).min(axis=1) @ [2.0, -1.0] + 3, rtol=1e-2)


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_are_ruled_out_by_the_least_of_an_affine_slack(metric):
    rng = np.random.default_rng(6)
    rows, columns = (boxes(Z, rng.standard_normal(20), 5) for Z in clouds(20, 20, 1))
    for i in range(4):
        for j in range(4):
            x = np.linspace(rows.low[i, 0], rows.high[i, 0], 301)
            y = np.linspace(columns.low[j, 0], columns.high[j, 0], 301)
            M = cdist(x[:, None], y[:, None], metric)
            f = rows.top[i] + rows.slope[i] * (x - x[0])
            g = columns.top[j] + columns.slope[j] * (y - y[0])
            least = (M - f[:, None] - g).min()  # on a grid, so a little above the true one
            for width, wanted in ((least - 0.02, False), (least + 1e-9, True)):
                close = np.empty((4, 4), bool)
                squared = metric == "sqeuclidean"
                _cpu.close_blocks(tuple(rows), tuple(columns), squared, width, close)
                assert close[i, j] == wanted


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


@pytest.mark.parametrize("n", [BLOCK + 1, 1000])
def test_no_cluster_leaf_or_block_straddles_two_parts(n):
    X = np.arange(n)[:, None] * 1.0
    for size in (CLUSTER, LEAF, BLOCK):
        whole = X[tree_order(X)][: n // BLOCK * BLOCK].reshape(-1, size)
        assert (np.ptp(whole, axis=1) == size - 1).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("m", [260, 7])
def test_what_lies_within_is_what_the_matrix_says(metric, d, m):
    p = point_problem(m=m, d=d, metric=metric)
    rng = np.random.default_rng(1)
    f, g = rng.normal(0, 0.3, p.a.size), rng.normal(0, 0.3, p.b.size)
    M = costs(p.X, p.Y, metric)
    width = np.quantile(M, 0.3)
    found = p.within(f, g, width)
    wanted = gather(M, f, g, np.full(f.size, width), np.full(g.size, -np.inf))
    assert 0 < found.nnz < M.size
    np.testing.assert_array_equal(found.indptr, wanted.indptr)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_allclose(found.costs(np.empty(found.nnz)).data, wanted.data, rtol=1e-13)
    closer, theirs = (narrow(s, f, g, 0.5 * width) for s in (found, wanted))
    assert closer.nnz < found.nnz
    np.testing.assert_array_equal(closer.indptr, theirs.indptr)
    np.testing.assert_array_equal(closer.indices, theirs.indices)
    assert narrow(closer, f, g, width) is closer


def test_many_columns_need_longer_indices():
    X = np.linspace(0, 1, 2**16 + 1)[:, None]
    mass = np.full(len(X), 1 / len(X))
    long, short = (
        PointProblem(X[:3], Y, "sqeuclidean", mass[:3], mass[: len(Y)], 1.0) for Y in (X, X[:-1])
    )
    for p, kind in ((long, np.uint32), (short, np.uint16)):
        pairs = p.within(np.zeros(3), np.zeros(p.b.size), np.inf)
        assert pairs.indices.dtype == kind
        np.testing.assert_array_equal(pairs.indices.reshape(3, -1), [np.arange(p.b.size)] * 3)


def test_the_problem_on_pairs_is_that_on_their_costs():
    p = point_problem()
    rng = np.random.default_rng(7)
    pairs = p.within(np.zeros(p.a.size), np.zeros(p.b.size), 3.0)
    ours = Restricted(pairs, p.a, p.b, p.reg)
    theirs = Restricted(pairs.costs(np.empty(pairs.nnz)), p.a, p.b, p.reg)
    first, other = (rng.normal(0, 0.1, p.b.size) for _ in range(2))
    at, twin = ours.iterate(first), theirs.iterate(first)
    np.testing.assert_allclose(at.f, twin.f)
    np.testing.assert_allclose(at.column_sums, twin.column_sums)
    assert at.error == pytest.approx(twin.error)
    for drop in (1e-2, 0.0):  # the second after the entries are gone
        for _ in range(2):
            found, wanted = ours.hessian(at, drop), theirs.hessian(twin, drop)
            np.testing.assert_array_equal(found.indptr, wanted.indptr)
            np.testing.assert_array_equal(found.indices, wanted.indices)
            np.testing.assert_allclose(found.data, wanted.data, rtol=1e-10)
            ours.iterate(other)


@pytest.mark.parametrize("metric", METRICS)
def test_iterates_and_marginals_are_those_of_the_matrix(metric, monkeypatch):
    monkeypatch.setattr(points, "CHUNK", 1)  # a block of rows at a time
    p = point_problem(metric=metric)
    dense = Problem(costs(p.X, p.Y, metric), p.a, p.b, p.reg)
    g = np.random.default_rng(2).normal(0, 0.1, p.b.size)
    ours, theirs = p.iterate(g), dense.iterate(g)
    np.testing.assert_allclose(ours.f, theirs.f, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours.column_sums, theirs.column_sums, rtol=1e-10, atol=1e-18)
    for one, other in zip(p.marginals(ours.f, g), dense.marginals(ours.f, g), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-15)


def test_clusters_keep_mass_and_centre():
    p = point_problem(1000, 900)
    q = coarsened(p)
    assert q.a.size == -(-1000 // CLUSTER)
    assert q.a.sum() == pytest.approx(1)
    np.testing.assert_allclose(q.a @ q.X, p.a @ p.X)
    np.testing.assert_allclose(q.b @ q.Y, p.b @ p.Y)
    assert q.reg >= p.reg


@pytest.mark.parametrize("metric", METRICS)
def test_extension_is_the_soft_minimum_over_the_coarse_points(metric):
    p = point_problem(230, 250, metric=metric)
    q = coarsened(p)
    dense = Problem(costs(q.X, q.Y, metric), q.a, q.b, q.reg)
    at = dense.iterate(np.random.default_rng(3).normal(0, 0.1, q.b.size))
    phi, psi = extended(q, at, p)
    M = costs(p.X, q.Y, metric)
    np.testing.assert_allclose(
        phi, -q.reg * np.log(np.exp((at.g - M) / q.reg).sum(axis=1)), rtol=0, atol=1e-6 * q.reg
    )
    M = costs(q.X, p.Y, metric)
    np.testing.assert_allclose(
        psi,
        -q.reg * np.log(np.exp((at.f[:, None] - M) / q.reg).sum(axis=0)),
        rtol=0,
        atol=1e-6 * q.reg,
    )


def test_extension_from_a_start_without_partners():
    p = point_problem(230, 250)
    q = coarsened(p)
    g = np.zeros(q.b.size)
    g[:5] = -100.0  # columns that no row has reason to choose
    at = Problem(costs(q.X, q.Y, p.metric), q.a, q.b, q.reg).iterate(g)
    psi = extended(q, at, p)[1]
    M = costs(q.X, p.Y, p.metric)
    wanted = -q.reg * np.log(np.exp((at.f[:, None] - M) / q.reg).sum(axis=0))
    np.testing.assert_allclose(psi, wanted, rtol=0, atol=1e-6 * q.reg)


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
    np.testing.assert_allclose(lazy.marginal_a, a, rtol=0, atol=1e-8)
    np.testing.assert_allclose(lazy.sparse_plan.toarray(), whole.plan, rtol=0, atol=1e-8)
    assert lazy.log["scales"] == (1 if size[0] == 40 else 2)
    if size[0] == 40:
        np.testing.assert_allclose(lazy.plan, whole.plan, rtol=0, atol=1e-8)


@pytest.mark.alone
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
    assert peak < 4000 * 4000 * 8 / 4  # a quarter of the cost alone


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (5, 1), (9, 8)])
def test_few_points(n, m):
    X, Y = clouds(n, m, 3)
    lazy = ot.solve_sample(X, Y, reg=0.2, lazy=True)
    np.testing.assert_allclose(
        lazy.plan, ot.solve(cdist(X, Y, "sqeuclidean"), reg=0.2).plan, rtol=0, atol=1e-9
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
    ({"metric": "taxi"}, "(?i)(unknown )?metric.*taxi"),
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


@pytest.mark.parametrize("metric", ["euclidean", "cosine", lambda x, y: abs(x - y).max()])
def test_other_metrics_are_those_of_scipy(metric):
    result = ot.solve_sample(X, Y, metric=metric, reg=0.1, reg_type="entropy")
    expected = ot.solve(cdist(X, Y, metric), reg=0.1, reg_type="entropy")
    assert result.value == expected.value
    with pytest.raises(ValueError, match="Unknown metric"):
        ot.solve_sample(X, Y, metric=metric, reg=0.1, lazy=True)


def test_a_cost_matrix_that_cannot_be_held_is_refused(monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 12)  # 144 bytes of memory, 160 wanted
    with pytest.raises(MemoryError, match=r"^cost matrix of shape \(5, 4\).*pass lazy=True"):
        ot.solve_sample(X, Y, reg=0.1)


def test_the_lazy_solve_has_no_use_for_other_options():
    with pytest.raises(TypeError, match="no use for 'method'"):
        ot.solve_sample(X, Y, reg=0.1, lazy=True, method="sinkhorn")
    with pytest.raises(TypeError, match="'methods'"):
        ot.solve_sample(X, Y, reg=0.1, methods="sinkhorn")


def test_the_lazy_plan_is_pots_lazy_tensor():
    a = np.array([0.3, 0.0, 0.3, 0.2, 0.2])
    result = ot.solve_sample(X, Y, a, reg=0.1, lazy=True)
    np.testing.assert_allclose(result.lazy_plan[:], result.plan, rtol=0, atol=1e-15)
    np.testing.assert_allclose(result.lazy_plan[1:3, 2], result.plan[1:3, 2], rtol=0, atol=1e-15)
    assert result.lazy_plan[0, 1] == pytest.approx(result.plan[0, 1])
    assert ot.solve_sample(X, Y, a, reg=0.1).lazy_plan is None


def test_values_of_lazy_and_dense_solves_agree():
    for reg_type in ("KL", "entropy"):
        lazy, dense = (
            ot.solve_sample(X, Y, reg=0.1, reg_type=reg_type, lazy=lazy) for lazy in (True, False)
        )
        assert lazy.value == pytest.approx(dense.value)


@pytest.mark.parametrize("lazy", [False, True])
def test_the_warning_points_at_the_caller(lazy):
    X = np.random.default_rng(0).random((30, 2))
    with pytest.warns(ConvergenceWarning) as caught:
        ot.solve_sample(X, X[::-1] ** 2, reg=1e-3, lazy=lazy, max_iter=1)
    assert [w.filename for w in caught] == [__file__]


def test_keywords_that_are_not_known_are_named_by_this_door():
    X = np.eye(3)
    assert ot.solve_sample(X, X, reg=1.0, debias=False, plan_init=None).converged
    with pytest.raises(NotImplementedError, match=r"^debias must be False.*sinkhorn_divergence"):
        ot.solve_sample(X, X, reg=1.0, debias=True)
    with pytest.raises(TypeError, match=r"^solve_sample got an unexpected keyword 'batch_size'"):
        ot.solve_sample(X, X, reg=1.0, batch_size=3)
