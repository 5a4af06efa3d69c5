"""The blend of a graph and factors of items: its scores, its budget, its choices, its files."""

import numpy as np
import polars as pl
import pytest
from judged import N_ITEMS, NAMES, all_pairs
from sklearn.base import clone

from recsys import Interactions, ItemBlend, load
from recsys.blend import blend
from recsys.blend.search import MIXES, search


@pytest.fixture(scope="module")
def train():
    return Interactions.read(all_pairs(), **NAMES)


@pytest.fixture(scope="module")
def model(train):
    return ItemBlend(budget=300, trials=3).fit(train)


def by_hand(model):
    """The scores of all users by the formula, dense."""
    X = (model.seen_.to_dense() > 0).astype(float)
    rule, d_item = model.plan_.factors, model.counts_.astype(float)
    rows = X / np.sqrt(X.sum(axis=1, keepdims=True))
    V = model.factors_.to_dense().astype(float)
    gram = V.T @ V
    M = np.linalg.inv(gram + rule.user_ridge * np.trace(gram) / len(gram) * np.eye(len(gram)))
    users = (rows * d_item**-rule.item_power) @ V @ M
    by_factors = model.plan_.mix * (users @ V.T) * d_item**rule.target_power
    return rows @ model.graph_.to_dense() + by_factors


def test_scores_are_those_of_the_formula(model):
    rows = np.arange(model.users_.len())
    np.testing.assert_allclose(model.scores(rows), by_hand(model), rtol=2e-4, atol=2e-5)


def test_the_parts_share_the_budget(model):
    report = model.report()
    assert report["weights"] == report["budget"] == 300
    assert report["tables"]["graph"]["weights"] == 150
    assert report["plan"]["graph_share"] == 0.5


@pytest.mark.parametrize("values", ["float32", "int8"])
@pytest.mark.parametrize("size", ["1KB", "3KB"])
def test_a_size_is_kept_and_used(train, values, size):
    report = ItemBlend(budget=size, trials=0, values=values).fit(train).report()
    taken = sum(report[f"bytes_{what}"] for what in ("values", "indices", "rows"))
    assert taken <= int(size[0]) * 1000
    assert taken > int(size[0]) * 700


@pytest.mark.parametrize(("share", "empty"), [(0.0, "graph"), (1.0, "factors")])
def test_one_part_alone(train, share, empty):
    model = ItemBlend(budget=200, graph_share=share, trials=2).fit(train)
    assert model.report()["tables"][empty]["weights"] == 0
    assert model.report()["weights"] == 200
    assert model.recommend("all", 3).height == 3 * model.users_.len() - 3  # one has taken all


def test_what_one_part_has_no_room_for_goes_to_the_other(train):
    model = ItemBlend(budget=1220, trials=0).fit(train)
    assert model.graph_.nnz == N_ITEMS * (N_ITEMS - 1)
    assert model.graph_.nnz + model.factors_.nnz == 1220


def test_all_is_chosen_on_held_out_pairs(train, model):
    parts = [entry["part"] for entry in model.history_]
    assert parts.count("graph") == 3
    assert parts[0] == "factors"
    assert [part for part in parts if part != "shares"][-2:] == ["mix", "popularity"]
    mixes = [entry for entry in model.history_ if entry["part"] == "mix"]
    assert len(mixes) == len(MIXES)  # that of the start, and all others
    best = max(mixes[1:], key=lambda entry: entry["recall@2"] + entry["ndcg@2"])
    others = [mix for mix in MIXES if mix != 0.4]
    assert model.plan_.mix in (0.4, others[mixes.index(best) - 1])


def test_pairs_to_choose_by_are_not_learned_from_while_choosing(train, monkeypatch):
    valid = all_pairs().sample(200, seed=1).unique()
    seen = []

    def spied(asked, start):
        seen.extend((base.to_dense() > 0, held.to_dense() > 0) for base, held in asked.cuts)
        return search(asked, start)

    monkeypatch.setattr(blend, "search", spied)
    model = ItemBlend(budget=300, trials=1).fit(train, valid=valid)
    ((base, held),) = seen
    assert held.sum() == valid.height
    assert not (base & held).any()
    assert ((base | held) == (train.matrix.to_dense() > 0)).all()
    assert model.counts_.sum() == train.nnz  # all is learned from in the end


def test_a_plan_is_followed_without_choosing(train, model):
    again = ItemBlend(budget=300).fit(train, plan=model.plan_)
    assert again.history_ == []
    assert again.recommend("all", 5).equals(model.recommend("all", 5))


def test_threads_and_seeds(train, model):
    same = ItemBlend(budget=300, trials=3, n_threads=3).fit(train)
    assert np.array_equal(same.graph_.data, model.graph_.data)
    assert np.array_equal(same.factors_.data, model.factors_.data)
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize("values", ["float32", "int8"])
def test_a_saved_model_is_the_same(train, tmp_path, values):
    model = ItemBlend(budget=300, trials=1, values=values).fit(train)
    model.save(tmp_path / "m.npz")
    again = load(tmp_path / "m.npz")
    rows = np.arange(model.users_.len())
    assert np.array_equal(again.scores(rows), model.scores(rows))
    assert again.report() == model.report()
    assert again.plan_ == model.plan_
    assert again.history_ == model.history_
    assert again.recommend_from([3, 4], 5).equals(model.recommend_from([3, 4], 5))


def test_contributions_add_up_and_are_those_of_items_taken(model):
    user = model.users_[7]
    top = model.recommend([user], 1)
    why = model.explain(user, top["item"][0])
    assert why.score == pytest.approx(top["score"][0], rel=1e-5)
    parts = why.contributions
    np.testing.assert_allclose(parts["graph"] + parts["factors"], parts["contribution"], rtol=1e-6)
    taken = all_pairs().filter(pl.col("user") == user)["item"].unique()
    assert set(parts["item"]) == set(taken)


def test_strangers_are_served_as_they_would_be_in_training(model):
    history = all_pairs().filter(pl.col("user") == model.users_[3])["item"]
    known = model.recommend([model.users_[3]], 6)
    assert model.recommend_from(history, 6).equals(known.drop("user"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget must buy a weight at least: got 0"),
        ({"budget": "much"}, "budget must be a number of weights"),
        ({"graph_share": 1.5}, "graph_share must be at most 1: got 1.5"),
        ({"graph_share": -1}, "graph_share must be at least 0"),
        ({"trials": -1}, "trials must be at least 0"),
        ({"values": "int4"}, "Unknown values 'int4'"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
    ],
)
def test_parameters_out_of_range_are_refused(train, options, message):
    with pytest.raises(ValueError, match=message):
        ItemBlend(**options).fit(train)


def test_pairs_to_choose_by_must_be_known(train):
    strange = pl.DataFrame({"user": [10**6], "item": [3]})
    with pytest.raises(ValueError, match="valid must hold pairs of users and items of train"):
        ItemBlend(budget=300).fit(train, valid=strange)


def test_altered_files_are_refused(model):
    header, arrays = model._state()
    short = {"counts": np.zeros(3, np.uint32), "graph_data": arrays["graph_data"][1:]}
    for name, broken in short.items():
        with pytest.raises(ValueError, match="not sound"):
            ItemBlend._restored(header, arrays | {name: broken}, model.seen_.shape)


def test_the_smallest_tables():
    one = Interactions.read(pl.DataFrame({"user": [1, 2], "item": [5, 5]}), **NAMES)
    model = ItemBlend(budget=4, trials=0).fit(one)
    assert model.recommend("all", 1, exclude_seen=False)["item"].to_list() == [5, 5]
    # Nobody has a pair to spare, so that nothing is chosen.
    same = ItemBlend(budget=4).fit(one)
    assert same.history_ == []
    assert same.plan_ == model.plan_


@pytest.mark.parametrize("n_items", [30, 64, 256])
def test_a_size_holds_where_there_are_as_many_items_as_columns(n_items):
    rng = np.random.default_rng(0)
    pairs = pl.DataFrame(
        {"user": rng.integers(300, size=4000), "item": rng.integers(n_items, size=4000)}
    ).unique(maintain_order=True)
    train = Interactions.read(pairs, user="user", item="item")
    for values in ("float32", "int8"):
        report = ItemBlend(budget="8KB", values=values, trials=0).fit(train).report()
        assert sum(report[f"bytes_{part}"] for part in ("values", "indices", "rows")) <= 8000


def test_a_file_that_claims_columns_without_end_is_refused(model, tmp_path):
    from recsys.storage import files

    model.save(tmp_path / "m.npz")
    header, arrays = files.read(tmp_path / "m.npz")
    header["plan"]["factors"]["dim"] = 10**6
    files.write(tmp_path / "m.npz", header, arrays)
    with pytest.raises(ValueError, match="dim must be from 1 to 4096"):
        load(tmp_path / "m.npz")
