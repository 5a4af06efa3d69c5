"""From a table of events to a matrix of users by items, with an account of every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import polars as pl

from recsys.data.pairs import drop_rare, is_liked, matrix_of, merge, renumbered
from recsys.data.report import Policy, Reading, ReadReport
from recsys.data.scan import Survey, in_order, is_sound, number, survey
from recsys.data.table import Source, open_table, readable
from recsys.data.textfile import TextFile
from recsys.data.times import read_times
from recsys.data.vocabulary import lookup, plain
from sparsenum._check import choice, positive, whole
from sparsenum.sparse.formats import CSR

__all__ = ["Held", "Interactions", "Policy", "ReadReport", "Reading", "lookup", "read_pairs"]

DECIMAL_COMMA = r"^[+-]?\d[\d.]*,\d+$"

BadRows = Literal["drop", "error"]


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Implicit feedback as a sparse matrix, users by rows, with the ids of its rows and columns.

    Attributes
    ----------
    matrix : CSR, shape (n_users, n_items)
        Weights of the pairs that are liked, those above zero (and not below `min_weight`), in
        float32, uint32 columns; no row and no column is empty.
    touched : CSR, shape (n_users, n_items)
        Pairs that occur and are not liked, such as what was rated 0, or returned: nothing is
        learned from them, and they are not recommended.
    users, items : Series
        The id of each row and of each column, sorted, in the type they came in.
    report : ReadReport
        What became of the rows of the table.
    columns : dict
        The column read as "user", "item", "weight" and "time"; None where none was named.
    reading : Reading
        What weights and times mean.

    See Also
    --------
    recsys.data.open_table : a table without a vocabulary.
    recsys.leave_last : interactions held back for a test.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> events = pl.DataFrame({"customer": ["ann", "ann", "bob"], "product": ["tea", "mug", "tea"]})
    >>> train = recsys.Interactions.read(events, user="customer", item="product")
    >>> train.matrix.to_dense().tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    >>> train.users.to_list(), train.items.to_list()
    (['ann', 'bob'], ['mug', 'tea'])
    """

    matrix: CSR
    touched: CSR
    users: pl.Series
    items: pl.Series
    report: ReadReport
    columns: dict[str, str | None]
    reading: Reading

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
        min_weight: float | None = None,
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
            Column of weights; without it each row weighs 1. A pair is liked if its weight, once
            rows are merged, is above zero; else it is only touched.
        time : str, optional
            Column of times: numbers, dates, or text that can be read in one way; see
            `recsys.data.read_times`.
        time_format : str, optional
            How times are written, such as ``"%d.%m.%Y %H:%M"``; by default a format that fits
            every row is looked for, and the table refused where none does or two do.
        min_weight : float, optional
            The least weight of a pair that is liked, above zero: 4 takes ratings of 4 and 5 for
            likes.
        duplicates : {"sum", "last", "max", "error"}, default "sum"
            What to do with several rows of one user and item: add their weights, keep the weight
            of the latest (the last row among equals), keep the largest weight, or refuse.
        bad_rows : {"drop", "error"}, default "drop"
            What to do with rows without user, item or time or with a weight that is no number:
            drop and count them, or refuse the table.
        min_user, min_item : int, default 1
            Drop users and items with fewer liked pairs, until none is left (the k-core where
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
        if min_weight is not None:
            min_weight = positive(min_weight, "min_weight", "4 takes ratings of 4 and 5 for likes")
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
        liked = is_liked(data, min_weight)
        merged, n_items, touched = pairs.size, items.len(), pairs[~liked]
        if touched.size or max(min_user, min_item) > 1:
            pairs, data = pairs[liked], data[liked]
            _check_liked(pairs.size, merged, min_weight)
            n_liked = pairs.size
            pairs, data, *kept = drop_rare(pairs, data, n_items, min_user, min_item)
            _check_left(pairs.size, n_liked, min_user, min_item)
            touched = renumbered(touched, n_items, *kept)
            users, items = (
                ids.gather(places) for ids, places in zip((users, items), kept, strict=True)
            )
        report = ReadReport(
            found.rows,
            found.null_ids,
            found.bad_weights,
            found.null_times,
            duplicates=found.sound - merged,
            touched=int((~liked).sum()),
            rare=int(liked.sum()) - pairs.size,
            pairs=pairs.size,
            users=users.len(),
            items=items.len(),
            policy=duplicates,
            min_user=min_user,
            min_item=min_item,
            min_weight=min_weight,
        )
        shape = users.len(), items.len()
        return cls(
            matrix_of(pairs, data, shape),
            matrix_of(touched, np.ones(touched.size, np.float32), shape),
            users.cast(types["user"]),
            items.cast(types["item"]),
            report,
            columns,
            Reading(duplicates, min_weight, time_format),
        )

    def read_held(self, source: Source) -> Held:
        """Return the liked pairs of another table, read as this one was; see `read_pairs`."""
        return read_pairs(
            source, **self.columns, users=self.users, items=self.items, reading=self.reading
        )


class Held(NamedTuple):
    """The pairs of a table in the numbering of a training, and what was left out.

    Attributes
    ----------
    matrix : CSR, shape (n_users, n_items)
        Ones in float32 where a pair is liked.
    unknown_users : int
        Rows left out because their user is not known.
    unknown_items : int
        Rows of known users left out because their item is not known.
    touched : CSR, shape (n_users, n_items)
        Likewise where a pair occurs and is not liked.
    """

    matrix: CSR
    unknown_users: int
    unknown_items: int
    touched: CSR


def read_pairs(
    source: Source,
    *,
    user: str | None,
    item: str | None,
    users: pl.Series,
    items: pl.Series,
    weight: str | None = None,
    time: str | None = None,
    reading: Reading | None = None,
) -> Held:
    """Return the liked pairs of a table, in the numbering of vocabularies made elsewhere.

    Parameters
    ----------
    source : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table, as for `Interactions.read`; rows without user or item, or with a weight that is
        no number, are left out.
    user, item : str
        Columns of ids; ids of another type are cast to that of the vocabulary.
    users, items : Series
        The id of each row and of each column of the result.
    weight, time : str, optional
        Columns of weights and of times, used where the table has them: all pairs of a table
        without weights are liked.
    reading : Reading, optional
        What weights and times mean; by default a pair is liked if its weights add up to more than
        zero.

    Returns
    -------
    Held
        The pairs, and counts of what was left out.

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        As `Interactions.read`, except that nothing need be left.
    """
    reading = reading or Reading()
    policy: Policy = "sum" if reading.duplicates == "error" else reading.duplicates
    columns: dict[str, str | None] = {"user": user, "item": item}
    with readable(source):
        schema = open_table(source, columns).collect_schema()
    columns["weight"] = weight if weight in schema else None
    columns["time"] = time if policy == "last" and time in schema else None
    events, _ = _open(source, columns, reading.time_format if columns["time"] else None)
    with readable(source):
        table = events.filter(is_sound(events)).collect(engine="streaming")
    rows, places = lookup(users, table["user"]), lookup(items, table["item"])
    known, found = rows >= 0, places >= 0
    both = known & found
    numbers = (rows[both] * items.len() + places[both]).astype(np.uint64)
    rest = (
        table.drop("user", "item")
        .filter(both)
        .with_columns(pair=pl.Series(numbers, dtype=pl.UInt64))
    )
    pairs = np.empty(0, np.uint64)
    liked = np.empty(0, np.bool_)
    if rest.height:
        pairs, data = merge(in_order(rest, policy), users, items, policy)
        liked = is_liked(data, reading.min_weight)
    shape = (users.len(), items.len())
    matrix, touched = (
        matrix_of(pairs[some], np.ones(int(some.sum()), np.float32), shape)
        for some in (liked, ~liked)
    )
    return Held(matrix, int((~known).sum()), int((known & ~found).sum()), touched)


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
        named["weight"] = _numbers(frame, str(columns["weight"]), dtype, source)
    if "time" in types:
        with readable(source):
            named["time"] = read_times(frame, str(columns["time"]), time_format)
    return frame.select(**named), types


def _numbers(frame: pl.LazyFrame, column: str, dtype: pl.DataType, source: Source) -> pl.Expr:
    """Return a column of weights as numbers, null where it holds none."""
    weight = pl.col(column)
    if dtype == pl.String:
        text = weight.str.strip_chars()
        if isinstance(source, TextFile) and source.decimal_comma:
            text = text.str.replace(",", ".", literal=True)
        else:
            with readable(source):
                commas = frame.select(text.filter(text.str.contains(DECIMAL_COMMA)).first())
                found = commas.collect(engine="streaming").item()
            if found is not None:
                raise ValueError(
                    f"weight must name a column of numbers with a decimal point: got {found!r} in "
                    f"{column!r}; say so by TextFile(path, decimal_comma=True) (--decimal-comma on "
                    "the command line)"
                )
        weight = text
    return weight.cast(pl.Float64, strict=False)


def _check_rows(found: Survey, bad_rows: BadRows) -> None:
    faults = (
        f"got {found.rows} rows, {found.null_ids} without user or item, {found.bad_weights} with a "
        f"weight that is no number, {found.null_times} without time"
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


def _check_liked(liked: int, merged: int, min_weight: float | None) -> None:
    if not liked:
        least = "above zero" if min_weight is None else f"of {min_weight:g} or more"
        raise ValueError(
            f"weight must be {least} for some pairs: got {merged:,} pairs, none of them liked; "
            "check the column of weights and min_weight"
        )


def _check_left(left: int, merged: int, min_user: int, min_item: int) -> None:
    if not left:
        raise ValueError(
            f"min_user and min_item must leave something to learn from: got {min_user} and "
            f"{min_item}, which drop all {merged} pairs; lower them"
        )
