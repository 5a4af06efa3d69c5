"""Recommenders to compare: ours and those of peers, which are large and slow under --full only."""

from functools import partial
from typing import Any

from benches.recommending.public_sets import Learner, Outcome, Problem, problem
from benches.recommending.tuning import BEST, tuned
from recsys import EASE, SANSA, ItemBlend, Popularity, RP3beta, SparseMF, UserKNN, dense_mf
from recsys.blend.graph import GraphRule, learn_graph
from recsys.blend.plan import Plan
from recsys.scores.history_scores import HistoryScores, ItemTables

PLAIN = 1e6  # a ridge under which a graph counts and no longer solves

PLANS: dict[str, Plan] = {}  # by name of the problem, once chosen


def plan(name: str) -> Plan:
    """Return what the blend chooses at a quarter of the weights, for other budgets to use."""
    some = problem(name)
    if some.name not in PLANS:
        blend(some)
    return PLANS[some.name]


def outcome(model: Any) -> Outcome:
    """Return what a fitted model of ours is made of."""
    report = model.report()
    size = sum(report.get(f"bytes_{what}", 0) for what in ("values", "indices", "rows"))
    # Entries of those that choose are trials, not passes.
    passes = sum("optimizer_floats" in entry for entry in vars(model).get("history_", ()))
    return Outcome(model.scorer, report["weights"], size, passes or None)


def blend(some: Problem, *, chosen: Plan | None = None, **options: Any) -> Outcome:
    """Learn the default model, with what to choose included unless it is given."""
    if chosen is None:
        model = ItemBlend(**options).fit(some.train, valid=some.valid)
        PLANS[some.name] = model.plan_
        return outcome(model)
    return outcome(ItemBlend(**options).fit(some.train, plan=chosen))


def ours(kind: Any, some: Problem, **options: Any) -> Outcome:
    """Learn another model of ours."""
    return outcome(kind(**options).fit(some.train))


def dense_equal(some: Problem, share: float = 0.25) -> Outcome:
    """Learn dense tables by SGD that take the bytes of that share of sparse weights."""
    return dense(outcome(dense_mf(some.train, budget=f"{100 * share}%", dim=64).fit(some.train)))


def dense(found: Outcome) -> Outcome:
    """Return what a model is made of whose tables are full: they need no indices."""
    return found._replace(bytes=4 * found.weights)


def plain_graph(some: Problem, share: float = 0.25) -> Outcome:
    """Return a graph of the items most often taken together, of a share of the weights."""
    matrix = some.train.matrix
    graph = learn_graph(matrix, round(share * 64 * sum(matrix.shape)), GraphRule(ridge=PLAIN))
    size = graph.data.nbytes + graph.indices.nbytes
    return Outcome(HistoryScores(matrix, ItemTables(graph, None)), graph.nnz, size)


QUICK_PEER = "implicit ALS, 64 columns"  # which fits into minutes
FEW_ITEMS = ("shop", "ml1m_ultragcn")  # on whose catalogues a model of all pairs fits


def learners(name: str, *, full: bool = True) -> dict[str, Learner]:
    """Return what is to be compared on a problem: all, or what fits into minutes."""
    found: dict[str, Learner] = {
        "blend, 25 %, with choosing": blend,
        "blend, 25 %": budgeted(name, 25),
        "blend, 25 %, int8": budgeted(name, 25, values="int8"),
        "popularity": partial(ours, Popularity),
        "plain graph, 25 %": plain_graph,
        "RP3beta": partial(ours, RP3beta),
        "UserKNN": partial(ours, UserKNN),
        QUICK_PEER: tuned(QUICK_PEER, name),
    }
    if name in FEW_ITEMS:
        found |= {
            "EASE, dense": lambda some: dense(ours(EASE, some, budget="100%")),
            "SANSA, 1 % of EASE": partial(ours, SANSA, budget="1%"),
        }
    return found | slow_learners(name) if full else found


def slow_learners(name: str) -> dict[str, Learner]:
    """Return other budgets, what takes longer, and what is there for completeness."""
    return {f"blend, {share} %": budgeted(name, share) for share in (12.5, 50, 100)} | {
        "SparseMF, dynamic": partial(ours, SparseMF),
        "dense MF of equal bytes": dense_equal,
        **{peer: tuned(peer, name) for peer in BEST if name in BEST[peer] and peer != QUICK_PEER},
    }


def budgeted(name: str, share: float, **options: Any) -> Learner:
    """Return the default model at some budget, by what was chosen at a quarter."""
    return lambda some: blend(some, chosen=plan(name), budget=f"{share}%", **options)
