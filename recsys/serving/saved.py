"""What a model file says about users, items and what they have taken."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.report import Reading
from recsys.serving.fitted import Learned
from recsys.storage import files as storage
from recsys.storage.series import pack_series

Arrays = dict[str, NDArray[Any]]


def pack_history(model: Learned, histories: bool) -> tuple[dict[str, Any], Arrays]:
    """Return header and arrays of the ids and, where wanted, of what users have taken."""
    users, seen, touched = model.users_, model.seen_, model.touched_
    header: dict[str, Any] = {"columns": model.columns_, "reading": asdict(model.reading_)}
    arrays: Arrays = {}
    if not histories:
        if not model.can_forget:
            raise ValueError(
                f"histories must be kept for {type(model).__name__}, whose scores are made of "
                "them: got histories=False"
            )
        header["histories"] = False
        arrays["popularity"] = model.popularity_
        users = users if model.has_users else users[:0]
        counts, indices = np.zeros(users.len(), np.uint32), seen.indices[:0]
    else:
        counts, indices = seen.row_counts.astype(np.uint32), seen.indices
        if (seen.data != 1).any():
            arrays["seen_data"] = seen.data
        if touched is not None and touched.nnz:
            arrays["touched_counts"] = touched.row_counts.astype(np.uint32)
            arrays["touched_indices"] = touched.indices
    ids = {"users": pack_series(users), "items": pack_series(model.items_)}
    return header, ids | {"seen_counts": counts, "seen_indices": indices} | arrays


def unpack_history(model: Learned, header: dict[str, Any], arrays: Arrays) -> None:
    """Set the ids of a model and what its users have taken, once they are sound."""
    roles = ("user", "item", "weight", "time")
    model.columns_ = {role: header["columns"][role] for role in roles}
    model.reading_ = Reading.of(header.get("reading", {}))  # which older files do not have
    shape = (model.users_.len(), model.items_.len())
    counts, indices = arrays["seen_counts"], arrays["seen_indices"]
    data = arrays.get("seen_data", np.ones(indices.size, np.float32))
    model.seen_ = storage.rows_from_counts(counts, indices, data, shape)
    if "touched_counts" in arrays:
        counts, indices = arrays["touched_counts"], arrays["touched_indices"]
        ones = np.ones(indices.size, np.float32)
        model.touched_ = storage.rows_from_counts(counts, indices, ones, shape)
    model.popularity_ = model.seen_.column_counts / max(shape[0], 1)
    model.has_histories = header.get("histories", True)
    if not model.has_histories:
        popularity = arrays["popularity"]
        if popularity.dtype != np.float64 or popularity.shape != shape[1:]:
            raise ValueError("the file's shares of the users do not fit its items")
        model.popularity_ = popularity


def require_histories(model: Learned) -> None:
    """Raise if what users have seen is to be left out, and is not known."""
    if not model.has_histories and model.users_.len():
        raise ValueError(
            "exclude_seen must be False for a model saved without histories, which does not know "
            "what was seen: got True; say so, or save the model with histories"
        )
