"""Ids of any plain type and their places in a sorted vocabulary."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


def lookup(vocabulary: pl.Series, ids: Sequence[Any] | pl.Series) -> NDArray[np.int64]:
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
        Places from 0, or -1. Cost O(len(vocabulary) + len(ids)).

    Raises
    ------
    TypeError
        If the ids are not of one plain type, or of one with no way to that of the vocabulary.
    """
    ids = _as_series(ids)
    vocabulary = vocabulary.cast(plain(vocabulary.dtype))
    wanted = pl.DataFrame({"id": _cast_ids(ids.cast(plain(ids.dtype)), vocabulary.dtype)})
    places = pl.DataFrame({"id": vocabulary}).with_row_index("place")
    found = wanted.join(places, on="id", how="left", maintain_order="left")["place"]
    return found.cast(pl.Int64).fill_null(-1).to_numpy(writable=True)


def plain(dtype: pl.DataType) -> pl.DataType:
    """Return the type to compare ids in.

    The physical codes of a Categorical are global to the process: only its texts are stable.
    """
    return pl.String() if dtype in (pl.Categorical, pl.Enum) else dtype


def _as_series(ids: Sequence[Any] | pl.Series) -> pl.Series:
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


def _cast_ids(ids: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return the ids in the type of a vocabulary, null where they have no exact counterpart."""
    if ids.dtype == dtype:
        return ids
    try:
        if ids.dtype == pl.String and dtype == pl.Date:
            return ids.str.to_date("%Y-%m-%d", strict=False)
        cast = ids.cast(dtype, strict=False)
        if pl.String in (ids.dtype, dtype):
            return cast
        # 1.5 among integers must not become 1.
        return pl.select(pl.when(cast.cast(ids.dtype, strict=False) == ids).then(cast)).to_series()
    except pl.exceptions.PolarsError:
        raise TypeError(
            f"ids must be of a type like that of the vocabulary, {dtype}: got {ids.dtype}; cast "
            "them first"
        ) from None
