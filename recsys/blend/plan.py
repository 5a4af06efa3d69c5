"""The two parts of a blend, a graph and factors of items: learned, and brought to one level."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.blend.graph import GraphRule, learn_graph
from recsys.blend.latent import LatentRule, learn_factors, user_map
from recsys.scores.history_scores import Factors, HistoryScores, ItemTables
from sparsenum.sparse import CSR

LEVEL_USERS = 300  # users on whom the parts are brought to one level,
LEVEL_PLACE = 20  # by the mean score at this place of their lists


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of the blend: how its budget is shared and its parts are mixed.

    Attributes
    ----------
    graph : GraphRule
        How the graph is learned.
    factors : LatentRule
        How the factors are learned.
    graph_share : float
        Share of the weights that is the graph's.
    mix : float
        Share of the factors in the score, once both parts are on one level.

    See Also
    --------
    recsys.ItemBlend : which finds it, or takes it as `plan`.

    Examples
    --------
    >>> import numpy as np
    >>> import polars as pl
    >>> import recsys
    >>> rng = np.random.default_rng(0)
    >>> users, items = rng.integers(40, size=400), rng.integers(30, size=400)
    >>> events = pl.DataFrame({"user": users, "item": items})
    >>> train = recsys.Interactions.read(events, user="user", item="item")
    >>> plan = recsys.ItemBlend(budget="50%", trials=0).fit(train).plan_
    >>> plan.graph_share, plan.mix
    (0.5, 0.4)
    """

    graph: GraphRule
    factors: LatentRule
    graph_share: float
    mix: float


def learn_parts(matrix: CSR, weights: int, plan: Plan, n_threads: int = 1) -> tuple[CSR, CSR]:
    """Return a graph and factors of at most `weights` weights together.

    What one part has no room for goes to the other: a graph has at most an edge for each pair of
    items that share a user, and factors have a place for each item and column.
    """
    places = matrix.shape[1] * plan.factors.dim
    wanted = max(round(plan.graph_share * weights), weights - places)
    graph = learn_graph(matrix, wanted, plan.graph, n_threads=n_threads)
    left = min(weights - graph.nnz, places)
    return graph, learn_factors(matrix, left, plan.factors, n_threads=n_threads)


def factors_of(table: CSR, counts: NDArray[Any], rule: LatentRule, mix: float = 1.0) -> Factors:
    """Return factors ready to score items with `counts` users each."""
    users = np.maximum(counts, 1).astype(np.float64)
    return Factors(
        table,
        (users**-rule.item_power).astype(np.float32),
        (mix * users**rule.target_power).astype(np.float32),
        user_map(table, rule).astype(np.float32),
    )


def match_scales(
    taken: CSR, graph: CSR, factors: Factors, permitted: NDArray[np.int64] | None = None
) -> float:
    """Return by what a graph's scores are to be multiplied to be as large as those of factors.

    Where only some items are permitted, lists are looked at that are so much shorter.
    """
    n_users, n_items = taken.shape
    rows = np.unique(np.linspace(0, n_users - 1, LEVEL_USERS).astype(np.int64))
    share = 1.0 if permitted is None else permitted.size / n_items
    k = min(max(round(LEVEL_PLACE * share), 1), n_items)
    means = []
    for tables in (ItemTables(graph, None), ItemTables(None, factors)):
        last = HistoryScores(taken, tables).best(rows, k, taken, permitted).data[:, -1]
        used = np.isfinite(last) & (last > 0)
        means.append(float(last[used].mean()) if used.any() else 0.0)
    return means[1] / means[0] if min(means) > 0 else 1.0
