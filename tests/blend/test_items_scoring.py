"""Scores of histories by tables of items, against sums that a reader can check by eye."""

import naive_recsys as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.scores import factor_scores, history_scores
from recsys.scores.history_scores import Factors, HistoryScores, ItemTables
from recsys.scores.toplists import top_items
from recsys.scores.walks import Walks

KINDS = ("graph", "factors", "both", "walks", "popularity", "all")


def pattern(rng, shape, density):
    return naive.compressed(np.ones(shape), rng.random(shape) < density, np.uint32)


def tables_of(rng, kind, m, dim=5, density=0.3):
    """Tables of small whole numbers, negative ones as well."""
    graph = naive.compressed(rng.integers(-3, 4, (m, m)), rng.random((m, m)) < density, np.uint32)
    table = naive.compressed(rng.integers(-3, 4, (m, dim)), rng.random((m, dim)) < density)
    scales = rng.integers(1, 3, (2, m)).astype(np.float32)
    parts = Factors(table, *scales, rng.integers(-2, 3, (dim, dim)).astype(np.float32))
    others = pattern(rng, (9, m), density)
    walks = Walks(others, *(rng.integers(1, 3, n).astype(np.float32) for n in (m, 9, m)))
    popularity = rng.integers(0, 9, m).astype(np.float32)
    return ItemTables(
        graph if kind in ("graph", "both", "all") else None,
        parts if kind in ("factors", "both", "all") else None,
        walks if kind in ("walks", "all") else None,
        popularity if kind in ("popularity", "all") else None,
    )


def score(history, tables, item):
    """The score of an item as its definition has it, and what each item taken adds to it."""
    added = np.zeros((len(history), 4))
    for place, taken in enumerate(history):
        if tables.graph is not None:
            added[place, 0] = tables.graph.to_dense()[taken, item]
        if (f := tables.factors) is not None:
            V = f.table.to_dense().astype(np.float64)
            vector = f.user_map @ (f.source_scale[taken] * V[taken])
            added[place, 1] = f.target_scale[item] * (vector @ V[item])
        if (w := tables.walks) is not None:
            X = w.pairs.to_dense()
            ways = X[:, taken] * w.user_scale * X[:, item]
            added[place, 2] = w.source_scale[taken] * ways.sum() * w.target_scale[item]
    added /= max(len(history), 1) ** 0.5
    if tables.popularity is not None:
        added[:, 3] = tables.popularity[item] / max(len(history), 1)
    return added


def naive_scores(taken, tables):
    n, m = taken.shape
    histories = [sorted(naive.taken(taken, user)) for user in range(n)]
    scores = np.array([[score(h, tables, item).sum() for item in range(m)] for h in histories])
    nothing = np.array([not h for h in histories])
    if tables.popularity is not None:
        scores[nothing] += tables.popularity
    return scores


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_their_parts_are_the_sums_of_the_definition(kind):
    rng = np.random.default_rng(3)
    taken, tables = pattern(rng, (6, 14), 0.3), tables_of(rng, kind, 14)
    scores = HistoryScores(taken, tables)
    full = scores(np.arange(6))
    np.testing.assert_allclose(full, naive_scores(taken, tables), 1e-5, 1e-5)
    for user, item in ((0, 3), (4, 13), (5, 0)):
        history, parts = scores.contributions(user, item)
        assert history.tolist() == sorted(naive.taken(taken, user))
        expected = score(history, tables, item)
        for place, name in enumerate(("graph", "factors", "walks", "popularity")):
            by_part = parts.get(name, np.zeros(history.size))
            np.testing.assert_allclose(by_part, expected[:, place], 1e-5, 1e-5)
    alone = naive.compressed(np.ones((1, 14)), np.arange(14)[None] == 7, np.uint32)
    np.testing.assert_allclose(tables.similarities(7), naive_scores(alone, tables)[0], 1e-5, 1e-5)


@given(st.data())
def test_the_best_are_those_of_all_scores_with_ties_to_the_lower(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    n, m = (data.draw(st.integers(1, top)) for top in (9, 80))
    tables = tables_of(rng, data.draw(st.sampled_from(KINDS)), m, 4, data.draw(st.floats(0, 0.6)))
    # Histories of 0, 1, 4 or 16 items: weights are powers of two, so that sums and ties are exact.
    chosen = np.zeros((n, m), bool)
    for row in chosen:
        size = rng.choice([size for size in (0, 1, 4, 16) if size <= m])
        row[rng.permutation(m)[:size]] = True
    taken = naive.compressed(np.ones((n, m)), chosen, np.uint32)
    hidden = pattern(rng, (n, m), data.draw(st.floats(0, 1)))
    allowed = data.draw(st.none() | st.sets(st.integers(0, m - 1), min_size=1))
    permitted = None if allowed is None else np.array(sorted(allowed))
    k = data.draw(st.integers(1, m))
    full = naive_scores(taken, tables)
    scores, rows = HistoryScores(taken, tables), rng.permutation(n)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TILE": 4, "STAGES": (0, 8, 16), "WIDTH": 4}.items():
            patch.setattr(factor_scores, name, value)
        patch.setattr(history_scores, "USERS", 3)
        patch.setattr(history_scores, "PLACES", 30)
        lists = [best for _, best in top_items(scores, rows, k, hidden, permitted, 5)]
    found = np.concatenate([best.indices for best in lists])
    values = np.concatenate([best.data for best in lists])
    for place, user in enumerate(rows):
        barred = naive.taken(hidden, user) | (set(range(m)) - (allowed or set(range(m))))
        expected = naive.best_items(full[user], barred, k)
        rest = k - len(expected)
        assert found[place].tolist() == expected + [m] * rest
        assert values[place].tolist() == [*full[user, expected], *[-np.inf] * rest]


def test_lists_do_not_depend_on_company():
    rng = np.random.default_rng(1)
    taken = pattern(rng, (300, 2500), 0.004)
    graph = naive.compressed(
        rng.standard_normal((2500, 2500)), rng.random((2500, 2500)) < 0.004, np.uint32
    )
    table = naive.compressed(rng.standard_normal((2500, 48)), rng.random((2500, 48)) < 0.2)
    scales = rng.random((2, 2500)).astype(np.float32)
    M = rng.standard_normal((48, 48)).astype(np.float32)
    scores = HistoryScores(taken, ItemTables(graph, Factors(table, *scales, M)))
    together = scores.best(np.arange(300), 30, taken, None)
    block = scores(np.arange(300))
    for user in (0, 130, 299):
        alone = scores.best(np.array([user]), 30, taken, None)
        np.testing.assert_array_equal(alone.indices[0], together.indices[user])
        np.testing.assert_array_equal(alone.data[0], together.data[user])
        np.testing.assert_array_equal(scores(np.array([user]))[0], block[user])
        expected = naive.best_items(block[user], naive.taken(taken, user), 30)
        assert alone.indices[0].tolist() == expected
        np.testing.assert_array_equal(alone.data[0], block[user, expected])


@pytest.mark.parametrize("kind", KINDS)
def test_users_with_nothing_and_with_everything(kind):
    tables = tables_of(np.random.default_rng(0), kind, 70)
    taken = naive.compressed(np.ones((2, 70)), np.array([[False], [True]]) & np.ones(70, bool))
    best = HistoryScores(taken, tables).best(np.arange(2), 5, taken, None)
    scores = np.zeros(70) if tables.popularity is None else tables.popularity
    order = np.argsort(-scores, kind="stable")[:5]
    scores = scores[order]
    assert best.indices.tolist() == [order.tolist(), [70] * 5]
    assert best.data[1].tolist() == [-np.inf] * 5
    assert best.data[0].tolist() == scores[:5].tolist()
