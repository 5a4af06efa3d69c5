"""Sparse item factors: against dense twins, exact budgets, blocks and threads of no account."""

from dataclasses import replace
from itertools import pairwise

import naive_latent as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.blend import _cpu_latent, latent
from recsys.blend.cooccurrence import CoOccurrence
from recsys.blend.latent import LatentRule, learn_factors, normalised, user_map
from sparsenum import _threads
from sparsenum.sparse import CSR
from sparsenum.topology import random_start

RULE = LatentRule(dim=8, epochs=4)


def taken(n, m, seed=0, density=0.3):
    rng = np.random.default_rng(seed)
    return CSR.from_dense((rng.random((n, m)) < density * rng.random(m) * 2).astype(np.float32))


def some_rows(m, dim, seed=0, k=3):
    rng = np.random.default_rng(seed)
    table = random_start(np.full(m, min(k, dim)), dim, rng=rng, index_dtype=np.uint16)
    return table.with_data(rng.standard_normal(table.nnz).astype(np.float32))


def quadratics(m=12, dim=10, seed=1):
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((40, dim))
    return rng.standard_normal((m, dim)).astype(np.float32), (U.T @ U / 40).astype(np.float32)


def refit(table, B, H, fraction, tol=1e-6, max_steps=100):
    new = CSR(table.indptr, table.indices.copy(), table.data.copy(), table.shape)
    arrays = new.indptr, new.indices, new.data
    _cpu_latent.refit_rows(*arrays, np.uint64(0), B, H, fraction, np.float32(tol), max_steps)
    return new


def same(one, other):
    return all(
        np.array_equal(getattr(one, part), getattr(other, part))
        for part in ("indptr", "indices", "data")
    )


# The parts


def test_interactions_count_by_the_degrees_of_both():
    X = taken(9, 7)
    np.testing.assert_allclose(
        normalised(X, 0.4).to_dense(), naive.normalised(X.to_dense(), 0.4), rtol=1e-6
    )


def test_the_map_of_users_is_the_ridge_solution():
    V = some_rows(20, 6)
    M = user_map(V, replace(RULE, user_ridge=0.1))
    np.testing.assert_allclose(M, naive.user_map(V.to_dense().astype(float), 0.1), rtol=1e-3)


@pytest.mark.parametrize("entries", [1, 30, 1000])
def test_pulls_are_those_of_the_dense_product(entries):
    A, V = normalised(taken(30, 13), 0.5), some_rows(13, 6)
    pulls = CoOccurrence.of(A, 1, entries)
    got = np.concatenate([pulls.of_items(V, items) for items in pulls.blocks(6)])
    dense, rows = A.to_dense().astype(float), V.to_dense()
    np.testing.assert_allclose(got, naive.pulled(dense, rows), rtol=1e-4, atol=1e-6)
    gram = rows.T @ dense.T @ dense @ rows
    np.testing.assert_allclose(pulls.gram_of_users(V), gram, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0, 9.0])
def test_rows_grow_and_shrink_as_the_dense_ones(fraction):
    B, H = quadratics()
    table = some_rows(12, 10, k=4)
    new = refit(table, B, H, fraction)
    extra = min(int(4 * fraction + 0.5), 6)
    for w, b, got in zip(table.to_dense(), B, new.to_dense(), strict=True):
        expected = naive.refit(w, list(np.flatnonzero(w)), b, H.astype(float), extra)
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
    assert (np.diff(new.indices.reshape(12, 4).astype(int), axis=1) > 0).all()


def test_growing_takes_the_first_of_equals():
    H, b = np.eye(6, dtype=np.float32), np.ones((1, 6), np.float32)
    table = CSR(
        np.array([0, 2], np.uint64), np.array([2, 4], np.uint16), np.zeros(2, np.float32), (1, 6)
    )
    assert refit(table, b, H, 1.0).indices.tolist() == [0, 1]


def test_a_row_without_pull_becomes_zero():
    _, H = quadratics()
    new = refit(some_rows(12, 10), np.zeros((12, 10), np.float32), H, 1.0)
    assert not new.data.any()


@pytest.mark.parametrize("max_steps", [1, 2, 5])
def test_a_solution_cut_short_is_never_worse_than_its_start(max_steps):
    B, H = quadratics()
    table = some_rows(12, 10, k=6)
    new = refit(table, B, H, 0.0, max_steps=max_steps)
    assert np.array_equal(new.indices, table.indices)
    for old, w, b in zip(table.to_dense(), new.to_dense(), B, strict=True):
        assert naive.objective(w, b, H) < naive.objective(old, b, H)


# The whole


def test_where_every_row_holds_every_column_this_is_alternating_least_squares(monkeypatch):
    monkeypatch.setattr(latent, "TOLERANCE", 1e-6)
    monkeypatch.setattr(latent, "MAX_STEPS", 100)
    X, tables = taken(60, 12), []
    learn_factors(X, 48, replace(RULE, dim=4), on_epoch=lambda _, V: tables.append(V))
    A = naive.normalised(X.to_dense().astype(float), 0.5)
    for before, after in pairwise(tables):
        expected = naive.dense_epoch(A, before.to_dense().astype(float), 0.02, 0.02)
        np.testing.assert_allclose(after.to_dense(), expected, rtol=2e-3, atol=2e-3)


def test_a_sparse_table_learns_who_goes_with_whom():
    """Two kinds of users: what one kind takes must be told from what the other takes."""
    rng = np.random.default_rng(0)
    kind = np.arange(20) % 2
    X = (rng.random((200, 20)) < 0.3) & (kind == (np.arange(200) % 2)[:, None])
    rule = replace(RULE, dim=3)
    V = learn_factors(CSR.from_dense(X.astype(np.float32)), 40, rule).to_dense()
    M = naive.user_map(V, 0.02)
    scores = naive.normalised(X.astype(float), 0.5) @ V @ M @ V.T
    own = kind == (np.arange(200) % 2)[:, None]
    pairs = [
        row[own[u] & ~X[u]][:, None] > row[~own[u]]
        for u, row in enumerate(scores)
        if X[u].any() and not X[u, own[u]].all()
    ]
    assert np.concatenate([of_user.ravel() for of_user in pairs]).mean() > 0.9


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 12), st.integers(0, 99), st.data())
def test_the_total_is_exact_in_every_epoch(n, m, dim, seed, data):
    weights = data.draw(st.integers(0, m * dim))
    X, seen = taken(n, m, seed, density=0.5), []
    rule = replace(RULE, dim=dim, epochs=2)
    last = learn_factors(X, weights, rule, on_epoch=lambda t, V: seen.append((t, V)))
    assert [t for t, _ in seen] == ([1, 2] if X.nnz else [])
    for V in [*(V for _, V in seen), last]:
        assert V.nnz == weights == V.indptr[-1]
        assert V.indices.dtype == np.uint16
        assert np.isfinite(V.data).all()
        for row in range(m):
            columns = V.indices[int(V.indptr[row]) : int(V.indptr[row + 1])].astype(int)
            assert (np.diff(columns) > 0).all()
            assert columns.max(initial=0) < dim
    assert np.isfinite(user_map(last, rule)).all()


@pytest.mark.parametrize("n_threads", [1, 3])
def test_neither_threads_nor_blocks_count(monkeypatch, n_threads):
    X = taken(80, 50)
    whole = learn_factors(X, 200, RULE)
    monkeypatch.setattr(_threads, "BLOCK", 40)
    assert same(learn_factors(X, 200, RULE, n_threads=n_threads, entries=100), whole)


def test_items_that_nobody_took_are_zero():
    X = np.zeros((30, 5), np.float32)
    X[:, :3] = taken(30, 3, density=0.6).to_dense()
    V = learn_factors(CSR.from_dense(X), 20, replace(RULE, dim=4)).to_dense()
    assert not V[3:].any()
    assert V[:3].any()


def test_without_interactions_there_is_nothing_to_learn():
    V = learn_factors(CSR.from_dense(np.zeros((3, 4), np.float32)), 8, RULE)
    assert V.nnz == 8
    assert not V.data.any()
    assert np.array_equal(user_map(V, RULE), np.eye(8))


def test_users_of_one_item_say_nothing():
    V = learn_factors(CSR.from_dense(np.eye(5, dtype=np.float32)), 20, RULE)
    assert np.isfinite(V.data).all()


def test_more_weights_than_the_table_holds_are_refused():
    with pytest.raises(ValueError, match="total must be"):
        learn_factors(taken(5, 4), 33, RULE)
