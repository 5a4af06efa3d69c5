"""How good the lists of a model are on held-out pairs, as a dict and by user."""

from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.data.interactions import read_pairs
from recsys.data.table import Source
from recsys.evaluation.metrics import rank
from recsys.evaluation.protocol import warn_of_drift
from sparsenum._device import Device

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender


def evaluate(
    model: "Recommender",
    test: Source,
    k: int,
    user: str | None,
    item: str | None,
    per_user: bool,
    valid: Source | None,
    device: Device,
) -> dict[str, Any]:
    """Return the metrics of lists of k items, and what was left out."""
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
    metrics = rank(model.scorer_on(device), held, model.hidden, k, model.popularity_)
    result = metrics.means() | {
        "unknown_users": unknown_users,
        "unknown_items": unknown_items,
        "not_liked": touched.nnz,
    }
    if per_user:
        arrays = {f"{name}@{k}": values for name, values in metrics.per_user.items()}
        who = {"user": model.users_.gather(metrics.users), "held": metrics.held}
        result["per_user"] = pl.DataFrame(who | arrays)
    return result
