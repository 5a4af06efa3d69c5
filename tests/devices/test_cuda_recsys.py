"""Recommenders on a device learn and rank as they do on the CPU, to rounding."""

import itertools

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest
from numba import cuda, float64

from recsys import Interactions, Popularity, SparseMF
from recsys.cli import main
from recsys.scores import _cuda as _cuda_rank
from recsys.scores.factor_scores import FactorScores
from recsys.scores.history_scores import Factors, HistoryScores, ItemTables
from recsys.scores.on_cuda import CELLS, DeviceScores
from recsys.scores.toplists import top_items
from recsys.scores.walks import Walks
from recsys.training import _cpu, _cpu_waves, objective, on_cuda, steps
from recsys.training import _cuda as _cuda_training
from recsys.training.objective import LOSSES, Samples
from sparsenum import _cuda, _device
from sparsenum.errors import DeviceError
from sparsenum.nn.optimizers import OPTIMIZERS
from sparsenum.nn.table import Table

pytestmark = pytest.mark.usefixtures("cuda")

# float32 has seven digits, and the device rounds otherwise. A last bit of the first weights makes
# as much of a difference on the CPU by itself: most with cosines under Adagrad, whose first steps
# have the length of the rate whatever the gradient, 1e-4 after an epoch, and 1e-5 with all else.
RTOL, ATOL = 1e-4, 1e-5
NAMES = {"user": "user", "item": "item"}


def pattern(shape, share, seed, dtype=np.uint16):
    """Some entries, at least one in each row."""
    rng = np.random.default_rng(seed)
    active = rng.random(shape) < share
    active[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] = True
    return naive.compressed(rng.standard_normal(shape), active, dtype)


def interactions(shape, n_negatives):
    matrix = pattern(shape, 0.15, 0, np.uint32)
    weights = np.random.default_rng(1).integers(1, 4, matrix.nnz).astype(np.float32)
    return Samples.of(matrix.with_data(weights), n_negatives)


def tables(shape, dim, optimizer):
    rule = OPTIMIZERS[optimizer]
    made = (pattern((n, dim), 0.4, n) for n in shape)
    return [Table(table, rule.start(table.nnz), rule) for table in made]


# Steps


@pytest.fixture
def few_rounds(monkeypatch):
    """Rounds so long that waves have several interactions."""
    monkeypatch.setattr(objective, "ROUNDS", 2)


def told(of):
    """Return what gives all lanes something of the numbers of each."""

    def tell(x):
        parts = cuda.shared.array(4, float64)
        parts[cuda.threadIdx.x] = x
        cuda.syncthreads()
        result = type(x)(of(parts[:4]))
        cuda.syncthreads()
        return result

    return _cuda.formula(tell)


@_cuda.formula
def meet():
    cuda.syncthreads()


@pytest.fixture
def four_lanes(request, monkeypatch):
    """Simulated blocks that are a warp of four each, whose lanes wait where real ones do."""
    if request.config.getoption("--gpu"):
        pytest.skip("a device has warps of its own")
    for module in (_cuda, _cuda_training, _cuda_rank):
        monkeypatch.setattr(module, "LANES", 4)
    for module in (_cuda_training, _cuda_rank):
        monkeypatch.setattr(module, "sync_lanes", meet)
    monkeypatch.setattr(_cuda_training, "lane_sum", told(np.sum))
    monkeypatch.setattr(_cuda_training, "lane_max", told(np.max))


def learned(device, name, optimizer, n, shape=(19, 23), dim=7, epochs=1):
    taken, rng = interactions(shape, n), np.random.default_rng(5)
    users, items = tables(shape, dim, optimizer)
    rate = OPTIMIZERS[optimizer].rate
    losses = [
        steps.descend(taken.redrawn(rng), LOSSES[name], users, items, rate, 0.02, rng, device)
        for _ in range(epochs)
    ]
    return np.array(losses), users, items


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize(
    ("name", "optimizer", "n"),
    [
        ("bpr", "adagrad", 1),
        ("bpr", "adam", 1),
        ("bce", "sgd", 3),
        ("softmax", "adagrad", 5),
        ("softmax", "adam", 2),
        ("ccl", "adagrad", 4),
        ("ccl", "sgd", 2),
    ],
)
def test_epochs_are_those_of_the_cpu(name, optimizer, n):
    compare(name, optimizer, n)


@pytest.mark.usefixtures("few_rounds", "four_lanes")
@pytest.mark.parametrize(
    ("name", "optimizer", "n"),
    [("bpr", "sgd", 1), ("bce", "adam", 4), ("softmax", "adagrad", 5), ("ccl", "adagrad", 3)],
)
def test_lanes_share_the_work(name, optimizer, n):
    compare(name, optimizer, n)


def compare(name, optimizer, n):
    here, there = (learned(device, name, optimizer, n) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there[0], here[0], rtol=1e-5)
    for mine, its in zip(here[1:], there[1:], strict=True):
        np.testing.assert_allclose(its.weights.data, mine.weights.data, RTOL, ATOL)
        np.testing.assert_allclose(its.state, mine.state, RTOL, ATOL)


@pytest.mark.parametrize("shape", [(1, 2), (3, 1)])
def test_tables_of_a_row(shape):
    here, there = (learned(device, "bpr", "sgd", 1, shape, 1) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there[0], here[0], rtol=1e-5)
    for mine, its in zip(here[1:], there[1:], strict=True):
        np.testing.assert_allclose(its.weights.data, mine.weights.data, RTOL, ATOL)


@pytest.mark.parametrize("name", ["bpr", "bce", "softmax"])
@pytest.mark.parametrize("score", [-200.0, -40.0, 0.0, 40.0, 200.0])
def test_losses_of_scores_far_from_zero(name, score):
    rule = OPTIMIZERS["sgd"]
    matrix = naive.compressed(np.ones((1, 2)), np.array([[1, 0]], bool), np.uint32)
    lost = []
    for device in ("cpu", "cuda"):
        users, items = (
            Table(naive.compressed(values, np.ones(values.shape, bool)), rule.start(n), rule)
            for n, values in ((1, np.array([[score]])), (2, np.array([[1.0], [0.0]])))
        )
        rng, taken = np.random.default_rng(0), Samples.of(matrix, 1)
        lost.append(steps.descend(taken, LOSSES[name], users, items, 0.1, 0.0, rng, device))
        assert np.isfinite(items.weights.data).all()
    assert lost[1] == pytest.approx(lost[0], rel=1e-6, abs=1e-6)


def test_waves_keep_the_order_of_what_shares_a_row():
    rng = np.random.default_rng(0)
    users = rng.integers(30, size=50).astype(np.uint32)
    candidates = rng.integers(60, size=(50, 3)).astype(np.uint32)
    last, expected = {}, []
    for u, items in zip(users, candidates, strict=True):
        rows = ("user", u), *(("item", i) for i in items)
        expected.append(max(last.get(row, -1) for row in rows) + 1)
        last |= dict.fromkeys(rows, expected[-1])
    counts, wave = (np.zeros(30, np.uint32), np.zeros(60, np.uint32)), np.empty(50, np.uint32)
    _cpu_waves.cut_waves(users, candidates, *counts, wave)
    assert wave.tolist() == expected
    ends, order = np.cumsum(np.bincount(wave)), np.empty(50, np.int64)
    _cpu_waves.sort_waves(wave, ends, order)
    assert order.tolist() == sorted(range(50), key=lambda k: expected[k])
    assert ends.tolist() == [sum(w < d for w in expected) for d in range(max(expected) + 1)]


@pytest.mark.usefixtures("few_rounds")
def test_a_round_has_the_draws_of_the_cpu():
    taken = interactions((19, 23), 2).redrawn(np.random.default_rng(3))
    matrix, loss = taken.matrix, LOSSES["bce"].constants()
    some = [table.arrays()[:3] for table in tables((19, 23), 7, "sgd")]
    drawn, slopes = np.zeros((matrix.nnz, 3), np.uint32), np.zeros((matrix.nnz, 3), np.float32)
    everything, taste = np.arange(matrix.nnz, dtype=np.uint32), np.zeros(7, np.float32)
    _cpu.note(everything, taken.arrays(), *some, loss, 0, 23, taste, drawn, slopes)
    owners = np.repeat(np.arange(19), matrix.row_counts)
    expected = sorted(map(tuple, np.c_[owners, drawn, matrix.data].tolist()))
    got = []
    for order in taken.rounds(np.random.default_rng(0)):
        part = on_cuda.cut(order, taken)
        assert part.starts[-1] == order.size > 1.4 * part.starts.size
        got += map(tuple, np.c_[part.users, part.candidates, part.amounts].tolist())
    assert sorted(got) == expected


@pytest.mark.usefixtures("few_rounds")
def test_interactions_of_a_wave_may_change_places_and_a_run_repeats(monkeypatch):
    first = learned("cuda", "ccl", "adagrad", 3)
    again = learned("cuda", "ccl", "adagrad", 3)
    cut = on_cuda.cut

    def backwards(*arguments):
        part = cut(*arguments)
        ends = itertools.pairwise(part.starts)
        place = np.concatenate([np.arange(b - 1, a - 1, -1) for a, b in ends])
        return on_cuda.Round(part.starts, *(array[place] for array in part[1:]))

    monkeypatch.setattr(on_cuda, "cut", backwards)
    turned = learned("cuda", "ccl", "adagrad", 3)
    np.testing.assert_array_equal(first[0], again[0])
    for other in (again, turned):
        for mine, its in zip(first[1:], other[1:], strict=True):
            np.testing.assert_array_equal(its.weights.data, mine.weights.data)
            np.testing.assert_array_equal(its.state, mine.state)


# Models


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    pairs = {"user": rng.integers(12, size=90), "item": rng.integers(15, size=90)}
    return Interactions.read(pl.DataFrame(pairs), **NAMES)


def model(**options):
    return SparseMF(budget="40%", dim=8, epochs=4, **options)


def test_a_model_is_that_of_the_cpu_and_holds_its_budget_throughout(table, monkeypatch):
    descend, counts = on_cuda.descend_in_waves, []

    def watched(samples, loss, *both):
        mean = descend(samples, loss, *both)
        counts.append([(t.weights.nnz, t.state.shape) for t in both[:2]])
        return mean

    monkeypatch.setattr(on_cuda, "descend_in_waves", watched)
    here, there = (model(device=device).fit(table) for device in ("cpu", "cuda"))
    assert [sum(nnz for nnz, _ in both) for both in counts] == [there.n_weights_] * 4
    assert all(shape == (1, nnz) for both in counts for nnz, shape in both)
    for name in ("user_table_", "item_table_"):
        mine, its = getattr(here, name), getattr(there, name)
        np.testing.assert_array_equal(its.indices, mine.indices)
        np.testing.assert_allclose(its.data, mine.data, RTOL, ATOL)


def test_a_training_goes_on_where_it_was_and_on_that_device_only(table, tmp_path):
    whole = model(device="cuda", seed=3).fit(table)

    def interrupted(entry):
        if entry["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model(device="cuda", seed=3).fit(table, checkpoint=tmp_path, on_epoch=interrupted)
    with pytest.raises(ValueError, match="checkpoint must be of the same data and parameters"):
        model(seed=3).fit(table, checkpoint=tmp_path, resume=True)
    resumed = model(device="cuda", seed=3).fit(table, checkpoint=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.item_table_.data, whole.item_table_.data)


def test_lists_and_metrics_are_those_of_the_cpu(table, tmp_path):
    fitted = model().fit(table)
    options = {"k": 4, "deny": [3, 5], "users": [7, 0, 3]}
    here, there = (fitted.recommend(**options, device=device) for device in ("cpu", "cuda"))
    assert there.drop("score").equals(here.drop("score"))
    np.testing.assert_allclose(there["score"], here["score"], 1e-5, 1e-6)
    new = {"histories": pl.DataFrame({"user": [90, 90], "item": [1, 4]}), "unknown": "fold_in"}
    strange = [fitted.recommend([90, 1], 3, **new, device=device) for device in ("cpu", "cuda")]
    assert strange[1].drop("score").equals(strange[0].drop("score"))
    rows, users = fitted.recommend_to(tmp_path / "lists.csv", k=3, device="cuda")
    assert (rows, users) == (36, 12)
    assert pl.read_csv(tmp_path / "lists.csv")["item"].equals(fitted.recommend(k=3)["item"])
    held = pl.DataFrame({"user": [0, 1, 2, 5], "item": [1, 2, 3, 4]})
    assert fitted.evaluate(held, 3, device="cuda") == fitted.evaluate(held, 3)


# Lists


def whole_numbers(shape, share, seed, dtype=np.uint16):
    """A table of small whole numbers, so that sums are exact and scores tie."""
    rng = np.random.default_rng(seed)
    return naive.compressed(rng.integers(-2, 3, shape), rng.random(shape) < share, dtype)


def history_scores(kind, n, m, d=4):
    rng = np.random.default_rng(2)
    scales = np.ones((2, m), np.float32)
    user_map = rng.integers(-1, 2, (d, d)).astype(np.float32)
    parts = Factors(whole_numbers((m, d), 0.5, 1), *scales, user_map)
    graph = whole_numbers((m, m), 0.3, 3, np.uint32)
    # Of one or four items: roots are exact.
    active = np.zeros((n, m), bool)
    for user in range(n):
        active[user, rng.choice(m, 4 if user % 2 else 1, replace=False)] = True
    taken = naive.compressed(active, active, np.uint32)
    walks = Walks(pattern((7, m), 0.3, 6, np.uint32), *(np.ones(x, np.float32) for x in (m, 7, m)))
    use = ItemTables(
        None if kind in ("factors", "walks") else graph,
        None if kind in ("graph", "walks") else parts,
        walks if kind in ("walks", "all") else None,
        rng.integers(0, 4, m).astype(np.float32) if kind == "all" else None,
    )
    return HistoryScores(taken, use)


def scores_of(kind, n, m):
    if kind == "tables":
        return FactorScores(whole_numbers((n, 5), 0.4, 0), whole_numbers((m, 5), 0.4, 1))
    return history_scores(kind, n, m)


@pytest.mark.parametrize("kind", ["tables", "graph", "factors", "both", "walks", "all"])
@pytest.mark.parametrize("k", [1, 5, 23])
def test_the_best_are_those_of_all_scores(kind, k):
    n, m = 11, 23
    scores = scores_of(kind, n, m)
    assert n > CELLS // m  # so there are blocks of users
    rows = np.random.default_rng(4).permutation(n)[:9]
    hidden = pattern((n, m), 0.3, 5, np.uint32)
    permitted = np.array([0, 1, 4, 5, 6, 7, 9, 10, 13, 20, 21, 22]) if k == 5 else None
    got = DeviceScores(scores).best(rows, k, hidden, permitted)
    full = scores(rows)
    np.testing.assert_array_equal(DeviceScores(scores)(rows), full)
    barred = set() if permitted is None else {*range(m)} - {*permitted.tolist()}
    for place, row in enumerate(rows):
        expected = naive.best_items(full[place], naive.taken(hidden, row) | barred, k)
        assert got.indices[place].tolist() == expected + [m] * (k - len(expected))
        listed = [*full[place, expected], *[-np.inf] * (k - len(expected))]
        assert got.data[place].tolist() == listed


@pytest.mark.usefixtures("four_lanes")
@pytest.mark.parametrize("kind", ["tables", "both", "all"])
def test_lanes_are_users_or_entries(kind):
    scores = scores_of(kind, 11, 23)
    rows = np.array([3, 0, 10, 7, 5, 4])
    there = DeviceScores(scores)
    np.testing.assert_array_equal(there(rows), scores(rows))
    hidden = pattern((11, 23), 0.3, 5, np.uint32)
    mine, its = (way.best(rows, 4, hidden, None) for way in (scores, there))
    np.testing.assert_array_equal(its.indices, mine.indices)


def test_one_user_one_item_and_nothing_left():
    one = np.ones((1, 1))
    scores = DeviceScores(FactorScores(*[naive.compressed(one, one > 0)] * 2))
    ((_, best),) = top_items(scores, np.array([0]), 1, None)
    assert (best.indices.tolist(), best.data.tolist()) == ([[0]], [[1.0]])
    ((_, best),) = top_items(scores, np.array([0]), 1, naive.compressed(one, one > 0, np.uint32))
    assert (best.indices.tolist(), best.data.tolist()) == ([[1]], [[-np.inf]])


# Refusals


def test_what_a_device_cannot_do_is_told(table, monkeypatch, tmp_path, capsys):
    popular = Popularity().fit(table)
    with pytest.raises(ValueError, match=r"device must be 'cpu' for Popularity.*SparseMF"):
        popular.recommend(k=2, device="cuda")
    with pytest.raises(ValueError, match="Unknown device 'gpu'"):
        popular.recommend(k=2, device="gpu")
    with pytest.raises(ValueError, match="Unknown device 'tpu'"):
        model(device="tpu").fit(table)
    events, out = tmp_path / "events.csv", tmp_path / "model.npz"
    pl.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 2, 3]}).write_csv(events)
    train = ["train", str(events), *("--user", "user", "--item", "item", "--out", str(out))]
    assert main([*train, "--model", "dsl-lightgcn", "--device", "cuda"]) == 2
    assert "--device does not go with --model dsl-lightgcn" in capsys.readouterr().err
    small = ["--model", "dsl-mf", "--dim", "2", "--budget", "100%", "--epochs", "1"]
    assert main([*train, *small, "--device", "cuda"]) == 0
    held = tmp_path / "held.csv"
    pl.DataFrame({"user": [1, 2], "item": [3, 1]}).write_csv(held)
    assert main(["evaluate", str(out), str(held), "--k", "1", "--device", "cuda"]) == 0
    lists = tmp_path / "lists.csv"
    use = ["recommend", str(out), "--k", "1", "--device", "cuda", "--out", str(lists)]
    assert main(use) == 0
    assert pl.read_csv(lists).height == 2

    def missing():
        raise DeviceError("device='cuda' cannot be used here")

    monkeypatch.setattr(_device, "_require_cuda", missing)
    capsys.readouterr()
    for command in ([*train, *small, "--device", "cuda"], use):
        assert main(command) == 2
        assert "recsys: error: device='cuda' cannot be used" in capsys.readouterr().err
    with pytest.raises(DeviceError):
        model(device="cuda").fit(table)
