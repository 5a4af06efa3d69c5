"""The autoencoder: budget, recipes, strangers, new rows, killed trainings, and what it learns."""

import json

import numpy as np
import polars as pl
import pytest

from recsys import Interactions, Recipe, SparseAE, load
from recsys.autoencoder import training
from recsys.training.loop import Training
from sparsenum.topology.recipe import RECIPES

NAMES = {"user": "user", "item": "item"}
RECIPE_NAMES = [*SparseAE.recipes, "dsl, random start"]


def recipe_of(name):
    if name == "dsl, random start":
        return Recipe(RECIPES["dsl"].fraction, start="random")
    return name


def pairs(seed=0, n=900, users=80, items=30):
    rng = np.random.default_rng(seed)
    return pl.DataFrame({"user": rng.integers(users, size=n), "item": rng.integers(items, size=n)})


def read(table):
    return Interactions.read(table, **NAMES)


def clustered(n_users=600, n_items=40, groups=8, seed=1):
    """Users like items of one kind; a fifth of what they like is held back."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(groups, size=n_users)
    liked = (np.arange(n_items) % groups == kind[:, None]) & (rng.random((n_users, n_items)) < 0.9)
    liked |= rng.random(liked.shape) < 0.03
    held = liked & (rng.random(liked.shape) < 0.2)
    both = [np.nonzero(part) for part in (liked & ~held, held)]
    return [pl.DataFrame({"user": user, "item": item}) for user, item in both]


def state_of(model):
    entries = [{k: v for k, v in e.items() if k != "seconds"} for e in model.history_]
    return [x.tobytes() for x in model.table_.arrays], model.target_power_, json.dumps(entries)


# Budget


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_the_budget_holds_at_every_step(name, monkeypatch):
    seen, descend = [], training.descend

    def watched(table, *rest):
        seen.append((table.weights.nnz, table.state.shape[1]))
        return descend(table, *rest)

    monkeypatch.setattr(training, "descend", watched)
    recipe = recipe_of(name)
    model = SparseAE(budget=240, dim=16, epochs=6, recipe=recipe, target_power=0.1)
    model.fit(read(pairs()))
    assert model.n_weights_ == model.table_.nnz == 240
    assert (model.table_.row_counts > 0).all()
    if name == "prune":
        assert seen[0] == (30 * 16, 30 * 16)
        assert [now for now, _ in seen] == sorted((now for now, _ in seen), reverse=True)
    else:
        assert set(seen) == {(240, 240)}
        assert {entry["weights"] for entry in model.history_} == {240}
        assert {entry["optimizer_floats"] for entry in model.history_} == {720}
    grown = [entry["grown"] for entry in model.history_]
    assert (sum(grown) > 0) == (name not in ("static", "prune"))


def test_rows_keep_their_share_and_popular_items_have_more():
    counts = training.share_rows(np.array([1, 10, 100, 1000]), 60, 32)
    assert counts.sum() == 60
    assert counts.tolist() == sorted(counts)
    assert counts.min() >= training.ROW_FLOOR


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 20}, "budget must leave a weight for each of 30 items: got 20, which is 20"),
        ({"dim": 0}, "dim must be from 1 to 4096"),
        ({"recipe": "dsl-paper"}, "Unknown recipe 'dsl-paper'"),
        ({"recipe": Recipe(RECIPES["dsl"].fraction, grow="momentum")}, "got 'momentum'"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"target_power": -1.0}, "target_power must"),
        ({"n_others": 0}, "n_others must be at least 1"),
        ({"values": "int4"}, "Unknown values 'int4'"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SparseAE(**({"budget": 240, "dim": 16} | options)).fit(read(pairs()))


def test_a_budget_beyond_the_table_fills_it():
    model = SparseAE(budget=10**6, dim=4, epochs=1, target_power=0.0).fit(read(pairs()))
    assert model.n_weights_ == model.table_.nnz == 30 * 4


def test_a_size_on_disk_holds(tmp_path):
    model = SparseAE(budget="1.2KB", dim=16, epochs=2, values="int8").fit(read(pairs()))
    report = model.report()
    size = report["bytes_values"] + report["bytes_indices"] + report["bytes_rows"]
    assert 1100 < size <= 1200


# What it learns


def test_it_learns_and_growth_beats_a_static_random_start():
    train, test = clustered()
    quality = {}
    for name in ("dsl", "static"):
        found = [
            SparseAE(budget=120, dim=24, epochs=8, recipe=name, seed=seed)
            .fit(read(train))
            .evaluate(test, 5)["ndcg@5"]
            for seed in range(3)
        ]
        quality[name] = np.mean(found)
    assert quality["dsl"] > 0.6
    assert quality["dsl"] > 1.1 * quality["static"]


def test_scoring_some_items_learns_as_well():
    train, test = clustered()
    model = SparseAE(budget=160, dim=24, epochs=8, n_others=12).fit(read(train))
    assert model.evaluate(test, 5)["ndcg@5"] > 0.6


def test_the_power_is_that_of_the_pairs_held_back():
    table = read(pairs())
    chosen = SparseAE(budget=240, dim=16, epochs=2).fit(table)
    assert chosen.target_power_ in [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    given = SparseAE(budget=240, dim=16, epochs=2, target_power=chosen.target_power_).fit(table)
    assert state_of(given) == state_of(chosen)


def test_validation_is_watched_and_not_learned_from():
    train, test = clustered()
    plain = SparseAE(budget=160, dim=16, epochs=3, target_power=0.1).fit(read(train))
    watched = SparseAE(budget=160, dim=16, epochs=3, target_power=0.1)
    watched.fit(read(train), valid=test)
    np.testing.assert_array_equal(watched.table_.data, plain.table_.data)
    assert all("ndcg@20" in entry for entry in watched.history_)


# Files and trainings that go on


@pytest.mark.parametrize("values", ["float32", "int8"])
def test_a_saved_model_gives_the_same_lists(values, tmp_path):
    model = SparseAE(budget=240, dim=16, epochs=2, values=values).fit(read(pairs()))
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert again.recommend("all", 8).equals(model.recommend("all", 8))
    assert again.report() == model.report()
    assert repr(again) == repr(model)


def test_a_recipe_of_ones_own_is_saved(tmp_path):
    recipe = Recipe(RECIPES["dsl"].fraction, drop="set", grow="random", scope="table")
    model = SparseAE(budget=240, dim=16, epochs=2, recipe=recipe).fit(read(pairs()))
    model.save(tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").recipe == recipe


class Killed(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("name", ["dsl", "rigl", "prune"])
@pytest.mark.parametrize("until", [1, 3, 5])
def test_a_killed_training_goes_on_to_the_same_model(name, until, tmp_path):
    train, test = clustered()

    def kill(entry):
        if entry["epoch"] == until:
            raise Killed

    def made():
        return SparseAE(budget=200, dim=16, epochs=6, recipe=name)

    whole = made().fit(read(train), valid=test)
    with pytest.raises(Killed):
        made().fit(read(train), valid=test, on_epoch=kill, checkpoint=tmp_path)
    again = made().fit(read(train), valid=test, checkpoint=tmp_path, resume=True)
    assert state_of(again) == state_of(whole)


def test_checkpoints_of_other_data_are_refused(tmp_path):
    SparseAE(budget=240, dim=16, epochs=2).fit(read(pairs()), checkpoint=tmp_path)
    other = SparseAE(budget=240, dim=16, epochs=2)
    with pytest.raises(ValueError, match="checkpoint must be of the same data and parameters"):
        other.fit(read(pairs(1)), checkpoint=tmp_path, resume=True)
    with pytest.raises(ValueError, match="resume must have a checkpoint folder"):
        other.fit(read(pairs()), resume=True)


# Strangers and new rows


def test_a_stranger_gets_the_list_of_a_user_with_the_same_history():
    table = pairs()
    model = SparseAE(budget=240, dim=16, epochs=2).fit(read(table))
    history = table.filter(pl.col("user") == 7)["item"].unique().to_list()
    own = model.recommend([7], 5).drop("user")
    assert model.recommend_from(history, 5).equals(own)


def test_training_goes_on_with_new_users_and_items_within_the_budget():
    train, test = clustered()
    late, even = pl.col("item") >= 32, pl.col("user") % 2 == 0
    model = SparseAE(budget=200, dim=24, epochs=6).fit(read(train.filter(~late)))
    model.partial_fit(read(train.filter(even)))
    assert model.n_weights_ == model.table_.nnz == 200
    assert model.table_.shape == (40, 24)
    assert model.items_.to_list()[-1] >= 32
    afresh = SparseAE(budget=200, dim=24, epochs=6).fit(read(train.filter(~late | even)))
    assert model.evaluate(test, 5)["ndcg@5"] > 0.85 * afresh.evaluate(test, 5)["ndcg@5"]
    found = model.evaluate(test.filter(late), 5)
    assert found["recall@5"] > 0.4  # chance finds .1
    assert found["unknown_items"] == 0


def test_there_is_no_room_for_more_items_than_weights():
    model = SparseAE(budget=30, dim=16, epochs=1, target_power=0.0).fit(read(pairs()))
    new = pl.DataFrame({"user": [1, 1], "item": [1, 100]})
    with pytest.raises(ValueError, match="got 1 new ones where the budget of 30 weights has room"):
        model.partial_fit(read(new))


def test_training_state_knows_its_one_table():
    first = training.first_table(
        read(pairs()).matrix, 240, 16, RECIPES["dsl"], np.random.default_rng(0)
    )
    state = Training.start(first, np.random.default_rng(0))
    assert state.n_weights == 240
    lengths = np.sqrt(
        np.add.reduceat(first.items.weights.data**2, first.items.weights.indptr[:-1].astype(int))
    )
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-6)
