"""One exchange of weights between two sparse tables: what goes, what comes, within what bounds."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.recipes import Recipe
from recsys.steps import Table, gradient_blocks
from sparsenum import topology
from sparsenum.sparse import CSR, transpose
from sparsenum.topology import Rewiring

FLOOR = 1  # weights that every row keeps: the budget promises one to each user and item

Blocks = Iterator[tuple[int, NDArray[Any]]]


class Tables(NamedTuple):
    """The two tables being trained."""

    users: Table
    items: Table

    @property
    def n_weights(self) -> int:
        """Active weights of both."""
        return self.users.weights.nnz + self.items.weights.nnz

    @property
    def n_optimiser_floats(self) -> int:
        """Numbers of optimiser state of both."""
        return self.users.state.size + self.items.state.size


class Pull:
    """How much each position wants to move, active or not: the gradient, in blocks of rows.

    With D the derivative of the loss with respect to the scores, the gradient of the users' table
    is D V and that of the items' D' U. It can be read as often as needed.
    """

    def __init__(self, derivative: CSR | None, tables: Tables) -> None:
        self.users, self.items = tables.users.weights, tables.items.weights
        self.by_user = derivative
        self.by_item = None if derivative is None else transpose(derivative)

    def on_users(self) -> Blocks:
        """Yield |D V|."""
        return _blocks(self.by_user, self.items, self.users.shape)

    def on_items(self) -> Blocks:
        """Yield |D' U|."""
        return _blocks(self.by_item, self.users, self.items.shape)

    def on_both(self) -> Blocks:
        """Yield the first above the second."""
        n = self.users.shape[0]
        return chain(self.on_users(), ((n + first, block) for first, block in self.on_items()))


def _blocks(derivative: CSR | None, other: CSR, shape: tuple[int, int]) -> Blocks:
    return (
        topology.no_preference(shape) if derivative is None else gradient_blocks(derivative, other)
    )


def exchange(
    recipe: Recipe,
    derivative: CSR | None,
    tables: Tables,
    fraction: float,
    rng: np.random.Generator,
) -> tuple[Rewiring, Rewiring]:
    """Drop the weights worth least and grow where the gradient is largest, or by lot without."""
    users, items = tables.users.weights, tables.items.weights
    pull = Pull(derivative, tables)

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
