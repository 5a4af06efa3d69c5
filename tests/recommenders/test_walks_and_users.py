"""RP3beta and UserKNN: as their twins have them, within a budget, explained, and forgetful."""

import naive_neighbours as naive
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys import Interactions, RP3beta, UserKNN, load

NAMES = {"user": "user", "item": "item"}
LIKENESS = {
    "cosine": lambda c, a, b: c / (np.sqrt(a * b) + 0.5),
    "tversky": lambda c, a, b: c / (c + 0.5 * (a - c) + 2 * (b - c) + 0.5),
}


def read(seed, n_users=40, n_items=25, n=300):
    rng = np.random.default_rng(seed)
    table = {"user": rng.integers(n_users, size=n), "item": rng.integers(n_items, size=n)}
    return Interactions.read(pl.DataFrame(table), **NAMES)


def dense(train):
    return (train.matrix.to_dense() > 0).astype(float)


@given(
    st.integers(0, 10**6),
    st.integers(1, 30),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.sampled_from([0.0, 0.3]),
)
@settings(deadline=None, max_examples=30)
def test_walks_are_those_of_their_twin(seed, k, alpha, beta):
    train = read(seed)
    X = dense(train)
    model = RP3beta(neighbours=k, alpha=alpha, beta=beta).fit(train)
    every = naive.walks(X, alpha, beta, train.n_items)
    got = model.table_.to_dense()
    # Walks that weigh the same may be told apart by rounding: sums and not places are compared.
    best = -np.sort(-every, axis=1)[:, :k].sum(axis=1)
    np.testing.assert_allclose(got.sum(axis=1), best, rtol=1e-5)
    held = got > 0
    np.testing.assert_allclose(got[held], every[held], rtol=1e-5)
    assert (held.sum(axis=1) <= k).all()
    np.testing.assert_allclose(model.scores(np.arange(len(X))), X @ got, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from(list(LIKENESS)))
@settings(deadline=None, max_examples=30)
def test_user_neighbours_are_those_of_their_twin(seed, k, likeness):
    train = read(seed)
    X = dense(train)
    options = {"shrink": 0.5, "alpha": 0.5, "beta": 2.0}
    model = UserKNN(neighbours=k, likeness=likeness, **options).fit(train)
    wanted = [naive.user_scores(X, row, LIKENESS[likeness], k) for row in X]
    got = model.scores(np.arange(len(X)))
    # Where the last neighbour is as like as the next, rounding decides: look at all others.
    clear = [same_last(X, row, LIKENESS[likeness], k) for row in X]
    np.testing.assert_allclose(got[clear], np.array(wanted)[clear], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.sum(axis=1) > 0, np.array(wanted).sum(axis=1) > 0)


def same_last(X, row, likeness, k):
    """Whether the k-th neighbour and the next can be told apart."""
    alike = -np.sort(
        [
            -likeness(X[v] @ row, row.sum(), X[v].sum())
            for v in range(len(X))
            if 0 < X[v] @ row < X[v].sum()
        ]
    )
    return k >= alike.size or alike[k - 1] - alike[k] > 1e-5


@pytest.mark.parametrize("budget", [30, "20%", "1KB"])
def test_walks_hold_a_budget(budget):
    train = read(0)
    model = RP3beta(budget=budget).fit(train)
    most = {30: 30, "20%": 125, "1KB": 158}[budget]
    assert model.table_.nnz == most
    assert np.ptp(model.table_.row_counts) <= 1
    assert RP3beta(neighbours=2, budget=budget).fit(train).table_.row_counts.max() <= 2


@pytest.mark.parametrize("make", [UserKNN, RP3beta])
def test_parts_add_up_to_the_score(make):
    train = read(3)
    model = make(neighbours=7).fit(train)
    scores = model.scores(np.arange(train.n_users))
    for user in range(0, train.n_users, 5):
        for item in range(0, train.n_items, 4):
            parts = model.contributions(user, item)
            assert parts["contribution"].sum() == pytest.approx(scores[user, item], 1e-4, 1e-6)
    one = model.recommend_from([train.items[3]], 4, exclude_seen=False)
    alike = model.similarities(3)
    assert one["score"].to_list() == [alike[train.items.index_of(item)] for item in one["item"]]


@pytest.mark.parametrize("make", [UserKNN, RP3beta])
def test_strangers_are_served_without_histories(make, tmp_path):
    train = read(1)
    model = make(neighbours=9).fit(train)
    wanted = model.recommend_from([2, 5, 7], 5)
    model.save(tmp_path / "small.npz", histories=False)
    small = load(tmp_path / "small.npz")
    assert small.recommend_from([2, 5, 7], 5).equals(wanted)
    rows = pl.DataFrame({"user": [900, 900, 900], "item": [2, 5, 7]})
    assert model.fold_in(rows).recommend([900], 5).drop("user").equals(wanted)


def test_users_who_are_forgotten_are_no_neighbours():
    train = read(2)
    gone = train.users[:10].to_list()
    left = UserKNN().fit(train).forget(gone)
    assert left.report()["weights"] == train.matrix.row_counts[10:].sum()
    rows = pl.DataFrame({"user": [900, 901], "item": [2, 5]})
    # Who was folded in has nothing to do with the neighbours.
    assert UserKNN().fit(train).fold_in(rows).forget([901]).report()["weights"] == train.nnz


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (RP3beta, {"neighbours": 0}),
        (RP3beta, {"alpha": -1}),
        (RP3beta, {"beta": np.nan}),
        (RP3beta, {"budget": 3}),
        (UserKNN, {"neighbours": 0}),
        (UserKNN, {"likeness": "dice"}),
        (UserKNN, {"shrink": -1}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(make, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        make(**options).fit(read(0))


def test_powers_beyond_what_numbers_hold_are_safe():
    model = RP3beta(neighbours=3, alpha=80.0, beta=80.0).fit(read(0))
    assert np.isfinite(model.table_.data).all()
    assert model.table_.row_counts.max() <= 3
