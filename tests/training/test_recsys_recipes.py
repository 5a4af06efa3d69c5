"""Recipes: the budget at every step of each, and that each does what its name promises."""

import json
from itertools import product

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from recsys import Interactions, LightGCN, Recipe, Schedule, SparseMF, load
from recsys.cli import main
from recsys.training import loop
from recsys.training import monitor as stopping
from recsys.training.exchange import exchange
from recsys.training.gradient import Kept, OfSamples
from recsys.training.objective import LOSSES, Samples
from recsys.training.tables import ROW_FLOOR, Tables, share_rows
from sparsenum.nn.optimizers import OPTIMIZERS
from sparsenum.nn.table import Table
from sparsenum.topology import aligned_start
from sparsenum.topology.recipe import RECIPES

DIM, EPOCHS = 16, 8
DYNAMIC = ["dsl", "dsl-paper", "rigl", "set"]
BPR, ADAGRAD = LOSSES["bpr"], OPTIMIZERS["adagrad"]


@pytest.fixture(scope="module")
def interactions():
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"user": rng.integers(40, size=400), "item": rng.integers(30, size=400)})
    return Interactions.read(table, user="user", item="item")


@pytest.fixture
def seen(monkeypatch):
    """Note how many weights each row has, before and after each pass over the interactions."""
    rows = []
    descend = loop.descend

    def note(*tables):
        for table in tables:
            assert table.weights.nnz == table.state.size == int(table.weights.indptr[-1])
            assert table.weights.row_counts.min() >= 1
        rows.append(np.concatenate([table.weights.row_counts for table in tables]))

    def watched(samples, loss, users, items, *rest):
        note(users, items)
        mean = descend(samples, loss, users, items, *rest)
        note(users, items)
        return mean

    monkeypatch.setattr(loop, "descend", watched)
    return rows


@pytest.mark.parametrize("recipe", [*DYNAMIC, "static"])
@pytest.mark.parametrize("budget", [70, 75, "25%", "90%", "100%"])
def test_the_budget_holds_at_every_step(interactions, seen, recipe, budget):
    model = SparseMF(budget=budget, dim=DIM, epochs=EPOCHS, recipe=recipe)
    model.fit(interactions)
    assert {counts.sum() for counts in seen} == {model.n_weights_}
    assert {entry["weights"] for entry in model.history_} == {model.n_weights_}
    assert {entry["optimizer_floats"] for entry in model.history_} == {model.n_weights_}
    assert model.user_table_.row_counts.min() >= 1
    scope = RECIPES[recipe].scope
    n = interactions.n_users
    if scope == "row":
        assert all(np.array_equal(counts, seen[0]) for counts in seen)
    elif scope == "table":
        assert {counts[:n].sum() for counts in seen} == {seen[0][:n].sum()}
    if recipe in DYNAMIC and budget == "25%":
        assert model.history_[0]["grown"] > 0
        rows_change = any((counts != seen[0]).any() for counts in seen)
        assert rows_change == (scope != "row")
        between_tables = len({counts[:n].sum() for counts in seen}) > 1
        assert between_tables == (scope == "global")


@pytest.mark.parametrize("drop", ["magnitude", "set", "taylor", "row-share"])
@pytest.mark.parametrize("grow", ["epoch", "batch", "momentum", "random"])
@pytest.mark.parametrize("scope", ["row", "table", "global"])
def test_the_budget_holds_whatever_is_chosen(interactions, seen, drop, grow, scope):
    recipe = Recipe(Schedule("linear", 0.4), drop=drop, grow=grow, scope=scope)
    model = SparseMF(budget="50%", dim=DIM, epochs=3, recipe=recipe).fit(interactions)
    assert {counts.sum() for counts in seen} == {model.n_weights_}
    assert {entry["weights"] for entry in model.history_} == {model.n_weights_}
    assert {entry["optimizer_floats"] for entry in model.history_} == {model.n_weights_}
    n = interactions.n_users
    for epoch, entry in enumerate(model.history_):
        counts = seen[2 * epoch + 1]
        groups = {"row": counts, "table": [counts[:n].sum(), counts[n:].sum()]}
        sizes = groups.get(scope, [counts.sum()])
        assert entry["grown"] == sum(int(0.4 * (1 - epoch / 3) * size) for size in sizes) > 0
    if scope == "row":
        assert all(np.array_equal(counts, seen[0]) for counts in seen)
    elif scope == "table":
        assert {counts[:n].sum() for counts in seen} == {seen[0][:n].sum()}
    else:
        assert len({tuple(counts) for counts in seen}) > 1


def test_pruning_comes_down_to_the_budget_and_stays(interactions, seen):
    model = SparseMF(budget="20%", dim=DIM, epochs=EPOCHS, recipe="prune").fit(interactions)
    dense = (interactions.n_users + interactions.n_items) * DIM
    beyond = dense - model.n_weights_
    expected = [dense, *(model.n_weights_ + round(beyond * (1 - t / 4) ** 3) for t in (1, 2, 3, 4))]
    found = [int(counts.sum()) for counts in seen]
    assert found[::2] == found[1::2] == expected + [model.n_weights_] * (EPOCHS - 5)
    assert [entry["weights"] for entry in model.history_] == [*found[2::2], model.n_weights_]
    assert seen[-1].min() == int(0.5 * model.n_weights_ / seen[-1].size)  # the floor
    assert {entry["grown"] for entry in model.history_} == {0}
    short = SparseMF(budget="20%", dim=DIM, epochs=1, recipe="prune").fit(interactions)
    assert short.user_table_.nnz + short.item_table_.nnz == short.n_weights_


def test_stopping_early_keeps_no_tables_above_the_budget(interactions, monkeypatch):
    # Quality falls from look to look, so that the first that may be kept is the best.
    falling = iter(np.linspace(1, 0, 99))
    monkeypatch.setattr(stopping, "ranking_metrics", lambda *a: {f"ndcg@{a[3]}": next(falling)})
    options = {"budget": "20%", "dim": DIM, "epochs": 8, "recipe": "prune"}
    model = SparseMF(**options, validation=0.1, patience=2).fit(interactions)
    assert model.history_[0]["weights"] > model.n_weights_
    assert model.user_table_.nnz + model.item_table_.nnz == model.n_weights_
    within = [entry["weights"] <= model.n_weights_ for entry in model.history_]
    assert len(within) == within.index(True) + 1 + 2


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_reproducible_and_come_back_from_disk(interactions, recipe, tmp_path):
    def fit():
        model = SparseMF(budget="20%", dim=DIM, epochs=4, recipe=recipe, row_power=0.5, seed=3)
        return model.fit(interactions)

    first, again = fit(), fit()
    assert first.user_table_.indices.tobytes() == again.user_table_.indices.tobytes()
    assert first.item_table_.data.tobytes() == again.item_table_.data.tobytes()
    first.save(tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    assert back.recommend("all", 3).equals(first.recommend("all", 3))
    assert back.parameters() == first.parameters()


# Recipes of one's own

OWN = Recipe(Schedule("cosine", 0.4, 0.75), drop="taylor", grow="momentum", scope="table")


@pytest.mark.parametrize("kind", ["never", "constant", "linear", "cosine", "cubic"])
def test_a_schedule_falls_from_its_start_to_zero(kind):
    schedule = Schedule(kind, 0.4, 0.5)
    shares = [schedule(progress) for progress in np.linspace(0, 1, 21)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == (0.0 if kind == "never" else 0.4)
    assert (shares[9] > 0) == (kind != "never")
    assert not any(shares[10:])
    halfway = {"never": 0.0, "constant": 0.4, "linear": 0.2, "cosine": 0.2025, "cubic": 0.05}
    assert schedule(0.25) == pytest.approx(halfway[kind])


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(Schedule(kind, np.float32(0.25)), start=start, drop=drop, grow=grow, floor=1)
        for kind, start, (drop, grow) in product(
            ["linear", "constant"], ["random", "aligned"], [("set", "batch"), ("taylor", "random")]
        )
    ]
    + [OWN, *RECIPES.values()],
)
def test_recipes_come_back_from_their_fields(recipe):
    fields = json.loads(json.dumps(recipe.fields()))
    assert Recipe.from_fields(fields) == recipe


def test_a_model_with_a_recipe_is_stored_cloned_and_described(interactions, tmp_path, capsys):
    model = SparseMF(budget="20%", dim=DIM, epochs=3, recipe=OWN).fit(interactions)
    twin = clone(model)
    assert twin.get_params() == model.get_params() == model.parameters()
    assert twin.fit(interactions).recommend("all", 3).equals(model.recommend("all", 3))
    model.save(tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    assert back.recipe == OWN
    assert back.recommend("all", 3).equals(model.recommend("all", 3))
    assert back.report()["recipe"]["fraction"] == {"kind": "cosine", "start": 0.4, "stop": 0.75}
    assert main(["inspect", str(tmp_path / "model.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"]["recipe"] == OWN.fields()


def test_a_named_recipe_is_what_its_fields_say(interactions):
    plan = {"budget": "20%", "dim": DIM, "epochs": 3}
    named, own = (SparseMF(**plan, recipe=r).fit(interactions) for r in ("rigl", RECIPES["rigl"]))
    assert named.recommend("all", 3).equals(own.recommend("all", 3))


def test_lightgcn_takes_schedule_and_start_and_nothing_else(interactions):
    plan = {"budget": "40%", "dim": 8, "epochs": 2}
    model = LightGCN(**plan, recipe=Recipe(Schedule("constant", 0.5))).fit(interactions)
    assert min(entry["grown"] for entry in model.history_) > 0.2 * model.n_weights_
    assert {entry["weights"] for entry in model.history_} == {model.n_weights_}
    with pytest.raises(ValueError, match=r"recipe must exchange by magnitude.* in LightGCN"):
        LightGCN(**plan, recipe=OWN).fit(interactions)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Schedule("sine"), ValueError, "Unknown kind 'sine': expected one of 'never'"),
        (lambda: Schedule("linear", 1.5), ValueError, "start must be from 0 to 1: got 1.5"),
        (lambda: Schedule("linear", float("nan")), ValueError, "start must be from 0 to 1"),
        (lambda: Schedule("linear", "all"), TypeError, "start must be a number from 0 to 1"),
        (lambda: Schedule("linear", 0.5, 0), ValueError, "stop must be above 0"),
        (lambda: Recipe(lambda progress: 0.5), TypeError, "fraction must be a Schedule: got func"),
        (lambda: Recipe(excess=0.5), TypeError, "excess must be a Schedule: got float"),
        (lambda: Recipe(start="warm"), ValueError, "Unknown start 'warm'"),
        (lambda: Recipe(drop="all"), ValueError, "Unknown drop 'all'"),
        (lambda: Recipe(grow="up"), ValueError, "Unknown grow 'up'"),
        (lambda: Recipe(scope="world"), ValueError, "Unknown scope 'world'"),
        (lambda: Recipe(floor=2), ValueError, "floor must be from 0 to 1: got 2"),
        (
            lambda: Recipe(Schedule("linear"), Schedule("cubic")),
            ValueError,
            "fraction and excess must not both be there",
        ),
    ],
)
def test_what_is_no_recipe_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


# What each choice takes


def small(interactions, budget=600):
    rng = np.random.default_rng(0)
    tables = loop.first_tables(interactions.matrix, budget, DIM, ADAGRAD, Recipe(), 0.0, rng)
    return Samples.of(interactions.matrix, 1).redrawn(rng), tables, rng


def test_the_default_starts_aligned_with_the_data_unless_the_table_is_too_wide(
    interactions, monkeypatch
):
    def start(recipe):
        rng = np.random.default_rng(0)
        return loop.first_tables(interactions.matrix, 600, DIM, ADAGRAD, recipe, 0.0, rng)

    counts = share_rows(600, interactions.matrix, DIM)
    taste = interactions.matrix.with_data(np.log1p(interactions.matrix.data))
    rng = np.random.default_rng(0)
    expected = aligned_start(taste, *counts, DIM, rng=rng, index_dtype=np.uint16)
    for table, pattern in zip(start(RECIPES["dsl"]), expected, strict=True):
        np.testing.assert_array_equal(table.weights.indices, pattern.indices)
    monkeypatch.setattr(loop, "ALIGNED_DIM", DIM - 1)
    for table, random in zip(start(RECIPES["dsl"]), start(RECIPES["static"]), strict=True):
        np.testing.assert_array_equal(table.weights.indices, random.weights.indices)


def test_growth_sees_an_epoch_a_batch_their_average_or_nothing(interactions, monkeypatch):
    monkeypatch.setattr(loop, "BATCH", 50)
    monkeypatch.setattr(loop, "FORGOTTEN", 0.0)
    samples, tables, rng = small(interactions)

    def evidence(grow, before=None):
        found = loop.evidence(Recipe(grow=grow), samples, BPR, tables, before, rng)
        return found.whole() if isinstance(found, OfSamples) else found and found.matrix

    def total(derivative):  # an item drawn twice for a user counts twice
        return derivative.to_scipy().toarray()

    epoch, batch = total(evidence("epoch")), total(evidence("batch"))
    assert 50 < (batch != 0).sum() <= 100
    touched = (batch != 0) & (epoch != 0)
    assert touched.sum() > 50
    assert evidence("random") is None
    first = evidence("momentum")
    np.testing.assert_array_equal(total(first), epoch)
    second = total(evidence("momentum", first))
    np.testing.assert_allclose(second, (1 + loop.MOMENTUM) * epoch, rtol=1e-5, atol=1e-6)


def test_momentum_lets_go_of_what_is_small(interactions):
    samples, tables, rng = small(interactions)
    smooth = None
    recipe = Recipe(grow="momentum")
    sizes = []
    for _ in range(25):
        samples = samples.redrawn(rng)
        smooth = loop.evidence(recipe, samples, BPR, tables, smooth, rng).matrix
        assert smooth.data.dtype == np.float32
        assert np.abs(smooth.data).min() >= loop.FORGOTTEN * np.abs(smooth.data).max()
        sizes.append(smooth.nnz)
    assert max(sizes) < 8 * interactions.nnz


def test_a_batch_is_part_of_the_epoch(interactions):
    samples, tables, rng = small(interactions)
    whole = OfSamples(samples, BPR, *tables).whole().to_scipy()
    first = rng.random(interactions.nnz) < 0.5
    parts = (
        OfSamples(samples, BPR, *tables, np.flatnonzero(chosen)).whole().to_scipy()
        for chosen in (first, ~first)
    )
    np.testing.assert_allclose(sum(parts).toarray(), whole.toarray(), rtol=0, atol=1e-6)


def test_one_common_threshold_for_both_tables():
    def exchanged(scale):
        user = naive.compressed(scale * np.array([[0.1, 0.2, 0.3]]), np.ones((1, 3), bool))
        values = np.array([[5.0, 0, 0], [0, 4.0, 0]])
        items = naive.compressed(values, values > 0)
        tables = Tables(*(Table(w, ADAGRAD.start(w.nnz), ADAGRAD) for w in (user, items)))
        pull = naive.compressed(np.array([[-1.0, 2.0]]), np.ones((1, 2), bool), np.uint32)
        rng = np.random.default_rng(0)
        return exchange(Recipe(scope="global"), Kept(pull), tables, 0.4, rng)

    # Two of five weights go: 0.1 and 0.2. |D V| = (5, 8, 0) is more than
    # |D' U| = (0.1, 0.2, 0.3), (0.2, 0.4, 0.6), and they come straight back.
    user, items = exchanged(1.0)
    assert user.source.tolist() == [-1, -1, 2]
    assert items.source.tolist() == [0, 1]
    # Now 5 and 4 are the least but the last of their rows, so 100 and 200 go; and |D' U| is more.
    user, items = exchanged(1000.0)
    assert user.source.tolist() == [2]
    assert items.indices.tolist() == [0, 2, 1, 2]
    assert items.source.tolist() == [0, -1, 1, -1]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.floats(0, 1), st.data())
def test_rows_share_to_the_unit(n_users, n_items, dim, share, data):
    seed, power = data.draw(st.integers(0, 99)), data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    active = np.random.default_rng(seed).random((n_users, n_items)) < 0.3
    matrix = naive.compressed(np.ones(active.shape), active, np.uint32)
    n = n_users + n_items
    weights = n + round(share * n * (dim - 1))
    users, items = share_rows(weights, matrix, dim, power)
    assert (users.size, items.size) == (n_users, n_items)
    counts = np.concatenate([users, items])
    assert counts.sum() == weights
    assert max(1, int(ROW_FLOOR * weights / n)) <= counts.min() <= counts.max() <= dim
    if power == 0:
        assert counts.max() <= counts.min() + 1
    events = np.concatenate([active.sum(axis=1), active.sum(axis=0)])
    order = np.argsort(events, kind="stable")
    assert (np.diff(counts[order]) >= -1).all()
