"""Peers of the recommender benchmark: their formulas against dense twins, their settings."""

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose

from benches.recommending import tuning
from benches.recommending.peers import cornac_bpr, gf_cf, implicit_bpr, svd
from benches.recommending.public_sets import Outcome, Problem, problem
from recsys import Interactions

SHAPE = (30, 12)
ROWS = np.arange(SHAPE[0])


@pytest.fixture(scope="module")
def small():
    taken = np.random.default_rng(5).random(SHAPE) < 0.3
    taken[ROWS, ROWS % SHAPE[1]] = True  # no empty row, no empty column
    user, item = taken.nonzero()
    weight = 1.0 + (user + item) % 3  # peers count what was taken once, however often
    table = pl.DataFrame({"user": user, "item": item, "weight": weight})
    train = Interactions.read(table, user="user", item="item", weight="weight")
    return Problem("small", train, train.matrix, None), taken.astype(float)


def normal(X):
    """Return D_u^-1/2 X D_i^-1/2, and D_i^1/2."""
    root = np.sqrt(X.sum(axis=0))
    return X / np.sqrt(X.sum(axis=1))[:, None] / root, root


@pytest.mark.parametrize("columns", [3, 7])
def test_gf_cf_filters_rows_as_they_are_through_both_terms(small, columns):
    some, X = small
    A, root = normal(X)
    V = np.linalg.svd(A)[2][:columns].T
    low = X @ np.diag(1 / root) @ V @ V.T @ np.diag(root)
    shares = (0.0, 0.3, 2.0)
    for share, outcome in zip(shares, gf_cf(some, *shares, columns=columns), strict=True):
        wanted = X @ A.T @ A + share * low
        assert_allclose(outcome.scores(ROWS), wanted, rtol=1e-4, atol=1e-5)
        assert_allclose(outcome.scores(ROWS[4:7]), wanted[4:7], rtol=1e-4, atol=1e-5)


def test_svd_is_that_of_the_normalised_matrix_cut_off_after_each_number_of_columns(small):
    some, X = small
    A, root = normal(X)
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    for k, outcome in zip((2, 5), svd(some, 2, 5), strict=True):
        wanted = (U[:, :k] * s[:k]) @ Vt[:k] * root
        assert_allclose(outcome.scores(ROWS), wanted, rtol=1e-4, atol=1e-5)
        assert outcome.weights == k * sum(SHAPE)


@pytest.mark.parametrize(("package", "learn"), [("implicit", implicit_bpr), ("cornac", cornac_bpr)])
def test_bpr_goes_on_from_where_it_was_looked_at(small, package, learn):
    pytest.importorskip(package)
    some, X = small
    ranked = []
    for passes, outcome in zip((1, 400), learn(some, 0.1, 0.001, 1, 400), strict=True):
        assert outcome.iterations == passes
        scores = outcome.scores(ROWS)
        taken, others = (np.where(one == X, scores, np.nan) for one in (1, 0))
        ranked.append(np.nanmean(taken, axis=1) > np.nanmean(others, axis=1))
    assert ranked[0].mean() < ranked[1].mean()
    assert ranked[1].mean() > 0.9


def test_settings_are_chosen_by_pairs_that_are_held_back_and_not_learned():
    some = problem("shop")
    rest = tuning.validation(some)
    train, left, held = (
        matrix.to_scipy() > 0 for matrix in (some.train.matrix, rest.train.matrix, rest.held)
    )
    assert left.multiply(held).nnz == 0
    assert left.multiply(train).nnz == left.nnz < train.nnz
    assert held.multiply(train).nnz == held.nnz > 0
    assert np.count_nonzero(held.sum(axis=1)) <= tuning.JUDGES
    assert held.multiply(some.held.to_scipy() > 0).nnz == 0  # the test takes no part


def test_trials_of_a_course_end_after_the_first_that_is_worse(small, monkeypatch):
    worth = iter([0.1, 0.3, 0.2, 0.4, 0.5, 0.6, 0.1])
    monkeypatch.setattr(tuning, "quality", lambda outcome, some: next(worth))

    def learn(some, fixed, *last):
        yield from (Outcome(None, one, 0) for one in last)

    peer = tuning.Peer(learn, ((1.0,), (2.0,)), (5, 6, 7, 8))
    found = [setting for setting, _ in tuning.trials(peer, small[0])]
    assert found == [(1.0, 5), (1.0, 6), (1.0, 7), *((2.0, last) for last in peer.last)]


def test_every_setting_is_of_the_grid_of_its_peer():
    assert tuning.BEST.keys() <= tuning.PEERS.keys()
    for name, settings in tuning.BEST.items():
        peer = tuning.PEERS[name]
        grid = {(*fixed, last) for fixed in peer.fixed for last in peer.last}
        assert set(settings.values()) <= grid
        assert "shop" in settings  # which every benchmark begins with


def test_settings_reach_the_peer(small, monkeypatch):
    some, _ = small
    heard = []

    def learn(some, *setting):
        heard.append(setting)
        yield Outcome(None, 1, 2)

    monkeypatch.setitem(tuning.PEERS, "GF-CF", tuning.Peer(learn, ((),), (0.3,)))
    assert tuning.tuned("GF-CF", "amazon_sports")(some).bytes == 2
    assert heard == [tuning.BEST["GF-CF"]["amazon_sports"]]
