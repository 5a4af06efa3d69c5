"""Holding back the last events of each user, to test on what came after."""

import polars as pl

from recsys.table import Source, comparable_times, missing, open_table, readable
from sparsenum._check import whole


def leave_last(
    table: Source,
    *,
    user: str,
    item: str,
    time: str | None = None,
    k: int = 1,
    fraction: float | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split a table into earlier rows and the last rows of each user.

    A user with c rows gives min(k, c - 1) of them to the second table, or min(⌊fraction c⌋, c - 1).
    Held rows whose (user, item) also occurs in the first table are in neither, so that nothing
    to be predicted has been seen.

    Parameters
    ----------
    table : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table; see `recsys.table.open_table` for the files.
    user, item : str
        Columns of ids.
    time : str, optional
        Column of times; rows of equal time, and all rows without it, count in the order of the
        table.
    k : int, default 1
        Rows to hold back per user.
    fraction : float, optional
        Part of each user's rows to hold back, between 0 and 1; in place of `k`.

    Returns
    -------
    first, second : DataFrame
        All columns, rows in the order of the table. Rows without user, item or time stay in the
        first. Cost: a sort by time and two passes by user.

    Raises
    ------
    TypeError, FileNotFoundError
        If `table` is not a table, its columns not plain, or its file not there.
    ValueError
        If the file is unreadable, a column absent, or `k` or `fraction` out of range.
    """
    columns = {"user": user, "item": item, "time": time}
    quota = _quota(k, fraction)
    opened = open_table(table, columns, name="table")
    with readable(table, "table"):
        frame = opened.collect()
    events = _events(frame, {role: name for role, name in columns.items() if name is not None})
    age = pl.int_range(pl.len() - 1, -1, -1, dtype=pl.Int64).over("user")
    events = events.with_columns(held=age < quota)
    first, held = events.filter(~pl.col("held")), events.filter("held")
    second = held.join(first, on=["user", "item"], how="anti")
    rows = pl.int_range(frame.height, dtype=pl.UInt32, eager=True)
    is_held, is_second = rows.is_in(held["row"].implode()), rows.is_in(second["row"].implode())
    return frame.filter(~is_held), frame.filter(is_second)


def _quota(k: int, fraction: float | None) -> pl.Expr:
    """Return how many rows of a user to hold back, always leaving one."""
    k = whole(k, "k", lower=1)
    count = pl.len().cast(pl.Int64)
    if fraction is None:
        wanted = pl.lit(k, pl.Int64)
    elif k != 1:
        raise ValueError(f"k must be left out where fraction is given: got k={k}; choose one")
    elif not 0 < fraction < 1:
        raise ValueError(
            f"fraction must lie between 0 and 1: got {fraction!r}; 0.2 holds back a fifth of each "
            "user's rows"
        )
    else:
        # 0.29 * 100 is 28.999…: what rounding error took away must not cost a row.
        wanted = (count * fraction + 1e-9).floor().cast(pl.Int64)
    return pl.min_horizontal(wanted, count - 1).over("user")


def _events(frame: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
    """Return the complete rows in order of time: user, item, and row number in the table."""
    events = pl.DataFrame({role: frame[name] for role, name in columns.items()})
    events = events.with_row_index("row").with_columns(pl.col("row").cast(pl.UInt32))
    gaps = [missing(role, events.schema[role]) for role in columns]
    events = events.filter(~pl.any_horizontal(gaps))
    if "time" in columns:
        events = events.sort(comparable_times(events.lazy(), "time"), maintain_order=True)
    return events.select("row", "user", "item")
