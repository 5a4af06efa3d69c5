"""Top-k lists as tables: for whom, of what, and for those whom the model does not know."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.sink import write_frames
from recsys.data.table import Source
from recsys.data.vocabulary import Ids, same_type
from recsys.scores.toplists import top_items
from recsys.serving import newcomers
from recsys.serving.fitted import Fitted, ids_of
from recsys.serving.rules import Rules
from sparsenum._check import choice, whole
from sparsenum.sparse import CSR, ELL, row_top_k

Users: TypeAlias = Ids | Literal["all"]
Unknown: TypeAlias = Literal["error", "skip", "popular", "fold_in"]

_BYTES_A_PLACE = 128  # of a list, its copies and its rows in the table, text ids included
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_RANKS = pl.Series("rank", np.arange(1, 1001, dtype=np.uint32))
_RULED = 1024  # users with rules of their own whose rules are spelled out at a time


@dataclass(frozen=True)
class Request:
    """A request for lists: their length, the items they may hold, and the device that makes them.

    Attributes
    ----------
    k : int
        Length of the lists.
    exclude_seen : bool
        Whether what users have taken is left out.
    rules : Rules
        Which items may be shown.
    device : str
        Where items are scored.
    block : int, optional
        Users whose lists are held at a time, by default as many as are fast.
    """

    k: int
    exclude_seen: bool
    rules: Rules
    device: str = "cpu"
    block: int | None = None


class Lists(NamedTuple):
    """Lists of some users: their ids, their places in the request, and the best items.

    Scores are NaN where they are none of the model's.
    """

    users: pl.Series
    places: NDArray[np.int64]
    best: ELL


def asked_for(model: Fitted, users: Users) -> Ids:
    """Return the ids of the users that lists are asked for."""
    if isinstance(users, str):
        if users != "all":
            raise ValueError(f"users must be a sequence of ids or 'all': got {users!r}")
        return model.users_
    return users


def rows_of(model: Fitted, users: Ids, unknown: Unknown) -> NDArray[np.int64]:
    """Return the row of each user, -1 for those unknown where they may be."""
    if users is model.users_:
        return np.arange(model.users_.len())
    rows = model.known_users.places(users)
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
    model: Fitted, rows: NDArray[np.int64], places: NDArray[np.int64], request: Request
) -> Iterator[Lists]:
    """Yield the lists of users given by row, whose places in the request are said."""
    scores, rules = model.scorer_on(request.device), request.rules
    hidden = model.hidden if request.exclude_seen else None
    step = _RULED if rules.is_personal else max(rows.size, 1)
    for start in range(0, rows.size, step):
        some, done = slice(start, start + step), start
        if rules.is_personal:
            seen = model.hidden if request.exclude_seen else _nothing(model.seen_.shape)
            hidden = rules.joined_to(seen, rows[some], places[some])
        for found, best in top_items(
            scores, rows[some], request.k, hidden, rules.permitted, request.block
        ):
            stop = done + found.size
            yield Lists(ids_of(model.users_, found), places[done:stop], best)
            done = stop


def lists_for(
    model: Fitted, users: Ids, request: Request, unknown: Unknown, histories: Source | None
) -> tuple[Iterator[Lists], int]:
    """Return the lists of users, first of those the model answers as they are; and how many."""
    choice(unknown, "unknown", get_args(Unknown))
    if (histories is not None) != (unknown == "fold_in"):
        raise ValueError(
            "histories must be given where unknown='fold_in', and there only: got "
            f"unknown={unknown!r} {'without' if histories is None else 'with'} histories"
        )
    rows = rows_of(model, users, unknown)
    if histories is not None:
        return _folded(model, users, rows, request, histories), rows.size
    places, strangers = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
    known = lists(model, rows[places], places, request)
    if not strangers.size or unknown == "skip":
        return known, places.size
    return chain(
        known, _popular(model, _ids(users, strangers, model), strangers, request)
    ), rows.size


def table(model: Fitted, parts: Iterator[Lists], k: int) -> pl.DataFrame:
    """Return lists as one table, in the order of the request."""
    nothing = np.empty((0, k), np.uint32), np.empty((0, k), np.float32)
    pieces = [*parts] or [
        Lists(model.users_[:0], np.empty(0, np.int64), ELL(*nothing, model.items_.len()))
    ]
    if len(pieces) == 1 and pieces[0].places.size < 2:
        return _frame(model.items_, pieces[0])
    users = pieces[0].users.clone()
    for piece in pieces[1:]:
        users.append(piece.users)
    order = np.argsort(np.concatenate([piece.places for piece in pieces]), kind="stable")
    indices, data = (
        np.concatenate([getattr(piece.best, name) for piece in pieces])[order]
        for name in ("indices", "data")
    )
    best = ELL(indices, data, model.items_.len())
    return _frame(model.items_, Lists(ids_of(users.rechunk(), order), order, best))


def write(model: Fitted, parts: Iterator[Lists], target: Path, name: str) -> int:
    """Write tables of lists to a file and return the number of rows."""
    types = (model.users_.dtype, model.items_.dtype, pl.Float32(), pl.UInt32())
    schema = pl.Schema(list(zip(("user", "item", "score", "rank"), types, strict=True)))
    return write_frames((_frame(model.items_, part) for part in parts), schema, target, name)


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


def _frame(items: pl.Series, found: Lists) -> pl.DataFrame:
    if found.users.len() == 1:
        return _one_list(items, found)
    used = found.best.indices < found.best.n_cols
    user, rank = np.nonzero(used)
    return pl.DataFrame(
        [
            ids_of(found.users, user).alias("user"),
            ids_of(items, found.best.indices[used]).alias("item"),
            pl.Series("score", found.best.data[used], nan_to_null=True),
            pl.Series("rank", (rank + 1).astype(np.uint32)),
        ]
    )


def _one_list(items: pl.Series, found: Lists) -> pl.DataFrame:
    """Return the table of one list, at a fifth of the cost: a request is mostly for one user."""
    n = int(np.count_nonzero(found.best.indices < found.best.n_cols))
    return pl.DataFrame(
        [
            found.users.new_from_index(0, n).alias("user"),
            ids_of(items, found.best.indices[0, :n]).alias("item"),
            pl.Series("score", found.best.data[0, :n], nan_to_null=True),
            pl.int_range(1, n + 1, dtype=pl.UInt32, eager=True).alias("rank")
            if n > _RANKS.len()
            else _RANKS.head(n),
        ]
    )


def _nothing(shape: tuple[int, int]) -> CSR:
    indptr = np.zeros(shape[0] + 1, np.uint64)
    return CSR(indptr, np.empty(0, np.uint32), np.empty(0, np.float32), shape)


def _ids(users: Ids, places: NDArray[np.int64], model: Fitted) -> pl.Series:
    """Return some of the ids of a request in the type of those of the training."""
    return same_type(ids_of(pl.Series(values=users), places), model.users_, "users")


def _popular(
    model: Fitted, ids: pl.Series, places: NDArray[np.int64], request: Request
) -> Iterator[Lists]:
    """Yield what most users took, without a score: the model has none for these users."""
    shares = np.full((1, model.items_.len()), -np.inf, np.float32)
    shown = slice(None) if request.rules.permitted is None else request.rules.permitted
    shares[0, shown] = model.popularity_[shown]
    size = request.block or ids.len()
    for start in range(0, ids.len(), size):
        some = places[start : start + size]
        if request.rules.is_personal:
            full = np.repeat(shares, some.size, axis=0)
            for row, place in enumerate(some.tolist()):
                full[row, request.rules.barred(place, full.shape[1])] = -np.inf
            indices = row_top_k(full, request.k).indices
        else:
            indices = np.repeat(row_top_k(shares, request.k).indices, some.size, axis=0)
        best = ELL(indices, np.full(indices.shape, np.nan, np.float32), model.items_.len())
        yield Lists(ids[start : start + size], some, best)


def _folded(
    model: Fitted, users: Ids, rows: NDArray[np.int64], request: Request, histories: Source
) -> Iterator[Lists]:
    """Return lists in which what is new of users counts, whether they were known or not."""
    guests = newcomers.guests(model, histories)
    guest_rows = guests.known_users.places(users)
    strange = np.flatnonzero((rows < 0) & (guest_rows < 0))
    if strange.size:
        raise ValueError(
            f"histories must have rows with known items for each unknown user: got none for "
            f"{strange.size}, like {_ids(users, strange[:1], model)[0]!r}; leave "
            "them out or choose unknown='popular'"
        )
    as_they_are, fresh = np.flatnonzero(guest_rows < 0), np.flatnonzero(guest_rows >= 0)
    return chain(
        lists(model, rows[as_they_are], as_they_are, request),
        lists(guests, guest_rows[fresh], fresh, request),
    )
