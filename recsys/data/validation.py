"""Pairs to choose parameters by: the latest of some users, if that can be known, any of others."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.split import events_of, hold_back, moments_of, quota_of
from recsys.data.table import Source, missing, open_table, readable
from recsys.data.times import read_times
from recsys.data.vocabulary import lookup
from sparsenum._check import whole

FRACTION = 0.1  # of each user's rows
HALF_LIFE = 0.1  # of the time that a table spans, after which an event counts half
_MOMENT = "\x1fmoment"  # a column that no table has
LATE_USERS = 0.5  # share of the users whose rows are the latest
# A user's items in no order of id rise from row to row in about half of all cases.
LEAST_RISING, MOST_RISING = 0.3, 0.7


def pairs_to_choose_by(
    source: Source,
    *,
    user: str,
    item: str,
    weight: str | None = None,
    time: str | None = None,
    time_format: str | None = None,
    seed: int = 0,
) -> tuple[pl.DataFrame, str]:
    """Return a tenth of each user's rows to choose parameters by, and how the latest were told.

    Public test sets and the future hold other items than random parts of the past do: fewer
    popular ones, more new ones; other test sets are such random parts. So half of the users give
    their latest rows, and half give any, to choose what does well on both. Without times the
    rows of a table mostly stand in the order in which they came; if the items of users rise or
    fall by id instead, that order says nothing, and all are drawn at random.

    Parameters
    ----------
    source : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table; see `recsys.data.open_table` for the files.
    user, item : str
        Columns of ids.
    weight : str, optional
        Column of weights, to be handed on: what is not liked is no pair to choose by.
    time : str, optional
        Column of times.
    time_format : str, optional
        How times are written; by default it is found, or the table refused.
    seed : int, default 0
        Seed of the random choice.

    Returns
    -------
    DataFrame
        The rows, with the named columns; no pair of them is in the rest of the table.
    str
        What tells the latest: "time", the "order" of the rows, or nothing ("chance").

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        As `recsys.data.split.leave_last`.

    See Also
    --------
    recsys.leave_last : pairs for a test.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> events = pl.DataFrame({"user": [1] * 10, "item": [*range(10)], "day": [*range(10)]})
    >>> held, by = recsys.data.pairs_to_choose_by(events, user="user", item="item", time="day")
    >>> held.height, by
    (1, 'time')
    """
    columns = {"user": user, "item": item, "weight": weight, "time": time}
    opened = open_table(source, columns, name="source")
    with readable(source):
        frame = opened.select(*dict.fromkeys(filter(None, columns.values()))).collect()
    rng = np.random.default_rng(whole(seed, "seed"))
    in_order = time is not None or LEAST_RISING < rising_share(frame, user, item) < MOST_RISING
    users = frame.drop_nulls(user).group_by(user).len().sort(user)
    late, drawn = rng.random((2, users.height))
    users = users.with_columns(
        late=pl.Series(late < LATE_USERS * in_order),
        # A user with too few rows for a tenth gives one at times: a tenth in the mean.
        whole=pl.col("len") * FRACTION >= 1,
        is_judge=pl.Series(drawn) < pl.col("len") * FRACTION,
    )
    mixed = rng.permutation(frame.height)
    # A format found in all rows may be in doubt in those of some users.
    moments = moments_of(frame, time, time_format)
    held = []
    for is_late in (True, False):
        rows = frame if is_late else frame[mixed]
        for many, quota in ((True, quota_of(1, FRACTION)), (False, quota_of(1, None))):
            wanted = users.filter("is_judge", late=is_late, whole=many)[user]
            chosen = rows[user].is_in(wanted.implode())
            some = rows.filter(chosen)
            when = moments.filter(chosen) if is_late and moments is not None else None
            events = events_of(some, columns if is_late else columns | {"time": None}, when)
            held.append(hold_back(some, columns, events, quota)[1])
    return pl.concat(held), "time" if time is not None else "order" if in_order else "chance"


def rising_share(frame: pl.DataFrame, user: str, item: str) -> float:
    """Return how often the item of a row has a higher id than the row of that user before."""
    known = frame.filter(~missing(user, frame.schema[user]) & ~missing(item, frame.schema[item]))
    before = pl.col(item).shift().over(user)
    steps = known.select(rises=pl.col(item) > before, other=pl.col(item) != before)
    share = steps.filter("other")["rises"].mean()
    return 0.0 if share is None else float(share)  # type: ignore[arg-type]


def recent_counts(source: Source, held: pl.DataFrame, train: Interactions) -> NDArray[np.float64]:
    """Return the liked events of each item of a training, each half as much per half-life of age.

    Parameters
    ----------
    source : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table that `train` was read from, with times.
    held : DataFrame
        Rows held back from it, which do not count.
    train : Interactions
        Its items, columns and format of times.

    Returns
    -------
    ndarray of float64, shape (n_items,)
        Counts; the half-life is a tenth of the time from the first event to the last.

    See Also
    --------
    recsys.Popularity : which recommends by counts.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> events = pl.DataFrame({"user": [1, 2, 3], "item": ["old", "old", "new"], "day": [0, 0, 10]})
    >>> train = recsys.Interactions.read(events, user="user", item="item", time="day")
    >>> recsys.data.recent_counts(events, events[:0], train).round(4).tolist()
    [1.0, 0.002]
    """
    user, item, time = (str(train.columns[role]) for role in ("user", "item", "time"))
    frame = open_table(source, {"user": user, "item": item, "time": time})
    moments = read_times(frame, time, train.reading.time_format).to_physical().cast(pl.Float64)
    rest = frame.select(user, item, moments.alias(_MOMENT)).join(
        held.lazy(), on=[user, item], how="anti"
    )
    with readable(source):
        table = rest.drop_nulls(_MOMENT).collect(engine="streaming")
    places, when = lookup(train.items, table[item]), table[_MOMENT].to_numpy()
    known = places >= 0
    span = float(np.ptp(when)) if when.size else 0.0
    age = (when.max(initial=-np.inf) - when) / (HALF_LIFE * span) if span > 0 else 0 * when
    return np.bincount(places[known], 2.0 ** -age[known], train.n_items).astype(np.float64)
