"""The sparse item graph against dense twins, and what it promises on odd data."""

from dataclasses import replace

import naive_items as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import from_dense

from recsys.blend import graph
from recsys.blend.graph import GraphRule, learn_graph

RULES = [
    GraphRule(),
    GraphRule(ridge=0.5, explore=1.5),
    GraphRule(0.2, 0.0, 0.0, 0.0, 3.0, 0.0),
]


def pattern(X):
    return from_dense(np.asarray(X, np.float32))


def tastes(n_users, n_items, seed=0, share=0.15):
    """Users of four tastes, popular items and rare ones, nobody and nothing left empty-handed."""
    rng = np.random.default_rng(seed)
    popular = rng.permutation(n_items) < n_items // 5
    alike = np.arange(n_users)[:, None] % 4 == np.arange(n_items) % 4
    X = rng.random((n_users, n_items)) < share * (0.3 + 2 * popular + 2 * alike)
    return X.astype(np.float32)


def pairs(X):
    """Return which two different items share a user."""
    both = X.T @ X > 0
    np.fill_diagonal(both, False)
    return both


def same(A, B):
    return all(np.array_equal(getattr(A, x), getattr(B, x)) for x in ("indptr", "indices", "data"))


def check(W, X, weights):
    """Check what holds of every graph: its number of edges, its types, its order, its pairs."""
    assert W.nnz == min(weights, pairs(X).sum())
    assert W.shape == (X.shape[1], X.shape[1])
    assert W.data.dtype == np.float32
    assert W.indices.dtype == np.uint16
    assert np.isfinite(W.data).all()
    rows = np.repeat(np.arange(W.shape[0]), W.row_counts)
    assert (np.diff(rows * W.shape[1] + W.indices.astype(np.int64)) > 0).all()
    assert pairs(X)[rows, W.indices].all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("weights", [100, 400, 900])
def test_weights_are_the_ridge_regression_on_the_sources(rule, weights):
    X = tastes(60, 40)
    W = learn_graph(pattern(X), weights, rule)
    check(W, X, weights)
    dense = W.to_dense()
    chosen = from_pattern(W)
    for target in range(40):
        sources = np.flatnonzero(chosen[:, target])
        expected = naive.weights(X, target, sources, rule)
        np.testing.assert_allclose(dense[sources, target], expected, rtol=2e-5, atol=1e-7)


def from_pattern(W):
    return W.with_data(np.ones(W.nnz, np.float32)).to_dense() > 0


@pytest.mark.parametrize("rule", [RULES[0], RULES[2]])
def test_sources_share_the_most(rule):
    X = tastes(60, 40, seed=1)
    chosen = from_pattern(learn_graph(pattern(X), 300, rule))
    for target in range(40):
        score = naive.selection(X, target, rule)
        taken = chosen[:, target]
        assert score[taken].min(initial=np.inf) >= score[~taken].max() * (1 - 1e-5)


def test_exploring_takes_what_lowers_the_error_most():
    X, rule = tastes(60, 40, seed=2), GraphRule(ridge=0.5, explore=1.5)
    chosen = from_pattern(learn_graph(pattern(X), 240, rule))
    for target in range(40):
        k = chosen[:, target].sum()
        score = naive.selection(X, target, rule)
        best = np.lexsort((np.arange(40), -score.round(6)))
        pool = [i for i in best if score[i] > 0][: max(int(2.5 * k), k)]
        greedy = []
        while len(greedy) < k:
            left = [i for i in pool if i not in greedy]
            greedy.append(min(left, key=lambda i: naive.error(X, target, [*greedy, i], rule)))
        assert set(np.flatnonzero(chosen[:, target])) == set(greedy)


def test_popular_targets_get_more_sources():
    X = tastes(80, 40, seed=3)
    per_target = from_pattern(learn_graph(pattern(X), 400, GraphRule(row_power=1.0))).sum(axis=0)
    popularity = X.sum(axis=0)
    expected = 400 * popularity / popularity.sum()
    assert np.abs(per_target - np.maximum(expected, 2)).max() < 2
    assert per_target.min() >= 2
    equal = from_pattern(learn_graph(pattern(X), 400, GraphRule(row_power=0.0))).sum(axis=0)
    assert set(equal) == {10}


def test_what_a_target_cannot_use_goes_to_the_others():
    X = tastes(60, 40, seed=4)
    X[:, 0] = 0
    X[0, 0] = 1
    X[0, 1:] = 0
    X[0, 7] = 1  # the only neighbour of item 0, in spite of its share
    weights = int(pairs(X).sum() * 0.9)
    W = learn_graph(pattern(X), weights, GraphRule(row_power=0.0))
    check(W, X, weights)
    assert from_pattern(W)[:, 0].sum() == 1
    dense = W.to_dense()
    for target in range(40):
        sources = np.flatnonzero(from_pattern(W)[:, target])
        expected = naive.weights(X, target, sources, GraphRule(row_power=0.0))
        np.testing.assert_allclose(dense[sources, target], expected, rtol=2e-5, atol=1e-7)


@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.integers(0, 100),
    st.sampled_from(RULES),
)
def test_every_small_matrix(X, weights, rule):
    X = X.astype(np.float32)
    check(learn_graph(pattern(X), weights, rule), X, weights)


@pytest.mark.parametrize(
    "X",
    [np.ones((3, 1)), np.zeros((3, 4)), np.eye(5), np.ones((1, 6)), np.zeros((0, 4))],
    ids=["one item", "nothing taken", "nobody shares", "one user with everything", "no users"],
)
@pytest.mark.parametrize("weights", [0, 1, 7, 1000])
def test_edges_of_the_domain(X, weights):
    check(learn_graph(pattern(X), weights, GraphRule(explore=1.0)), X, weights)


def test_threads_change_nothing():
    X = pattern(tastes(200, 700, seed=5, share=0.02))
    shares = []
    one = learn_graph(X, 9000, RULES[1], on_block=shares.append)
    assert same(one, learn_graph(X, 9000, RULES[1], n_threads=4))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 100


def test_values_of_the_matrix_do_not_count():
    X = tastes(60, 40)
    matrix = pattern(X)
    heavy = matrix.with_data(np.arange(1, matrix.nnz + 1, dtype=np.float32))
    assert same(learn_graph(matrix, 300, RULES[1]), learn_graph(heavy, 300, RULES[1]))


@pytest.mark.parametrize(("limit", "value"), [("LONGEST", 8), ("MOST_ITEMS", 100)])
def test_samples_choose_much_the_same_and_lose_no_pair(limit, value, monkeypatch):
    X = tastes(60, 40, seed=6, share=0.3)
    whole = learn_graph(pattern(X), 300, GraphRule())
    monkeypatch.setattr(graph, limit, value)
    sampled = learn_graph(pattern(X), 300, GraphRule())
    check(sampled, X, 300)
    assert not same(sampled, whole)
    common = (from_pattern(sampled) & from_pattern(whole)).sum()
    assert common > 120  # 300 of about 1500 pairs: 60 would be chance
    check(learn_graph(pattern(X), 10**6, GraphRule()), X, 10**6)


def test_a_sample_of_the_users_gives_nearly_the_same_weights(monkeypatch):
    X = tastes(4000, 20, seed=7)
    rule = GraphRule(ridge=5.0)
    whole = learn_graph(pattern(X), 200, rule)
    monkeypatch.setattr(graph, "MOST_USERS", 4000)
    sampled = learn_graph(pattern(X), 200, rule)
    assert np.array_equal(sampled.indices, whole.indices)
    assert not np.array_equal(sampled.data, whole.data)
    assert np.corrcoef(sampled.data, whole.data)[0, 1] > 0.9  # by about a fifth of the users


def test_ties_go_to_the_lower_item():
    W = learn_graph(pattern(np.ones((3, 9))), 18, replace(GraphRule(), row_power=0.0))
    chosen = from_pattern(W)
    assert [np.flatnonzero(chosen[:, j]).tolist() for j in (0, 1, 5)] == [[1, 2], [0, 2], [0, 1]]
