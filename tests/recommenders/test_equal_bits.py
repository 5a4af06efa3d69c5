"""A score depends on its user, its item and the model: not on company, order, blocks or threads."""

import numpy as np
import polars as pl
import pytest
from judged import MAKERS, NAMES, all_pairs, judged, walking

from recsys import Interactions, ItemBlend
from recsys.evaluation.metrics import rank
from recsys.scores import factor_scores, history_scores, toplists
from recsys.scores.factor_scores import full_rows, rows_times
from recsys.scores.toplists import top_items
from sparsenum import _threads
from sparsenum.sparse import CSR

K = 7


@pytest.fixture(scope="module")
def train():
    return judged()


@pytest.fixture(scope="module")
def fitted(train):
    return {name: make().fit(train) for name, make in MAKERS.items()} | {
        "walks": walking().fit(train)
    }


@pytest.fixture(params=[*MAKERS, "walks"])
def model(request, fitted):
    return fitted[request.param]


def companies(n):
    """Rows one by one, in pieces of several sizes, backwards, shuffled and repeated."""
    everybody = np.arange(n)
    yield [everybody[[row]] for row in range(n)]
    yield np.split(everybody, [1, 4, 9, 140, 269])
    yield [everybody[::-1]]
    yield [np.random.default_rng(0).permutation(n), np.full(5, 3)]


def test_scores_are_the_same_in_any_company(model):
    together = model.scores(np.arange(model.users_.len()))
    for parts in companies(model.users_.len()):
        for rows in parts:
            assert np.array_equal(model.scores(rows), together[rows])


@pytest.mark.parametrize("hide", [True, False])
def test_lists_hold_the_scores_in_any_company(model, hide):
    """Items and scores of a list: those of all scores, to the bit, ties to the lower item."""
    everybody, hidden = np.arange(model.users_.len()), model.seen_ if hide else None
    scores = model.scores(everybody)
    if hide:
        rows = np.repeat(everybody, model.seen_.row_counts)
        scores[rows, model.seen_.indices] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    best = np.take_along_axis(scores, order, axis=1)
    order[best == -np.inf] = model.items_.len()
    for parts in companies(everybody.size):
        for rows in parts:
            for some, lists in top_items(model.scorer, rows, K, hidden):
                assert np.array_equal(lists.indices, order[some])
                assert np.array_equal(lists.data, best[some])


def test_blocks_of_users_and_items_do_not_count(model, monkeypatch):
    everybody = np.arange(model.users_.len())
    scores = model.scores(everybody)
    lists = model.recommend("all", K)
    monkeypatch.setattr(factor_scores, "TILE", 4)
    monkeypatch.setattr(factor_scores, "STAGES", (0, 8, 16))
    monkeypatch.setattr(history_scores, "USERS", 3)
    monkeypatch.setattr(history_scores, "PLACES", 30)
    monkeypatch.setattr(toplists, "BLOCK", 5)
    monkeypatch.setattr(toplists, "PLACES", 30)
    assert np.array_equal(model.scores(everybody), scores)
    assert model.recommend("all", K).equals(lists)


def test_metrics_of_a_user_are_the_same_in_any_company(model, train):
    rng = np.random.default_rng(3)
    held = CSR.from_dense((rng.random(train.matrix.shape) < 0.1).astype(np.float32))
    together = rank(model.scorer, held, train.matrix, K, model.popularity_)
    per_user = {row: i for i, row in enumerate(together.users)}
    for row in (0, 1, 140, train.n_users - 1):
        alone = np.zeros(held.shape, np.float32)
        alone[row] = held.to_dense()[row]
        metrics = rank(model.scorer, CSR.from_dense(alone), train.matrix, K, model.popularity_)
        for name, values in metrics.per_user.items():
            if row in per_user:
                assert values[0] == together.per_user[name][per_user[row]]


@pytest.mark.parametrize("amounts", [False, True])
def test_guests_are_the_same_in_any_company(train, fitted, amounts):
    """Who has come after the training has the list of their own history, whoever comes along."""
    rng = np.random.default_rng(5)
    guests = pl.DataFrame({"user": rng.integers(9, size=60), "item": rng.integers(25, size=60)})
    guests = guests.unique().sort("user", "item").with_columns(user=pl.col("user") + 1000)
    if amounts:
        train = Interactions.read(all_pairs().with_columns(weight=1.0), weight="weight", **NAMES)
        amount = rng.integers(1, 50, guests.height).astype(float)
        guests = guests.with_columns(weight=pl.Series(amount))
    rigid = {"popularity", "lightgcn"}  # which take no guests
    for name in MAKERS.keys() - rigid:
        model = MAKERS[name]().fit(train) if amounts else fitted[name]
        together = model.fold_in(guests)
        scores, others = together.scores(np.arange(together.users_.len())), guests.reverse()
        for row, user in enumerate(together.users_):
            alone = model.fold_in(guests.filter(user=user))
            assert np.array_equal(alone.scores(np.array([0]))[0], scores[row]), name
            history = guests.filter(user=user)["item"].unique().to_list()
            if not amounts:
                assert model.recommend_from(history, K).equals(
                    together.recommend([user], K).drop("user")
                )
        assert together.recommend("all", K).equals(model.fold_in(others).recommend("all", K))


@pytest.mark.parametrize("seed", range(3))
def test_evaluating_judges_the_lists_that_are_recommended(model, seed):
    rng = np.random.default_rng(seed)
    test = pl.DataFrame(
        {"user": rng.choice(model.users_, 400), "item": rng.choice(model.items_, 400)}
    )
    each = model.evaluate(test, K, per_user=True)["per_user"]
    lists = model.recommend(each["user"], K)
    hits = lists.join(test.unique(), on=["user", "item"], how="inner").group_by("user").len()
    found = dict(hits.rows())
    shares = [found.get(user, 0) / held for user, held in each.select("user", "held").rows()]
    assert each[f"recall@{K}"].to_list() == shares


def test_threads_of_the_default_do_not_count(train, monkeypatch):
    alone = ItemBlend(budget=300, trials=2).fit(train)
    monkeypatch.setattr(_threads, "BLOCK", 40)
    together = ItemBlend(budget=300, trials=2, n_threads=2).fit(train)
    assert together.recommend("all", K).equals(alone.recommend("all", K))
    assert together.history_ == alone.history_


def test_equal_rows_have_equal_products():
    rng = np.random.default_rng(0)
    for n, k, m in ((1, 1, 1), (5, 7, 3), (128, 64, 64), (130, 33, 17)):
        M = rng.standard_normal((k, m)).astype(np.float32)
        X = rng.standard_normal((n, k)).astype(np.float32)
        product = rows_times(X, M)
        np.testing.assert_allclose(product, X.astype(float) @ M, rtol=1e-4, atol=1e-4)
        tiled = rows_times(np.tile(X[:1], (131, 1)), M)
        assert (tiled == product[0]).all()
        np.testing.assert_array_equal(full_rows(X).to_dense(), X)
