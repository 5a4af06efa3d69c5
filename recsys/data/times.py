"""Times of events: numbers and dates as they are, text by one format that fits every row.

Text is never put in the order of its characters. A format is stated by the caller, or found: what
the first text can mean is tried on all rows, and where two meanings remain, as in 01/02/2020, the
column is refused rather than guessed at.
"""

import re
from typing import NamedTuple

import polars as pl

from recsys.data.table import missing

FIRST_YEAR = 1000  # chrono reads "20" as the year 20 where four digits are expected
# Years that a 64-bit count of nanoseconds can hold; beyond, polars wraps around silently.
NANOSECOND_YEARS = (1678, 2261)
# 1990 to 2100 in seconds since 1970; milli-, micro- and nanoseconds have 1e3, 1e6, 1e9 times that.
EPOCHS = tuple((6.3e8 * unit, 4.2e9 * unit) for unit in (1, 1e3, 1e6, 1e9))
# Years 1900 to 2099 written YYYYMMDD, with hours and minutes, and with seconds.
CALENDAR = ((1.9e7, 2.1e7), (1.9e11, 2.1e11), (1.9e13, 2.1e13))
YEAR_LAST = (1011900, 31122100)  # 1 January 1900 to 31 December 2100 written DDMMYYYY

_WEEKDAY = r"^\s*(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*[.,]*\s+"
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
# What a date may look like, and the formats it may have; {s} is the separator that was found.
_DATES = {
    r"\d{4}(?P<s>[-/. ])\d{1,2}(?P=s)\d{1,2}": ("%Y{s}%m{s}%d",),
    r"\d{1,2}(?P<s>[-/. ])\d{1,2}(?P=s)\d{4}": ("%d{s}%m{s}%Y", "%m{s}%d{s}%Y"),
    rf"\d{{1,2}}(?P<s>[-/. ]?){_MONTH}(?P=s)\d{{4}}": ("%d{s}%B{s}%Y",),
    rf"\d{{4}}(?P<s>[-/. ]?){_MONTH}(?P=s)\d{{1,2}}": ("%Y{s}%B{s}%d",),
    rf"{_MONTH} \d{{1,2}}, ?\d{{4}}": ("%B %d, %Y",),
    rf"{_MONTH} \d{{1,2}} \d{{4}}": ("%B %d %Y",),
    r"\d{4}(?P<s>[-/.])\d{1,2}": ("%Y{s}%m",),
    r"\d{8}(?=[T ]\d)": ("%Y%m%d",),
    "": ("",),
}
_SHORT_YEAR = r"\d{1,2}(?P<s>[-/. ])\d{1,2}(?P=s)\d{2}(?!\d)"
_SHORT_YEARS = ("%d{s}%m{s}%y", "%m{s}%d{s}%y", "%y{s}%m{s}%d")
_CLOCK = (
    r"(?P<hour>\d{1,2}:\d{2})(?P<second>:\d{2}(?:\.\d+)?)?(?P<half>\s?[ap]m)?(?P<zone>[+-]\d{4})?"
)
_COMPACT_CLOCK = r"\d{4}(?P<second>\d{2})?(?P<zone>[+-]\d{4})?"
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
_REMEDY = (
    "say the format by time_format (--time-format on the command line), for example "
    "'%d.%m.%Y %H:%M'"
)


class _Reading(NamedTuple):
    """A format, and how texts are read by it."""

    format: str
    moments: pl.Expr


def read_times(
    frame: pl.LazyFrame, column: str, time_format: str | None = None, *, name: str = "time"
) -> pl.Expr:
    """Return the times of a column in the order in which they passed, as numbers or datetimes.

    Parameters
    ----------
    frame : LazyFrame
        The table.
    column : str
        Numbers, dates, datetimes, times of day, durations, or text.
    time_format : str, optional
        How times are written, as for `datetime.strptime`. By default a format that fits every row
        is looked for: dates with the year first; with the year last where a day above 12 tells
        days from months, or where months have names; each with or without a time of day, AM and
        PM, and a zone. Text of numbers throughout is numbers.
    name : str, default "time"
        What the caller calls `column`, for messages.

    Returns
    -------
    Expr
        Null where the time is missing. Cost: one pass over the column.

    Raises
    ------
    TypeError
        If the column holds what cannot be a time.
    ValueError
        If a row does not fit the format, no format fits all rows or two do, or numbers are of two
        units.

    See Also
    --------
    recsys.Interactions : which calls it for its column of times.

    Examples
    --------
    >>> import polars as pl
    >>> from recsys.data import read_times
    >>> table = pl.LazyFrame({"day": ["31.12.2019", "5.1.2020"]})
    >>> table.select(read_times(table, "day")).collect().item(1, 0)
    datetime.datetime(2020, 1, 5, 0, 0)
    """
    dtype = frame.collect_schema()[column]
    is_text = dtype == pl.String or dtype in (pl.Categorical, pl.Enum)
    if not (is_text or dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Null):
        raise TypeError(
            f"{name} must name a column of times: got {column!r} of type {dtype}; name a column of "
            "dates, numbers or text"
        )
    if time_format is not None and not (is_text or dtype.is_integer()):
        raise ValueError(
            f"time_format must be left out where {name} is no text: got {time_format!r} for "
            f"{column!r} of type {dtype}"
        )
    if dtype.is_temporal() or dtype == pl.Null:
        return pl.col(column)
    present = frame.select(column).filter(~missing(column, dtype))
    first = present.head(1).collect(engine="streaming")
    if first.is_empty():
        return pl.col(column).cast(pl.String).cast(pl.Int64, strict=False)
    if time_format is None and not is_text:
        return _numbers(present, column, pl.col(column), float(first.item()), name)
    text: pl.Expr = pl.when(~missing(column, dtype)).then(pl.col(column).cast(pl.String))
    example = str(first.item())
    if time_format is not None:
        return _by_format(present, column, [_reading(text, time_format)], name)
    if re.fullmatch(_NUMBER, example.strip(), re.IGNORECASE):
        return _number_text(present, column, text, float(example), name)
    text = _plain(text)
    formats = formats_of(example)
    if not formats:
        raise ValueError(
            f"{name} must name a column of times: got {example!r} in {column!r}; {_hint(example)}"
        )
    fine = present.select(text.str.contains(r"\.\d{7}").any()).collect(engine="streaming").item()
    unit = "ns" if fine else "us"
    readings = [_reading(text, format, unit) for format in formats]
    return _by_format(present, column, readings, name)


def formats_of(example: str) -> list[str]:
    """Return the formats that a text may have, as `strptime` writes them; none if it is no time."""
    text = pl.select(_plain(pl.lit(example))).item()
    for pattern, formats in _DATES.items():
        date = re.match(pattern, text, re.IGNORECASE)
        if date is None:
            continue
        clock = _clock_format(text[date.end() :], after_date=bool(pattern))
        if clock is None:
            continue
        separator = date.groupdict().get("s", "")
        return [format.format(s=separator) + clock for format in formats]
    return []


def _clock_format(text: str, *, after_date: bool) -> str | None:
    """Return the format of what follows a date; None if it is no time of day."""
    if not text:
        return "" if after_date else None
    glue = re.match(r", |T|t| ", text) if after_date else re.match("", text)
    if glue is None:
        return None
    rest, before = text[glue.end() :], glue.group()
    if compact := re.fullmatch(_COMPACT_CLOCK, rest):
        if before.upper() != "T":
            return None
        return before + "%H%M" + ("%S" if compact["second"] else "") + _zone(compact)
    clock = re.fullmatch(_CLOCK, rest, re.IGNORECASE)
    if clock is None:
        return None
    hours = "%I:%M" if clock["half"] else "%H:%M"
    seconds = "%S%.f" if clock["second"] else ""
    half = clock["half"][:-2] + "%p" if clock["half"] else ""
    return before + hours + (":" + seconds if seconds else "") + half + _zone(clock)


def _zone(match: re.Match[str]) -> str:
    return "%z" if match["zone"] else ""


def _plain(text: pl.Expr) -> pl.Expr:
    """Return times without the name of the weekday, and their zones and halves of the day alike."""
    text = text.str.strip_chars().str.replace(_WEEKDAY, "")
    text = text.str.replace(r"(:\d{2}),(\d+)", "${1}.${2}")
    text = text.str.replace(r"(?i)(\d\s?[ap])\.?(m)\.?", "${1}${2}")
    clock = r"(?i)(\d:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s?[ap]m)?|t\d{4}(?:\d{2})?)\s?"
    text = text.str.replace(rf"{clock}(?:utc|gmt|z)$", "${1}+0000")
    text = text.str.replace(rf"{clock}(?:utc|gmt)?([+-]\d{{2}})$", "${1}${2}00")
    return text.str.replace(rf"{clock}(?:utc|gmt)?([+-]\d{{2}}):?(\d{{2}})$", "${1}${2}${3}")


def _reading(text: pl.Expr, format: str, unit: str = "us") -> _Reading:
    """Return how texts are read by a format: days begin at midnight, months on the first."""
    whole, given = text, format
    if not re.search(r"%[-_0]?[HIklscTRrX+]", format):
        whole, given = whole + pl.lit(" 00:00"), given + " %H:%M"
    if not re.search(r"%[-_0]?[YyCGDFcxs+v]", format):
        whole, given = pl.lit("1970-01-01 ") + whole, "%Y-%m-%d " + given
    elif not re.search(r"%[-_0]?[dejDFcxs+v]", format):
        whole, given = pl.lit("1 ") + whole, "%d " + given
    moments = whole.str.strptime(pl.Datetime("us"), given, strict=False)
    low, high = (FIRST_YEAR, 9999) if unit == "us" else NANOSECOND_YEARS
    year = moments.dt.year()
    if unit == "ns":
        moments = whole.str.strptime(pl.Datetime("ns"), given, strict=False)
    return _Reading(format, pl.when(year.is_between(low, high)).then(moments))


def _by_format(present: pl.LazyFrame, column: str, readings: list[_Reading], name: str) -> pl.Expr:
    """Return the times by the one format that fits all rows."""
    text = pl.col(column).cast(pl.String)
    strays = [text.filter(reading.moments.is_null()) for reading in readings]
    differ = (readings[0].moments != readings[-1].moments).any()
    *strays, different = (
        present.select(
            *(stray.first().alias(f"first {k}") for k, stray in enumerate(strays)),
            *(stray.len().alias(f"number {k}") for k, stray in enumerate(strays)),
            differ.alias("differ"),
        )
        .collect(engine="streaming")
        .row(0)
    )
    firsts, counts = strays[: len(readings)], strays[len(readings) :]
    fitting = [reading for reading, count in zip(readings, counts, strict=True) if not count]
    if not fitting:
        tried = " or ".join(repr(reading.format) for reading in readings)
        raise ValueError(
            f"{name} must hold times of one format: got {firsts[counts.index(min(counts))]!r} in "
            f"{column!r}, where not all times are {tried}; mend the row, or {_REMEDY}"
        )
    if len(fitting) > 1 and different:
        both = " or ".join(repr(reading.format) for reading in fitting)
        raise ValueError(
            f"{name} must hold times that can be read in one way: got {column!r}, which may be "
            f"{both}; say which by time_format (--time-format on the command line)"
        )
    return fitting[0].moments


def _number_text(
    present: pl.LazyFrame, column: str, text: pl.Expr, example: float, name: str
) -> pl.Expr:
    """Return the numbers that a column of text holds throughout."""
    text = text.str.strip_chars()
    whole, real = (text.cast(kind, strict=False) for kind in (pl.Int64, pl.Float64))
    found = present.select(
        is_whole=whole.is_not_null().all(),
        stray=text.filter(~real.is_finite().fill_null(False)).first(),
    ).collect(engine="streaming")
    is_whole, stray = found.row(0)
    if is_whole:
        return _numbers(present, column, whole, example, name)
    if stray is not None:
        raise ValueError(
            f"{name} must hold times of one kind: got numbers and {stray!r} in {column!r}; mend "
            f"the row, or {_REMEDY}"
        )
    return _numbers(present, column, real, example, name)


def _numbers(
    present: pl.LazyFrame, column: str, numbers: pl.Expr, example: float, name: str
) -> pl.Expr:
    """Return numbers unless they are certain to be of two units, or dates with the year last."""
    size = numbers.cast(pl.Float64).abs()
    families = (("epoch", EPOCHS), ("calendar", CALENDAR))
    bands = {
        f"{family} {k}": size.is_between(low, high).sum()
        for family, units in families
        for k, (low, high) in enumerate(units)
    }
    year_last = pl.lit(value=False)
    if YEAR_LAST[0] <= example <= YEAR_LAST[1]:  # texts are made of numbers where it matters
        digits = numbers.cast(pl.Int64, strict=False).cast(pl.String).str.zfill(8)
        first, *last = (
            _reading(digits, format)
            .moments.dt.year()
            .is_between(1900, 2100)
            .fill_null(value=False)
            .all()
            for format in ("%Y%m%d", "%d%m%Y", "%m%d%Y")
        )
        year_last = pl.any_horizontal(last) & ~first
    counts = (
        present.select((size > 0).sum().alias("all"), year_last.alias("year last"), **bands)
        .collect(engine="streaming")
        .row(0, named=True)
    )
    for family, _ in families:
        some = [counts[key] for key in bands if key.startswith(family) and counts[key]]
        if len(some) > 1 and sum(some) == counts["all"]:
            raise ValueError(
                f"{name} must hold times in one unit: got {column!r}, whose numbers look like "
                "times in two, such as seconds and milliseconds since 1970; convert them to one"
            )
    if counts["year last"]:
        raise ValueError(
            f"{name} must hold numbers that rise with time: got {column!r}, which looks like dates "
            "with the year last, '%d%m%Y' or '%m%d%Y'; say which by time_format (--time-format on "
            "the command line)"
        )
    return pl.when(size.is_finite()).then(numbers)


def _hint(example: str) -> str:
    """Return what to do about a text that is no time of a known format."""
    short = re.match(_SHORT_YEAR, example.strip())
    if short is None:
        return f"name another column, or {_REMEDY}"
    formats = ", ".join(repr(format.format(s=short["s"])) for format in _SHORT_YEARS)
    return (
        "years of two digits are not guessed at: say by time_format (--time-format on the command "
        f"line) which of {formats} it is, with what follows"
    )
