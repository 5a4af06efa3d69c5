"""One exchange of weights between two sparse tables, within the bounds of each row."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.training.gradient import Blocks, Derivative, Pull
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
    if recipe.scope == "global":
        both = rewired(recipe, topology.stack(users, items), pull.on_both, fraction, rng)
        return both.split(users.shape[0], users.nnz)
    return (
        rewired(recipe, users, pull.on_users, fraction, rng),
        rewired(recipe, items, pull.on_items, fraction, rng),
    )


def rewired(
    recipe: Recipe,
    table: CSR,
    gradient: Callable[[], Blocks],
    fraction: float,
    rng: np.random.Generator,
) -> Rewiring:
    """Exchange a share of one table, row by row or within the table as the recipe says."""
    scores = worth(recipe, table, gradient)
    if recipe.scope == "row":
        quota: Any = (fraction * table.row_counts).astype(np.int64)
    else:
        scores = topology.protect_rows(table, scores, FLOOR)
        quota = min(int(fraction * table.nnz), int(np.isfinite(scores).sum()))
    return topology.rewire(table, scores, quota, gradient(), rng=rng)


def worth(recipe: Recipe, table: CSR, gradient: Callable[[], Blocks]) -> NDArray[np.floating[Any]]:
    """Return what each weight is worth, so that the least can go."""
    if recipe.drop == "set":
        return topology.signed_rank(table, by_row=recipe.scope == "row")
    if recipe.drop == "taylor":
        return topology.taylor(table, gradient())
    return topology.row_share(table) if recipe.drop == "row-share" else topology.magnitude(table)


def shrink(recipe: Recipe, tables: Tables, weights: int) -> tuple[Rewiring, Rewiring]:
    """Drop the smallest weights of both tables until `weights` are left."""
    users, items = tables.users.weights, tables.items.weights
    both = shrunk(recipe, topology.stack(users, items), weights)
    return both.split(users.shape[0], users.nnz)


def shrunk(recipe: Recipe, table: CSR, weights: int) -> Rewiring:
    """Drop the smallest weights of a table until `weights` are left, some of them in each row."""
    floor = max(FLOOR, int(recipe.floor * weights / table.shape[0]))
    scores = topology.protect_rows(table, topology.magnitude(table), floor)
    return topology.prune(table, scores, table.nnz - weights)
