"""One meaning of a weight, in reading, training, choosing, recommending and evaluating."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys
from recsys.data import pairs_to_choose_by
from recsys.data.interactions import Reading, read_pairs

NAMES = {"user": "user", "item": "item", "weight": "weight"}


def table(rows):
    return pl.DataFrame(rows, ["user", "item", "weight"], orient="row")


# Item x is liked by all; y was rated 0 by a, z returned, w rated 2.
ROWS = [
    ("a", "x", 5.0),
    ("a", "y", 0.0),
    ("a", "z", 5.0),
    ("a", "z", -5.0),
    ("a", "w", 2.0),
    ("b", "x", 4.0),
    ("b", "y", 4.0),
    ("b", "z", 4.0),
    ("b", "w", 4.0),
    ("c", "x", 4.0),
    ("c", "q", 4.0),
]


def pairs_of(train, matrix):
    coordinates = matrix.to_scipy().tocoo().coords
    return {(train.users[int(u)], train.items[int(i)]) for u, i in zip(*coordinates, strict=True)}


def test_what_is_returned_or_disliked_is_touched_and_not_liked():
    train = recsys.Interactions.read(table(ROWS), **NAMES)
    assert pairs_of(train, train.touched) == {("a", "y"), ("a", "z")}
    assert ("a", "w") in pairs_of(train, train.matrix)
    assert train.report.touched == 2
    assert "Set aside 2 pairs whose weight is not above zero" in train.report.summary()
    strict = recsys.Interactions.read(table(ROWS), **NAMES, min_weight=3)
    assert pairs_of(strict, strict.touched) == {("a", "y"), ("a", "z"), ("a", "w")}
    assert "not 3 or more" in strict.report.summary()


def test_weights_that_cancel_leave_no_like():
    rows = [("a", "x", 1.0), ("a", "y", 0.1), ("a", "y", 0.2), ("a", "y", -0.3), ("b", "y", 1.0)]
    train = recsys.Interactions.read(table(rows), **NAMES)
    assert pairs_of(train, train.touched) == {("a", "y")}


def test_rare_users_and_items_are_counted_by_likes():
    rows = [("a", "x", 1), ("a", "y", 1), ("b", "x", 1), ("b", "y", 0), ("b", "z", 1)]
    train = recsys.Interactions.read(table(rows), **NAMES, min_item=2)
    assert train.items.to_list() == ["x"]
    assert train.report.rare == 2
    assert train.touched.nnz == 0


def test_numbers_only_of_what_is_not_liked_are_refused():
    with pytest.raises(ValueError, match="weight must be above zero for some pairs: got 1 pairs"):
        recsys.Interactions.read(table([("a", "x", 0.0)]), **NAMES)
    with pytest.raises(ValueError, match="weight must be of 9 or more for some pairs"):
        recsys.Interactions.read(table(ROWS), **NAMES, min_weight=9)
    for value in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="min_weight"):
            recsys.Interactions.read(table(ROWS), **NAMES, min_weight=value)


def test_weights_that_are_no_numbers_are_dropped_and_told():
    rows = [("a", "x", float("nan")), ("a", "y", 1.0), ("b", "y", float("inf")), ("b", "y", 1e-60)]
    train = recsys.Interactions.read(table(rows), **NAMES)
    assert train.report.bad_weights == 3
    assert "3 with a weight that is no number" in train.report.summary()


MAKERS = [
    recsys.Popularity,
    lambda: recsys.ItemKNN(neighbours=5),
    lambda: recsys.UserKNN(neighbours=5),
    lambda: recsys.RP3beta(neighbours=5),
    lambda: recsys.EASE(budget=20),
    lambda: recsys.SANSA(budget=20),
    lambda: recsys.ItemBlend(budget=40, trials=0),
    lambda: recsys.SparseAE(budget=20, dim=8, epochs=1),
    lambda: recsys.SparseMF(dim=2, budget=14, epochs=1),
    lambda: recsys.SparseALS(dim=2, budget=14, epochs=1),
]


@pytest.mark.parametrize("make", MAKERS)
def test_no_model_recommends_or_learns_from_what_is_not_liked(make, tmp_path):
    train = recsys.Interactions.read(table(ROWS), **NAMES)
    model = make().fit(train)
    liked = table([row for row in ROWS if row[:2] not in {("a", "y"), ("a", "z")}])
    other = make().fit(recsys.Interactions.read(liked, **NAMES))
    np.testing.assert_array_equal(model.scores(np.arange(3)), other.scores(np.arange(3)))
    model.save(tmp_path / "model.npz")
    for one in (model, recsys.load(tmp_path / "model.npz")):
        lists = one.recommend(k=5)
        assert lists.filter(user="a")["item"].to_list() == ["q"]
        back = one.recommend(["a"], k=5, exclude_seen=False)["item"]
        assert set(back) == {"x", "y", "z", "w", "q"}
        assert one.reading_ == Reading()


def test_dislikes_are_no_hits():
    train = recsys.Interactions.read(table(ROWS), **NAMES)
    model = recsys.Popularity().fit(train)
    held = table([("c", "y", 0.0), ("c", "w", 3.0), ("b", "q", 2.0), ("b", "q", -2.0)])
    found = model.evaluate(held, 2)
    assert (found["users"], found["not_liked"]) == (1, 2)
    # All but the weights say that y and q are hits, too.
    assert model.evaluate(held.drop("weight"), 2)["users"] == 2
    strict = recsys.Interactions.read(table(ROWS), **NAMES, min_weight=4)
    with pytest.raises(ValueError, match=r"test must hold liked pairs .* and 3 pairs not liked"):
        recsys.Popularity().fit(strict).evaluate(held, 2)


weights = st.sampled_from([None, float("nan"), -2.0, -0.5, 0.0, 0.5, 1.0, 2.0])
rows = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), weights), max_size=25)


@settings(deadline=None, max_examples=100)
@given(rows, st.sampled_from(["sum", "max", "last"]), st.sampled_from([None, 1.0, 2.5]))
def test_held_out_pairs_are_read_as_those_of_training(rows, policy, least):
    frame = pl.DataFrame(
        rows, {"user": pl.String, "item": pl.String, "weight": pl.Float64}, orient="row"
    )
    ids = {"users": pl.Series(["a", "b", "c"]), "items": pl.Series(["x", "y", "z"])}
    reading = Reading(policy, least)
    held = read_pairs(frame, **NAMES, **ids, reading=reading)
    try:
        train = recsys.Interactions.read(frame, **NAMES, duplicates=policy, min_weight=least)
    except ValueError:
        assert held.matrix.nnz == 0
        return
    coordinates = held.matrix.to_scipy().tocoo().coords
    got = {(ids["users"][int(u)], ids["items"][int(i)]) for u, i in zip(*coordinates, strict=True)}
    assert got == pairs_of(train, train.matrix)
    assert held.touched.nnz == train.report.touched


def test_the_choice_of_a_plan_goes_by_likes():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"user": np.repeat(np.arange(60), 10), "item": rng.integers(0, 30, 600)}
    ).unique(maintain_order=True)
    frame = frame.with_columns(weight=pl.Series(rng.integers(0, 2, frame.height)))
    held, _ = pairs_to_choose_by(frame, **NAMES)
    assert held.columns == ["user", "item", "weight"]
    train = recsys.Interactions.read(frame, **NAMES)
    liked = held.filter(pl.col("weight") > 0)
    assert train.read_held(held).matrix.nnz == liked.unique(["user", "item"]).height


def test_files_of_old_have_no_touched_pairs(tmp_path):
    from recsys.storage import files

    model = recsys.Popularity().fit(recsys.Interactions.read(table(ROWS), **NAMES))
    model.save(tmp_path / "new.npz")
    header, arrays = files.read(tmp_path / "new.npz")
    del header["reading"], arrays["touched_counts"], arrays["touched_indices"]
    files.write(tmp_path / "old.npz", header, arrays)
    old = recsys.load(tmp_path / "old.npz")
    assert set(old.recommend(["a"], k=5)["item"]) == {"q", "y", "z"}


def test_histories_of_new_users_keep_what_they_did_not_like_apart():
    train = recsys.Interactions.read(table(ROWS), **NAMES)
    model = recsys.ItemKNN(neighbours=5).fit(train)
    new = table([("n", "x", 4.0), ("n", "y", 0.0)])
    lists = model.recommend(["n"], k=5, unknown="fold_in", histories=new)
    assert "y" not in lists["item"].to_list()
    guests = model.fold_in(new)
    assert [guests.items_[int(item)] for item in guests.seen_.indices] == ["x"]


def test_going_on_learns_likes_and_remembers_the_rest():
    train = recsys.Interactions.read(table(ROWS), **NAMES)
    model = recsys.SparseMF(dim=2, budget=14, epochs=1).fit(train)
    more = recsys.Interactions.read(
        table([("a", "q", 0.0), ("a", "z", 2.0), ("c", "q", 1.0)]), **NAMES
    )
    model.partial_fit(more, epochs=1)
    assert model.recommend(["a"], k=5)["item"].to_list() == []
    back = model.recommend(["a"], k=5, exclude_seen=False)["item"]
    assert set(back) == {"x", "y", "z", "w", "q"}


@pytest.mark.parametrize("make", [MAKERS[1], MAKERS[5]])
def test_a_model_saved_without_histories_tells_nothing_of_its_users(make, tmp_path):
    train = recsys.Interactions.read(table(ROWS), **NAMES)
    model = make().fit(train)
    model.save(tmp_path / "with.npz")
    model.save(tmp_path / "without.npz", histories=False)
    bare = recsys.load(tmp_path / "without.npz")
    assert bare.seen_.nnz == 0
    np.testing.assert_array_equal(bare.popularity_, model.popularity_)
    assert (tmp_path / "without.npz").stat().st_size < (tmp_path / "with.npz").stat().st_size
    if bare.users_.len():
        with pytest.raises(ValueError, match="exclude_seen must be False for a model"):
            bare.recommend(["a"], k=2)
        all_of = model.recommend(["a"], k=5, exclude_seen=False)
        assert bare.recommend(["a"], k=5, exclude_seen=False).equals(all_of)
    else:
        assert bare.recommend_from(["x"], k=2).equals(model.recommend_from(["x"], k=2))


def test_models_made_of_histories_cannot_do_without(tmp_path):
    model = recsys.LightGCN(dim=2, budget=14, epochs=1).fit(
        recsys.Interactions.read(table(ROWS), **NAMES)
    )
    with pytest.raises(ValueError, match="histories must be kept for LightGCN"):
        model.save(tmp_path / "model.npz", histories=False)


def test_confidence_is_one_where_weights_are_alike_and_grows_with_them():
    from recsys.items.confidence import confidence

    rows = [("a", "x", 0.1), ("a", "y", 0.1), ("b", "x", 30.0), ("b", "y", 10.0), ("b", "z", 20.0)]
    train = recsys.Interactions.read(table(rows), **NAMES)
    expected = [1.0, 1.0, np.log2(2.5), np.log2(1.5), 1.0]
    np.testing.assert_allclose(confidence(train).data, expected, rtol=1e-6)
    # A user's scale does not matter.
    rows = [(user, item, weight * {"a": 7, "b": 9}[user]) for user, item, weight in rows]
    scaled = recsys.Interactions.read(table(rows), **NAMES)
    np.testing.assert_allclose(confidence(scaled).data, expected, rtol=1e-6)
    counted = recsys.Interactions.read(table(rows * 2), user="user", item="item")
    assert (confidence(counted).data == 1).all()


@pytest.mark.parametrize(
    ("make", "count"), list(zip(MAKERS[1:4], [True, False, False], strict=True))
)
def test_how_much_a_pair_is_liked_counts_for_neighbours_alone(make, count):
    even = recsys.Interactions.read(table([(*row[:2], 1.0) for row in ROWS]), **NAMES)
    # Who plays x far more than all else says little of x beside y.
    uneven = [(u, i, 100.0 if (u, i) == ("b", "x") else 1.0) for u, i, _ in ROWS]
    weighted = recsys.Interactions.read(table(uneven), **NAMES)
    before, after = (make().fit(train).similarities(0) for train in (even, weighted))
    assert np.array_equal(before, after) != count
