"""Models that know items alone serve whoever has a history."""

import polars as pl
import pytest
from judged import NAMES, all_pairs

from recsys import Interactions, ItemKNN, RP3beta, UserKNN

MAKERS = {each.__name__: each for each in (ItemKNN, UserKNN, RP3beta)}


@pytest.fixture(scope="module", params=MAKERS)
def model(request):
    return MAKERS[request.param](neighbours=8).fit(Interactions.read(all_pairs(), **NAMES))


def test_a_history_gets_what_a_known_user_with_it_gets(model):
    table = all_pairs()
    user = table["user"][0]
    history = table.filter(pl.col("user") == user)["item"]
    asked = model.recommend_from(history, 5)
    assert asked.equals(model.recommend([user], 5).drop("user"))


def test_unknown_items_of_a_history_do_not_matter(model):
    assert model.recommend_from([3, 4, 3, 10**6], 4).equals(model.recommend_from([4, 3], 4))


def test_allowed_denied_and_seen_items_of_a_history(model):
    one = model.recommend_from([3], 2, allow=[3, 5, 7], deny=[7])
    assert one["item"].to_list() == [5]
    assert 3 in model.recommend_from([3], 25, exclude_seen=False)["item"]


def test_a_history_of_nothing_known_is_refused(model):
    with pytest.raises(ValueError, match="history must hold items of the training: got 2"):
        model.recommend_from([-5, 10**6])
