"""Using a model: lists under conditions, files in bounded memory, newcomers, reasons."""

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import MAKERS, N_ITEMS, NAMES, pairs

from recsys import Interactions, SparseMF, dense_mf
from recsys.factors import fold_in
from recsys.scores import factor_scores
from recsys.scores.factor_scores import FactorScores
from recsys.scores.toplists import top_items


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


# The best by falling norm.

weights = st.sampled_from([0.0, 0.5, -0.5, 1.0, -1.0, 2.0])


def table(draw, rows, dim):
    values = np.array(draw(st.lists(weights, min_size=rows * dim, max_size=rows * dim)), float)
    active = np.array(draw(st.lists(st.booleans(), min_size=rows * dim, max_size=rows * dim)))
    return naive.compressed(values.reshape(rows, dim), active.reshape(rows, dim))


@given(st.data())
def test_best_items_are_those_of_all_scores_with_ties_to_the_lower(data):
    n, m, dim = (data.draw(st.integers(1, top)) for top in (9, 40, 7))
    users, items = table(data.draw, n, dim), table(data.draw, m, dim)
    hidden = naive.compressed(
        np.ones((n, m)),
        np.random.default_rng(0).random((n, m)) < data.draw(st.floats(0, 1)),
        np.uint32,
    )
    allowed = data.draw(st.none() | st.sets(st.integers(0, m - 1), min_size=1))
    permitted = None if allowed is None else np.array(sorted(allowed))
    k = data.draw(st.integers(1, m))
    scores = FactorScores(users, items)
    rows = np.arange(n)
    full = users.to_dense() @ items.to_dense().T
    np.testing.assert_array_equal(scores(rows), full)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_scores, "TILE", 4)
        patch.setattr(factor_scores, "STAGES", (0, 8, 16))
        patch.setattr(factor_scores, "WIDTH", 4)
        lists = [best for _, best in top_items(scores, rows, k, hidden, permitted, 5)]
    found = np.concatenate([best.indices for best in lists])
    values = np.concatenate([best.data for best in lists])
    for user in range(n):
        barred = naive.taken(hidden, user) | (set(range(m)) - (allowed or set(range(m))))
        expected = naive.best_items(full[user], barred, k)
        assert found[user].tolist() == expected + [m] * (k - len(expected))
        assert values[user].tolist() == [*full[user, expected], *[-np.inf] * (k - len(expected))]


def test_a_score_does_not_depend_on_company():
    rng = np.random.default_rng(0)
    users, items = (
        naive.compressed(rng.standard_normal((n, 64)), rng.random((n, 64)) < 0.3)
        for n in (300, 3000)
    )
    scores = FactorScores(users, items)
    rows = np.arange(300)
    block = scores(rows)
    np.testing.assert_allclose(block, users.to_dense() @ items.to_dense().T, 1e-4, 1e-4)
    np.testing.assert_array_equal(scores(rows[7:8])[0], block[7])
    nothing = naive.compressed(np.ones((300, 3000)), np.zeros((300, 3000), bool), np.uint32)
    best = scores.best(rows, 50, nothing, None)
    for user in range(300):
        assert best.indices[user].tolist() == naive.best_items(block[user], set(), 50)
        np.testing.assert_array_equal(best.data[user], block[user, best.indices[user]])


# Lists under conditions.


@given(
    allow=st.none() | st.sets(st.integers(0, N_ITEMS - 1), min_size=1),
    deny=st.none() | st.sets(st.integers(0, N_ITEMS - 1)),
    k=st.integers(1, N_ITEMS),
    exclude=st.booleans(),
    name=st.sampled_from(sorted(MAKERS)),
)
def test_exactly_k_items_while_enough_are_left(models, train, allow, deny, k, exclude, name):
    model = models[name]
    left = (set(range(N_ITEMS)) if allow is None else allow & set(range(N_ITEMS))) - (deny or set())
    lists = {
        name: None if ids is None else sorted(ids)
        for name, ids in (("allow", allow), ("deny", deny))
    }
    if not left:
        with pytest.raises(ValueError, match="allow and deny must leave an item to recommend"):
            model.recommend("all", k, **lists)
        return
    got = model.recommend("all", k, exclude_seen=exclude, **lists)
    scores = model.scores(np.arange(train.n_users))
    for row, user in enumerate(train.users):
        hidden = naive.taken(train.matrix, row) if exclude else set()
        mine = got.filter(user=user)
        assert mine.height == min(k, len(left - hidden))
        expected = naive.best_items(scores[row], hidden | (set(range(N_ITEMS)) - left), k)
        assert mine["item"].to_list() == expected


def test_unknown_users_by_policy(model, train):
    asked = [3, 901, 5, 900]
    known = model.recommend([3, 5], 4)
    assert model.recommend(asked, 4, unknown="skip").equals(known)
    assert model.recommend([900], 4, unknown="skip").equals(known.clear())
    got = model.recommend(asked, 4, unknown="popular", deny=[2])
    assert got["user"].unique(maintain_order=True).to_list() == asked
    counts = np.bincount(train.matrix.indices, minlength=N_ITEMS)
    top = naive.best_items(counts, {2}, 4)
    for user in (900, 901):
        assert got.filter(user=user)["item"].to_list() == top
        # A share of users is no score of this model, and must not be compared with one.
        assert got.filter(user=user)["score"].null_count() == 4
    assert got.filter(pl.col("user") < 900).equals(model.recommend([3, 5], 4, deny=[2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unknown": "guess"}, "Unknown unknown 'guess'"),
        ({"unknown": "fold_in"}, "histories must be given where unknown='fold_in'"),
        ({"histories": pairs()}, "and there only: got unknown='error' with histories"),
        (
            {"users": ["me"], "unknown": "popular"},
            "users must have ids of the type of the",
        ),
        ({"unknown": "fold_in", "histories": pairs()}, "histories must have rows .* like 900;"),
        (
            {"unknown": "fold_in", "histories": pl.DataFrame({"user": [900], "item": [99]})},
            "rows must hold items of the training: got 1 items, none of them known",
        ),
    ],
)
def test_what_cannot_be_done_for_unknown_users_is_explained(models, options, message):
    with pytest.raises(ValueError, match=message):
        models["itemknn"].recommend(**{"users": [900], "k": 3} | options)


# Files.


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("limit", [13_000, "1MB"])
def test_files_hold_the_same_lists_whatever_the_memory(model, tmp_path, suffix, limit):
    out = tmp_path / f"lists{suffix}"
    model.recommend_to(out, "all", 5, memory_limit=limit, deny=[1])
    expected = model.recommend("all", 5, deny=[1])
    if suffix == ".parquet":
        assert pl.read_parquet(out).equals(expected)
    else:
        assert pl.read_csv(out, schema=expected.schema).equals(expected)
    assert model.recommend_to(out, [1, 900], 5, unknown="skip") == (5, 1)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("unknown", ["popular", "fold_in"])
def test_files_hold_lists_of_users_who_were_not_in_training(models, tmp_path, unknown):
    model, out = models["sparse"], tmp_path / "lists.parquet"
    known = model.users_[int(np.argmin(model.seen_.row_counts))]
    users = [900, known, 901, 902]
    options = {"unknown": unknown}
    if unknown == "fold_in":
        who, what = model.columns_["user"], model.columns_["item"]
        options["histories"] = pl.DataFrame({who: [900, 901, 902], what: model.items_[1:4]})
    for limit in (13_000, "1MB"):
        rows, n_users = model.recommend_to(out, users, 5, memory_limit=limit, **options)
        got = pl.read_parquet(out)
        assert (rows, n_users) == (got.height, 4)
        assert got["user"].unique(maintain_order=True).to_list() == [known, 900, 901, 902]
        assert got.sort("user", "rank").equals(
            model.recommend(users, 5, **options).sort("user", "rank")
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_limit": 100}, "memory_limit must hold the list of one user"),
        ({"memory_limit": "much"}, "write it like '256MB'"),
        ({"unknown": "fold_in"}, "histories must be given where unknown='fold_in'"),
        ({"unknown": "worst"}, "Unknown unknown 'worst'"),
        ({"users": [900]}, "got 1 unknown, like 900"),
        ({"path": "lists.xlsx"}, "path must end in .parquet or .csv"),
    ],
)
def test_files_are_refused_before_anything_is_written(
    model, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        model.recommend_to(**{"path": "lists.csv"} | options)
    assert not list(tmp_path.iterdir())


def test_what_fails_on_the_way_is_told_and_leaves_the_old_file(models, tmp_path, monkeypatch):
    out = tmp_path / "lists.parquet"
    out.write_bytes(b"precious")

    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(FactorScores, "best", fail)
    with pytest.raises(MemoryError, match="no room"):
        models["sparse"].recommend_to(out)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


# Newcomers.


@pytest.mark.parametrize("name", ["sparse", "itemknn"])
def test_folding_in_leaves_the_model_and_serves_the_guests(models, name):
    model = models[name]
    before = model.recommend("all", 3)
    rows = pl.concat(
        [pairs(5, 8, 60, first=900), pl.DataFrame({"user": [950, 951], "item": [99, 3]})]
    )
    guests = model.fold_in(rows)
    known = rows.filter(pl.col("item") < N_ITEMS)
    assert guests.users_.to_list() == sorted(known["user"].unique())
    assert model.recommend("all", 3).equals(before)
    lists = guests.recommend("all", 5)
    assert lists.join(known, on=["user", "item"], how="inner").is_empty()
    assert lists.group_by("user").len()["len"].unique().to_list() == [5]
    served = model.recommend([951, 3, 900], 5, unknown="fold_in", histories=rows)
    parts = [guests.recommend([951], 5), model.recommend([3], 5), guests.recommend([900], 5)]
    assert served.equals(pl.concat(parts))
    assert model.fold_in(rows).recommend("all", 5).equals(lists)
    if name == "sparse":
        assert guests.user_table_.row_counts.tolist() == [round(model.user_table_.nnz / 60)] * 9
        assert guests.item_table_ is model.item_table_
        assert guests.report()["budget"] == guests.report()["weights"]


def clustered(users, rng):
    """Even users take even items, odd users odd ones."""
    rows = [(user, int(rng.integers(15)) * 2 + user % 2) for user in users for _ in range(8)]
    return pl.DataFrame(rows, schema=["user", "item"], orient="row")


def test_folding_in_finds_the_taste_of_the_guests():
    rng = np.random.default_rng(0)
    train = Interactions.read(clustered(range(100), rng), **NAMES)
    model = SparseMF(budget="50%", dim=8, epochs=20).fit(train)
    lists = model.fold_in(clustered(range(200, 240), rng)).recommend("all", 3)
    assert (lists["user"] % 2 == lists["item"] % 2).mean() > 0.9


def test_partial_fit_keeps_the_budget_and_learns_newcomers():
    rng = np.random.default_rng(0)
    first = clustered(range(100), rng)
    old = first.filter(pl.col("item") < 26)
    model = SparseMF(budget="50%", dim=8, epochs=20).fit(Interactions.read(old, **NAMES))
    budget = model.n_weights_
    more = pl.concat([first.filter(pl.col("item") >= 26), clustered(range(200, 240), rng)])
    assert model.partial_fit(Interactions.read(more, **NAMES)) is model
    assert model.user_table_.nnz + model.item_table_.nnz == budget == model.report()["weights"]
    assert model.user_table_.row_counts.min() >= 1
    assert model.item_table_.row_counts.min() >= 1
    assert model.users_.to_list() == [*range(100), *range(200, 240)]
    assert sorted(model.items_) == list(range(30))
    both = pl.concat([old, more]).unique()
    assert model.seen_.nnz == both.height
    assert model.recommend("all", 30).join(both, on=["user", "item"], how="inner").is_empty()
    new = model.recommend(range(200, 240), 3)
    assert (new["user"] % 2 == new["item"] % 2).mean() > 0.9


def test_partial_fit_refuses_what_does_not_fit():
    model = SparseMF(budget=100, dim=4, epochs=1).fit(Interactions.read(pairs(n=900), **NAMES))
    crowd = Interactions.read(pairs(first=900), **NAMES)
    with pytest.raises(ValueError, match=r"60 new ones where the budget of 100 .* room for 10;"):
        model.partial_fit(crowd)
    text = pairs().with_columns(user=pl.format("u{}", "user"))
    with pytest.raises(ValueError, match="user must have ids of the type of the training, Int64"):
        model.partial_fit(Interactions.read(text, **NAMES))


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_pruning_for_newcomers_keeps_the_largest_and_the_total(seed, n_new):
    rng = np.random.default_rng(seed)
    active = rng.random((6, 8)) < 0.6
    active[:, 0] = True
    tables = tuple(naive.compressed(rng.standard_normal((6, 8)), active) for _ in range(2))
    total = sum(table.nnz for table in tables)
    kept, share = fold_in.make_room(tables, n_new)
    assert sum(table.nnz for table in kept) + share * n_new == total
    for before, after in zip(tables, kept, strict=True):
        for row in range(6):
            old = np.abs(before.to_dense()[row])
            count = int(after.row_counts[row])
            assert count >= 1
            assert sorted(np.abs(after.to_dense()[row]))[-count:] == sorted(old)[-count:]


# Reasons.


@pytest.mark.parametrize("name", ["sparse", "itemknn"])
def test_contributions_add_up_to_the_score(models, train, name):
    model = models[name]
    for user, item, score, _ in model.recommend("all", 3).rows():
        said = model.explain(user, item)
        assert said.score == pytest.approx(score, rel=1e-5, abs=1e-6)
        assert said.contributions["contribution"].sum() == pytest.approx(score, rel=1e-5, abs=1e-6)
        row = train.users.to_list().index(user)
        assert set(said.because["item"]) == naive.taken(train.matrix, row)
        assert said.because["similarity"].is_sorted(descending=True)


def test_similar_items_are_those_of_the_largest_cosine(models):
    model = models["sparse"]
    V = model.item_table_.to_dense().astype(float)
    cosine = (V @ V[4]) / np.linalg.norm(V, axis=1) / np.linalg.norm(V[4])
    got = model.similar_items(4, 6)
    assert got["item"].to_list() == naive.best_items(cosine.round(6), {4}, 6)
    np.testing.assert_allclose(got["similarity"], cosine[got["item"]], 1e-4)
    assert models["itemknn"].similar_items(4, 29).height == 29
    several = model.similar_items([4, 7], 6)
    assert several.columns == ["of", "item", "similarity", "rank"]
    assert several.filter(of=4).drop("of").equals(got)
    assert several.filter(of=7).drop("of").equals(model.similar_items(7, 6))
    with pytest.raises(ValueError, match="item must have been in training: got 99"):
        model.similar_items(99)
    with pytest.raises(ValueError, match="Popularity does not know which items are alike"):
        models["popularity"].similar_items(4)
    with pytest.raises(ValueError, match="Popularity has no parts of a score"):
        models["popularity"].explain(3, 4)
    with pytest.raises(ValueError, match="Popularity cannot fold in new users"):
        models["popularity"].fold_in(pairs())


# Baselines.


def test_the_dense_rival_takes_no_more_bytes(train):
    model = dense_mf(train, budget="30%", dim=32, epochs=1).fit(train)
    rival = SparseMF(budget="30%", dim=32, epochs=1).fit(train)
    size = sum(rival.report()[f"bytes_{what}"] for what in ("values", "indices", "rows"))
    assert model.report()["density"] == 1
    one_more = 4 * (train.n_users + train.n_items)
    assert size - one_more < model.report()["bytes_values"] <= size
