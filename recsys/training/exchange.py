"""One exchange of weights between two sparse tables, within the bounds of each row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.training.gradient import Derivative, Pull
from recsys.training.tables import Tables
from sparsenum import topology
from sparsenum.sparse import CSR
from sparsenum.topology import Rewiring
from sparsenum.topology.recipe import Recipe

FLOOR = 1  # weights that every row keeps: the budget promises one to each user and item


def exchange(
    recipe: Recipe,
    derivative: Derivative | None,
    tables: Tables,
    fraction: float,
    rng: np.random.Generator,
) -> tuple[Rewiring, Rewiring]:
    """Drop what is worth least; grow where the gradient is largest, or at random without one."""
    users, items = tables.users.weights, tables.items.weights
    pull = Pull(derivative, users, items)

    def rewired(table: CSR, gradient: Any) -> Rewiring:
        scores = worth(recipe, table, gradient)
        if recipe.scope == "row":
            quota: Any = (fraction * table.row_counts).astype(np.int64)
        else:
            scores = topology.protect_rows(table, scores, FLOOR)
            quota = min(int(fraction * table.nnz), int(np.isfinite(scores).sum()))
        return topology.rewire(table, scores, quota, gradient(), rng=rng)

    if recipe.scope == "global":
        both = rewired(topology.stack(users, items), pull.on_both)
        return both.split(users.shape[0], users.nnz)
    return rewired(users, pull.on_users), rewired(items, pull.on_items)


def worth(recipe: Recipe, table: CSR, gradient: Any) -> NDArray[np.floating[Any]]:
    """Return what each weight is worth, so that the least can go."""
    if recipe.drop == "set":
        return topology.signed_rank(table, by_row=recipe.scope == "row")
    if recipe.drop == "taylor":
        return topology.taylor(table, gradient())
    return topology.row_share(table) if recipe.drop == "row-share" else topology.magnitude(table)


def shrink(recipe: Recipe, tables: Tables, weights: int) -> tuple[Rewiring, Rewiring]:
    """Drop the smallest weights of both tables until `weights` are left."""
    users, items = tables.users.weights, tables.items.weights
    both = topology.stack(users, items)
    floor = max(FLOOR, int(recipe.floor * weights / both.shape[0]))
    scores = topology.protect_rows(both, topology.magnitude(both), floor)
    return topology.prune(both, scores, both.nnz - weights).split(users.shape[0], users.nnz)
