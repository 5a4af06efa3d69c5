"""Kernels, gradient and exchange of the recommender against dense twins."""

from itertools import pairwise, product

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys import Interactions, SparseMF
from recsys.evaluation import _cpu as _cpu_evaluation
from recsys.scores import _cpu as _cpu_scores
from recsys.training import _cpu as _cpu_training
from recsys.training import gradient, loop, steps
from recsys.training.gradient import Kept, OfSamples, Pull
from recsys.training.objective import LOSSES, Samples
from sparsenum.nn.optimizers import CORRECTED, OPTIMIZERS
from sparsenum.nn.table import Table

N_USERS, N_ITEMS, DIM = 9, 40, 6
CASES = list(product(LOSSES, OPTIMIZERS, (1, 3)))


def twins(optimizer, seed):
    """Two tables, and the same dense. Rows may be empty or full, and active weights zero."""
    rng = np.random.default_rng(seed)
    pairs = []
    for n in (N_USERS, N_ITEMS):
        active = rng.random((n, DIM)) < rng.choice([0.0, 0.5, 1.0], (n, 1), p=[0.1, 0.7, 0.2])
        values = np.round(rng.normal(size=(n, DIM)), 3) * (rng.random((n, DIM)) < 0.9)
        rule = OPTIMIZERS[optimizer]
        weights = naive.compressed(values, active)
        table = Table(weights, rule.start(weights.nnz), rule)
        pairs.append((table, naive.DenseTable(values, active, optimizer)))
    return tuple(zip(*pairs, strict=True))


def interactions_of(seed, n_negatives):
    rng = np.random.default_rng(seed)
    pattern = rng.random((N_USERS, N_ITEMS)) < 0.1
    matrix = naive.compressed(rng.integers(1, 9, pattern.shape), pattern, np.uint32)
    return Samples.of(matrix, n_negatives).redrawn(rng)


def listed(samples, loss, users, items):
    """Every (user, candidates, confidence), and the derivatives by the candidates' products."""
    matrix = samples.matrix
    shape = (matrix.nnz, 1 + samples.n_negatives)
    chosen, out = np.zeros(shape, np.uint32), np.zeros(shape, np.float32)
    _cpu_training.note(
        np.arange(shape[0], dtype=np.uint32),
        samples.arrays(),
        users.arrays()[:3],
        items.arrays()[:3],
        loss.constants(),
        0,
        matrix.shape[1],
        np.zeros(users.weights.shape[1], np.float32),
        chosen,
        out,
    )
    confidence = np.log1p(matrix.data.astype(np.float64))
    confidence /= confidence.mean()
    owners = np.repeat(np.arange(matrix.shape[0]), matrix.row_counts)
    return list(zip(owners, chosen, confidence, strict=True)), out


@pytest.mark.parametrize(("name", "optimizer", "n"), CASES)
def test_an_epoch_equals_its_twin(name, optimizer, n):
    loss = LOSSES[name]
    for seed in range(3):
        (users, items), dense = twins(optimizer, seed)
        samples = interactions_of(seed, n)
        rows, _ = listed(samples, loss, users, items)
        # An item drawn twice moves between its steps; the twin does not follow that.
        single = [e for e, (_, items_of_e, _) in enumerate(rows) if len({*items_of_e}) == n + 1]
        assert len(single) > 20
        order = np.random.default_rng(seed).permutation(np.array(single, np.uint32))
        scratch = np.zeros((2, DIM), np.float32)
        total = _cpu_training.visit(
            order,
            samples.arrays(),
            users.arrays(),
            items.arrays(),
            loss.constants(),
            users.optimizer.constants(0.02),
            np.float32(0.3),
            scratch,
        )
        expected = naive.epoch(name, [rows[e] for e in order], *dense, 0.02, 0.3)
        assert total / order.size == pytest.approx(expected, rel=1e-3)
        assert not scratch.any()
        for table, twin in zip((users, items), dense, strict=True):
            active = twin.values[twin.active]
            np.testing.assert_allclose(table.weights.data, active, 5e-3, 1e-3)
            assert not (twin.values[~twin.active]).any()


def test_state_of_the_optimizers_is_one_number_three_or_none_for_each_weight():
    for optimizer, numbers in {"adagrad": 1, "adam": 3, "momentum": 1, "sgd": 0}.items():
        (users, items), _ = twins(optimizer, 0)
        assert users.state.shape == (numbers, users.weights.nnz)
        steps.descend(
            interactions_of(0, 1), LOSSES["bpr"], users, items, 0.1, 0.0, np.random.default_rng(0)
        )
        assert users.state.shape == (numbers, users.weights.nnz)
        assert (
            numbers == 0 or (users.state[-1] != np.float32(OPTIMIZERS[optimizer].fresh[-1])).any()
        )


def test_adam_needs_no_correction_in_the_end():
    correction = OPTIMIZERS["adam"].constants(1.0)[2]
    assert correction.size == CORRECTED
    assert correction[0] == pytest.approx(np.sqrt(0.001) / 0.1)
    assert correction[-1] == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("name", ["bpr", "bce", "softmax"])
def test_loss_of_scores_far_from_zero(name):
    for score in (-200.0, -40.0, -29.0, 0.0, 40.0, 200.0):
        rule = OPTIMIZERS["sgd"]
        users, items = (
            Table(naive.compressed(values, np.ones(values.shape, bool)), rule.start(n), rule)
            for n, values in ((1, np.array([[score]])), (2, np.array([[1.0], [0.0]])))
        )
        matrix = naive.compressed(np.ones((1, 2)), np.array([[1, 0]], bool), np.uint32)
        samples = Samples.of(matrix, 1)
        rng = np.random.default_rng(0)
        got = steps.descend(samples, LOSSES[name], users, items, 0.1, 0.0, rng)
        extra = np.log(2) if name == "bce" else 0.0
        lost = 1e-6 if name == "softmax" else 1e-30
        assert got == pytest.approx(np.logaddexp(0, -score) + extra, rel=1e-5, abs=lost)
        assert all(np.isfinite(table.weights.data).all() for table in (users, items))


@pytest.mark.parametrize(("name", "n"), list(product(LOSSES, (1, 4))))
def test_gradient_of_active_and_inactive_weights_by_finite_differences(name, n):
    (users, items), (U, V) = twins("sgd", 5)
    samples = interactions_of(6, n)
    rows, _ = listed(samples, LOSSES[name], users, items)
    D = OfSamples(samples, LOSSES[name], users, items).whole().to_scipy().toarray()
    sides = ((U, D @ V.values), (V, D.T @ U.values))
    for table, product_ in sides:
        numeric = naive.numeric_gradient(
            lambda: naive.total_loss(name, rows, U.values, V.values), table.values
        )
        asked = ~table.active if name == "ccl" else np.ones(table.active.shape, bool)
        np.testing.assert_allclose(product_[asked], numeric[asked], 1e-3, 1e-4)
        assert np.abs(numeric[~table.active]).max() > 0.1


@pytest.mark.parametrize(("name", "block", "room"), list(product(LOSSES, (1, 4, 100), (1, 9, 99))))
def test_gradient_comes_in_blocks_of_rows(monkeypatch, name, block, room):
    (users, items), (U, V) = twins("sgd", 5)
    monkeypatch.setattr(gradient, "BLOCK", block)
    monkeypatch.setattr(gradient, "PIECE", block)
    monkeypatch.setattr(gradient, "WORKSPACE", 4 * DIM * room)  # of which items there is room for
    monkeypatch.setattr(gradient, "SHARE", 0)
    derivative = OfSamples(interactions_of(6, 6), LOSSES[name], users, items)
    D = derivative.whole()
    by_users, by_items = (np.abs(X) for X in (D.to_scipy() @ V.values, D.to_scipy().T @ U.values))
    for one in (derivative, Kept(D)):
        pull = Pull(one, users.weights, items.weights)
        for _ in range(2):  # as often as needed, the items alone or after the users
            for read, expected in ((pull.on_items, by_items), (pull.on_users, by_users)):
                blocks = [(first, some.copy()) for first, some in read()]
                sizes = [len(some) for _, some in blocks]
                assert max(sizes) <= block
                assert [first for first, _ in blocks] == [0, *np.cumsum(sizes)[:-1]]
                np.testing.assert_allclose(
                    np.concatenate([some for _, some in blocks]), expected, 1e-4, 1e-5
                )
        both = [first for first, _ in pull.on_both()]
        assert both[0] == 0
        assert N_USERS in both


def test_the_first_few_of_many_items_drawn_stand_for_all():
    (users, items), _ = twins("sgd", 1)
    samples, loss = interactions_of(1, 12), LOSSES["softmax"]
    rows, slopes = listed(samples, loss, users, items)
    expected = np.zeros((N_USERS, N_ITEMS))
    for (u, candidates, _), slope in zip(rows, slopes, strict=True):
        expected[u, candidates[0]] += slope[0]
        np.add.at(expected[u], candidates[1:5], 3 * slope[1:5])
    derivative = OfSamples(samples, loss, users, items).whole()
    assert derivative.nnz == 5 * len(rows)
    np.testing.assert_allclose(derivative.to_scipy().toarray(), expected, 1e-4, 1e-6)


sizes = st.integers(1, 6)
patterns = st.tuples(sizes, sizes).flatmap(lambda shape: hnp.arrays(np.bool_, shape))


@given(patterns)
def test_seen_is_marked_and_hidden_in_the_own_row_only(pattern):
    matrix = naive.compressed(np.ones(pattern.shape), pattern, np.uint32)
    users, items = (codes.ravel().astype(np.uint32) for codes in np.indices(pattern.shape))
    seen = np.empty(pattern.size, np.bool_)
    _cpu_evaluation.mark_seen(matrix.indptr, matrix.indices, users, items, seen)
    np.testing.assert_array_equal(seen.reshape(pattern.shape), pattern)

    rows = np.arange(len(pattern))[::-1]
    scores = np.zeros(pattern.shape, np.float32)
    _cpu_scores.hide_seen(matrix.indptr, matrix.indices, rows, scores)
    np.testing.assert_array_equal(np.isneginf(scores), pattern[rows])
    assert (scores[~pattern[rows]] == 0).all()


def test_items_drawn_are_uniform_among_those_not_taken():
    rng = np.random.default_rng(7)
    pattern = rng.random((60, 50)).argsort(axis=1) < rng.integers(1, 5, (60, 1))
    matrix = naive.compressed(1 + 99 * rng.random(pattern.shape), pattern, np.uint32)
    rule = OPTIMIZERS["sgd"]
    users, items = (
        Table(empty, rule.start(0), rule)
        for empty in (
            naive.compressed(np.ones((n, DIM)), np.zeros((n, DIM), bool)) for n in pattern.shape
        )
    )
    drawn = np.zeros(pattern.shape)
    samples = Samples.of(matrix, 2)
    for _ in range(50):
        samples = samples.redrawn(rng)
        rows, _ = listed(samples, LOSSES["bpr"], users, items)
        pairs = [(user, candidates[0]) for user, candidates, _ in rows]
        assert pairs == [tuple(pair) for pair in np.argwhere(pattern)]
        for user, candidates, _ in rows:
            np.add.at(drawn[user], candidates[1:], 1)
    assert not drawn[pattern].any()
    # Some 5 draws of each of 2,850 free pairs.
    counts = pattern.sum(axis=1, keepdims=True)
    expected = np.broadcast_to(100 * counts / (50 - counts), pattern.shape)
    chi_square = ((drawn - expected)[~pattern] ** 2 / expected[~pattern]).sum()
    assert abs(chi_square / (~pattern).sum() - 1) < 0.12


def test_a_user_who_took_everything_still_gets_samples():
    matrix = naive.compressed(np.ones((2, 3)), np.array([[1, 1, 1], [0, 1, 0]], bool), np.uint32)
    rule = OPTIMIZERS["sgd"]
    weights = [naive.compressed(np.ones((n, 2)), np.zeros((n, 2), bool)) for n in (2, 3)]
    users, items = (Table(w, rule.start(0), rule) for w in weights)
    rows, _ = listed(Samples.of(matrix, 4), LOSSES["bpr"], users, items)
    assert [user for user, *_ in rows] == [0, 0, 0, 1]
    assert max(max(candidates) for _, candidates, _ in rows) < 3


def test_the_order_is_a_shuffle_in_rounds():
    matrix = naive.compressed(np.ones((50, 40)), np.ones((50, 40), bool), np.uint32)
    samples = Samples.of(matrix, 1)
    order = np.concatenate([*samples.rounds(np.random.default_rng(0))])
    assert order.dtype == np.uint32
    assert sorted(order) == list(range(2000))
    assert (np.diff(order.astype(int)) < 0).sum() == 63  # of 64 rounds, each from the first user on
    assert (order != np.concatenate([*samples.rounds(np.random.default_rng(1))])).any()


def test_weakest_go_and_the_largest_epoch_gradient_among_free_positions_comes(monkeypatch):
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"user": rng.integers(40, size=400), "item": rng.integers(30, size=400)})
    interactions = Interactions.read(table, user="user", item="item")
    looks = []
    exchange, derive = loop.exchange, loop.OfSamples

    def watched_derive(samples, loss, users, items, chosen):
        assert chosen is None
        rows, _ = listed(samples, loss, users, items)
        looks.append([rows, users.weights.to_dense(), items.weights.to_dense()])
        return derive(samples, loss, users, items)

    def watched_exchange(recipe, derivative, tables, fraction, rng):
        patterns = [(table.weights.indptr, table.weights.indices) for table in tables]
        values = [table.weights.data.copy() for table in tables]
        rewirings = exchange(recipe, derivative, tables, fraction, rng)
        looks[-1] += [fraction, patterns, values, rewirings]
        return rewirings

    monkeypatch.setattr(loop, "OfSamples", watched_derive)
    monkeypatch.setattr(loop, "exchange", watched_exchange)
    model = SparseMF(budget="30%", dim=24, epochs=8).fit(interactions)

    assert len(looks) == 6
    for entry, (rows, U, V, fraction, patterns, values, rewirings) in zip(
        model.history_, looks, strict=False
    ):
        U, V = U.astype(float), V.astype(float)
        gradients = [np.zeros_like(U), np.zeros_like(V)]
        for u, (i, j), confidence in rows:
            pull = confidence / (1 + np.exp(U[u] @ (V[i] - V[j])))
            gradients[0][u] -= pull * (V[i] - V[j])
            gradients[1][i] -= pull * U[u]
            gradients[1][j] += pull * U[u]
        for slope, (indptr, indices), data, rewiring in zip(
            gradients, patterns, values, rewirings, strict=True
        ):
            scale = np.abs(slope).max()
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
                best = sorted((abs(slope[row, column]) for column in free), reverse=True)
                got = sorted((abs(slope[row, column]) for column in born), reverse=True)
                np.testing.assert_allclose(got, best[:quota], 1e-4, 1e-6 * scale)
        assert entry["grown"] == sum(rewiring.n_grown for rewiring in rewirings)
