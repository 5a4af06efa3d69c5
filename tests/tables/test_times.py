"""Times are parsed or refused: every format against Python's own parser, and what is in doubt."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys import Interactions
from recsys.data import (
    by_time,
    held_out_users,
    leave_last,
    pairs_to_choose_by,
    read_times,
)

NAMES = {"user": "user", "item": "item"}


def read(times, time_format=None, **options):
    frame = pl.LazyFrame({"when": pl.Series(times, **options)})
    return frame.select(read_times(frame, "when", time_format)).collect().to_series()


def first_and_last(times):
    """What is held back of one user's rows is the last in time."""
    frame = pl.DataFrame({"user": "a", "item": range(len(times)), "when": times})
    return leave_last(frame, **NAMES, time="when")[1]["item"].to_list()


@pytest.mark.parametrize(
    ("times", "last"),
    [
        (["12/31/2019", "01/05/2020", "01/06/2020"], 2),
        (["31.12.2019", "05.01.2020", "06.01.2020"], 2),
        (["2020-10-1", "2020-9-30"], 0),
        (["2020/10/1 9:00", "2020/10/1 10:00"], 1),
        (["10:00 AM", "09:00 AM", "01:00 PM", "12:30 a.m."], 2),
        (["12/31/2019 11:00 PM", "01/01/2020 01:00 AM"], 1),
        (["12/31/2019 12:30 pm", "12/31/2019 01:00 PM", "12/31/2019 12:00 AM"], 1),
        (["2020-01-01T10:00:00+02:00", "2020-01-01T09:00:00Z"], 1),
        (["2020-01-01 10:00:00 -0500", "2020-01-01 14:00:00 UTC"], 0),
        (["2020-01-01 10:00:00+05", "2020-01-01 06:00:00+00"], 1),
        (["2020-01-01T10:00:00.5Z", "2020-01-01T10:00:00Z"], 0),
        (["2020-01-01 10:00:00,250", "2020-01-01 10:00:00,3"], 1),
        (["Tue, 31 Dec 2019 10:00:00 +0000", "Wed, 01 Jan 2020 09:00:00 GMT"], 1),
        (["31-Dec-2019", "1-Jan-2020"], 1),
        (["December 31, 2019", "April 1, 2020"], 1),
        (["2019-12", "2020-1"], 1),
        (["20191231T235959", "20200101T000000"], 1),
        (["2020-01-01 00:00:00.123456789", "2020-01-01 00:00:00.123456788"], 0),
        (["9", "10"], 1),
        (["9.5", "10"], 1),
        (["20191231", "20200101"], 1),
        ([" 9 ", "10"], 1),
        ([dt.date(2020, 1, 1), dt.date(2019, 12, 31)], 0),
        ([dt.timedelta(hours=9), dt.timedelta(hours=10)], 1),
        ([2.0, float("inf"), float("nan")], None),
    ],
)
def test_the_last_in_time_is_held_back(times, last):
    assert first_and_last(times) == ([] if last is None else [last])


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["31/12/2019", "05/01/2020"])])
def test_categories_are_text(kind):
    column = pl.Series(["31/12/2019", "05/01/2020"], dtype=kind)
    assert first_and_last(column) == [1]


FORMATS = [
    f"{date}{clock}"
    for date in ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d %B %Y", "%b %d, %Y", "%Y/%m/%d")
    for clock in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S%p", " %H:%M:%S%z")
]
moments = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2099, 12, 31))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(moments, min_size=1, max_size=20),
    st.sampled_from(FORMATS),
    st.sampled_from([-5, 0, 9]),
)
def test_what_python_writes_is_read_back(times, time_format, hours):
    zone = dt.timezone(dt.timedelta(hours=hours))
    # One day above 12 decides.
    times = [time.replace(tzinfo=zone) for time in (*times, dt.datetime(2000, 5, 31))]
    texts = [time.strftime(time_format) for time in times]
    expected = [dt.datetime.strptime(text, time_format) for text in texts]
    assert read(texts).to_list() == expected
    assert read(texts, time_format).to_list() == expected


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["01/02/2020", "03/04/2020"], "'%d/%m/%Y' or '%m/%d/%Y'; say which by time_format"),
        (["01.02.2020 10:00", "03.04.2020 10:00"], "'%d.%m.%Y %H:%M' or '%m.%d.%Y %H:%M'"),
        (["31/12/19", "01/01/20"], "two digits are not guessed at.*'%d/%m/%y', '%m/%d/%y'"),
        (["12/31/2019", "1/1/20"], "got '1/1/20'"),
        (["31.12.2019", "12.31.2019"], "got '12.31.2019' in 'when', where not all times are '%d"),
        (["31.12.2019", "12/30/2019"], "got '12/30/2019'"),
        (["2019-31-12", "2020-05-01"], "got '2019-31-12'"),
        (["2020-02-30"], "got '2020-02-30'"),
        (["2020-01-01 10:00+02:00", "2020-01-01 10:00"], "got '2020-01-01 10:00'"),
        (["2020-01-01 10:00 PST"], "must name a column of times"),
        (["soon", "later"], "must name a column of times: got 'soon'"),
        (["9", "10 o'clock"], 'got numbers and "10 o\'clock"'),
        (["9", "nan"], "got numbers and 'nan'"),
        (["2020-01-01", "n/a"], "got 'n/a'"),
        ([1577836800, 1577836800123], "looks? like times in two"),
        (["1577836800", "1577836800123"], "looks? like times in two"),
        ([20191231, 20200101103000], "looks? like times in two"),
        (["31122019", "01012020"], "year last"),
        (["2020-01-01 00:00:00.123456789", "9999-01-01 00:00:00.1"], "got '9999"),
    ],
)
def test_what_is_in_doubt_is_refused(times, message):
    with pytest.raises(ValueError, match=message):
        read(times)


@pytest.mark.parametrize("times", [[True, False], [b"2020"]])
def test_what_cannot_be_a_time_is_refused(times):
    with pytest.raises(TypeError, match="time must name a column of times"):
        read(times)


def test_a_stated_format_is_kept_to():
    day_first = read(["01/02/2020", "03/04/2020"], "%d/%m/%Y")
    assert day_first.to_list() == [dt.datetime(2020, 2, 1), dt.datetime(2020, 4, 3)]
    assert read([31121999, 10012000], "%d%m%Y").to_list()[1] == dt.datetime(2000, 1, 10)
    assert read(["31/12/99", "01/01/00"], "%d/%m/%y").is_sorted()
    with pytest.raises(
        ValueError, match=r"got '13/13/2020' in 'when', where not all times are '%d/%m/%Y'"
    ):
        read(["01/02/2020", "13/13/2020"], "%d/%m/%Y")
    with pytest.raises(ValueError, match="time_format must be left out"):
        read([dt.date(2020, 1, 1)], "%d/%m/%Y")
    with pytest.raises(ValueError, match="time must name a column where time_format is given"):
        leave_last(pl.DataFrame({"user": [1], "item": [2]}), **NAMES, time_format="%Y")


def test_one_meaning_for_two_formats_is_no_doubt():
    assert read(["01/01/2020", "02/02/2020"]).is_sorted()


def test_missing_times_stay_missing():
    assert read(["", None, "31/12/2019"]).null_count() == 2
    assert read([None, None], dtype=pl.String).null_count() == 2
    assert read([1.0, float("inf"), float("nan"), None]).null_count() == 3


@pytest.fixture(scope="module")
def groceries():
    """7,000 rows of baskets, their days written dd-mm-yyyy; `n` has the truth."""
    rng = np.random.default_rng(0)
    days = dt.date(2014, 1, 1).toordinal() + rng.choice(730, 7000)
    frame = pl.DataFrame({"user": rng.integers(0, 1500, 7000), "item": range(7000), "n": days})
    texts = [dt.date.fromordinal(day).strftime("%d-%m-%Y") for day in days]
    return frame.with_columns(when=pl.Series(texts))


def test_every_row_held_back_of_a_day_first_table_is_the_last(groceries):
    first, second = leave_last(groceries, **NAMES, time="when")
    assert second.height > 1400
    assert second.equals(leave_last(groceries, **NAMES, time="n")[1])
    latest = first.group_by("user").agg(pl.col("n").max().alias("before"))
    assert second.join(latest, on="user").select((pl.col("n") >= pl.col("before")).all()).item()


def test_every_way_of_splitting_goes_by_time(groceries):
    ways = [
        lambda time: by_time(groceries, **NAMES, time=time, fraction=0.2),
        lambda time: held_out_users(groceries, **NAMES, time=time),
        lambda time: pairs_to_choose_by(groceries, **NAMES, time=time)[:1],
    ]
    for split in ways:
        for one, other in zip(split("when"), split("n"), strict=True):
            assert one.select("user", "item").equals(other.select("user", "item"))


def test_a_part_of_the_rows_in_doubt_is_read_as_the_whole(groceries):
    # Each user's own rows have no day above 12, but those of all users do.
    rows = groceries.head(300).with_columns(user=pl.int_range(300, dtype=pl.Int64) // 2)
    low = rows.filter(pl.col("when").str.slice(0, 2).cast(pl.Int64) <= 12)
    high = rows.filter(pl.col("when").str.slice(0, 2).cast(pl.Int64) > 12).with_columns(
        user=-pl.col("user") - 1
    )
    train, known, hidden = held_out_users(pl.concat([low, high]), **NAMES, time="when", hide=0.5)
    assert train.height + known.height + hidden.height == 300


@pytest.mark.parametrize("cut", ["01-06-2015", "2015-06-01", dt.date(2015, 6, 1)])
def test_a_cut_is_written_as_the_times_are_or_in_iso(groceries, cut):
    _, late = by_time(groceries, **NAMES, time="when", cut=cut)
    assert late["n"].min() == dt.date(2015, 6, 1).toordinal()


def test_a_cut_with_a_zone_needs_times_with_one():
    frame = pl.DataFrame({"user": 1, "item": [1, 2], "when": ["2020-01-01", "2020-01-02"]})
    aware = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
    with pytest.raises(TypeError, match="cut must be of a type like"):
        by_time(frame, **NAMES, time="when", cut=aware)


def test_the_last_of_repeated_pairs_is_the_last_in_time():
    frame = pl.DataFrame(
        {
            "user": "a",
            "item": "x",
            "w": [1, 2, 3],
            "when": ["31.12.2019", "06.01.2020", "05.01.2020"],
        }
    )
    got = Interactions.read(frame, **NAMES, weight="w", time="when", duplicates="last")
    assert got.matrix.data.tolist() == [2.0]
    for policy in ("sum", "last"):
        with pytest.raises(ValueError, match="may be '%d"):
            Interactions.read(frame[1:], **NAMES, weight="w", time="when", duplicates=policy)
    read = Interactions.read(frame[1:], **NAMES, weight="w", time="when", time_format="%d.%m.%Y")
    assert read.nnz == 1
