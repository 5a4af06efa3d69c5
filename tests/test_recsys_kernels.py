"""Kernels, gradient and exchange of the recommender against dense twins."""

from itertools import pairwise
from typing import NamedTuple

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys import Interactions, SparseMF, _cpu, bpr, dsl

sizes = st.integers(1, 6)
weights = st.integers(-2000, 2000).map(lambda x: x / 1000)


class Case(NamedTuple):
    """Two tables with state, and triples in order of the users."""

    users: naive.DenseTable
    items: naive.DenseTable
    triples: list

    @property
    def tables(self):
        return tuple(
            bpr.Table(
                naive.compressed(table.values, table.active),
                table.squares[table.active].astype(np.float32),
            )
            for table in (self.users, self.items)
        )

    @property
    def columns(self):
        *codes, confidence = zip(*self.triples, strict=True)
        return *(np.array(code, np.uint32) for code in codes), np.array(confidence, np.float32)


@st.composite
def tables(draw, n, d):
    """A table whose rows may be empty, full, or hold zeros."""
    active = draw(hnp.arrays(np.bool_, (n, d)))
    values = draw(hnp.arrays(np.float64, (n, d), elements=weights)) * active
    squares = draw(hnp.arrays(np.float64, (n, d), elements=st.sampled_from([bpr.FRESH, 0.5, 9.0])))
    return naive.DenseTable(values, squares, active)


@st.composite
def cases(draw):
    n, m, d = draw(sizes), draw(sizes), draw(sizes)
    user, item = st.integers(0, n - 1), st.integers(0, m - 1)
    triple = st.tuples(user, item, item, st.sampled_from([0.5, 1.0, 2.0]))
    triples = sorted(draw(st.lists(triple, min_size=1, max_size=12)), key=lambda t: t[0])
    return Case(draw(tables(n, d)), draw(tables(m, d)), triples)


@given(cases(), st.randoms(use_true_random=False), st.sampled_from([0.0, 0.03, 0.5]))
def test_an_epoch_equals_its_twin(case, random, decay):
    order = random.sample(range(len(case.triples)), len(case.triples))
    users, items = case.tables
    scratch = np.zeros((2, case.users.active.shape[1]), np.float32)
    loss = _cpu.bpr_epoch(
        np.array(order),
        *case.columns,
        users.arrays(),
        items.arrays(),
        np.float32(0.1),
        np.float32(decay),
        scratch,
    )
    expected = naive.bpr_epoch(order, case.triples, case.users, case.items, 0.1, decay)
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert not scratch.any()
    for table, twin in ((users, case.users), (items, case.items)):
        np.testing.assert_allclose(table.weights.data, twin.values[twin.active], 1e-3, 1e-4)
        np.testing.assert_allclose(table.squares, twin.squares[twin.active], 1e-3, 1e-6)


@given(cases(), st.floats(0, 0.5))
def test_rows_without_a_triple_are_left_as_they_are(case, decay):
    before, after = case.tables, case.tables
    n = len(case.triples)
    triples = bpr.Triples(*case.columns)
    bpr.descend(triples, *after, 0.1, decay, np.random.default_rng(n))
    touched = (set(triples.users), {*triples.positives, *triples.negatives})
    for old, new, rows in zip(before, after, touched, strict=True):
        idle = [row for row in range(old.weights.shape[0]) if row not in rows]
        idle = np.isin(np.repeat(np.arange(old.weights.shape[0]), old.weights.row_counts), idle)
        np.testing.assert_array_equal(new.weights.data[idle], old.weights.data[idle])
        np.testing.assert_array_equal(new.squares[idle], old.squares[idle])
        np.testing.assert_array_equal(new.weights.indices, old.weights.indices)


def test_loss_of_margins_far_from_zero():
    for margin in (-200.0, -40.0, -29.0, 0.0, 40.0, 200.0):
        case = Case(
            naive.DenseTable(np.array([[margin]]), np.ones((1, 1)), np.ones((1, 1), bool)),
            naive.DenseTable(np.array([[1.0], [0.0]]), np.ones((2, 1)), np.ones((2, 1), bool)),
            [(0, 0, 1, 1.0)],
        )
        tables = case.tables
        got = bpr.descend(bpr.Triples(*case.columns), *tables, 0.1, 0.0, np.random.default_rng(0))
        assert got == pytest.approx(np.logaddexp(0, -margin), rel=1e-5, abs=1e-30)
        assert all(np.isfinite(table.weights.data).all() for table in tables)


@given(cases())
def test_coefficients_equal_their_twin(case):
    users, items = (table.arrays()[:3] for table in case.tables)
    scratch = np.zeros(case.users.active.shape[1], np.float32)
    out = np.empty(len(case.triples), np.float32)
    _cpu.bpr_coefficients(*case.columns, users, items, scratch, out)
    expected = naive.pulls(case.triples, case.users.values, case.items.values)
    np.testing.assert_allclose(out, expected, 1e-4, 1e-6)
    assert not scratch.any()


@given(cases(), st.integers(1, 3))
def test_gradient_of_active_and_inactive_weights_by_finite_differences(case, block):
    U, V = case.users.values, case.items.values
    by_differences = [
        naive.numeric_gradient(lambda: naive.loss(case.triples, U, V), X) for X in (U, V)
    ]
    for exact, numeric in zip(naive.gradients(case.triples, U, V), by_differences, strict=True):
        np.testing.assert_allclose(exact, numeric, 1e-5, 1e-6)

    users, items = case.tables
    derivative = bpr.loss_derivative(bpr.Triples(*case.columns), users, items)
    D = derivative.to_scipy().toarray()
    for product, numeric in zip((D @ V, D.T @ U), by_differences, strict=True):
        np.testing.assert_allclose(product, numeric, 1e-4, 1e-5)
    for start, stop in pairwise(derivative.indptr):
        assert (np.diff(derivative.indices[start:stop].astype(int)) >= 0).all()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpr, "BLOCK", block)
        for by_row, other, numeric in (
            (derivative, items.weights, by_differences[0]),
            (bpr.transpose(derivative), users.weights, by_differences[1]),
        ):
            blocks = list(bpr.gradient_blocks(by_row, other))
            assert [start for start, _ in blocks] == list(range(0, by_row.shape[0], block))
            stacked = np.concatenate([rows for _, rows in blocks])
            np.testing.assert_allclose(stacked, np.abs(numeric), 1e-4, 1e-5)


patterns = st.tuples(sizes, sizes).flatmap(lambda shape: hnp.arrays(np.bool_, shape))


@given(patterns)
def test_seen_is_marked_and_hidden_in_the_own_row_only(pattern):
    matrix = naive.compressed(np.ones(pattern.shape), pattern, np.uint32)
    users, items = (codes.ravel().astype(np.uint32) for codes in np.indices(pattern.shape))
    seen = np.empty(pattern.size, np.bool_)
    _cpu.mark_seen(matrix.indptr, matrix.indices, users, items, seen)
    np.testing.assert_array_equal(seen.reshape(pattern.shape), pattern)

    rows = np.arange(len(pattern))[::-1]
    scores = np.zeros(pattern.shape, np.float32)
    _cpu.hide_seen(matrix.indptr, matrix.indices, rows, scores)
    np.testing.assert_array_equal(np.isneginf(scores), pattern[rows])
    assert (scores[~pattern[rows]] == 0).all()


def test_triples_pair_each_interaction_with_an_item_not_taken():
    rng = np.random.default_rng(7)
    pattern = rng.random((60, 50)).argsort(axis=1) < rng.integers(1, 5, (60, 1))
    matrix = naive.compressed(1 + 99 * rng.random(pattern.shape), pattern, np.uint32)
    drawn = np.zeros(pattern.shape)
    for _ in range(100):
        triples = bpr.draw_triples(matrix, rng)
        pairs = list(zip(triples.users.tolist(), triples.positives.tolist(), strict=True))
        assert pairs == [tuple(pair) for pair in np.argwhere(pattern).tolist()]
        for user, negative in zip(triples.users, triples.negatives, strict=True):
            assert negative not in naive.taken(matrix, user)
        np.add.at(drawn, (triples.users, triples.negatives), 1)
    confidence = np.log1p(matrix.data)
    np.testing.assert_allclose(triples.confidence, confidence / confidence.mean(), 1e-5)
    # Uniform among what is left: some 5 draws of each of 2,850 free pairs.
    counts = pattern.sum(axis=1, keepdims=True)
    expected = np.broadcast_to(100 * counts / (50 - counts), pattern.shape)
    free = ~pattern
    chi_square = ((drawn - expected)[free] ** 2 / expected[free]).sum()
    assert abs(chi_square / free.sum() - 1) < 0.12


def test_a_user_who_took_everything_still_gets_triples():
    matrix = naive.compressed(np.ones((2, 3)), np.array([[1, 1, 1], [0, 1, 0]], bool), np.uint32)
    triples = bpr.draw_triples(matrix, np.random.default_rng(0))
    assert triples.users.tolist() == [0, 0, 0, 1]
    assert triples.negatives.max() < 3


def test_weakest_go_and_the_largest_epoch_gradient_among_free_positions_comes(monkeypatch):
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"user": rng.integers(40, size=400), "item": rng.integers(30, size=400)})
    interactions = Interactions.read(table, user="user", item="item")
    looks = []
    exchange, derive = dsl.exchange, dsl.loss_derivative

    def watched_derive(triples, users, items):
        looks.append([triples, users.weights.to_dense(), items.weights.to_dense()])
        return derive(triples, users, items)

    def watched_exchange(recipe, derivative, tables, fraction, rng):
        patterns = [(table.weights.indptr, table.weights.indices) for table in tables]
        values = [table.weights.data.copy() for table in tables]
        rewirings = exchange(recipe, derivative, tables, fraction, rng)
        looks[-1] += [fraction, patterns, values, rewirings]
        return rewirings

    monkeypatch.setattr(dsl, "loss_derivative", watched_derive)
    monkeypatch.setattr(dsl, "exchange", watched_exchange)
    model = SparseMF(budget="30%", dim=24, epochs=8).fit(interactions)

    assert len(looks) == 6
    for entry, (triples, U, V, fraction, patterns, values, rewirings) in zip(
        model.history_, looks, strict=False
    ):
        columns = (triples.users, triples.positives, triples.negatives, triples.confidence)
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        gradients = naive.gradients(rows, U.astype(float), V.astype(float))
        for gradient, (indptr, indices), data, rewiring in zip(
            gradients, patterns, values, rewirings, strict=True
        ):
            scale = np.abs(gradient).max()
            for row, (start, stop) in enumerate(pairwise(indptr)):
                places = range(int(start), int(stop))
                new = range(int(rewiring.indptr[row]), int(rewiring.indptr[row + 1]))
                kept = {int(rewiring.source[p]) for p in new} - {-1}
                quota = int(fraction * len(places))
                assert len(places) - len(kept) == quota
                dropped = [abs(data[p]) for p in places if p not in kept]
                assert max(dropped, default=0) <= min(abs(data[p]) for p in kept)
                free = set(range(24)) - {int(indices[p]) for p in kept}
                born = {int(rewiring.indices[p]) for p in new if rewiring.source[p] < 0}
                assert born <= free
                best = sorted((abs(gradient[row, column]) for column in free), reverse=True)
                got = sorted((abs(gradient[row, column]) for column in born), reverse=True)
                np.testing.assert_allclose(got, best[:quota], 1e-4, 1e-6 * scale)
        assert entry["grown"] == sum(rewiring.n_grown for rewiring in rewirings)
