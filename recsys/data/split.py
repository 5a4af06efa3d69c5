"""Holding events back to test on: the last of each user, a random part, a time, whole users.

Nothing leaks: no pair of user and item is in two tables of a split. A table may be split again,
to have one part to choose by and one to report.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from recsys.data.table import Source, missing, open_table, readable
from recsys.data.times import read_times
from sparsenum._check import whole

Columns = Mapping[str, str | None]
# 0.29 * 100 is 28.999…: what rounding error took away must not cost a row.
ROUNDING = 1e-9


def leave_last(
    table: Source,
    *,
    user: str,
    item: str,
    time: str | None = None,
    time_format: str | None = None,
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
        The table; see `recsys.data.open_table` for the files.
    user, item : str
        Columns of ids.
    time : str, optional
        Column of times; rows of equal time, and all rows without it, count in the order of the
        table.
    time_format : str, optional
        How times are written, such as ``"%d.%m.%Y %H:%M"``; by default it is found, or the table
        refused; see `recsys.data.read_times`.
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
        If the file is unreadable, a column absent, `k` or `fraction` out of range, or times
        cannot be read or in two ways.

    See Also
    --------
    recsys.data.by_time : all from one time on is held back.
    recsys.data.random_per_user : a share of each user.
    recsys.data.held_out_users : whole users.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> who, what, day = [1, 1, 1, 2, 2], [1, 2, 3, 1, 2], [1, 2, 3, 2, 1]
    >>> events = pl.DataFrame({"user": who, "item": what, "day": day})
    >>> train, test = recsys.leave_last(events, user="user", item="item", time="day")
    >>> test.rows()
    [(1, 3, 3), (2, 1, 2)]
    """
    columns = {"user": user, "item": item, "time": time}
    quota = quota_of(k, fraction)
    frame = _collect(table, columns)
    moments = moments_of(frame, time, time_format)
    return hold_back(frame, columns, events_of(frame, columns, moments), quota)


def random_per_user(
    table: Source, *, user: str, item: str, fraction: float = 0.2, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split a table into a random part of the rows of each user and the rest.

    A user with c rows gives min(⌊fraction c⌋, c - 1) of them to the second table. Held rows whose
    (user, item) also occurs in the first table are in neither.

    Parameters
    ----------
    table : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table; see `recsys.data.open_table` for the files.
    user, item : str
        Columns of ids.
    fraction : float, default 0.2
        Part of each user's rows to hold back, between 0 and 1.
    seed : int, default 0
        Same seed and same table in the same order, same split.

    Returns
    -------
    first, second : DataFrame
        All columns, rows in the order of the table. Rows without user or item stay in the first.
        What is popular is popular in both: models that live by popularity look better than on
        later events (`recsys.evaluation.protocol`).

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        As `leave_last`.

    See Also
    --------
    recsys.leave_last : the latest of each user.
    recsys.data.by_time : all from one time on.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> events = pl.DataFrame({"user": [1, 1, 1, 1], "item": [1, 2, 3, 4]})
    >>> train, test = recsys.data.random_per_user(events, user="user", item="item", fraction=0.25)
    >>> train.height, test.height
    (3, 1)
    """
    quota = quota_of(1, fraction)
    rng = np.random.default_rng(whole(seed, "seed"))
    columns = {"user": user, "item": item}
    frame = _collect(table, columns)
    events = events_of(frame, columns)
    return hold_back(frame, columns, events[rng.permutation(events.height)], quota)


def by_time(
    table: Source,
    *,
    user: str,
    item: str,
    time: str,
    time_format: str | None = None,
    cut: Any = None,
    fraction: float | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split a table at a moment: the rows before it, and the rows from it on.

    Later rows whose (user, item) also occurs in the first table are in neither. Unlike the splits
    by user, nobody's future is in the first table, so nothing is learned from trends to come; some
    users and items may occur in the second table alone.

    Parameters
    ----------
    table : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table; see `recsys.data.open_table` for the files.
    user, item, time : str
        Columns of ids and of times.
    time_format : str, optional
        How times are written, such as ``"%d.%m.%Y %H:%M"``; by default it is found, or the table
        refused; see `recsys.data.read_times`.
    cut : number, text, date or datetime, optional
        The first moment of the second table: of the type of the times, written as they are, or an
        ISO text. Where times have a zone, a cut without one is in UTC.
    fraction : float, optional
        In place of `cut`, the part of the rows to hold back, between 0 and 1: the cut is the time
        of row ⌊(1 - fraction) n⌋ (from 0) in order of time. Rows of that time are all held back.

    Returns
    -------
    first, second : DataFrame
        All columns, rows in the order of the table. Rows without user, item or time stay in the
        first.

    Raises
    ------
    TypeError, FileNotFoundError
        As `leave_last`; also if `cut` cannot be compared with the times.
    ValueError
        As `leave_last`; also unless just one of `cut` and `fraction` is given.

    See Also
    --------
    recsys.leave_last : the latest of each user.
    recsys.data.held_out_users : whole users.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> events = pl.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], "day": [1, 2, 3]})
    >>> earlier, later = recsys.data.by_time(events, user="user", item="item", time="day", cut=3)
    >>> earlier.height, later.height
    (2, 1)
    """
    if (cut is None) == (fraction is None):
        raise ValueError("one of cut and fraction must be given: got both or none; choose one")
    if fraction is not None:
        _check_fraction(fraction, "fraction")
    columns = {"user": user, "item": item, "time": time}
    frame = _collect(table, columns)
    moments = moments_of(frame, time, time_format)
    events = events_of(frame, columns, moments)
    if events.is_empty():
        return frame, frame.clear()
    if fraction is not None:
        start = events["time"].gather([int((1 - fraction) * events.height + ROUNDING)])
    else:
        start = _start(cut, frame, time, time_format, events["time"].dtype)
    late = events["time"] >= start
    return _without_seen(frame, columns, events, late)


def held_out_users(
    table: Source,
    *,
    user: str,
    item: str,
    time: str | None = None,
    time_format: str | None = None,
    fraction: float = 0.1,
    hide: float = 0.2,
    seed: int = 0,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Split a table into users to train on, and the known and the hidden rows of the others.

    For models that serve users they have not seen: train on the first table, show them the
    second, ask for the third. No user of the first is in the others.

    Parameters
    ----------
    table : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table; see `recsys.data.open_table` for the files.
    user, item : str
        Columns of ids.
    time : str, optional
        Column of times: the last rows of the held-out users are hidden; else a random part.
    time_format : str, optional
        How times are written, such as ``"%d.%m.%Y %H:%M"``; by default it is found, or the table
        refused; see `recsys.data.read_times`.
    fraction : float, default 0.1
        Part of the users to hold out, rounded down but at least one, between 0 and 1.
    hide : float, default 0.2
        Part of the rows of each held-out user to hide, rounded down, between 0 and 1.
    seed : int, default 0
        Same seed and same users, same users held out, whatever the order of the table.

    Returns
    -------
    train, known, hidden : DataFrame
        All columns, rows in the order of the table. Rows without user stay in the first, rows
        without item or time in that of their user's known rows. A pair that is known is not hidden.

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        As `leave_last`; ValueError also if there are fewer than two users.

    See Also
    --------
    recsys.leave_last : the latest of each user.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> events = pl.DataFrame({"user": [1, 1, 2, 2, 3, 3], "item": [1, 2, 1, 2, 1, 2]})
    >>> names = {"user": "user", "item": "item"}
    >>> train, known, hidden = recsys.data.held_out_users(events, **names, fraction=0.34, hide=0.5)
    >>> train.height, known.height, hidden.height
    (4, 1, 1)
    """
    _check_fraction(fraction, "fraction")
    _check_fraction(hide, "hide")
    rng = np.random.default_rng(whole(seed, "seed"))
    columns = {"user": user, "item": item, "time": time}
    frame = _collect(table, columns)
    present = frame.filter(~missing(user, frame.schema[user]))
    users = present[user].unique().sort()
    if users.len() < 2:
        raise ValueError(f"table must have two users or more: got {users.len()}; nothing to split")
    count = max(int(fraction * users.len() + ROUNDING), 1)
    chosen = users.gather(rng.choice(users.len(), count, replace=False))
    is_held = frame[user].is_in(chosen.implode()).fill_null(False)
    train, held = frame.filter(~is_held), frame.filter(is_held)
    if time is None:
        return train, *random_per_user(held, user=user, item=item, fraction=hide, seed=seed)
    # A format found in all rows may be in doubt in some.
    moments = frame.select(read_times(frame.lazy(), time, time_format)).to_series().filter(is_held)
    quota = quota_of(1, hide)
    return train, *hold_back(held, columns, events_of(held, columns, moments), quota)


def _collect(table: Source, columns: Columns) -> pl.DataFrame:
    opened = open_table(table, columns, name="table")
    with readable(table, "table"):
        return opened.collect()


def hold_back(
    frame: pl.DataFrame, columns: Columns, events: pl.DataFrame, quota: pl.Expr
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hold back the last events of each user, in the order of `events`."""
    age = pl.int_range(pl.len() - 1, -1, -1, dtype=pl.Int64).over("user")
    return _without_seen(frame, columns, events, events.select(age < quota).to_series())


def _without_seen(
    frame: pl.DataFrame, columns: Columns, events: pl.DataFrame, held: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that are not held, and those that are and whose pair is not among them."""
    is_held, is_second = np.zeros((2, frame.height), np.bool_)
    is_held[events["row"].to_numpy()[held.to_numpy()]] = True
    first = frame.filter(~is_held)
    # Rows without time count too: they were seen.
    seen = first.select(user=str(columns["user"]), item=str(columns["item"]))
    unseen = events.filter(held).join(seen, on=["user", "item"], how="anti")
    is_second[unseen["row"].to_numpy()] = True
    return first, frame.filter(is_second)


def quota_of(k: int, fraction: float | None) -> pl.Expr:
    """Return how many rows of a user to hold back, always leaving one."""
    k = whole(k, "k", lower=1)
    count = pl.len().cast(pl.Int64)
    if fraction is None:
        wanted = pl.lit(k, pl.Int64)
    elif k != 1:
        raise ValueError(f"k must be left out where fraction is given: got k={k}; choose one")
    else:
        _check_fraction(fraction, "fraction")
        wanted = (count * fraction + ROUNDING).floor().cast(pl.Int64)
    return pl.min_horizontal(wanted, count - 1).over("user")


def _check_fraction(fraction: float, name: str) -> None:
    if not 0 < fraction < 1:
        raise ValueError(
            f"{name} must lie between 0 and 1: got {fraction!r}; 0.2 holds back a fifth"
        )


def moments_of(frame: pl.DataFrame, time: str | None, time_format: str | None) -> pl.Series | None:
    """Return the time of each row, null where it is missing."""
    if time is None:
        if time_format is not None:
            raise ValueError(
                f"time must name a column where time_format is given: got {time_format!r} without"
            )
        return None
    return frame.select(read_times(frame.lazy(), time, time_format)).to_series()


def _start(
    cut: Any, frame: pl.DataFrame, time: str, time_format: str | None, dtype: pl.DataType
) -> pl.Series:
    """Return the cut as a series of one, to compare with times of this type."""
    try:
        if isinstance(cut, str) and frame.schema[time] == pl.String:
            written = pl.DataFrame({time: [cut]})
            start = written.select(read_times(frame.lazy(), time, time_format)).to_series()
            if start.null_count() == 0:
                return start
        if isinstance(cut, str) and dtype.is_temporal():
            cut = datetime.fromisoformat(cut)
        moment = pl.Series([cut])
        if moment.dtype.is_numeric() and dtype.is_numeric():
            return moment
        zoned = [getattr(kind, "time_zone", None) is not None for kind in (moment.dtype, dtype)]
        comparable = moment.dtype.is_temporal() and dtype.is_temporal() and zoned != [True, False]
        if moment.dtype == pl.String or comparable:
            return moment.cast(dtype)
    except (pl.exceptions.PolarsError, TypeError, ValueError):
        pass
    raise TypeError(
        f"cut must be of a type like that of the times, {dtype}: got {cut!r}; convert it first"
    )


def events_of(
    frame: pl.DataFrame, columns: Columns, moments: pl.Series | None = None
) -> pl.DataFrame:
    """Return the complete rows in order of time: their columns, and `row`, the number of each."""
    named = {role: frame[name] for role, name in columns.items() if name is not None}
    if moments is not None:
        named["time"] = moments
    events = pl.DataFrame(named).with_row_index("row")
    gaps = [missing(role, events.schema[role]) for role in named]
    events = events.filter(~pl.any_horizontal(gaps))
    return events if moments is None else events.sort("time", maintain_order=True)
