"""What a request may ask for: fresh events, rules, lengths, pairs, vectors, and to be forgotten."""

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest
from served import MAKERS, N_ITEMS, NAMES, pairs

from recsys import Interactions, ItemKNN, SparseMF, load
from sparsenum.errors import RuleWarning


@pytest.fixture(scope="module")
def train():
    glutton = pl.DataFrame({"user": [0] * N_ITEMS, "item": [*range(N_ITEMS)]})
    return Interactions.read(pl.concat([pairs(), glutton]), **NAMES)


@pytest.fixture(scope="module")
def models(train):
    return {name: make().fit(train) for name, make in MAKERS.items()}


@pytest.fixture(params=MAKERS)
def model(request, models):
    return models[request.param]


def test_fresh_events_of_known_users_count(models, train):
    """What somebody has just bought is not recommended back, and moves their list."""
    for name in ("sparse", "itemknn"):
        model = models[name]
        user = int(train.users[int(np.argmin(train.matrix.row_counts))])
        old = model.recommend([user, 5], 4)
        bought = old.filter(user=user)["item"][:2]
        rows = pl.DataFrame({"user": [user, user], "item": bought})
        new = model.recommend([user, 5], 4, unknown="fold_in", histories=rows)
        assert new.filter(user=5).equals(old.filter(user=5))
        row = train.users.to_list().index(user)
        taken = {train.items[i] for i in naive.taken(train.matrix, row)}
        assert not {*new.filter(user=user)["item"]} & ({*bought} | taken)
        assert new.filter(user=user).height == 4
        both = pl.DataFrame({"user": 900, "item": [*taken, *bought]})
        expected = model.fold_in(both).recommend([900], 4)
        assert new.filter(user=user)["item"].to_list() == expected["item"].to_list()


@pytest.mark.parametrize("unknown", ["error", "popular"])
def test_rules_of_single_users(model, train, unknown):
    asked = [3, 5, 7, 3] + [901] * (unknown == "popular")
    rules = {"allow": {5: [1, 2, 3, 4], 901: [6, 7]}, "deny": {3: [0, 9], 5: [2]}}
    if unknown == "error":
        rules["allow"].pop(901)
    got = model.recommend(asked, 4, exclude_seen=False, unknown=unknown, **rules)
    one = model.recommend([3], 4, exclude_seen=False, deny=[0, 9])
    assert got.filter(user=3).equals(pl.concat([one, one]))
    five = model.recommend([5], 4, exclude_seen=False, allow=[1, 3, 4])
    assert got.filter(user=5).equals(five)
    assert got.filter(user=7).equals(model.recommend([7], 4, exclude_seen=False))
    assert {*got.filter(user=901)["item"]} == ({6, 7} if unknown == "popular" else set())
    seen = model.recommend([3, 5], 30, deny={3: [0]})
    assert 0 not in seen.filter(user=3)["item"]
    assert seen.filter(user=5).equals(model.recommend([5], 30))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"deny": [99, 1]}, "deny names 1 of 2 ids .* items of the training, like 99: they match"),
        ({"allow": ["x", "1", "2"]}, "allow names 1 of 3 ids .* like 'x'"),
        ({"deny": {3: [99]}}, "deny names 1 of 1 ids .* like 99"),
        ({"deny": {"3": [1]}}, "deny names 1 of 1 ids .* users who are asked for, like '3'"),
    ],
)
def test_rules_that_match_nothing_are_told(model, rules, message):
    with pytest.warns(RuleWarning, match=message):
        model.recommend([3], 2, **rules)


def test_a_rule_that_is_one_text_is_refused(model):
    with pytest.raises(TypeError, match=r"deny must be a sequence of ids: got the one text '12'"):
        model.recommend([3], 2, deny="12")


def test_lists_of_no_stated_length_hold_what_there_is(model, train):
    assert model.recommend([3], exclude_seen=False).height == 20
    table = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": ["a", "b", "b", "c", "a"]})
    small = ItemKNN().fit(Interactions.read(table, **NAMES))
    assert small.recommend([3])["item"].to_list() == ["b", "c"]
    assert small.similar_items("a").height == 2
    metrics = small.evaluate(pl.DataFrame({"user": [3], "item": ["b"]}))
    assert metrics["recall@20"] == metrics["mrr@20"] == 1


def test_scores_of_pairs_are_those_of_lists(model):
    lists = model.recommend("all", 6)
    mixed = lists.sample(fraction=1.0, shuffle=True, seed=0)
    np.testing.assert_array_equal(model.score(mixed["user"], mixed["item"]), mixed["score"])
    with pytest.raises(ValueError, match="items must have been in training: got 99"):
        model.score([3, 5], [1, 99])
    with pytest.raises(ValueError, match="users and items must be as many: got 2 and 1"):
        model.score([3, 5], [1])


def test_vectors_find_what_lists_hold(models):
    model = models["sparse"]
    products = model.user_vectors([3, 7]) @ model.item_vectors().T
    lists = model.recommend([3, 7], 30, exclude_seen=False)
    for place, user in enumerate((3, 7)):
        mine = lists.filter(user=user)
        np.testing.assert_allclose(products[place][mine["item"]], mine["score"], 1e-4, 1e-5)


def test_a_forgotten_user_is_gone_and_others_stay(model, tmp_path):
    others = model.users_.to_list()
    others.remove(7)
    left = model.forget([7])
    assert left.users_.to_list() == others
    assert left.recommend("all", 5).equals(model.recommend(others, 5))
    left.save(tmp_path / "left.npz")
    assert load(tmp_path / "left.npz").recommend("all", 5).equals(model.recommend(others, 5))
    with pytest.raises(ValueError, match="got 1 unknown, like 7"):
        left.recommend([7])
    with pytest.raises(ValueError, match="users must leave a user to serve"):
        model.forget(model.users_)


def test_models_say_in_a_line_what_they_are(models):
    assert repr(SparseMF(dim=16)) == "<SparseMF(dim=16): not fitted>"
    assert repr(models["itemknn"]) == "<ItemKNN(neighbours=8): 60 users, 30 items>"
