"""Choosing how to learn and mix the parts of a blend: a short climb on held-out pairs."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.blend.graph import GraphRule, learn_graph, work_of_graph
from recsys.blend.incidence import Incidence
from recsys.blend.judge import Cut, Jury, Trial
from recsys.blend.latent import LatentRule, learn_factors
from recsys.blend.parts import Parts
from recsys.blend.plan import Plan
from recsys.blend.shares import (
    BEGIN,
    MOSTLY_WALKS,
    climb_walks,
    share_out,
    shares_of,
    with_popularity,
    with_shares,
)
from recsys.scores.history_scores import ItemTables
from sparsenum.sparse import CSR

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
MARGIN = 0.01  # by which walks must make a blend better to be paid for,
CLEARLY = 0.05  # and by which they must alone be better than what would be climbed from

Looks = Generator[Trial, None, Plan]


@dataclass(frozen=True)
class Search:
    """The pairs that a search learns from and judges by, and the budget that it may spend.

    Attributes
    ----------
    cuts : sequence of (CSR, CSR)
        What to learn from while choosing, and what to judge by; several of small tables.
    weights : int
        The budget.
    trials : int
        Graphs to learn on each cut, at most.
    left : int
        What is left of the budget where walks are paid; 0 if they are not to be tried.
    n_threads : int
        Threads to learn with.
    recent : ndarray, optional
        What recent events make of each item, to compare with.
    """

    cuts: Sequence[Cut]
    weights: int
    trials: int
    left: int = 0
    n_threads: int = 1
    recent: NDArray[np.float64] | None = None


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


def search(asked: Search, start: Plan) -> Looks:
    """Yield each trial, and return the best plan.

    Walks come first, as they take no learning. Factors are learned once for each width, the best
    for longer; their power of popularity, which takes no learning, is chosen with each. Then the
    graph is climbed, in the blend with these factors, as what is good alone need not be what they
    lack: one exponent after the other is moved up or down where that makes lists better, until
    `trials` graphs have been learned; or not at all where walks alone are better than what the
    climb begins with. Then the mix is chosen, whether walks are worth their price, and whether
    popularity has a share. Where interactions are very many, the graphs of trials are learned for
    some targets only. At the end lists of what is popular, and popular of late, are looked at by
    the same judges, to compare with.

    In small tables, which are cut several times, and wherever walks are concerned, all is kept as
    it was where what is better is not so by more than the standard error.
    """
    bases = [base for base, _ in asked.cuts]
    nothing: Sequence[Parts] = [Parts(base, None, None) for base in bases]
    everything = Jury(asked.cuts)
    walks = (yield from climb_walks(everything, start, nothing)) if asked.left else None
    plan, parts = start if walks is None else walks.plan, nothing
    n_graph = round(plan.graph_share * asked.weights)
    if asked.weights - n_graph:
        plan, parts = yield from _widths(asked, everything, plan, walks)
    learn = _GraphsOf(asked, n_graph)
    jury, bar = everything, walks
    if learn.targets is not None:
        jury = Jury(asked.cuts, learn.targets)
        bar = walks and jury.look("walks", plan, [of.walks(plan) for of in parts])
    if n_graph:
        plan, parts = yield from _climb(
            jury, plan, partial(learn, weights=n_graph), parts, asked.trials, bar
        )
    best = yield from _mixes(jury, plan, parts, bar)
    if walks is not None:
        best, parts = yield from _with_walks(asked, jury, best, parts, learn)
    popular = jury.popular("popularity", best.plan, lambda base: base.column_counts)
    best = yield from with_popularity(jury, best, popular, parts)
    yield popular
    recent = asked.recent
    if recent is not None:
        yield jury.popular("recent popularity", best.plan, lambda _: recent)
    return best.plan


class _GraphsOf:
    """Learns a graph of each cut, for all targets or for those that stand for all."""

    def __init__(self, asked: Search, weights: int) -> None:
        self.sides = [Incidence.of(base) for base, _ in asked.cuts]
        targets = targets_to_try(self.sides[0], weights)
        self.targets = None if targets.all() else targets
        self.n_threads = asked.n_threads

    def __call__(self, rule: GraphRule, weights: int) -> list[CSR]:
        options: dict[str, Any] = {"targets": self.targets, "n_threads": self.n_threads}
        return [learn_graph(sides, weights, rule, **options) for sides in self.sides]


def _climb(
    jury: Jury,
    plan: Plan,
    learn: Callable[[GraphRule], list[CSR]],
    parts: Sequence[Parts],
    trials: int,
    walks: Trial | None,
) -> Generator[Trial, None, tuple[Plan, Sequence[Parts]]]:
    """Try rules for the graph, and return the plan with the best, and all parts with its graph.

    None but the first is tried where walks alone are better.
    """

    def attempt(rule: GraphRule) -> tuple[Trial, Sequence[Parts]]:
        with_graph = [
            replace(of, graph=graph) for of, graph in zip(parts, learn(rule), strict=True)
        ]
        return jury.blended("graph", replace(plan, graph=rule), with_graph), with_graph

    best, found = attempt(plan.graph)
    yield best
    if walks is not None and walks.beats(best, CLEARLY):
        return best.plan, found
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
            if jury.prefers(trial, best):
                best, found, idle = trial, learned, 0
                break
    return best.plan, found


def _moved(rule: GraphRule, field: str, sign: int) -> GraphRule:
    """Return a rule with one number a step up or down."""
    value = getattr(rule, field)
    step = STEPS[field]
    moved = value * step**sign if field == "ridge" else max(value + sign * step, 0.0)
    return replace(rule, **{field: round(moved, 6)})


def _widths(
    asked: Search, jury: Jury, plan: Plan, walks: Trial | None
) -> Generator[Trial, None, tuple[Plan, Sequence[Parts]]]:
    """Learn factors of some widths, the best for longer; return the best plan, and its tables.

    None but the first is learned where walks alone are better.
    """
    best: tuple[Trial, Sequence[Parts]] | None = None
    base = asked.cuts[0][0]
    weights = asked.weights - round(plan.graph_share * asked.weights)
    epochs, more = EPOCHS[base.nnz >= LARGE]

    def attempt(rule: LatentRule) -> Generator[Trial, None, tuple[Trial, Sequence[Parts]]]:
        parts = [
            Parts(base, None, _table_of(base, weights, rule, asked.n_threads))
            for base, _ in asked.cuts
        ]
        return (yield from _powers(jury, replace(plan, factors=rule), parts)), parts

    # A catalogue of few items has no use for more columns than items.
    widths = (min(dim, base.shape[1]) for dim in DIMS[has_long_histories(base)])
    rules = [replace(plan.factors, dim=dim, epochs=epochs) for dim in dict.fromkeys(widths)]
    for rule in rules:
        found = yield from attempt(rule)
        best = found if best is None or jury.prefers(found[0], best[0]) else best
        if walks is not None and walks.beats(best[0], CLEARLY):
            return best[0].plan, best[1]
    assert best is not None
    found = yield from attempt(replace(best[0].plan.factors, epochs=more))
    trial, parts = found if jury.prefers(found[0], best[0]) else best
    return trial.plan, parts


def _table_of(base: CSR, weights: int, rule: LatentRule, n_threads: int) -> CSR:
    return learn_factors(base, min(weights, base.shape[1] * rule.dim), rule, n_threads=n_threads)


def _powers(jury: Jury, plan: Plan, parts: Sequence[Parts]) -> Generator[Trial, None, Trial]:
    """Serve factors with several powers of popularity, and return the best trial."""
    tried: dict[float, Trial] = {}
    best = round(plan.factors.target_power, 2)
    for step in POWER_STEPS:
        middle = best
        for power in (middle, middle - step, middle + step):
            power = round(power, 2)
            if power in tried:
                continue
            with_power = replace(plan, factors=replace(plan.factors, target_power=power))
            tables = [ItemTables(None, of.factors(with_power, 1.0)) for of in parts]
            tried[power] = jury.look("factors", with_power, tables)
            yield tried[power]
            if jury.prefers(tried[power], tried[best]):
                best = power
    return tried[best]


def _mixes(
    jury: Jury, plan: Plan, parts: Sequence[Parts], walks: Trial | None
) -> Generator[Trial, None, Trial]:
    """Try shares of the factors in the score, and return the best trial.

    None but the first is tried where walks alone are better: those of all parts come after.
    """
    best = jury.blended("mix", plan, parts)
    yield best
    behind = walks is not None and walks.beats(best, CLEARLY)
    if not behind and all(of.has_both for of in parts):
        trials = []
        for mix in MIXES:
            if mix != plan.mix:
                trials.append(jury.blended("mix", replace(plan, mix=mix), parts))
                yield trials[-1]
        other = max(trials, key=lambda trial: trial.worth)
        best = other if jury.prefers(other, best) else best
    return best


def _with_walks(
    asked: Search, jury: Jury, best: Trial, parts: Sequence[Parts], learn: _GraphsOf
) -> Generator[Trial, None, tuple[Trial, Sequence[Parts]]]:
    """Give walks a share where they are worth what they cost; return the trial, and its parts.

    They are looked at as if they cost nothing, and then with graph and factors of what they leave.
    """
    graph, factors, _ = shares_of(best.plan)
    half = [graph * (1 - BEGIN), factors * (1 - BEGIN), BEGIN]
    first, other = (
        jury.blended("shares", with_shares(best.plan, shares), parts)
        for shares in (MOSTLY_WALKS, half)
    )
    yield from (first, other)
    shared = yield from share_out(jury, other if other.beats(first) else first, parts)
    if not shared.plan.walk_share or not shared.beats(best, MARGIN):
        return best, parts
    plan = shared.plan
    n_graph, n_factors = plan.weights_of_parts(asked.left, asked.cuts[0][0].shape[1], 0)
    graphs = learn(plan.graph, n_graph) if n_graph else [None] * len(parts)
    paid = [
        Parts(
            of.matrix,
            graph,
            _table_of(of.matrix, n_factors, plan.factors, asked.n_threads) if n_factors else None,
        )
        for of, graph in zip(parts, graphs, strict=True)
    ]
    trial = jury.blended("walks", plan, paid)
    yield trial
    return (trial, paid) if trial.beats(best, MARGIN) else (best, parts)
