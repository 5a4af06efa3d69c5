"""The dense rival of a sparse model: a narrower table of as many bytes."""

from typing import Any

from recsys.data.interactions import Interactions
from recsys.data.required import require_interactions
from recsys.factors.sparse_mf import SparseMF
from recsys.storage.budget import INDEX_BYTES, ROW_BYTES, VALUE_BYTES, parse_budget


def dense_mf(
    train: Interactions, *, budget: int | str = "5%", dim: int = 256, **options: Any
) -> SparseMF:
    """Return an untrained dense model whose tables take the bytes of a sparse model's.

    A dense table needs no columns and no lengths of rows, so it holds more weights for the same
    bytes; but its rows are as short as that makes them.

    Parameters
    ----------
    train : Interactions
        What it will be trained on; the number of users and items counts.
    budget, dim
        Of the `SparseMF` to compare with.
    **options
        Other parameters of `SparseMF`: epochs, learning_rate, weight_decay, seed.

    Returns
    -------
    SparseMF
        With density 1 and as many columns as the bytes buy, one at least. In files and in
        `report` its values alone are to be counted.

    See Also
    --------
    recsys.SparseMF : under a budget.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> table = pl.DataFrame({"user": [1, 2, 3], "item": [1, 1, 2]})
    >>> train = recsys.Interactions.read(table, user="user", item="item")
    >>> recsys.dense_mf(train, budget="10%").dim
    38
    """
    require_interactions(train)
    n_rows = train.n_users + train.n_items
    weights = parse_budget(budget, n_rows, dim)
    size = weights * (VALUE_BYTES + INDEX_BYTES) + n_rows * ROW_BYTES
    columns = max(1, min(dim, size // (VALUE_BYTES * n_rows)))
    return SparseMF(budget="100%", dim=columns, recipe="static", **options)
