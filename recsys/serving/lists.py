"""Top-k lists as tables: for whom, of what, and for those whom the model does not know."""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import lookup
from recsys.data.sink import write_frames
from recsys.data.table import Source
from recsys.scores.toplists import top_items
from recsys.serving.newcomers import same_type
from sparsenum._check import choice, whole
from sparsenum.sparse import ELL, row_top_k

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

Ids: TypeAlias = Sequence[Any] | pl.Series
Unknown: TypeAlias = Literal["error", "skip", "popular", "fold_in"]

_BYTES_A_PLACE = 128  # of a list, its copies and its rows in the table, text ids included
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def permitted_items(items: pl.Series, allow: Ids | None, deny: Ids | None) -> NDArray[np.int64]:
    """Return the numbers of the items that may be recommended; ids not among them do not matter."""
    permitted = np.ones(items.len(), np.bool_)
    if allow is not None:
        places = lookup(items, allow)
        permitted[:] = False
        permitted[places[places >= 0]] = True
    if deny is not None:
        places = lookup(items, deny)
        permitted[places[places >= 0]] = False
    if not permitted.any():
        raise ValueError(
            "allow and deny must leave an item to recommend: got none of the "
            f"{items.len():,} of the training; check the ids"
        )
    return np.flatnonzero(permitted)


def known_rows(
    model: "Recommender", users: Ids | Literal["all"], unknown: Unknown
) -> NDArray[np.int64]:
    """Return the row of each user, -1 for those unknown where they may be."""
    if isinstance(users, str):
        if users != "all":
            raise ValueError(f"users must be a sequence of ids or 'all': got {users!r}")
        return np.arange(model.users_.len())
    rows = lookup(model.users_, users)
    if not rows.size:
        raise ValueError("users must name at least one user: got none")
    if unknown == "error" and (rows < 0).any():
        strange = [who for who, row in zip(users, rows, strict=False) if row < 0][:3]
        raise ValueError(
            f"users must have been in training: got {int((rows < 0).sum())} unknown, like "
            f"{', '.join(map(repr, strange))}; leave them out, train with their rows, or say "
            "what to do by unknown='skip', 'popular' or 'fold_in'"
        )
    return rows


def lists(
    model: "Recommender",
    rows: NDArray[np.int64],
    k: int,
    exclude_seen: bool,
    permitted: NDArray[np.int64],
    device: str = "cpu",
    block: int | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield tables of the lists of users given by row, `place` counting the users."""
    hidden = model.hidden if exclude_seen else None
    everything = permitted.size == model.items_.len()
    done = 0
    scores = model.scorer_on(device)
    for some, best in top_items(scores, rows, k, hidden, None if everything else permitted, block):
        yield _frame(model.users_.gather(some), model.items_, best, done)
        done += some.size


def lists_for(
    model: "Recommender",
    users: Ids | Literal["all"],
    k: int,
    exclude_seen: bool,
    permitted: NDArray[np.int64],
    unknown: Unknown,
    histories: Source | None,
    device: str = "cpu",
    block: int | None = None,
) -> tuple[Iterator[pl.DataFrame], int]:
    """Return tables of lists, first of known users, with their `place` in `users`; and how many."""
    choice(unknown, "unknown", get_args(Unknown))
    if (histories is not None) != (unknown == "fold_in"):
        raise ValueError(
            "histories must be given where unknown='fold_in', and there only: got "
            f"unknown={unknown!r} {'without' if histories is None else 'with'} histories"
        )
    rows = known_rows(model, users, unknown)
    places, strangers = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
    known = lists(model, rows[places], k, exclude_seen, permitted, device, block)
    parts = (_placed(part, places) for part in known)
    if not strangers.size or unknown == "skip":
        return parts, places.size
    ids = _as_trained(model, users, strangers)
    if unknown == "popular":
        others = _popular(model, ids, k, permitted, block or ids.len())
    else:
        others = _folded(model, ids, k, exclude_seen, permitted, histories, device, block)
    return chain(parts, (_placed(part, strangers) for part in others)), rows.size


def recommend(model: "Recommender", parts: Iterator[pl.DataFrame], k: int) -> pl.DataFrame:
    """Return lists as one table, in the order of the users."""
    nothing = _frame(model.users_[:0], model.items_, ELL(*_no_list(k), model.items_.len()), 0)
    table = pl.concat([nothing, *parts])
    if not table["place"].is_sorted():
        table = table.sort("place", maintain_order=True)
    return table.drop("place")


def write(model: "Recommender", parts: Iterator[pl.DataFrame], target: Path, name: str) -> int:
    """Write tables of lists to a file and return the number of rows."""
    types = (model.users_.dtype, model.items_.dtype, pl.Float32(), pl.UInt32())
    schema = pl.Schema(list(zip(("user", "item", "score", "rank"), types, strict=True)))
    return write_frames((part.drop("place") for part in parts), schema, target, name)


def users_at_a_time(memory_limit: int | str, n_items: int, k: int, whole_rows: bool) -> int:
    """Return for how many users lists fit into a limit; `whole_rows` where all scores are held."""
    limit = _bytes(memory_limit)
    # Two pieces are on their way to the disk while one is made.
    each = 3 * k * _BYTES_A_PLACE + (4 * n_items if whole_rows else 0)
    if limit < each:
        raise ValueError(
            f"memory_limit must hold the list of one user, {each:,} bytes here: got "
            f"{memory_limit!r}; raise it or lower k"
        )
    return int(limit // each)


def _bytes(limit: int | str) -> int:
    if isinstance(limit, str):
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(KB|MB|GB)\s*", limit, re.IGNORECASE)
        if match is None:
            raise ValueError(
                f"memory_limit must be bytes or a size: got {limit!r}; write it like '256MB'"
            )
        return int(float(match[1]) * _UNITS[match[2].upper()])
    return whole(limit, "memory_limit", lower=1)


def _frame(users: pl.Series, items: pl.Series, best: ELL, first: int) -> pl.DataFrame:
    used = best.indices < best.n_cols
    user, rank = np.nonzero(used)
    return pl.DataFrame(
        {
            "user": users.gather(user),
            "item": items.gather(best.indices[used]),
            "score": best.data[used],
            "rank": (rank + 1).astype(np.uint32),
            "place": user + first,
        }
    )


def _no_list(k: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    return np.empty((0, k), np.uint32), np.empty((0, k), np.float32)


def _placed(part: pl.DataFrame, places: NDArray[np.int64]) -> pl.DataFrame:
    return part.with_columns(place=pl.Series(places[part["place"].to_numpy()]))


def _as_trained(model: "Recommender", users: Ids, rows: NDArray[np.int64]) -> pl.Series:
    """Return some of the ids in the type of those of the training."""
    return same_type(pl.Series(values=users).gather(rows), model.users_, "users")


def _popular(
    model: "Recommender", ids: pl.Series, k: int, permitted: NDArray[np.int64], block: int
) -> Iterator[pl.DataFrame]:
    """Yield the same list for all: what most users took, scored by their share."""
    shares = np.full((1, model.items_.len()), -np.inf, np.float32)
    shares[0, permitted] = model.popularity_[permitted]
    best = row_top_k(shares, k)
    for first in range(0, ids.len(), block):
        some = ids[first : first + block]
        indices, data = (np.repeat(part, some.len(), axis=0) for part in (best.indices, best.data))
        yield _frame(some, model.items_, ELL(indices, data, best.n_cols), first)


def _folded(
    model: "Recommender",
    ids: pl.Series,
    k: int,
    exclude_seen: bool,
    permitted: NDArray[np.int64],
    histories: Source | None,
    device: str,
    block: int | None,
) -> Iterator[pl.DataFrame]:
    """Return the lists of users whom the model learns to know by their histories."""
    assert histories is not None
    guests = model.fold_in(histories)
    rows = lookup(guests.users_, ids)
    if (rows < 0).any():
        raise ValueError(
            f"histories must have rows with known items for each unknown user: got none for "
            f"{int((rows < 0).sum())}, like {ids.gather(np.flatnonzero(rows < 0))[0]!r}; leave "
            "them out or choose unknown='popular'"
        )
    return lists(guests, rows, k, exclude_seen, permitted, device, block)
