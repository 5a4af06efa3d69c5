"""What is asked of a recommender: parameters, budgets, and the refusals that explain themselves."""

import threading

import numpy as np
import polars as pl
import pytest

from recsys import Interactions, Popularity, SparseMF
from recsys.storage.budget import parse_budget

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
        "device": "cuda",
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
        ({"weight_decay": float("nan")}, ValueError, "weight_decay must be at least 0"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be at least 0.*0 leaves it out"),
        ({"weight_decay": "much"}, TypeError, "weight_decay must be a number"),
        ({"recipe": "lth"}, ValueError, "Unknown recipe 'lth': expected one of 'dsl', 'dsl-paper'"),
        ({"row_power": -0.5}, ValueError, "row_power must be at least 0.*0 makes all rows equal"),
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
