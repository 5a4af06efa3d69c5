"""Trials on few targets against trials on all, and both sides of who took what."""

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys.blend import search
from recsys.blend.graph import GraphRule, learn_graph, work_of_graph
from recsys.blend.incidence import Incidence
from recsys.blend.judge import Judge, Jury, Trial
from recsys.blend.latent import LatentRule, learn_factors
from recsys.blend.parts import Parts, scales_of
from recsys.blend.plan import Plan
from recsys.blend.search import Search, targets_to_try
from recsys.evaluation.hold_out import cut
from recsys.evaluation.metrics import rank
from recsys.scores.history_scores import HistoryScores, ItemTables


def pattern(rng, shape, density):
    return naive.compressed(np.ones(shape), rng.random(shape) < density, np.uint32)


@pytest.fixture
def taken():
    """Users of four tastes."""
    rng = np.random.default_rng(0)
    alike = np.arange(300)[:, None] % 4 == np.arange(60) % 4
    return naive.compressed(
        np.ones((300, 60)), rng.random((300, 60)) < 0.05 + 0.25 * alike, np.uint32
    )


@given(hnp.arrays(np.bool_, st.tuples(st.integers(0, 12), st.integers(1, 9))))
def test_sides_are_the_matrix_and_its_transpose_with_users_in_one_order(X):
    matrix = naive.compressed(np.ones(X.shape), X, np.uint32)
    sides = Incidence.of(matrix)
    rows = np.zeros(X.shape, np.bool_)
    columns = np.zeros(X.shape, np.bool_)
    for user, (start, stop) in enumerate(zip(sides.users[0], sides.users[0][1:], strict=False)):
        rows[user, sides.users[1][start:stop]] = True
    for item, (start, stop) in enumerate(zip(sides.items[0], sides.items[0][1:], strict=False)):
        assert (np.diff(sides.items[1][start:stop].astype(np.int64)) > 0).all()
        columns[sides.items[1][start:stop], item] = True
    assert np.array_equal(rows, columns)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, X))
    assert np.array_equal(sides.lengths, rows.sum(axis=1))
    assert np.array_equal(sides.counts, X.sum(axis=0))
    others = [sum(X[u].sum() - 1 for u in np.flatnonzero(X[:, j])) for j in range(X.shape[1])]
    assert sides.reach.tolist() == others


def test_the_first_users_are_a_sample():
    early = naive.compressed(np.ones((400, 2)), np.arange(400)[:, None] < [200, 400], np.uint32)
    sides = Incidence.of(early)
    assert 20 < (sides.items[1][:200] < 60).sum() < 40  # of the first 60 users about half


@pytest.mark.parametrize("rule", [GraphRule(), GraphRule(ridge=0.5, explore=1.5)])
def test_targets_get_what_they_would_get_among_all(taken, rule):
    targets = np.arange(60) % 3 == 0
    whole = learn_graph(taken, 600, rule).to_dense()
    few = learn_graph(Incidence.of(taken), 600, rule, targets=targets).to_dense()
    assert np.array_equal(few, whole * targets)


def test_what_a_target_cannot_use_goes_to_nobody_in_a_sample(taken):
    targets = np.arange(60) < 6
    few = learn_graph(taken, 10**6, GraphRule(), targets=targets)
    alike = taken.to_dense().T @ taken.to_dense() > 0
    np.fill_diagonal(alike, False)
    assert few.nnz == alike[:, targets].sum()
    assert not few.to_dense()[:, ~targets].any()


def test_targets_are_all_or_a_share_of_every_popularity(monkeypatch):
    matrix = pattern(np.random.default_rng(1), (200, 100), np.linspace(0.02, 0.6, 100))
    sides = Incidence.of(matrix)
    assert targets_to_try(sides, 500).all()
    monkeypatch.setattr(search, "WORK", work_of_graph(sides, 500) / 4)
    targets = targets_to_try(sides, 500)
    ranks = np.argsort(np.argsort(sides.counts, kind="stable"), kind="stable")
    assert targets.sum() == 25
    assert np.diff(np.sort(ranks[targets])).tolist() == [4] * 24
    monkeypatch.setattr(search, "WORK", 1.0)
    assert targets_to_try(sides, 500).sum() == search.LEAST_SHARE * 100


def test_a_graph_of_more_edges_or_pairs_is_more_work():
    rng = np.random.default_rng(2)
    small, large = (Incidence.of(pattern(rng, (100, 50), share)) for share in (0.1, 0.2))
    assert 0 < work_of_graph(small, 100) < work_of_graph(small, 200) < work_of_graph(large, 200)


def test_of_few_targets_shorter_lists_are_judged_and_nothing_else(taken):
    base, held = cut(taken, 0.2, np.random.default_rng(3))
    targets = np.arange(60) % 2 == 0
    judge = Judge(base, held, targets)
    assert (judge.k, Judge(base, held, np.ones(60, np.bool_)).k) == (3, 6)
    assert np.array_equal(judge.held.to_dense(), held.to_dense() * targets)
    graph = learn_graph(base, 600, GraphRule())
    tables = [ItemTables(graph, None)]
    trial = Jury([(base, held)], targets).look("graph", search.first_plan(base, 0.5), tables)
    scores = HistoryScores(base, ItemTables(graph, None))(np.arange(300))
    scores[base.to_dense() > 0] = -np.inf
    scores[:, ~targets] = -np.inf
    wanted = judge.held.to_dense() > 0
    users = np.flatnonzero(wanted.any(axis=1))
    lists = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    recalls = [wanted[u, lists[u]].sum() / wanted[u].sum() for u in users]
    assert trial.recall == pytest.approx(np.mean(recalls))
    assert set(trial.metrics()) == {"recall@3", "ndcg@3"}


def test_lists_hold_what_is_permitted(taken):
    permitted = np.arange(0, 60, 3)
    found = rank(
        HistoryScores(taken, ItemTables(learn_graph(taken, 600, GraphRule()), None)),
        pattern(np.random.default_rng(4), (300, 60), 0.1),
        taken,
        5,
        permitted=permitted,
    )
    assert set(np.flatnonzero(found.shown)) == set(permitted)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_the_level_is_the_ratio_of_the_last_scores_of_lists(taken, step):
    """Of lists of a tenth of the items, or as much shorter as items are fewer."""
    graph = learn_graph(taken, 1500, GraphRule())
    plan = Plan(GraphRule(), LatentRule(dim=16), 0.5, 0.4)
    parts = Parts(taken, graph, learn_factors(taken, 600, plan.factors))
    factors = parts.factors(plan, 1.0)
    permitted = np.arange(60) % step == 0
    means = []
    for part in (ItemTables(graph, None), ItemTables(None, factors)):
        scores = HistoryScores(taken, part)(np.arange(300)).astype(np.float64)
        scores[(taken.to_dense() > 0) | ~permitted] = -np.inf
        last = -np.sort(-scores, axis=1)[:, max(round(6 / step), 1) - 1]
        means.append(last[last > 0].mean())
    found = scales_of(parts, plan, None if step == 1 else np.flatnonzero(permitted))
    assert found.graph == pytest.approx(0.6 * means[1] / means[0], rel=1e-5)
    assert found.factors == 0.4


def test_many_pairs_are_searched_by_few_targets_and_epochs(taken, monkeypatch):
    base, held = cut(taken, 0.2, np.random.default_rng(5))
    monkeypatch.setattr(search, "WORK", 2.0**14)
    monkeypatch.setattr(search, "LARGE", base.nnz)
    asked = Search([(base, held)], 1200, 6)
    looks, trials = search.search(asked, search.first_plan(base, 0.5)), []
    while True:
        try:
            trials.append(next(looks))
        except StopIteration as end:
            plan: Plan = end.value
            break
    lengths = {
        part: {t.k for t in trials if t.part == part} for part in ("graph", "factors", "mix")
    }
    assert lengths["factors"] == {6}
    assert lengths["graph"] == lengths["mix"] != {6}
    epochs = [t.plan.factors.epochs for t in trials if t.part == "factors"]
    assert set(epochs) == {2, 5}
    assert epochs == sorted(epochs)
    assert plan in [t.plan for t in trials if t.part == "mix"]


def trial(each):
    """A trial of judges who say so much each."""
    mean = float(np.mean(each))
    return Trial("mix", None, 20, mean, mean, np.array(each))


def test_only_what_is_better_beyond_chance_beats():
    rng = np.random.default_rng(0)
    before = rng.random(400)
    noise = rng.standard_normal(400)
    noise -= noise.mean()
    error = noise.std(ddof=1) / 20
    for gain, wins in ((0.9, False), (1.1, True)):
        assert trial(before + noise + gain * error).beats(trial(before)) == wins
    assert not trial(before + 0.004).beats(trial(before), 0.01)
    assert trial(before + 0.006).beats(trial(before), 0.01)
    assert not trial([1.0]).beats(trial([0.0]))  # one judge is chance


def test_more_cuts_judge_more_of_a_small_table():
    from recsys import Interactions
    from recsys.blend import judge

    rng = np.random.default_rng(1)
    table = {"user": rng.integers(50, size=600), "item": rng.integers(40, size=600)}
    train = Interactions.read(pl.DataFrame(table), user="user", item="item")
    cuts = judge.cuts_of(train, None, np.random.default_rng(0))
    assert len(cuts) == judge.MOST_CUTS
    helds = [held.to_dense() > 0 for _, held in cuts]
    for (base, _), held in zip(cuts, helds, strict=True):
        assert not (held & (base.to_dense() > 0)).any()
    assert not np.array_equal(helds[0], helds[1])
