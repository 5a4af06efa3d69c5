"""Which items may stand in a list: those allowed and not denied, for all users or for each."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.vocabulary import Ids, Vocabulary
from sparsenum.errors import RuleWarning
from sparsenum.sparse import CSR

Items: TypeAlias = NDArray[np.int64]
Rule: TypeAlias = Ids | Mapping[Any, Ids]


@dataclass(frozen=True)
class Rules:
    """What lists may hold, by numbers of items and by the places of users in a request.

    Attributes
    ----------
    permitted : ndarray, optional
        Items that anybody may be shown; all where there is none.
    allowed, denied : mapping of int to ndarray
        Items to choose from, and items never to show, of those users who have rules of their own.
    """

    permitted: Items | None
    allowed: Mapping[int, Items]
    denied: Mapping[int, Items]

    @property
    def is_personal(self) -> bool:
        """Whether any user has a rule of their own."""
        return bool(self.allowed or self.denied)

    def barred(self, place: int, n_items: int) -> NDArray[np.uint32]:
        """Return the items that the rules of the user at a place leave out, sorted."""
        barred = np.zeros(n_items, np.bool_)
        if place in self.allowed:
            barred[:] = True
            barred[self.allowed[place]] = False
        if place in self.denied:
            barred[self.denied[place]] = True
        return np.flatnonzero(barred).astype(np.uint32)

    def joined_to(self, hidden: CSR, rows: NDArray[np.int64], places: NDArray[np.int64]) -> CSR:
        """Return what is hidden from users together with what their own rules leave out.

        Only the rows asked for are filled.
        """
        n_users, n_items = hidden.shape
        starts = hidden.indptr.view(np.int64)
        parts: dict[int, NDArray[Any]] = {}
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            own = hidden.indices[starts[row] : starts[row + 1]]
            parts[row] = np.union1d(own, self.barred(place, n_items)).astype(np.uint32)
        counts = np.zeros(n_users, np.int64)
        order = sorted(parts)
        counts[order] = [parts[row].size for row in order]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
        indices = np.concatenate([parts[row] for row in order])
        return CSR(indptr, indices, np.ones(indices.size, np.float32), hidden.shape)


def rules_of(items: Vocabulary, users: Ids, allow: Rule | None, deny: Rule | None) -> Rules:
    """Return the rules of a request, and warn of ids in them that match nothing.

    Parameters
    ----------
    items : Vocabulary
        Those of the training.
    users : sequence of ids
        Whom lists are asked for.
    allow, deny : sequence of ids, or mapping of a user's id to such, optional
        For all users, or for some.

    Returns
    -------
    Rules
        The rules, by number.

    Raises
    ------
    ValueError
        If no item is left for all or for one of the users.
    """
    if allow is None and deny is None:
        return Rules(None, {}, {})
    n_items = items.ids.len()
    permitted = np.ones(n_items, np.bool_)
    personal: dict[str, dict[int, Items]] = {"allow": {}, "deny": {}}
    for name, rule in (("allow", allow), ("deny", deny)):
        if isinstance(rule, Mapping):
            personal[name] = _personal(items, users, rule, name)
        elif rule is not None:
            named = np.zeros(n_items, np.bool_)
            named[_matching(items, rule, name)] = True
            permitted &= named if name == "allow" else ~named
    if not permitted.any():
        raise ValueError(
            f"allow and deny must leave an item to recommend: got none of the {n_items:,} of the "
            "training; check the ids"
        )
    return Rules(
        None if permitted.all() else np.flatnonzero(permitted),
        personal["allow"],
        personal["deny"],
    )


def _personal(
    items: Vocabulary, users: Ids, rule: Mapping[Any, Ids], name: str
) -> dict[int, Items]:
    """Return the items that a rule names for each user, by the user's place in the request."""
    ids = users.to_list() if isinstance(users, pl.Series) else list(users)
    ruled = {user: _matching(items, named, name) for user, named in rule.items()}
    strange = ruled.keys() - set(ids)
    if strange:
        _warn(name, "users who are asked for", strange, len(ruled))
    return {place: ruled[user] for place, user in enumerate(ids) if user in ruled}


def _matching(items: Vocabulary, ids: Ids, name: str) -> Items:
    """Return the numbers of the items with these ids, and warn of ids that none has."""
    if isinstance(ids, str | bytes):
        raise TypeError(
            f"{name} must be a sequence of ids: got the one text {ids!r}; write [{ids!r}]"
        )
    places = items.places(ids)
    if (places < 0).any():
        listed = ids.to_list() if isinstance(ids, pl.Series) else list(ids)
        strange = [each for each, place in zip(listed, places, strict=True) if place < 0]
        _warn(name, "items of the training", strange, places.size)
    return places[places >= 0]


def _warn(name: str, known: str, strange: Sequence[Any] | set[Any], n_ids: int) -> None:
    some = ", ".join(map(repr, list(strange)[:3]))
    warnings.warn(
        f"{name} names {len(strange):,} of {n_ids:,} ids that are not those of {known}, like "
        f"{some}: they match nothing; check their spelling and type",
        RuleWarning,
        stacklevel=5,
    )
