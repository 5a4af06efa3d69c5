"""Ids of any plain type and their places in a vocabulary."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import date, datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.forks import engine_is_lost

FEW = 64  # ids that are found sooner one by one
STEP = 16  # distance of the keys kept in a list, where a comparison costs no call of polars

Ids = Sequence[Any] | pl.Series


class Vocabulary:
    """Distinct ids and the place of each, found without polars' engine.

    So that a model answers in a process forked from the one that loaded it, and within
    microseconds however many ids there are.

    Parameters
    ----------
    ids : Series
        Distinct ids without nulls.

    Examples
    --------
    >>> Vocabulary(pl.Series(["ann", "bob", "eve"])).places(["eve", "joe"])
    array([ 2, -1])
    """

    def __init__(self, ids: pl.Series) -> None:
        self.ids = ids
        self._keys = comparable(ids)
        # Few ids are found by halves, for which the keys have to be sorted.
        self._sorted = self._keys.len() > 0 and self._keys.is_sorted()

    def places(self, ids: Ids) -> NDArray[np.int64]:
        """Return the place of each id, and -1 for those that are not among the vocabulary's.

        Parameters
        ----------
        ids : sequence or Series
            Ids to look for, cast as `lookup` casts them.

        Returns
        -------
        ndarray of int64, shape (len(ids),)
            Places from 0, or -1. Cost O(log n) for each id of a vocabulary of n.

        Raises
        ------
        TypeError
            As `lookup`.
        """
        if (
            isinstance(ids, list | tuple)
            and len(ids) <= FEW
            and self._sorted
            and self._are_keys(ids)
        ):
            return self._by_halves(ids)
        wanted = cast_ids(_as_series(ids), self.ids.dtype)
        keys = comparable(wanted)
        if keys.len() <= FEW and self._sorted:
            return self._by_halves(keys.to_list())
        return self._by_hashes(keys)

    def _are_keys(self, ids: Sequence[Any]) -> bool:
        """Return whether ids are of the type of the keys already, the most frequent case."""
        kind = {pl.String: str, pl.Int64: int}.get(type(self.ids.dtype))
        return kind is not None and all(type(each) is kind for each in ids)

    def _by_halves(self, keys: Sequence[Any]) -> NDArray[np.int64]:
        return np.array([self._place(key) for key in keys], np.int64)

    def _place(self, key: Any) -> int:
        # What is not equal to itself is NaN, which has no place in an order.
        if key is None or key != key:
            return -1
        marks, key_at = self._marks, self._keys.item
        start = (bisect_right(marks, key) - 1) * STEP
        if start < 0:
            return -1
        run = range(start, min(start + STEP, self._keys.len()))
        place = start + bisect_left(run, key, key=key_at)
        return place if place < run.stop and key_at(place) == key else -1

    @cached_property
    def _marks(self) -> list[Any]:
        """Each STEP-th of the sorted keys."""
        places = np.arange(0, self._keys.len(), STEP, dtype=np.uint32)
        marks: list[Any] = self._keys[pl.Series(places)].to_list()
        return marks

    def _by_hashes(self, keys: pl.Series) -> NDArray[np.int64]:
        hashes, order = self._hashes
        wanted = keys.hash().to_numpy()
        at = np.searchsorted(hashes, wanted)
        places = np.full(keys.len(), -1, np.int64)
        left = np.flatnonzero(keys.is_not_null().to_numpy())
        while True:
            # Ids of one hash stand side by side: each that is not the one hands on to the next.
            left = left[at[left] < hashes.size]
            left = left[hashes[at[left]] == wanted[left]]
            if not left.size:
                return places
            found = order[at[left]]
            same = (self._keys[found] == keys[left]).to_numpy()
            places[left[same]] = found[same]
            left = left[~same]
            at[left] += 1

    @cached_property
    def _hashes(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The hashes of the keys, sorted, and the place of each."""
        hashes = self._keys.hash().to_numpy()
        order = np.argsort(hashes)
        return hashes[order], order


def lookup(vocabulary: pl.Series, ids: Ids) -> NDArray[np.int64]:
    """Return the place of each id in the vocabulary, and -1 for those that are not in it.

    Parameters
    ----------
    vocabulary : Series
        Distinct ids.
    ids : sequence or Series
        Ids to look for; another type is cast to that of the vocabulary, and ids that have no
        counterpart there (text that is no number, 1.5 among integers) are unknown.

    Returns
    -------
    ndarray of int64, shape (len(ids),)
        Places from 0, or -1. Cost O(len(vocabulary) + len(ids)), by polars' engine.

    Raises
    ------
    TypeError
        If the ids are not of one plain type, or of one with no way to that of the vocabulary.

    See Also
    --------
    Vocabulary : for a few ids at a time, again and again.

    Examples
    --------
    >>> lookup(pl.Series([3, 5, 7]), ["7", "x"])
    array([ 2, -1])
    """
    if engine_is_lost():
        return Vocabulary(vocabulary).places(ids)
    ids = _as_series(ids)
    vocabulary = vocabulary.cast(plain(vocabulary.dtype))
    wanted = pl.DataFrame({"id": cast_ids(ids, vocabulary.dtype)})
    places = pl.DataFrame({"id": vocabulary}).with_row_index("place")
    found = wanted.join(places, on="id", how="left", maintain_order="left")["place"]
    return found.cast(pl.Int64).fill_null(-1).to_numpy(writable=True)


def plain(dtype: pl.DataType) -> pl.DataType:
    """Return the type to compare ids in.

    The physical codes of a Categorical are global to the process: only its texts are stable.
    """
    return pl.String() if dtype in (pl.Categorical, pl.Enum) else dtype


def comparable(ids: pl.Series) -> pl.Series:
    """Return ids as what can be compared one by one: text, numbers, and times as numbers."""
    ids = ids.cast(plain(ids.dtype))
    return ids.to_physical() if ids.dtype.is_temporal() else ids


def same_type(ids: pl.Series, trained: pl.Series, name: str) -> pl.Series:
    """Return ids in the type of those of the training."""
    try:
        return ids.cast(trained.dtype)
    except pl.exceptions.PolarsError as error:
        fact = str(error).partition("\n")[0]
        raise ValueError(
            f"{name} must have ids of the type of the training, {trained.dtype}: got {ids.dtype} "
            f"({fact}); cast them first"
        ) from None


def _as_series(ids: Ids) -> pl.Series:
    try:
        series = ids if isinstance(ids, pl.Series) else pl.Series(ids)
        if series.dtype.is_nested() or series.dtype == pl.Object:
            raise TypeError
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        raise TypeError(
            f"ids must be a sequence of texts or numbers of one type: got {type(ids).__name__}; "
            "make them all text or all numbers"
        ) from None
    return series


def cast_ids(ids: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return the ids in the type of a vocabulary, null where they have no exact counterpart."""
    dtype, ids = plain(dtype), ids.cast(plain(ids.dtype))
    if ids.dtype == dtype:
        return ids
    try:
        if ids.dtype == pl.String and dtype == pl.Date:
            texts = ids.to_list()
            known = {text: _as_date(text) for text in set(texts)}
            return pl.Series([known[text] for text in texts], dtype=pl.Date)
        cast = ids.cast(dtype, strict=False)
        if pl.String in (ids.dtype, dtype):
            return cast
        # 1.5 among integers must not become 1.
        exact = cast.cast(ids.dtype, strict=False) == ids
        return cast.zip_with(exact, pl.Series([None] * ids.len(), dtype=dtype))
    except pl.exceptions.PolarsError:
        raise TypeError(
            f"ids must be of a type like that of the vocabulary, {dtype}: got {ids.dtype}; cast "
            "them first"
        ) from None


def _as_date(text: str | None) -> date | None:
    """Return the date of a text like 2026-11-30, or None."""
    try:
        return None if text is None else datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        return None
