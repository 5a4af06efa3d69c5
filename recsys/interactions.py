"""From a table of events to a matrix of users by items, with an account of every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.table import Source, comparable_times, missing, open_table, readable
from sparsenum._check import choice
from sparsenum.sparse.formats import CSR

Policy = Literal["sum", "last", "max", "error"]

_POLICY_MEANS = {
    "sum": "their weights were added",
    "last": "the latest counts",
    "max": "the largest weight counts",
    "error": "none allowed",
}
# Sorting by this within a pair puts the row that counts last, and fixes the order of additions.
_SORT_KEY = {"sum": "weight", "last": "time", "max": "weight", "error": "weight"}
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What became of the rows of a table.

    Each row is counted once, under the first that applies, so that
    rows = null_ids + bad_weights + null_times + duplicates + pairs.

    Attributes
    ----------
    rows : int
        Rows read.
    null_ids : int
        Rows dropped because user or item is null, NaN or an empty text.
    bad_weights : int
        Rows dropped because the weight is no finite number above zero (in float32).
    null_times : int
        Rows dropped because the time is null.
    duplicates : int
        Rows merged into another row of the same user and item.
    pairs, users, items : int
        Distinct (user, item) pairs, users and items kept.
    policy : str
        How duplicates were merged: "sum", "last", "max" or "error".
    """

    rows: int
    null_ids: int
    bad_weights: int
    null_times: int
    duplicates: int
    pairs: int
    users: int
    items: int
    policy: Policy

    def summary(self) -> str:
        """Return the account as three lines of text."""
        dropped = self.null_ids + self.bad_weights + self.null_times
        return (
            f"Read {self.rows:,} rows: kept {self.pairs:,} pairs of {self.users:,} users and "
            f"{self.items:,} items.\n"
            f"Dropped {dropped:,} rows: {self.null_ids:,} without user or item, "
            f"{self.bad_weights:,} with a weight that is no positive number, "
            f"{self.null_times:,} without time.\n"
            f"Merged {self.duplicates:,} rows that repeat a pair "
            f"(duplicates={self.policy!r}: {_POLICY_MEANS[self.policy]})."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Implicit feedback as a matrix, users by rows, with the ids its rows and columns stand for.

    Attributes
    ----------
    matrix : CSR, shape (n_users, n_items)
        Weights above zero in float32, uint32 columns; no row and no column is empty.
    users, items : Series
        The id of each row and of each column, sorted, in the type they came in.
    report : ReadReport
        What became of the rows of the table.
    columns : dict
        The column read as "user", "item", "weight" and "time"; None where none was named.
    """

    matrix: CSR
    users: pl.Series
    items: pl.Series
    report: ReadReport
    columns: dict[str, str | None]

    @property
    def n_users(self) -> int:
        """Number of users, the rows of the matrix."""
        return self.matrix.shape[0]

    @property
    def n_items(self) -> int:
        """Number of items, the columns of the matrix."""
        return self.matrix.shape[1]

    @property
    def nnz(self) -> int:
        """Number of (user, item) pairs."""
        return self.matrix.nnz

    @classmethod
    def read(
        cls,
        source: Source,
        *,
        user: str,
        item: str,
        weight: str | None = None,
        time: str | None = None,
        duplicates: Policy = "sum",
    ) -> Interactions:
        """Read a table of events, one per row, into a matrix of users by items.

        Rows and columns are numbered by the sorted ids, so the order of the table has no part in
        the result, except where `duplicates="last"` has no time to go by.

        Parameters
        ----------
        source : LazyFrame, DataFrame, pandas or pyarrow table, or path
            The table; see `recsys.table.open_table` for the files. Only named columns are read.
        user, item : str
            Columns of ids of any plain type; ids from text files are text.
        weight : str, optional
            Column of weights above zero; without it each row weighs 1.
        time : str, optional
            Column of times; text that holds numbers throughout compares as numbers, other text
            by characters (right for ISO dates).
        duplicates : {"sum", "last", "max", "error"}, default "sum"
            What to do with several rows of one user and item: add their weights, keep the weight
            of the latest (the last row among equals), keep the largest weight, or refuse.

        Returns
        -------
        Interactions
            Matrix, ids and the account of the rows. Cost: one pass over the table and a sort of
            its rows; about 30 bytes per row beyond the named columns.

        Raises
        ------
        TypeError, FileNotFoundError
            If the source is not a table, its columns not plain, or its file not there.
        ValueError
            If the file is unreadable, a column absent, no row left, a pair repeated against
            `duplicates="error"`, or a sum beyond float32.
        """
        choice(duplicates, "duplicates", get_args(Policy))
        columns = {"user": user, "item": item, "weight": weight, "time": time}
        table = _load(source, columns)
        rows = table.height
        table, null_ids = _drop(table, _null_id(table.schema))
        bad_weights = null_times = 0
        if weight is not None:
            table, bad_weights = _drop(table, _bad_weight())
        if time is not None:
            table, null_times = _drop(table, missing("time", table.schema["time"]))
        if table.is_empty():
            raise ValueError(
                f"source must have rows to learn from: got {rows} rows, {null_ids} without user "
                f"or item, {bad_weights} with a weight that is no positive number, {null_times} "
                "without time; check the columns named and their contents"
            )
        users, items = _vocabulary(table["user"]), _vocabulary(table["item"])
        pairs, data = _merge(_slim(table, users, items), users, items, duplicates)
        report = ReadReport(
            rows,
            null_ids,
            bad_weights,
            null_times,
            duplicates=table.height - pairs.size,
            pairs=pairs.size,
            users=users.len(),
            items=items.len(),
            policy=duplicates,
        )
        matrix = _matrix(pairs, data, (users.len(), items.len()))
        return cls(matrix, users, items, report, columns)


def read_pairs(
    source: Source, *, user: str, item: str, users: pl.Series, items: pl.Series
) -> tuple[CSR, int, int]:
    """Read which pairs occur in a table, in the numbering of vocabularies made elsewhere.

    Parameters
    ----------
    source : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table, as for `Interactions.read`; rows without user or item are left out.
    user, item : str
        Columns of ids; ids of another type are cast to that of the vocabulary.
    users, items : Series
        The id of each row and of each column of the result.

    Returns
    -------
    matrix : CSR, shape (n_users, n_items)
        Ones in float32 where the pair occurs.
    unknown_users : int
        Rows left out because their user is not in `users`.
    unknown_items : int
        Rows of known users left out because their item is not in `items`.

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        As `Interactions.read`, except that nothing need be left.
    """
    table = _load(source, {"user": user, "item": item})
    table, _ = _drop(table, _null_id(table.schema))
    rows, columns = lookup(users, table["user"]), lookup(items, table["item"])
    known, found = rows >= 0, columns >= 0
    both = known & found
    pairs = np.unique(rows[both] * items.len() + columns[both])
    shape = (users.len(), items.len())
    matrix = _matrix(pairs, np.ones(pairs.size, np.float32), shape)
    return matrix, int((~known).sum()), int((known & ~found).sum())


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
    vocabulary = _plain(vocabulary)
    wanted = _cast_ids(_plain(_as_series(ids)), vocabulary.dtype)
    codes = _codes(vocabulary, wanted).cast(pl.Int64).fill_null(-1)
    return codes.to_numpy(writable=True)


def _load(source: Source, columns: Mapping[str, str | None]) -> pl.DataFrame:
    """Return the named columns under the names of their arguments, weights as float64."""
    frame = open_table(source, columns)
    schema = frame.collect_schema()
    named = {role: pl.col(column) for role, column in columns.items() if column is not None}
    weight = columns.get("weight")
    if weight is not None:
        dtype = schema[weight]
        if not (dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)):
            raise TypeError(
                f"weight must name a column of numbers: got {weight!r} of type {dtype}; cast it "
                "or leave weight out"
            )
        named["weight"] = pl.col(weight).cast(pl.Float64, strict=False)
    with readable(source):
        return frame.select(**named).collect()


def _drop(table: pl.DataFrame, fault: pl.Expr) -> tuple[pl.DataFrame, int]:
    kept = table.filter(~fault)
    return kept, table.height - kept.height


def _null_id(schema: pl.Schema) -> pl.Expr:
    return missing("user", schema["user"]) | missing("item", schema["item"])


def _bad_weight() -> pl.Expr:
    weight = pl.col("weight").cast(pl.Float32, strict=False)
    return ~((weight > 0) & (weight <= _LARGEST)).fill_null(False)


def _plain(ids: pl.Series) -> pl.Series:
    # The physical codes of a Categorical are global to the process: only its texts are stable.
    return ids.cast(pl.String) if ids.dtype in (pl.Categorical, pl.Enum) else ids


def _vocabulary(ids: pl.Series) -> pl.Series:
    return _plain(ids.unique()).sort().cast(ids.dtype)


def _codes(vocabulary: pl.Series, ids: pl.Series) -> pl.Series:
    """Return the place of each id in a vocabulary of the same type, null where it is not there."""
    places = pl.int_range(vocabulary.len(), dtype=pl.UInt32, eager=True)
    known = pl.DataFrame({"id": vocabulary, "code": places})
    wanted = pl.DataFrame({"id": ids})
    return wanted.join(known, on="id", how="left", maintain_order="left")["code"]


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


def _slim(table: pl.DataFrame, users: pl.Series, items: pl.Series) -> pl.DataFrame:
    """Return one integer per row for its (user, item), with weight and time where there are any."""
    row = _codes(_plain(users), _plain(table["user"])).cast(pl.UInt64)
    column = _codes(_plain(items), _plain(table["item"]))
    slim = table.drop("user", "item").with_columns(pair=row * items.len() + column)
    if "time" in slim.columns:
        slim = slim.with_columns(comparable_times(slim["time"]))
    return slim


def _merge(
    slim: pl.DataFrame, users: pl.Series, items: pl.Series, policy: Policy
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return the distinct pairs in order and the weight of each."""
    key = _SORT_KEY[policy]
    by = ["pair", key] if key in slim.columns else ["pair"]
    slim = slim.sort(by, maintain_order=True)
    pair = slim["pair"].to_numpy()
    ends = np.append(np.flatnonzero(pair[1:] != pair[:-1]), pair.size - 1)
    starts = np.append(0, ends[:-1] + 1)
    if policy == "error" and ends.size < pair.size:
        first = int(pair[starts[np.argmax(ends > starts)]])
        who, what = users[first // items.len()], items[first % items.len()]
        raise ValueError(
            f"source must hold each (user, item) once under duplicates='error': got "
            f"{pair.size - ends.size} repeated rows, among them user {who!r} with item {what!r}; "
            "choose 'sum', 'last' or 'max'"
        )
    if "weight" not in slim.columns:
        data = ends - starts + 1 if policy == "sum" else np.ones(ends.size)
    else:
        weight = slim["weight"].to_numpy()
        data = np.add.reduceat(weight, starts) if policy == "sum" else weight[ends]
    if data.max() > _LARGEST:
        raise ValueError(
            f"weight must add up to no more than {_LARGEST:.1e} per user and item: got "
            f"{data.max():.1e}; rescale the weights"
        )
    return pair[ends], data.astype(np.float32)


def _matrix(
    pairs: NDArray[np.integer[Any]], data: NDArray[np.float32], shape: tuple[int, int]
) -> CSR:
    """Return the matrix whose sorted entries are the pairs row * n_items + column."""
    row, column = np.divmod(pairs, max(shape[1], 1))
    indptr = np.zeros(shape[0] + 1, np.uint64)
    np.cumsum(np.bincount(row.astype(np.int64), minlength=shape[0]), out=indptr[1:])
    return CSR(indptr, column.astype(np.uint32), data, shape)
