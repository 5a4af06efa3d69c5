"""How good the lists of a model are on held-out pairs, as a dict and by user."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from recsys.data.interactions import Interactions, read_pairs
from recsys.data.table import Source, open_table
from recsys.evaluation.metrics import rank_at
from recsys.evaluation.protocol import warn_of_drift
from recsys.serving.fitted import Fitted, ids_of
from sparsenum._device import Device


def evaluate(
    model: Fitted,
    test: Source,
    lengths: Sequence[int],
    user: str | None,
    item: str | None,
    per_user: bool,
    valid: Source | None,
    device: Device,
) -> dict[str, Any]:
    """Return the metrics of lists of each length, and what was left out."""
    _check_table(test, "test")
    if valid is not None:
        _check_table(valid, "valid")
    columns: dict[str, Any] = {
        "user": user or str(model.columns_["user"]),
        "item": item or str(model.columns_["item"]),
        "users": model.users_,
        "items": model.items_,
        "weight": model.columns_["weight"],
        "time": model.columns_["time"],
        "reading": model.reading_,
    }
    held, unknown_users, unknown_items, touched = read_pairs(test, **columns)
    if valid is not None:
        warn_of_drift(model.seen_, read_pairs(valid, **columns).matrix, held)
    found = rank_at(model.scorer_on(device), held, model.hidden, lengths, model.popularity_)
    if not found[0].users.size:
        raise ValueError(
            "test must hold liked pairs of known users and items that training has not seen: got "
            f"none, with {unknown_users:,} rows of unknown users, {unknown_items:,} of unknown "
            f"items, and {touched.nnz:,} pairs not liked; check that it is of the same ids"
        )
    result: dict[str, Any] = {}
    for metrics in found:
        result |= metrics.means()
    result |= {
        "unknown_users": unknown_users,
        "unknown_items": unknown_items,
        "not_liked": touched.nnz,
    }
    if per_user:
        arrays = {
            f"{name}@{metrics.k}": values
            for metrics in found
            for name, values in metrics.per_user.items()
        }
        users = {"user": ids_of(model.users_, found[0].users), "held": found[0].held}
        result["per_user"] = pl.DataFrame(users | arrays)
    return result


def _check_table(table: object, name: str) -> None:
    """Raise where held-out pairs are no table, in the caller's word for them."""
    if isinstance(table, Interactions):
        raise TypeError(
            f"{name} must be a table or a path: got Interactions; pass what they were read from"
        )
    open_table(table, {}, name=name)  # type: ignore[arg-type]
