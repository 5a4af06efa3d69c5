"""LightGCN on sparse tables: the graph, its gradient, its budget, its report, its file."""

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest

from recsys import Interactions, LightGCN, load
from recsys.cli import main
from recsys.factors import lightgcn
from recsys.training.objective import Samples
from sparsenum.nn.optimizers import OPTIMIZERS
from sparsenum.nn.table import Table

NAMES = {"user": "user", "item": "item"}
DIM = 4


def pattern(seed=0):
    rng = np.random.default_rng(seed)
    taken = rng.random((7, 9)) < 0.4
    taken[0], taken[:, 0] = False, False  # a user and an item that nobody knows
    return taken


def interactions(n_events=600):
    rng = np.random.default_rng(0)
    block = rng.integers(2, size=n_events)
    user, item = rng.integers(30, size=n_events), rng.integers(20, size=n_events)
    table = {"user": 2 * user + block, "item": 2 * item + block}
    return Interactions.read(pl.DataFrame(table), **NAMES)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_propagation_is_the_mean_of_powers(layers):
    taken = pattern()
    rng = np.random.default_rng(1)
    tables = [rng.normal(size=(n, DIM)).astype(np.float32) for n in taken.shape]
    matrix = naive.compressed(rng.integers(1, 9, taken.shape), taken, np.uint32)
    got = lightgcn.Graph.of(matrix, layers).propagate(*tables)
    expected = naive.propagated(taken, layers) @ np.concatenate(tables)
    np.testing.assert_allclose(np.concatenate(got), expected, 1e-4, 1e-5)


def test_gradient_of_all_places_by_finite_differences():
    taken, rng = pattern(), np.random.default_rng(2)
    matrix = naive.compressed(rng.integers(1, 9, taken.shape), taken, np.uint32)
    rule = OPTIMIZERS["adam"]
    tables, dense = [], []
    for n in taken.shape:
        active = rng.random((n, DIM)) < 0.5
        dense.append(rng.normal(size=(n, DIM)).round(3) * active)
        weights = naive.compressed(dense[-1], active)
        tables.append(Table(weights, rule.start(weights.nnz), rule))
    samples = Samples.of(matrix, 1).redrawn(rng)
    graph = lightgcn.Graph.of(matrix, 2)
    every = np.arange(matrix.nnz, dtype=np.uint32)
    loss, gradients = lightgcn.gradient_of_batch(every, samples, graph, tables)

    # What was drawn, from the slopes of one interaction at a time.
    rows = []
    owners = np.repeat(np.arange(len(taken)), matrix.row_counts)
    confidence = np.log1p(matrix.data.astype(float))
    for e, c in enumerate(confidence / confidence.mean()):
        slopes = np.zeros((len(taken), DIM), np.float32), np.zeros((9, DIM), np.float32)
        users, items = np.ones_like(slopes[0]), np.ones_like(slopes[1])
        lightgcn._cpu.add_slopes(every[e : e + 1], samples.arrays(), users, items, *slopes)
        (drawn,) = np.flatnonzero(slopes[1][:, 0] > 0)
        rows.append((owners[e], [int(matrix.indices[e]), int(drawn)], c))
        assert not taken[owners[e], drawn]
    P = naive.propagated(taken, 2)

    def total(weigh=True):
        served = P @ np.concatenate(dense)
        weighed = [(u, items, c if weigh else 1.0) for u, items, c in rows]
        return naive.total_loss("bpr", weighed, served[: len(taken)], served[len(taken) :])

    assert loss == pytest.approx(total(weigh=False), rel=1e-4)
    for gradient, table in zip(gradients, dense, strict=True):
        numeric = naive.numeric_gradient(total, table)
        np.testing.assert_allclose(gradient, numeric, 1e-3, 1e-4)


def test_active_weights_alone_take_adams_step():
    rng, rule = np.random.default_rng(3), OPTIMIZERS["adam"]
    active = rng.random((6, DIM)) < 0.5
    twin = naive.DenseTable(rng.normal(size=(6, DIM)), active, "adam")
    weights = naive.compressed(twin.values, active)
    table = Table(weights, rule.start(weights.nnz), rule)
    for _ in range(3):
        gradient = rng.normal(size=(6, DIM)).astype(np.float32)
        lightgcn.descend_all(table, gradient, 0.05, 0.2)
        for row in range(6):
            twin.step(row, gradient[row] + 0.2 * twin.values[row], 0.05)
    np.testing.assert_allclose(table.weights.data, twin.values[active], 1e-4, 1e-5)


def test_the_largest_gradient_grows_and_the_weakest_go():
    rng, rule = np.random.default_rng(4), OPTIMIZERS["adam"]
    active = np.tile([True, True, True, True, False, False, False, False], (5, 1))
    weights = naive.compressed(rng.normal(size=(5, 8)), active)
    table = Table(weights, rule.start(20) + np.float32(1), rule)
    gradient = rng.random((5, 8)).astype(np.float32)
    before, promise = weights.to_dense(), gradient.copy()
    rewiring = lightgcn.exchanged(table.weights, gradient, 0.5, rng)
    table.move(rewiring)
    assert rewiring.n_grown == 10
    after = table.weights.to_dense()
    for row in range(5):
        kept = set(np.argsort(-np.abs(before[row]))[:2])
        free = sorted(set(range(8)) - kept, key=lambda column: -promise[row, column])
        start = int(table.weights.indptr[row])
        columns = table.weights.indices[start : start + 4].tolist()
        assert set(columns) == kept | set(free[:2])
        for place, column in enumerate(columns, start):
            born = column not in kept
            assert after[row, column] == (0 if born else before[row, column])
            assert table.state[:, place].tolist() == [0 if born else 1] * 3


@pytest.mark.parametrize("recipe", ["dsl", "static"])
def test_budget_holds_and_blocks_are_learned(recipe):
    train = interactions()
    model = LightGCN(budget="40%", dim=16, epochs=20, learning_rate=0.1, recipe=recipe).fit(train)
    assert {e["weights"] for e in model.history_} == {model.n_weights_}
    assert {e["optimizer_floats"] for e in model.history_} == {3 * model.n_weights_}
    assert model.history_[-1]["loss"] < 0.8 * model.history_[0]["loss"]
    assert (sum(e["grown"] for e in model.history_) > 0) == (recipe == "dsl")
    lists = model.recommend("all", 10)
    assert lists.filter(pl.col("user") % 2 == pl.col("item") % 2).height > 0.95 * lists.height
    again = LightGCN(**model.get_params()).fit(train)
    assert again.recommend("all", 10).equals(lists)


def test_report_tells_what_is_sparse_and_what_is_not(tmp_path):
    train = interactions()
    model = LightGCN(budget="20%", dim=16, epochs=2, layers=1).fit(train)
    n = train.n_users + train.n_items
    report = model.report()
    assert report["model"] == "dsl-lightgcn"
    assert report["weights"] == report["budget"] == round(0.2 * 16 * n)
    assert report["serving_floats"] == 16 * n
    assert report["bytes_serving"] == 64 * n
    assert report["layers"] == 1
    scores = model.scores(np.arange(train.n_users))
    ego = np.concatenate([model.user_table_.to_dense(), model.item_table_.to_dense()])
    served = naive.propagated(train.matrix.to_dense() > 0, 1) @ ego
    expected = served[: train.n_users] @ served[train.n_users :].T
    np.testing.assert_allclose(scores, expected, 1e-3, 1e-5)

    path = tmp_path / "model.npz"
    model.save(path)
    back = load(path)
    assert type(back) is LightGCN
    assert back.report() == report
    assert back.recommend("all", 5).equals(model.recommend("all", 5))
    model.fit(interactions(500))
    assert not np.array_equal(model.scores(np.arange(5)), scores[:5])


def test_layers_are_checked():
    for layers, error in ((-1, ValueError), (17, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="layers must be"):
            LightGCN(budget="20%", dim=16, layers=layers).fit(interactions())


def test_the_command_line_has_it(tmp_path, capsys):
    table, out = tmp_path / "events.csv", tmp_path / "model.npz"
    rng = np.random.default_rng(0)
    pairs = {"user": rng.integers(20, size=200), "item": rng.integers(20, size=200)}
    pl.DataFrame(pairs).write_csv(table)
    command = ["train", str(table), "--user", "user", "--item", "item", "--out", str(out)]
    assert main([*command, "--model", "dsl-lightgcn", "--epochs", "2", "--dim", "16"]) == 0
    assert main(["inspect", str(out)]) == 0
    assert "serving_floats" in capsys.readouterr().out
    assert load(out).get_params()["budget"] == "10%"
