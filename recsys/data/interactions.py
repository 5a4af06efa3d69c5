"""From a table of events to a matrix of users by items, with an account of every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from recsys.data.pairs import drop_rare, matrix_of, merge
from recsys.data.report import Policy, ReadReport
from recsys.data.scan import Survey, number, survey
from recsys.data.table import Source, missing, open_table, readable
from recsys.data.times import read_times
from recsys.data.vocabulary import lookup, plain
from sparsenum._check import choice, whole
from sparsenum.sparse.formats import CSR

__all__ = ["Interactions", "Policy", "ReadReport", "lookup", "read_pairs"]

BadRows = Literal["drop", "error"]


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
        time_format: str | None = None,
        duplicates: Policy = "sum",
        bad_rows: BadRows = "drop",
        min_user: int = 1,
        min_item: int = 1,
    ) -> Interactions:
        """Read a table of events, one per row, into a matrix of users by items.

        Rows and columns are numbered by the sorted ids, so the order of the table has no part in
        the result, except where `duplicates="last"` has no time to go by.

        Parameters
        ----------
        source : LazyFrame, DataFrame, pandas or pyarrow table, or path
            The table; see `recsys.data.open_table` for the files. Only named columns are read,
            in two passes that keep numbers alone: a LazyFrame is run twice.
        user, item : str
            Columns of ids of any plain type; ids from text files are text.
        weight : str, optional
            Column of weights above zero; without it each row weighs 1.
        time : str, optional
            Column of times: numbers, dates, or text that can be read in one way; see
            `recsys.data.read_times`.
        time_format : str, optional
            How times are written, such as ``"%d.%m.%Y %H:%M"``; by default a format that fits
            every row is looked for, and the table refused where none does or two do.
        duplicates : {"sum", "last", "max", "error"}, default "sum"
            What to do with several rows of one user and item: add their weights, keep the weight
            of the latest (the last row among equals), keep the largest weight, or refuse.
        bad_rows : {"drop", "error"}, default "drop"
            What to do with rows without user, item or time or with a weight that is no positive
            number: drop and count them, or refuse the table.
        min_user, min_item : int, default 1
            Drop users and items with fewer distinct pairs, until none is left (the k-core where
            both are k).

        Returns
        -------
        Interactions
            Matrix, ids and the account of the rows. Cost: two passes over the table, one more
            for times, and a sort of its rows; about 40 bytes per row, not the ids.

        Raises
        ------
        TypeError, FileNotFoundError
            If the source is not a table, its columns not plain, or its file not there.
        ValueError
            If the file is unreadable, a column absent, no row left, a row bad against
            `bad_rows="error"`, a pair repeated against `duplicates="error"`, a sum beyond
            float32, times cannot be read or in two ways, or a LazyFrame gives other rows when it
            is run again.
        """
        choice(duplicates, "duplicates", get_args(Policy))
        choice(bad_rows, "bad_rows", get_args(BadRows))
        min_user = whole(min_user, "min_user", lower=1)
        min_item = whole(min_item, "min_item", lower=1)
        columns = {"user": user, "item": item, "weight": weight, "time": time}
        events, types = _open(source, columns, time_format)
        with readable(source):
            found = survey(events)
            _check_rows(found, bad_rows)
            table = number(events, found.users, found.items, duplicates)
        _check_same(found, table)
        users, items = found.users, found.items
        pairs, data = merge(table, users, items, duplicates)
        del table  # the largest thing here
        merged = pairs.size
        if max(min_user, min_item) > 1:
            pairs, data, users, items = drop_rare(pairs, data, users, items, min_user, min_item)
            _check_left(pairs.size, merged, min_user, min_item)
        report = ReadReport(
            found.rows,
            found.null_ids,
            found.bad_weights,
            found.null_times,
            duplicates=found.sound - merged,
            rare=merged - pairs.size,
            pairs=pairs.size,
            users=users.len(),
            items=items.len(),
            policy=duplicates,
            min_user=min_user,
            min_item=min_item,
        )
        matrix = matrix_of(pairs, data, (users.len(), items.len()))
        ids = users.cast(types["user"]), items.cast(types["item"])
        return cls(matrix, *ids, report, columns)


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
    events, _ = _open(source, {"user": user, "item": item})
    with readable(source):
        table = events.collect(engine="streaming")
    table = table.filter(
        ~(missing("user", table["user"].dtype) | missing("item", table["item"].dtype))
    )
    rows, columns = lookup(users, table["user"]), lookup(items, table["item"])
    known, found = rows >= 0, columns >= 0
    both = known & found
    pairs = np.unique(rows[both] * items.len() + columns[both]).astype(np.uint64)
    shape = (users.len(), items.len())
    matrix = matrix_of(pairs, np.ones(pairs.size, np.float32), shape)
    return matrix, int((~known).sum()), int((known & ~found).sum())


def _open(
    source: Source, columns: Mapping[str, str | None], time_format: str | None = None
) -> tuple[pl.LazyFrame, dict[str, pl.DataType]]:
    """Return the named columns under the names of their arguments, and the types they had.

    Ids come in the type to compare them in, weights as float64, times as numbers or datetimes.
    """
    frame = open_table(source, columns)
    schema = frame.collect_schema()
    types = {role: schema[column] for role, column in columns.items() if column is not None}
    named = {role: pl.col(str(columns[role])) for role in types}
    for role in ("user", "item"):
        named[role] = named[role].cast(plain(types[role]))
    if "weight" in types:
        dtype = types["weight"]
        if not (dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)):
            raise TypeError(
                f"weight must name a column of numbers: got {columns['weight']!r} of type {dtype}; "
                "cast it or leave weight out"
            )
        named["weight"] = named["weight"].cast(pl.Float64, strict=False)
    if "time" in types:
        with readable(source):
            named["time"] = read_times(frame, str(columns["time"]), time_format)
    return frame.select(**named), types


def _check_rows(found: Survey, bad_rows: BadRows) -> None:
    faults = (
        f"got {found.rows} rows, {found.null_ids} without user or item, {found.bad_weights} with a "
        f"weight that is no positive number, {found.null_times} without time"
    )
    if not found.sound:
        raise ValueError(
            f"source must have rows to learn from: {faults}; check the columns named and their "
            "contents"
        )
    if bad_rows == "error" and found.sound < found.rows:
        raise ValueError(
            f"source must have sound rows only under bad_rows='error': {faults}; mend them, or "
            "choose 'drop'"
        )


def _check_same(found: Survey, table: pl.DataFrame) -> None:
    if table.height != found.sound or table["pair"].null_count():
        raise ValueError(
            f"source must give the same rows whenever it is run: got {found.sound} sound rows, "
            f"then {table.height}, {table['pair'].null_count()} of them with new ids; collect the "
            "LazyFrame first, or leave the file alone while it is read"
        )


def _check_left(left: int, merged: int, min_user: int, min_item: int) -> None:
    if not left:
        raise ValueError(
            f"min_user and min_item must leave something to learn from: got {min_user} and "
            f"{min_item}, which drop all {merged} pairs; lower them"
        )
