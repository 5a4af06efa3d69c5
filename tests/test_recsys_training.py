"""Training: the budget at every step, what fixes the model, what is learned and refused."""

import itertools
import threading
import tracemalloc

import numpy as np
import polars as pl
import pytest

from recsys import Interactions, Popularity, SparseMF, dsl, leave_last, steps
from recsys.budget import parse_budget
from recsys.datasets import shop

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

    descend, exchange, move = dsl.descend, dsl.exchange, steps.Table.move
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

    monkeypatch.setattr(dsl, "descend", checked_descend)
    monkeypatch.setattr(dsl, "exchange", checked_exchange)
    monkeypatch.setattr(steps.Table, "move", checked_move)
    model = SparseMF(budget=budget, dim=dim, epochs=8, recipe=recipe)
    model.fit(interactions, on_epoch=lambda entry: check(current))

    exchanged = ["exchange", "move", "move"]
    moving, still = ["descend", *exchanged] * 6, ["descend"] * 2  # until 3/4 of the training
    assert done == (moving + still if recipe == "dsl" else ["descend"] * 8)
    assert counts[0].min() >= 1
    assert counts[0].max() - counts[0].min() <= 1
    assert model.n_weights_ == n_weights
    assert {entry["weights"] for entry in model.history_} == {n_weights}
    assert {entry["optimiser_floats"] for entry in model.history_} == {n_weights}


def test_static_never_changes_the_pattern_and_dsl_does(interactions, monkeypatch):
    patterns = {}
    descend = dsl.descend

    def watched(samples, loss, users, items, *rest):
        seen.append([pattern_of(users), pattern_of(items)])
        return descend(samples, loss, users, items, *rest)

    monkeypatch.setattr(dsl, "descend", watched)
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
    assert 8 * steps.BLOCK * dim < peak < smallest_mask


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


# What is asked for.


def test_parameters_give_back_the_arguments():
    arguments = {
        "budget": "4MB",
        "dim": 3,
        "epochs": 4,
        "recipe": "static",
        "row_power": 0.5,
        "loss": "bce",
        "optimizer": "sgd",
        "n_negatives": 2,
        "learning_rate": 0.5,
        "weight_decay": 0.0,
        "patience": 3,
        "validation": 0.2,
        "seed": 6,
    }
    assert SparseMF(**arguments).parameters() == arguments
    assert Popularity().parameters() == {}
    with pytest.raises(TypeError):
        SparseMF("5%")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1: got 0"),
        ({"epochs": 2.5}, TypeError, "epochs must be a whole number"),
        ({"dim": 0}, ValueError, "dim must be from 1 to 65536: got 0"),
        ({"dim": 70_000}, ValueError, "dim must be from 1 to 65536: got 70000"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be positive"),
        ({"learning_rate": -1}, ValueError, "learning_rate must be positive"),
        ({"learning_rate": float("inf")}, ValueError, "learning_rate must be positive and finite"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number"),
        ({"learning_rate": 1e30}, ValueError, "learning_rate must let the training converge"),
        ({"loss": "hinge"}, ValueError, "Unknown loss 'hinge': expected one of 'bpr', 'bce'"),
        ({"optimizer": "lbfgs"}, ValueError, "Unknown optimizer 'lbfgs': expected one of"),
        ({"n_negatives": 0}, ValueError, "n_negatives must be from 1 to 10000: got 0"),
        ({"patience": 0}, ValueError, "patience must be at least 1: got 0"),
        ({"patience": 1}, ValueError, "patience must have something to look at.*validation=0.1"),
        ({"validation": 1.0}, ValueError, "validation must be below 1: got 1.0"),
        ({"validation": 0}, ValueError, "validation must be positive"),
        ({"weight_decay": float("nan")}, ValueError, "weight_decay must be positive"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be positive.*0 leaves it out"),
        ({"weight_decay": "much"}, TypeError, "weight_decay must be a number"),
        ({"recipe": "lth"}, ValueError, "Unknown recipe 'lth': expected one of 'dsl', 'dsl-paper'"),
        ({"row_power": -0.5}, ValueError, "row_power must be positive.*0 makes all rows equal"),
        ({"row_power": "much"}, TypeError, "row_power must be a number"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": "x"}, TypeError, "seed must be a whole number"),
        ({"budget": 5}, ValueError, "budget must buy from 70 weights.*change the budget or dim"),
    ],
)
def test_bad_parameters_are_named(interactions, arguments, error, message):
    model = SparseMF(**{"budget": "30%", "dim": 16, "epochs": 2} | arguments)
    with pytest.raises(error, match=message):
        model.fit(interactions)
    assert not hasattr(model, "users_")


def test_a_failed_fit_leaves_the_fitted_model_as_it_was(interactions):
    model = quick().fit(interactions)
    before = model.recommend("all", 3)
    model.epochs = 0
    with pytest.raises(ValueError, match="epochs"):
        model.fit(interactions)
    assert model.recommend("all", 3).equals(before)


def test_one_item_is_too_few():
    train = Interactions.read(pl.DataFrame({"user": [1, 2], "item": [5, 5]}), **NAMES)
    with pytest.raises(ValueError, match="train must have at least two items"):
        SparseMF(budget="100%", dim=4).fit(train)
    assert Popularity().fit(train).recommend([1], 1, exclude_seen=False)["item"].to_list() == [5]


ROWS, DIM = 1000, 64  # dense: 64,000 weights


@pytest.mark.parametrize(
    ("budget", "weights"),
    [
        (20_000, 20_000),
        ("20000", 20_000),
        ("20_000", 20_000),
        (np.int32(20_000), 20_000),
        ("2e4", 20_000),
        (2e4, 20_000),
        ("10%", 6_400),
        (" 10 % ", 6_400),
        ("12.5%", 8_000),
        ("100%", 64_000),
        ("0.1MB", 16_333),
        ("0.1 mb", 16_333),
        ("100KB", 16_333),
        ("0.0001GB", 16_333),
        ("1000", 1_000),
        ("64000", 64_000),
    ],
)
def test_budgets_that_can_be_bought(budget, weights):
    assert parse_budget(budget, ROWS, DIM) == weights


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (0, "got 0, which buys 0"),
        ("0%", "got '0%', which buys 0"),
        (999, "got 999, which buys 999"),
        (64_001, "got 64001, which buys 64,001"),
        ("110%", "which buys 70,400"),
        ("4MB", "which buys 666,333"),
        ("1KB", "which buys 0"),
        ("1e400", "got '1e400'"),
        ("1e400%", "got '1e400%'"),
        (10**40, "which buys 1,"),
        ("abc", "got 'abc'; write it like 500000"),
        (True, "got True; write it like"),
        (None, "got None; write it like"),
        (-5, "got -5; write it like"),
        ("nan", "got 'nan'; write it like"),
        ("5 weights", "write it like"),
        ("", "write it like"),
        ("%", "write it like"),
        ("5MB 3", "write it like"),
    ],
)
def test_budgets_that_cannot(budget, message):
    with pytest.raises(ValueError, match="budget must .*" + message):
        parse_budget(budget, ROWS, DIM)


def test_a_budget_in_bytes_is_kept_on_disk(interactions):
    report = SparseMF(budget="10KB", dim=32, epochs=1).fit(interactions).report()
    total = sum(report[f"bytes_{what}"] for what in ("values", "indices", "rows"))
    assert 10_000 - 6 < total <= 10_000


def test_two_threads_at_once_equal_one_after_the_other(interactions):
    makers = [quick, lambda: SparseMF(budget="40%", dim=32, epochs=6, seed=1)]
    serial = [make().fit(interactions).recommend("all", 5) for make in makers]
    models = [make() for make in makers]
    threads = [threading.Thread(target=model.fit, args=(interactions,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model, expected in zip(models, serial, strict=True):
        assert model.recommend("all", 5).equals(expected)
