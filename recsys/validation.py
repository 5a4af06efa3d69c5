"""Pairs to choose parameters by: the latest of some users, if that can be known, any of others."""

import numpy as np
import polars as pl

from recsys.split import leave_last, random_per_user
from recsys.table import Source, missing, open_table, readable
from sparsenum._check import whole

FRACTION = 0.1  # of each user's rows
LATE_USERS = 0.5  # share of the users whose rows are the latest
# A user's items in no order of id rise from row to row in about half of all cases.
LEAST_RISING, MOST_RISING = 0.3, 0.7


def pairs_to_choose_by(
    source: Source, *, user: str, item: str, time: str | None = None, seed: int = 0
) -> tuple[pl.DataFrame, str]:
    """Return a tenth of each user's rows, and whether and how the latest are among them.

    Public test sets and the future hold other items than random parts of the past do: fewer
    popular ones, more new ones; other test sets are such random parts. So half of the users give
    their latest rows, and half give any, to choose what does well on both. Without times the
    rows of a table mostly stand in the order in which they came; if the items of users rise or
    fall by id instead, that order says nothing, and all is drawn by lot.

    Parameters
    ----------
    source : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table; see `recsys.table.open_table` for the files.
    user, item : str
        Columns of ids.
    time : str, optional
        Column of times.
    seed : int, default 0
        Of the lot.

    Returns
    -------
    DataFrame
        The rows, with the named columns; no pair of them is in the rest of the table.
    str
        What tells the latest: "time", the "order" of the rows, or nothing ("lot").

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        As `recsys.split.leave_last`.
    """
    columns = {"user": user, "item": item, "time": time}
    opened = open_table(source, columns, name="source")
    with readable(source):
        frame = opened.select(*dict.fromkeys(filter(None, columns.values()))).collect()
    seed = whole(seed, "seed")
    some = random_per_user(frame, user=user, item=item, fraction=FRACTION, seed=seed)[1]
    if time is None and not LEAST_RISING < rising_share(frame, user, item) < MOST_RISING:
        return some, "lot"
    late = leave_last(frame, user=user, item=item, time=time, fraction=FRACTION)[1]
    users = frame[user].unique().drop_nulls().sort()
    patient = users.filter(pl.Series(np.random.default_rng(seed).random(users.len()) < LATE_USERS))
    asked = pl.col(user).is_in(patient.implode())
    held = pl.concat([late.filter(asked), some.filter(~asked)])
    return held, "order" if time is None else "time"


def rising_share(frame: pl.DataFrame, user: str, item: str) -> float:
    """Return how often the item of a row has a higher id than the row of that user before."""
    known = frame.filter(~missing(user, frame.schema[user]) & ~missing(item, frame.schema[item]))
    before = pl.col(item).shift().over(user)
    steps = known.select(rises=pl.col(item) > before, other=pl.col(item) != before)
    share = steps.filter("other")["rises"].mean()
    return 0.0 if share is None else float(share)  # type: ignore[arg-type]
