"""Walks and popularity in a blend: their scores, their price, their choice, their files."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from judged import N_ITEMS, NAMES, all_pairs

from recsys import Interactions, ItemBlend, load
from recsys.blend import GraphRule, LatentRule, Plan, WalkRule, budget
from recsys.blend.walk import walks_over
from recsys.storage import files

PLAN = Plan(GraphRule(), LatentRule(dim=16), 0.5, 0.4, WalkRule(0.4, 0.6, 0.1), 0.3, 0.2)
BUDGET = 1500


@pytest.fixture(scope="module", autouse=True)
def _walks_may_take_most_of_a_small_budget():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "LEAST_LEFT", 0.1)
        yield


@pytest.fixture(scope="module")
def train():
    return Interactions.read(all_pairs(), **NAMES)


@pytest.fixture(scope="module", params=["float32", "int8"])
def model(request, train):
    return ItemBlend(budget=BUDGET, values=request.param).fit(train, plan=PLAN)


def last_of_lists(scores, taken):
    """The mean score at the end of lists of a tenth of the items."""
    scores = np.where(taken, -np.inf, scores)
    last = -np.sort(-scores, axis=1)[:, N_ITEMS // 10 - 1]
    return last[np.isfinite(last) & (last > 0)].mean()


def by_hand(model, train):
    """The scores of all users by the formula, dense, all parts brought to one level."""
    X = (train.matrix.to_dense() > 0).astype(float)
    lengths, counts = X.sum(axis=1), X.sum(axis=0)
    rows = X / np.sqrt(lengths)[:, None]
    V, rule = model.factors_.to_dense().astype(float), PLAN.factors
    gram = V.T @ V
    M = np.linalg.inv(gram + rule.user_ridge * np.trace(gram) / len(gram) * np.eye(len(gram)))
    factors = ((rows * counts**-rule.item_power) @ V @ M @ V.T) * counts**rule.target_power
    walks = (rows * counts**-0.4) @ (X * lengths[:, None] ** -0.6).T @ X * counts**-0.1
    popular = np.tile(counts, (len(X), 1))
    here = np.unique(np.linspace(0, len(X) - 1, 300).astype(int))
    level = {
        name: last_of_lists(of[here], X[here] > 0)
        for name, of in {"f": factors, "w": walks, "p": popular}.items()
    }
    graph = rows @ model.graph_.to_dense()  # stored as it is served
    return (
        graph
        + 0.5 * 0.4 * factors
        + 0.3 * level["f"] / level["w"] * walks
        + 0.2 * level["f"] / level["p"] * popular
    )


def test_scores_are_those_of_the_formula(model, train):
    got = model.scores(np.arange(train.n_users))
    tolerance = 1e-3 if model.values == "float32" else 0.03  # levels are of what is rounded later
    np.testing.assert_allclose(got, by_hand(model, train), rtol=tolerance, atol=tolerance / 10)


def test_walks_are_paid_for_and_named(model, train):
    report = model.report()
    assert report["weights"] == report["budget"] == BUDGET
    walks = report["tables"]["walks"]
    assert (walks["weights"], walks["rows"]) == (train.nnz, train.n_users)
    assert (walks["bytes_values"], walks["bytes_indices"]) == (0, train.nnz)
    assert report["tables"]["graph"]["weights"] == round((BUDGET - train.nnz) / 2)
    parts = report["tables"].values()
    assert report["bytes_indices"] == sum(part["bytes_indices"] for part in parts)


@pytest.mark.parametrize("values", ["float32", "int8"])
@pytest.mark.parametrize("size", [5000, 9000])
def test_a_size_is_kept_and_used(train, values, size):
    model = ItemBlend(budget=f"{size / 1000}KB", values=values).fit(train, plan=PLAN)
    report = model.report()
    taken = sum(report[f"bytes_{what}"] for what in ("values", "indices", "rows"))
    assert model.pairs_ is not None
    assert taken <= size
    assert taken > 0.6 * size or report["weights"] == train.nnz + N_ITEMS * (N_ITEMS - 1 + 16)


def test_a_plan_goes_without_walks_where_they_cannot_be_paid(train):
    model = ItemBlend(budget=train.nnz).fit(train, plan=PLAN)
    assert model.plan_ == replace(PLAN, walk_share=0.0)
    full = N_ITEMS * (N_ITEMS - 1 + PLAN.factors.dim)
    assert model.report()["weights"] == min(train.nnz, full)
    assert "walks" not in model.report()["tables"]


@pytest.mark.parametrize("histories", [True, False])
def test_a_saved_model_is_the_same(model, train, tmp_path, histories):
    model.save(tmp_path / "m.npz", histories=histories)
    again = load(tmp_path / "m.npz")
    assert again.report() == model.report()
    assert again.plan_ == model.plan_
    history = [3, 4, 9]
    assert again.recommend_from(history, 8).equals(model.recommend_from(history, 8))
    if histories:
        rows = np.arange(train.n_users)
        assert np.array_equal(again.scores(rows), model.scores(rows))


def test_files_of_before_walks_are_read(train, tmp_path):
    model = ItemBlend(budget=300, trials=0).fit(train)
    model.save(tmp_path / "m.npz")
    header, arrays = files.read(tmp_path / "m.npz")
    del header["scales"]
    for name in ("walk", "walk_share", "popularity_share"):
        del header["plan"][name]
    files.write(tmp_path / "old.npz", header, arrays)
    assert load(tmp_path / "old.npz").recommend("all", 5).equals(model.recommend("all", 5))


def test_altered_walks_are_refused(model):
    header, arrays = model._state()
    some = arrays["walks_indices"]
    cases = {
        "lacks lengths or columns": {"walks_counts": None},
        "out of range": {"walks_indices": some + np.uint8(100)},
        "not sound": {"walks_indices": some[1:]},
    }
    for message, change in cases.items():
        with pytest.raises(ValueError, match=message):
            ItemBlend._restored(header, {**arrays, **change}, model.seen_.shape)


def test_strangers_are_served_as_they_would_be_in_training(model):
    history = all_pairs().filter(pl.col("user") == model.users_[3])["item"]
    known = model.recommend([model.users_[3]], 6)
    assert model.recommend_from(history, 6).equals(known.drop("user"))


def test_parts_of_a_score_add_up(model):
    user = model.users_[7]
    top = model.recommend([user], 1)
    why = model.explain(user, top["item"][0])
    assert why.score == pytest.approx(top["score"][0], rel=1e-4)
    parts = why.contributions
    assert parts.columns == ["item", "contribution", "graph", "factors", "walks", "popularity"]
    assert parts["contribution"].sum() == pytest.approx(why.score, rel=1e-4)


def test_no_walk_leads_over_users_who_are_forgotten(model):
    gone = model.users_[:20].to_list()
    left = model.forget(gone)
    assert left.pairs_.shape[0] == model.users_.len() - 20
    assert left.pairs_.nnz == model.seen_.row_counts[20:].sum()
    rows = pl.DataFrame({"user": [9001, 9002], "item": [2, 5]})
    assert model.fold_in(rows).forget([9002]).pairs_.nnz == model.pairs_.nnz


def chains(n_users=300, n_items=900, seed=0):
    """Users who take a few neighbouring items of a long row: no two items share many users."""
    rng = np.random.default_rng(seed)
    middle = rng.integers(n_items, size=(n_users, 1))
    items = (middle + rng.integers(-12, 13, (n_users, 9))) % n_items
    users = np.repeat(np.arange(n_users), 9)
    return pl.DataFrame({"user": users, "item": items.ravel()}).unique(maintain_order=True)


def test_walks_are_chosen_where_lists_get_better():
    train = Interactions.read(chains(), **NAMES)
    model = ItemBlend(budget=4 * train.nnz, trials=2).fit(train)
    parts = [entry["part"] for entry in model.history_]
    assert parts[0] == "walks"
    assert model.plan_.walk_share > 0
    assert model.report()["weights"] <= model.report()["budget"] == 4 * train.nnz


@pytest.mark.parametrize(("name", "value"), [("MOST_READS", 0), ("LEAST_LEFT", 0.9)])
def test_walks_that_read_or_cost_too_much_are_not_tried(monkeypatch, name, value):
    monkeypatch.setattr(budget, name, value)
    train = Interactions.read(chains(), **NAMES)
    model = ItemBlend(budget=4 * train.nnz, trials=1).fit(train)
    assert "walks" not in [entry["part"] for entry in model.history_]
    assert model.pairs_ is None


def test_popularity_is_all_where_nothing_else_is_known():
    rng = np.random.default_rng(0)
    share = 1 / (1 + np.arange(60.0))
    items = np.concatenate(
        [rng.choice(60, 4, replace=False, p=share / share.sum()) for _ in range(900)]
    )
    table = pl.DataFrame({"user": np.repeat(np.arange(900), 4), "item": items})
    train = Interactions.read(table, **NAMES)
    model = ItemBlend(budget=1000, trials=1).fit(train)  # walks would cost more
    assert model.plan_.popularity_share > 0
    looks = [e["recall@6"] + e["ndcg@6"] for e in model.history_ if e["part"] != "popularity"]
    alone = [e["recall@6"] + e["ndcg@6"] for e in model.history_ if e["part"] == "popularity"]
    assert max(looks) > 0.98 * alone[0]


def test_a_budget_grows_as_long_as_lists_get_better(monkeypatch):
    train = Interactions.read(chains(), **NAMES)
    dense = 64 * (train.n_users + train.n_items)
    model = ItemBlend(budget="auto", trials=1).fit(train)
    looks = [e["recall@20"] + e["ndcg@20"] for e in model.history_ if e["part"] == "budget"]
    doublings = round(np.log2(model.n_weights_ / (dense / 4)))
    assert model.n_weights_ == round(dense / 4) * 2**doublings <= dense
    assert len(looks) == min(doublings + 2, 3)
    grown = looks[: doublings + 1]
    assert grown == sorted(grown)
    # Where memory ends, so does the budget.
    monkeypatch.setattr(budget, "memory", lambda: 0)
    assert ItemBlend(budget="auto", trials=1).fit(train).n_weights_ == round(dense / 4)
    assert ItemBlend(budget="auto", trials=0).fit(train).n_weights_ == round(dense / 4)


@pytest.mark.parametrize("power", [20.0, -20.0, 300.0, -300.0])
def test_powers_that_underflow_leave_every_walk_a_weight(power):
    matrix = Interactions.read(all_pairs(), **NAMES).matrix
    walks = walks_over(matrix, WalkRule(power, power, power))
    for weights in (walks.source_scale, walks.user_scale, walks.target_scale):
        assert (weights > 0).all()
        assert np.isfinite(weights).all()


@pytest.mark.parametrize("budget", ["0.7KB", "1KB", 60])
def test_a_plan_whose_walks_a_smaller_budget_cannot_pay_goes_without(train, budget):
    model = ItemBlend(budget=budget, values="int8").fit(train, plan=PLAN)
    assert model.plan_.walk_share == 0.0
    assert model.pairs_ is None
    assert model.graph_.nnz + model.factors_.nnz > 0
