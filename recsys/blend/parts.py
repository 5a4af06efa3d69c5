"""The parts of a blend: learned from one matrix, brought to one level, and mixed."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.blend.graph import learn_graph
from recsys.blend.latent import LatentRule, learn_factors, user_map
from recsys.blend.plan import Plan
from recsys.blend.walk import walks_over
from recsys.scores.history_scores import Factors, HistoryScores, ItemTables
from sparsenum.sparse import CSR

LEVEL_USERS = 300  # users on whom the parts are brought to one level,
LEVEL_PLACE = 20  # by the mean score at this place of their lists,
SHORT = 10  # or, of a catalogue up to 10 times as long, of lists of a tenth of it


@dataclass(frozen=True)
class Parts:
    """The parts that are learned of one matrix; what follows from them is computed once.

    Attributes
    ----------
    matrix : CSR, shape (n_users, n_items)
        What users took: walks read it, and its counts are popularity.
    graph : CSR, shape (n_items, n_items), optional
        The graph as learned.
    table : CSR, shape (n_items, dim), optional
        Rows of the factors.
    """

    matrix: CSR
    graph: CSR | None
    table: CSR | None
    known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def has_both(self) -> bool:
        """Whether there is a graph as well as factors."""
        return all(part is not None and part.nnz for part in (self.graph, self.table))

    def walks(self, plan: Plan) -> ItemTables:
        """Return walks alone."""
        return ItemTables(None, None, walks_over(self.matrix, plan.walk))

    def popularity(self) -> ItemTables:
        """Return popularity alone."""
        return ItemTables(None, None, None, popularity_of(self.matrix))

    def factors(self, plan: Plan, scale: float) -> Factors | None:
        """Return the factors by which items are scored, if any were learned."""
        table, rule = self.table, plan.factors
        if table is None or not table.nnz:
            return None
        key = "user map", rule.user_ridge
        if key not in self.known:
            self.known[key] = user_map(table, rule).astype(np.float32)
        return scaled_factors(table, self.matrix.column_counts, rule, scale, self.known[key])

    def level(self, plan: Plan, part: str, permitted: NDArray[np.int64] | None) -> float:
        """Return the level of the scores of a part by itself; see `level_of`."""
        rule = {"factors": plan.factors, "walks": plan.walk}.get(part)
        key = part, rule, 0 if permitted is None else permitted.size
        if key not in self.known:
            tables = {
                "graph": lambda: ItemTables(self.graph, None),
                "factors": lambda: ItemTables(None, self.factors(plan, 1.0)),
                "walks": lambda: self.walks(plan),
                "popularity": self.popularity,
            }[part]()
            self.known[key] = level_of(self.matrix, tables, permitted)
        level: float = self.known[key]
        return level

    def mixed(self, plan: Plan, permitted: NDArray[np.int64] | None = None) -> ItemTables:
        """Return all parts in the shares of a plan, once they are on one level."""
        scales = scales_of(self, plan, permitted)
        graph = self.graph
        if graph is not None:
            graph = graph.with_data(np.float32(scales.graph) * graph.data)
        return ItemTables(
            graph,
            self.factors(plan, scales.factors),
            walks_over(self.matrix, plan.walk, scales.walks) if plan.walk_share else None,
            popularity_of(self.matrix, scales.popularity) if plan.popularity_share else None,
        )


@dataclass(frozen=True, slots=True)
class Scales:
    """The factor of the scores of each part in a blend."""

    graph: float = 1.0
    factors: float = 1.0
    walks: float = 1.0
    popularity: float = 1.0


def learn_parts(matrix: CSR, weights: int, plan: Plan, n_threads: int = 1) -> Parts:
    """Return a graph and factors of at most `weights` weights, together with what walks read.

    What one part has no room for goes to the other: a graph has at most an edge for each pair of
    items that share a user, and factors have a place for each item and column.
    """
    n_graph, n_factors = plan.weights_of_parts(weights, matrix.shape[1], matrix.nnz)
    graph = learn_graph(matrix, n_graph, plan.graph, n_threads=n_threads)
    if plan.rest and (plan.mix or not plan.walk_share):
        n_factors = min(n_graph + n_factors - graph.nnz, matrix.shape[1] * plan.factors.dim)
    return Parts(matrix, graph, learn_factors(matrix, n_factors, plan.factors, n_threads=n_threads))


def factors_of(table: CSR, counts: NDArray[Any], rule: LatentRule, mix: float = 1.0) -> Factors:
    """Return factors ready to score items with `counts` users each."""
    return scaled_factors(table, counts, rule, mix, user_map(table, rule).astype(np.float32))


def scaled_factors(
    table: CSR, counts: NDArray[Any], rule: LatentRule, scale: float, M: NDArray[np.float32]
) -> Factors:
    """Return factors with their map of users M, all scores multiplied by a scale."""
    users = np.maximum(counts, 1).astype(np.float64)
    return Factors(
        table,
        (users**-rule.item_power).astype(np.float32),
        (scale * users**rule.target_power).astype(np.float32),
        M,
    )


def popularity_of(matrix: CSR, scale: float = 1.0) -> NDArray[np.float32]:
    """Return the number of users of each item, multiplied by a scale."""
    return (scale * matrix.column_counts).astype(np.float32)


def scales_of(parts: Parts, plan: Plan, permitted: NDArray[np.int64] | None = None) -> Scales:
    """Return what each part is multiplied by to have its share, on the level of the factors.

    Without factors it is the level of the graph.
    """
    found = Scales(plan.rest, plan.rest * plan.mix)
    if not (parts.has_both or plan.walk_share or plan.popularity_share):
        return found

    def level(part: str) -> float:
        return parts.level(plan, part, permitted)

    by_graph = level("graph") if parts.graph is not None and parts.graph.nnz else 0.0
    reference = by_graph
    if parts.table is not None and parts.table.nnz:
        reference = level("factors")
        found = replace(found, graph=plan.rest * (1 - plan.mix) * ratio(reference, by_graph))
    if plan.walk_share:
        found = replace(found, walks=plan.walk_share * ratio(reference, level("walks")))
    if plan.popularity_share:
        own = level("popularity")
        found = replace(found, popularity=plan.popularity_share * ratio(reference, own))
    return found


def level_of(taken: CSR, tables: ItemTables, permitted: NDArray[np.int64] | None = None) -> float:
    """Return the mean score at one place of the lists of some users, 0 where there is none.

    Where only some items are permitted, lists are looked at that are so much shorter.
    """
    n_users, n_items = taken.shape
    rows = np.unique(np.linspace(0, n_users - 1, LEVEL_USERS).astype(np.int64))
    share = 1.0 if permitted is None else permitted.size / n_items
    k = max(round(min(LEVEL_PLACE, max(n_items // SHORT, 1)) * share), 1)
    last = HistoryScores(taken, tables).best(rows, k, taken, permitted).data[:, -1]
    used = np.isfinite(last) & (last > 0)
    return float(last[used].mean()) if used.any() else 0.0


def ratio(level: float, of: float) -> float:
    """Return by what scores are to be multiplied to come from one level to another."""
    return level / of if min(level, of) > 0 else 1.0
