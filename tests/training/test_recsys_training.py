"""Training: the budget at every step, what fixes the model, what is learned and refused."""

import itertools
import tracemalloc

import numpy as np
import polars as pl
import pytest

from recsys import Interactions, Popularity, SparseMF, leave_last
from recsys.datasets import shop
from recsys.storage.budget import parse_budget
from recsys.training import gradient, loop
from sparsenum.nn.table import Table

NAMES = {"user": "user", "item": "item"}


def random_table(n_users=40, n_items=30, n_events=400, seed=0):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {"user": rng.integers(n_users, size=n_events), "item": rng.integers(n_items, size=n_events)}
    )


@pytest.fixture(scope="module")
def interactions():
    return Interactions.read(random_table(), **NAMES)


def quick():
    return SparseMF(budget="30%", dim=16, epochs=4)


def pattern_of(table):
    return table.weights.indptr.copy(), table.weights.indices.copy()


def check_layout(weights, dim):
    assert weights.shape[1] == dim
    assert weights.data.dtype == np.float32
    assert weights.indices.dtype == np.uint16
    assert weights.indices.size == weights.data.size == weights.indptr[-1]
    assert (weights.indices < dim).all()
    for start, stop in itertools.pairwise(weights.indptr):
        assert (np.diff(weights.indices[start:stop].astype(int)) > 0).all()


@pytest.mark.parametrize("recipe", ["dsl", "static"])
@pytest.mark.parametrize("budget", [70, 400, "25%", "90%", "100%"])
def test_the_budget_holds_at_every_step(interactions, monkeypatch, recipe, budget):
    dim, done, counts = 16, [], []
    n_weights = parse_budget(budget, interactions.n_users + interactions.n_items, dim)

    def check(tables):
        assert sum(table.weights.nnz for table in tables) == n_weights
        assert sum(table.state.size for table in tables) == n_weights
        for table in tables:
            check_layout(table.weights, dim)
            assert table.state.dtype == np.float32
            assert table.state.shape == (1, table.weights.nnz)
        counts.append(np.concatenate([table.weights.row_counts for table in tables]))
        np.testing.assert_array_equal(counts[-1], counts[0])

    descend, exchange, move = loop.descend, loop.exchange, Table.move
    current = []

    def checked_descend(samples, loss, users, items, *rest):
        current[:] = users, items
        check(current)
        loss = descend(samples, loss, users, items, *rest)
        check(current)
        done.append("descend")
        return loss

    def checked_exchange(*arguments):
        rewirings = exchange(*arguments)
        check(current)
        done.append("exchange")
        return rewirings

    def checked_move(table, rewiring):
        before = table.weights, table.state.copy()
        move(table, rewiring)
        check(current)
        born, kept = rewiring.source < 0, rewiring.source[rewiring.source >= 0]
        assert (table.weights.data[born] == 0).all()
        assert (table.state[:, born] == np.float32(1e-6)).all()
        np.testing.assert_array_equal(table.weights.data[~born], before[0].data[kept])
        np.testing.assert_array_equal(table.weights.indices[~born], before[0].indices[kept])
        np.testing.assert_array_equal(table.state[:, ~born], before[1][:, kept])
        done.append("move")

    monkeypatch.setattr(loop, "descend", checked_descend)
    monkeypatch.setattr(loop, "exchange", checked_exchange)
    monkeypatch.setattr(Table, "move", checked_move)
    model = SparseMF(budget=budget, dim=dim, epochs=8, recipe=recipe)
    model.fit(interactions, on_epoch=lambda entry: check(current))

    exchanged = ["exchange", "move", "move"]
    moving, still = ["descend", *exchanged] * 6, ["descend"] * 2  # until 3/4 of the training
    assert done == (moving + still if recipe == "dsl" else ["descend"] * 8)
    assert counts[0].min() >= 1
    assert counts[0].max() - counts[0].min() <= 1
    assert model.n_weights_ == n_weights
    assert {entry["weights"] for entry in model.history_} == {n_weights}
    assert {entry["optimizer_floats"] for entry in model.history_} == {n_weights}


def test_static_never_changes_the_pattern_and_dsl_does(interactions, monkeypatch):
    patterns = {}
    descend = loop.descend

    def watched(samples, loss, users, items, *rest):
        seen.append([pattern_of(users), pattern_of(items)])
        return descend(samples, loss, users, items, *rest)

    monkeypatch.setattr(loop, "descend", watched)
    for recipe in ("static", "dsl"):
        patterns[recipe] = seen = []
        model = SparseMF(budget="20%", dim=16, epochs=4, recipe=recipe).fit(interactions)
        ends = [(table.indptr, table.indices) for table in (model.user_table_, model.item_table_)]
        seen.append(ends)
    same = {
        recipe: all(
            np.array_equal(now[1], first[1])
            for look in looks
            for now, first in zip(look, looks[0], strict=True)
        )
        for recipe, looks in patterns.items()
    }
    assert same == {"static": True, "dsl": False}


def arrays_of(model):
    return [
        part
        for table in (model.user_table_, model.item_table_)
        for part in (table.indptr, table.indices, table.data)
    ]


def same_model(one, other):
    return all(np.array_equal(a, b) for a, b in zip(arrays_of(one), arrays_of(other), strict=True))


@pytest.mark.parametrize("recipe", ["dsl", "static"])
def test_seed_and_table_fix_the_model_bit_for_bit(interactions, recipe):
    def fit(train, seed=3):
        return SparseMF(budget="20%", dim=16, epochs=4, recipe=recipe, seed=seed).fit(train)

    first = fit(interactions)
    assert same_model(first, fit(interactions))
    assert not same_model(first, fit(interactions, seed=4))
    shuffled = random_table().sample(fraction=1.0, shuffle=True, seed=5)
    assert same_model(first, fit(Interactions.read(shuffled, **NAMES)))
    assert first.fit(interactions) is first
    assert same_model(first, fit(interactions))


def test_history_is_a_ledger_and_progress_is_told(interactions):
    told = []
    valid = random_table(seed=1)
    model = SparseMF(budget="20%", dim=16, epochs=20)
    model.fit(interactions, valid=valid, on_epoch=told.append)
    history = model.history_
    assert told == history
    assert [entry["epoch"] for entry in history] == list(range(1, 21))
    assert [entry["epoch"] for entry in history if "recall@20" in entry] == list(range(2, 21, 2))
    assert history[-1]["loss"] < history[0]["loss"]
    fractions = [entry["fraction"] for entry in history]
    assert fractions[0] == 0.5
    assert fractions == sorted(fractions, reverse=True)
    assert [fraction > 0 for fraction in fractions] == [True] * 15 + [False] * 5
    explored = [entry["explored"] for entry in history]
    assert 0.2 < explored[0] < explored[-1] <= 1
    assert explored == sorted(explored)
    seconds = [entry["seconds"] for entry in history]
    assert 0 < seconds[0] < seconds[-1]
    # Watching is not learning, and the last look is the evaluation.
    assert same_model(model, SparseMF(budget="20%", dim=16, epochs=20).fit(interactions))
    metrics = model.evaluate(valid, 20)
    assert metrics["recall@20"] == pytest.approx(history[-1]["recall@20"])


@pytest.mark.alone
def test_no_dense_table_mask_or_state_is_ever_made():
    n_users, n_items, dim = 30_000, 24_000, 512
    rng = np.random.default_rng(0)
    table = {"user": np.arange(n_users), "item": rng.permutation(n_users) % n_items}
    train = Interactions.read(pl.DataFrame(table), **NAMES)
    assert train.matrix.shape == (n_users, n_items)
    model = SparseMF(budget=120_000, dim=dim, epochs=2)
    SparseMF(budget=60_000, dim=4, epochs=2).fit(train)  # compiles
    tracemalloc.start()
    try:
        model.fit(train)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert model.history_[0]["grown"] > 10_000
    # Two blocks of gradient, 4 MB, are there at a time; the aligned start has some matrices of
    # dim x dim, 2 MB each. A dense table of floats is 49 MB at least.
    smallest_mask = n_items * dim  # bytes, one for each position
    assert 8 * gradient.BLOCK * dim < peak < smallest_mask


@pytest.fixture(scope="module")
def split():
    names = {"user": "customer", "item": "product"}
    first, second = leave_last(shop(), **names, time="time", fraction=0.2)
    return Interactions.read(first, **names), second


def test_dsl_beats_static_and_popularity_on_the_shop(split):
    train, test = split
    recall = {
        name: model.fit(train).evaluate(test)["recall@20"]
        for name, model in {
            "dsl": SparseMF(),
            "static": SparseMF(recipe="static"),
            "popularity": Popularity(),
        }.items()
    }
    assert recall["dsl"] >= 0.24
    assert recall["popularity"] == pytest.approx(0.095, abs=0.005)
    assert recall["dsl"] > 2 * max(recall["static"], recall["popularity"])


@pytest.mark.parametrize("blocks", [2, 4])
def test_a_checkerboard_is_learned_perfectly(blocks):
    left_out, size, n_users = 5, 20, 30
    rng = np.random.default_rng(1)
    rows = [
        (f"{block}-{user}", f"{block}-{item}")
        for block in range(blocks)
        for user in range(n_users)
        for item in rng.permutation(size)[left_out:]
    ]
    train = Interactions.read(pl.DataFrame(rows, ["user", "item"], orient="row"), **NAMES)
    model = SparseMF(budget="40%", dim=32, epochs=30).fit(train)
    lists = model.recommend("all", left_out)
    assert lists.height == blocks * n_users * left_out
    block = pl.col("user").str.head(1) == pl.col("item").str.head(1)
    assert lists.filter(~block).is_empty()
    # The same at the size of the whole block, with what was taken.
    lists = model.recommend("all", size, exclude_seen=False)
    assert lists.filter(~block).is_empty()
