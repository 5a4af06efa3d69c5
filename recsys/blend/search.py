"""Choosing how to learn and mix the parts of a blend: a short climb on held-out pairs."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.blend.graph import GraphRule, learn_graph, work_of_graph
from recsys.blend.incidence import Incidence
from recsys.blend.latent import LatentRule, learn_factors
from recsys.blend.plan import Plan, factors_of, match_scales
from recsys.evaluation.metrics import ranking_metrics
from recsys.scores.history_scores import Factors, HistoryScores, ItemTables
from recsys.scores.toplists import Scores
from sparsenum.sparse import CSR

K = 20  # length of the lists that are judged,
SHORT = 10  # or of a catalogue up to 10 times as long: lists of all items say nothing
SHORTEST = 2  # of a share of the items, in proportion, but not shorter
JUDGES = 5000  # users whose held-out items judge a trial, at most,
MOST_JUDGES = 20_000  # or more if of few items, but no more than these
WORK = 2.0**30  # of a trial graph, in items read: some seconds; beyond, few targets stand for all,
LEAST_SHARE = 0.05  # but not fewer than these
LONG = 100  # items of a mean history from which on low ridges, exploring and narrow factors pay

# What did best beside factors: on check-ins and reviews, and on films; `GraphRule()`, for shops,
# is what does well alone. And what did best alone on check-ins.
PLACES = GraphRule(ridge=10.0, target_power=0.2)
FILMS = GraphRule(0.5, 0.3, 0.5, 0.5, 1.0, 0.3, 2.0)
VISITS = GraphRule(0.46, 0.26, 0.39, 0.41, 34.0, 0.75)
STARTS = (GraphRule(), PLACES, FILMS, VISITS)
STEPS = {
    "select_power": 0.15,
    "target_power": 0.15,
    "ridge": 3.0,  # a factor
    "row_power": 0.15,
    "user_power": 0.15,
    "source_power": 0.1,
}
DIMS = {False: (256, 128), True: (64, 128)}  # by whether histories are long
LARGE = 2**22  # pairs from which on widths are compared after few epochs
EPOCHS = {False: (5, 8), True: (2, 5)}  # of all widths and of the best, by whether pairs are many
POWER_STEPS = (0.2, 0.1)  # of popularity
MIXES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True, slots=True)
class Trial:
    """One look at the held-out pairs.

    Attributes
    ----------
    part : {"graph", "factors", "mix", "popularity", "recent popularity"}
        What was looked at.
    plan : Plan
        What was tried.
    k : int
        Length of the lists.
    recall, ndcg : float
        How good they were.
    """

    part: str
    plan: Plan
    k: int
    recall: float
    ndcg: float

    @property
    def worth(self) -> float:
        """Mean of both metrics."""
        return (self.recall + self.ndcg) / 2

    def metrics(self) -> dict[str, float]:
        """Return recall and NDCG by name."""
        return {f"recall@{self.k}": self.recall, f"ndcg@{self.k}": self.ndcg}


class Judge:
    """Judges what is learned from `base` by the lists of some users and their held-out items.

    Where only a share of the items are targets, no other stands in a list, and lists are so much
    shorter: they hold about what longer ones of all items would hold of the targets.
    """

    def __init__(self, base: CSR, held: CSR, targets: NDArray[np.bool_]) -> None:
        self.base, self.counts = base, base.column_counts
        share = float(targets.mean())
        self.permitted = None if share == 1 else np.flatnonzero(targets)
        k = min(K, max(base.shape[1] // SHORT, 1))
        self.k = max(round(k * share), min(k, SHORTEST))
        held = held.only(targets[held.indices])
        with_held = np.flatnonzero(held.row_counts)
        most = min(round(JUDGES / share), MOST_JUDGES)
        few = with_held[
            np.linspace(0, with_held.size - 1, min(with_held.size, most)).astype(np.int64)
        ]
        is_judge = np.zeros(held.shape[0], np.bool_)
        is_judge[few] = True
        self.held = held.only(np.repeat(is_judge, held.row_counts))

    def look(self, part: str, plan: Plan, graph: CSR | None, factors: Factors | None) -> Trial:
        """Return how good the lists of a graph, of factors or of both are."""
        return self._trial(part, plan, HistoryScores(self.base, ItemTables(graph, factors)))

    def popular(self, part: str, plan: Plan, counts: NDArray[Any]) -> Trial:
        """Return how good the same list for all is, by counts of the items."""
        row = counts.astype(np.float32)
        return self._trial(part, plan, lambda users: np.tile(row, (users.size, 1)))

    def _trial(self, part: str, plan: Plan, scores: Scores) -> Trial:
        found = ranking_metrics(scores, self.held, self.base, self.k, self.permitted)
        recall, ndcg = (found[f"{name}@{self.k}"] or 0.0 for name in ("recall", "ndcg"))
        return Trial(part, plan, self.k, recall, ndcg)

    def blended(self, part: str, plan: Plan, graph: CSR, table: CSR) -> Trial:
        """Return how good the lists of both are, mixed as planned."""
        alone = factors_of(table, self.counts, plan.factors)
        ratio = match_scales(self.base, graph, alone, self.permitted)
        scaled = graph.with_data(np.float32((1 - plan.mix) * ratio) * graph.data)
        return self.look(part, plan, scaled, factors_of(table, self.counts, plan.factors, plan.mix))


def targets_to_try(sides: Incidence, weights: int) -> NDArray[np.bool_]:
    """Return which targets are learned in a trial: all, or a share that costs about `WORK`.

    They are spread over all popularities.
    """
    share = min(max(WORK / work_of_graph(sides, weights), LEAST_SHARE), 1.0)
    n_items = sides.counts.size
    steps = np.floor(np.arange(n_items + 1) * share + 0.5)
    targets = np.empty(n_items, np.bool_)
    targets[np.argsort(sides.counts, kind="stable")] = np.diff(steps) > 0
    return targets


def first_plan(matrix: CSR, graph_share: float) -> Plan:
    """Return what suits the lengths of the histories, to begin with."""
    if has_long_histories(matrix):
        return Plan(FILMS, LatentRule(dim=min(64, matrix.shape[1])), graph_share, 0.5)
    rule = LatentRule()
    return Plan(GraphRule(), replace(rule, dim=min(rule.dim, matrix.shape[1])), graph_share, 0.4)


def has_long_histories(matrix: CSR) -> bool:
    """Return whether users took many items in the mean."""
    return matrix.nnz >= LONG * matrix.shape[0]


def search(
    base: CSR,
    held: CSR,
    weights: int,
    start: Plan,
    trials: int,
    n_threads: int = 1,
    recent: NDArray[np.float64] | None = None,
) -> Generator[Trial, None, Plan]:
    """Yield each trial, and return the best plan.

    Factors are learned once for each width, the best for longer; their power of popularity, which
    takes no learning, is chosen with each. Then the graph is climbed, in the blend with these
    factors, as what is good alone need not be what they lack: one exponent after the other is
    moved up or down where that makes lists better, until `trials` graphs have been learned. The
    mix comes last. Where interactions are very many, the graphs of trials are learned for some
    targets only. At the end lists of what is popular, and popular of late, are looked at by the
    same judge, to compare with.
    """
    everything = Judge(base, held, np.ones(base.shape[1], np.bool_))
    judge = everything
    n_graph = round(start.graph_share * weights)
    plan, graph, table = start, None, None
    if weights - n_graph:
        plan, table = yield from _widths(everything, plan, weights - n_graph, n_threads)
    if n_graph:
        sides = Incidence.of(base)
        targets = targets_to_try(sides, n_graph)
        judge = Judge(base, held, targets)

        def learn(rule: GraphRule) -> CSR:
            return learn_graph(sides, n_graph, rule, targets=targets, n_threads=n_threads)

        plan, graph = yield from _climb(judge, plan, learn, table, trials)
    if graph is not None and table is not None:
        plan = yield from _mixes(judge, plan, graph, table)
    yield judge.popular("popularity", plan, base.column_counts)
    if recent is not None:
        yield judge.popular("recent popularity", plan, recent)
    return plan


def _climb(
    judge: Judge, plan: Plan, learn: Callable[[GraphRule], CSR], table: CSR | None, trials: int
) -> Generator[Trial, None, tuple[Plan, CSR]]:
    """Try rules for the graph, and return the plan with the best, and its graph."""

    def attempt(rule: GraphRule) -> tuple[Trial, CSR]:
        graph, tried = learn(rule), replace(plan, graph=rule)
        if table is None:
            return judge.look("graph", tried, graph, None), graph
        return judge.blended("graph", tried, graph, table), graph

    best, graph = attempt(plan.graph)
    yield best
    tried = {plan.graph}
    starts = [rule for rule in STARTS if rule != plan.graph]
    fields, idle = cycle(STEPS), 0
    while len(tried) < trials and idle < len(STEPS):
        if starts:
            rules = [starts.pop(0)]
        else:
            field, idle = next(fields), idle + 1
            rules = [_moved(best.plan.graph, field, sign) for sign in (1, -1)]
        for rule in rules:
            if rule in tried or len(tried) == trials:
                continue
            tried.add(rule)
            trial, learned = attempt(rule)
            yield trial
            if trial.worth > best.worth:
                best, graph, idle = trial, learned, 0
                break
    return best.plan, graph


def _moved(rule: GraphRule, field: str, sign: int) -> GraphRule:
    """Return a rule with one number a step up or down."""
    value = getattr(rule, field)
    step = STEPS[field]
    moved = value * step**sign if field == "ridge" else max(value + sign * step, 0.0)
    return replace(rule, **{field: round(moved, 6)})


def _widths(
    judge: Judge, plan: Plan, weights: int, n_threads: int
) -> Generator[Trial, None, tuple[Plan, CSR]]:
    """Learn factors of some widths, the best for longer; return the best plan, and its table."""
    found: list[tuple[Trial, CSR]] = []
    epochs, more = EPOCHS[judge.base.nnz >= LARGE]

    def attempt(rule: LatentRule) -> Generator[Trial, None, None]:
        room = judge.base.shape[1] * rule.dim
        table = learn_factors(judge.base, min(weights, room), rule, n_threads=n_threads)
        trial = yield from _powers(judge, replace(plan, factors=rule), table)
        found.append((trial, table))

    # A catalogue of few items has no use for more columns than items.
    widths = (min(dim, judge.base.shape[1]) for dim in DIMS[has_long_histories(judge.base)])
    for dim in dict.fromkeys(widths):
        yield from attempt(replace(plan.factors, dim=dim, epochs=epochs))
    best = max(found, key=lambda one: one[0].worth)[0].plan.factors
    yield from attempt(replace(best, epochs=more))
    trial, table = max(found, key=lambda one: one[0].worth)
    return trial.plan, table


def _powers(judge: Judge, plan: Plan, table: CSR) -> Generator[Trial, None, Trial]:
    """Serve factors with several powers of popularity, and return the best trial."""
    tried: dict[float, Trial] = {}
    best = plan.factors.target_power
    for step in POWER_STEPS:
        for power in (best, best - step, best + step):
            if round(power, 2) in tried:
                continue
            rule = replace(plan.factors, target_power=round(power, 2))
            factors = factors_of(table, judge.counts, rule)
            trial = judge.look("factors", replace(plan, factors=rule), None, factors)
            tried[rule.target_power] = trial
            yield trial
        best = max(tried, key=lambda power: tried[power].worth)
    return tried[best]


def _mixes(judge: Judge, plan: Plan, graph: CSR, table: CSR) -> Generator[Trial, None, Plan]:
    """Try shares of the factors in the score, and return the best plan."""
    trials = []
    for mix in MIXES:
        trials.append(judge.blended("mix", replace(plan, mix=mix), graph, table))
        yield trials[-1]
    return max(trials, key=lambda trial: trial.worth).plan
