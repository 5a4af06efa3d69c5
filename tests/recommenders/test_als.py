"""Alternating least squares on sparse tables: rows, moving supports, the polish, the budget."""

from itertools import pairwise

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest

from recsys import Interactions, SparseALS, load
from recsys.factors import least_squares
from sparsenum.sparse import CSR

NAMES = {"user": "user", "item": "item"}
DIM, N_ITEMS = 6, 9
ALPHA, REG = 2.0, 0.03


def problem(seed=0):
    """Return who took what how often, a problem, and the confidences and targets of all pairs."""
    rng = np.random.default_rng(seed)
    taken = rng.random((7, 9)) < 0.5
    taken[0], taken[:, 0] = False, False  # a user and an item that nobody knows
    matrix = naive.compressed(rng.integers(1, 9, taken.shape), taken, np.uint32)
    taste = np.log1p(matrix.to_dense())
    confidence = 1 + ALPHA * taste / taste[taken].mean()
    events = [np.maximum(taken.sum(axis), 1) for axis in (1, 0)]
    target = taken / np.sqrt(np.outer(*events))
    return least_squares.Problem.of(matrix, matrix.column_counts, ALPHA, REG), confidence, target


def tables(seed=1):
    rng = np.random.default_rng(seed)
    made = []
    for n in (7, 9):
        active = rng.random((n, DIM)) < 0.5
        active[:, 2] = True
        made.append(naive.compressed(rng.normal(size=(n, DIM)), active))
    return made


def supports(table):
    return [set(table.indices[a:b].tolist()) for a, b in pairwise(table.indptr)]


def solved(c, t, V, support):
    """Return A, b and x of one row: sum_i c_i (t_i - x v_i)^2 + reg x^2 on a support."""
    columns = sorted(support)
    S = V[:, columns]
    A = S.T @ (c[:, None] * S) + REG * np.eye(len(columns))
    b = S.T @ (c * t)
    x = np.zeros(V.shape[1])
    x[columns] = np.linalg.solve(A, b)
    return A, b, x


def grown(c, t, V, w, support, quota):
    """Return the support with the columns added where the loss falls most."""
    slope = V.T @ (c * (t - V @ w)) - REG * w
    gains = slope**2 / (c @ V**2 + REG)
    free = sorted(set(range(DIM)) - support, key=lambda j: -gains[j])
    return support | set(free[:quota])


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("side", ["users", "items"])
def test_rows_are_solved_as_by_hand(side, fraction):
    posed, confidence, target = problem()
    users, items = tables()
    if side == "users":
        got, found = posed.solve_users(users, items, fraction)
        start, V = users, items.to_dense().astype(float)
    else:
        got, found = posed.solve_items(users, items, fraction)
        start, V = items, users.to_dense().astype(float)
        confidence, target = confidence.T, target.T
    total, rows = 0.0, zip(confidence, target, start.to_dense().astype(float), strict=True)
    for r, (c, t, w) in enumerate(rows):
        support, row = supports(start)[r], got.to_dense()[r]
        k = len(support)
        if not t.any():
            assert supports(got)[r] == support
            assert not row.any()
            continue
        quota = min(int(fraction * k + 0.5), DIM - k)
        wider = grown(c, t, V, w, support, quota)
        A, b, x = solved(c, t, V, wider)
        if quota:
            worth = dict(zip(sorted(wider), x[sorted(wider)] ** 2 * np.diag(A), strict=True))
            wider = set(sorted(wider, key=lambda j: -worth[j])[:k])
            A, b, x = solved(c, t, V, wider)
        assert supports(got)[r] == wider
        np.testing.assert_allclose(row, x, 1e-3, 1e-5)
        total += b @ x[sorted(wider)]
    assert found == pytest.approx(total, rel=1e-4)
    assert start is not got
    assert (np.diff(got.indptr.astype(int)) == np.diff(start.indptr.astype(int))).all()


def test_the_loss_is_that_of_all_pairs():
    posed, confidence, target = problem()
    users, items = tables()
    items, found = posed.solve_items(users, items, 0.5)
    V = items.to_dense().astype(float)
    loss = (confidence * (target - users.to_dense() @ V.T) ** 2).sum() + REG * (V**2).sum()
    empty = (confidence * target**2).sum()
    assert posed.missed(found) == pytest.approx(loss / empty, rel=1e-4)


def lot(seed, x, y):
    """Return the item drawn for user x as number y, by mixing 64 bits."""
    whole = 2**64
    z = (((seed ^ (x << 32) ^ y) + 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9) % whole
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % whole
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % whole
    return ((z ^ (z >> 31)) >> 32) * N_ITEMS >> 32


def climbed(w, squares, active, gradient):
    slope = (gradient - least_squares.DECAY * w) * active
    squares += slope**2
    return w + least_squares.RATE * slope / np.sqrt(squares)


def test_the_polish_climbs_the_softmax_of_items_taken_among_items_drawn():
    posed, _, target = problem()
    users, items = tables()
    rng = np.random.default_rng(5)
    twin = np.random.default_rng(5)
    order, seed = twin.permutation(7), int(twin.integers(2**63, dtype=np.uint64))
    ((loss, got),) = least_squares.polished(posed.by_user, (users, items), 1, 4, rng)
    W, V = (table.to_dense().astype(float) for table in (users, items))
    scales = [np.sqrt(len(X) / (X**2).sum()) for X in (W, V)]
    W, V = W * scales[0], V * scales[1]
    active = [X != 0 for X in (W, V)]
    squares = [np.ones_like(X) for X in (W, V)]
    total = 0.0
    for u in order:
        drawn = [lot(seed, int(u), c) for c in range(4)]
        exps = np.exp(V[drawn] @ W[u] / least_squares.TEMPERATURE)
        pull, push = np.zeros(DIM), 0.0
        for i in np.flatnonzero(target[u]):
            own = np.exp(V[i] @ W[u] / least_squares.TEMPERATURE)
            total += np.log1p(exps.sum() / own)
            share = exps.sum() / (exps.sum() + own) / least_squares.TEMPERATURE
            push += 1 / (exps.sum() + own) / least_squares.TEMPERATURE
            pull += share * V[i]
            V[i] = climbed(V[i], squares[1][i], active[1][i], share * W[u])
        for i, e in zip(drawn, exps, strict=True):
            if e * push > 1e-4:
                pull -= e * push * V[i]
                V[i] = climbed(V[i], squares[1][i], active[1][i], -e * push * W[u])
        W[u] = climbed(W[u], squares[0][u], active[0][u], pull)
    assert loss == pytest.approx(total / (target > 0).sum(), rel=1e-3)
    for table, X, scale in zip(got, (W, V), scales, strict=True):
        np.testing.assert_allclose(table.to_dense(), X / scale, 1e-3, 1e-4)


def interactions(n_events=600):
    rng = np.random.default_rng(0)
    block = rng.integers(2, size=n_events)
    user, item = rng.integers(30, size=n_events), rng.integers(20, size=n_events)
    table = {"user": 2 * user + block, "item": 2 * item + block}
    return Interactions.read(pl.DataFrame(table), **NAMES)


@pytest.mark.parametrize("dim", [16, least_squares.ALIGNED_DIM + 1])
def test_budget_holds_and_blocks_are_learned(dim):
    train = interactions()
    model = SparseALS(budget=800, dim=dim, epochs=4, polish=3).fit(train)
    assert [e["epoch"] for e in model.history_] == [*range(1, 8)]
    assert {e["weights"] for e in model.history_} == {model.n_weights_} == {800}
    assert [e["optimizer_floats"] for e in model.history_] == [0] * 4 + [800] * 3
    assert model.user_table_.nnz + model.item_table_.nnz == 800
    assert model.history_[3]["loss"] < model.history_[0]["loss"] < 1
    assert model.history_[6]["loss"] < model.history_[4]["loss"]
    lists = model.recommend("all", 10)
    assert lists.filter(pl.col("user") % 2 == pl.col("item") % 2).height > 0.8 * lists.height
    again = SparseALS(**model.get_params()).fit(train)
    assert again.recommend("all", 10).equals(lists)


def test_new_users_are_solved_exactly_with_the_items_as_they_are():
    train = interactions()
    model = SparseALS(budget="30%", dim=16, polish=0, alpha=ALPHA, reg=REG).fit(train)
    taken = {900: [0, 2, 4, 6, 8], 901: [5]}
    pairs = pl.DataFrame({"user": [900] * 5 + [901], "item": [*taken[900], 5]})
    guests = model.fold_in(pairs)
    mean = round(model.user_table_.nnz / train.n_users)
    assert guests.user_table_.row_counts.tolist() == [mean] * 2
    assert guests.n_weights_ == guests.user_table_.nnz + model.item_table_.nnz
    events = train.matrix.column_counts
    V = model.item_table_.to_dense() / np.sqrt(events)[:, None]
    for user, support, row in zip(
        taken, supports(guests.user_table_), guests.user_table_.to_dense(), strict=True
    ):
        took = np.isin(train.items.to_numpy(), taken[user])
        target = took / np.sqrt(took.sum() * events)
        _, _, x = solved(1 + ALPHA * took, target, V, support)
        np.testing.assert_allclose(row, x * np.sqrt(took.sum()), 1e-3, 1e-4)
    assert (guests.recommend([900], 8)["item"] % 2 == 0).all()
    parts = guests.explain(900, 10)
    assert parts.score == pytest.approx(guests.scores(np.array([0]))[0, 10], rel=1e-4)
    assert model.users_.len() == train.n_users


def test_it_comes_back_from_a_file_and_folds_in_alike(tmp_path):
    model = SparseALS(budget="50%", dim=8, epochs=2, polish=1, alpha=0).fit(interactions())
    model.save(tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    assert back.get_params() == model.get_params()
    assert back.report() == model.report()
    pairs = pl.DataFrame({"user": [900] * 2, "item": [0, 2]})
    np.testing.assert_array_equal(
        back.fold_in(pairs).scores(np.array([0])), model.fold_in(pairs).scores(np.array([0]))
    )


def test_validation_stops_it_and_the_best_tables_stay():
    train = interactions()
    model = SparseALS(budget="50%", dim=8, epochs=3, polish=30, patience=2, validation=0.2)
    model.fit(train)
    looks = [e["ndcg@20"] for e in model.history_ if "ndcg@20" in e]
    assert len(model.history_) < 33
    assert max(looks[:-2]) == max(looks)
    assert isinstance(model.user_table_, CSR)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"polish": -1}, "polish must be at least 0"),
        ({"alpha": -1}, "alpha must be at least 0"),
        ({"reg": 0}, "reg must be positive"),
        ({"n_negatives": 0}, "n_negatives must be at least 1"),
        ({"dim": 2**17}, "dim must be from 1"),
        ({"budget": 3}, "budget must buy"),
    ],
)
def test_bad_parameters_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        SparseALS(**{"dim": 8, "budget": "50%"} | options).fit(interactions())
