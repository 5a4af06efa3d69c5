"""Tables of events in every dress: ids of many types, times in many formats, many libraries.

A case holds small whole numbers and true moments; what a door is given is made from them here,
and what it gives back is turned into them again. A negative number is a missing value.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuzz.case import Case

IDS = {
    "int": lambda code: 3 * code - 7,
    "large": lambda code: 2**40 + code,
    "uint8": lambda code: code,
    "text": lambda code: f"u{code}",
    "padded": lambda code: f"{code:03d}",
    "accents": lambda code: f"é, {code}",
    "float": lambda code: code + 0.5,
    "date": lambda code: date(2020, 1, 1) + timedelta(days=code),
    "datetime": lambda code: datetime(2020, 1, 1, 12) + timedelta(hours=code),
    "bool": lambda code: bool(code),
    "categorical": lambda code: f"c{code}",
    "enum": lambda code: f"e{code}",
}
ID_TYPES = {
    "int": pl.Int64,
    "large": pl.Int64,
    "uint8": pl.UInt8,
    "float": pl.Float64,
    "date": pl.Date,
    "datetime": pl.Datetime("us"),
    "bool": pl.Boolean,
    "categorical": pl.Categorical,
    "enum": pl.Enum([f"e{code}" for code in range(3000)]),
}
CODES = {"bool": 2, "uint8": 200}  # how many ids a type has
IN_FILES = {"int", "large", "text", "padded", "accents"}  # ids whose text is their str


def moment(second: int) -> datetime:
    """Return a moment by the seconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def zoned(second: int) -> str:
    """Return an ISO text in a zone that differs from row to row."""
    zone = timezone(timedelta(hours=second % 23 - 11))
    return moment(second).astimezone(zone).isoformat()


def unpadded(second: int) -> str:
    """Return a date without leading zeros."""
    day = moment(second)
    return f"{day.year}-{day.month}-{day.day}"


DAY, MINUTE, SECOND = 86400, 60, 1
# Format of `strptime`, smallest step, and whether it says one thing only.
TEXT_TIMES = {
    "iso": ("%Y-%m-%dT%H:%M:%S", SECOND, True),
    "iso space": ("%Y-%m-%d %H:%M:%S", SECOND, True),
    "iso date": ("%Y-%m-%d", DAY, True),
    "slashes": ("%Y/%m/%d %H:%M", MINUTE, True),
    "names": ("%d %b %Y", DAY, True),
    "mail": ("%a, %d %b %Y %H:%M:%S +0000", SECOND, False),
    "dotted": ("%d.%m.%Y", DAY, False),
    "dashed": ("%d-%m-%Y %H:%M", MINUTE, False),
    "us": ("%m/%d/%Y", DAY, False),
    "us half": ("%m/%d/%Y %I:%M %p", MINUTE, False),
    "short": ("%d/%m/%y", DAY, False),
    "clock": ("%I:%M %p", MINUTE, False),
    "compact": ("%Y%m%d", DAY, False),
}
OTHER_TIMES = {
    "seconds": (lambda s: s, SECOND, True),
    "milliseconds": (lambda s: 1000 * s, SECOND, True),
    "float": (float, SECOND, True),
    "number text": (str, SECOND, True),
    "date": (lambda s: moment(s).date(), DAY, True),
    "datetime": (lambda s: moment(s).replace(tzinfo=None), SECOND, True),
    "datetime utc": (moment, SECOND, True),
    "iso z": (lambda s: moment(s).isoformat().replace("+00:00", "Z"), SECOND, True),
    "zones": (zoned, SECOND, False),
    "unpadded": (unpadded, DAY, False),
    "mixed": (lambda s: moment(s).strftime(("%Y-%m-%d", "%d.%m.%Y")[s // DAY % 2]), DAY, False),
    "junk": (lambda s: "soon" if s // DAY % 5 == 0 else unpadded(s), DAY, False),
}
TIMES = TEXT_TIMES | OTHER_TIMES


def time_of(style: str, second: int) -> Any:
    """Return a moment as a style writes it."""
    if second < 0:
        return None
    write = TIMES[style][0]
    return moment(second).strftime(write) if isinstance(write, str) else write(second)


def id_of(kind: str, code: int) -> Any:
    """Return an id; missing ones are null, or another nothing that the type has."""
    if code >= 0:
        return IDS[kind](code)
    if code == -2:
        return {"float": float("nan"), "text": "", "padded": ""}.get(kind)
    return None


def frame_of(case: Case, users: Any, items: Any) -> pl.DataFrame:
    """Return two columns of ids."""
    columns = {}
    for name, codes in (("user", users), ("item", items)):
        kind = case.get(f"{name}_ids")
        ids = [id_of(kind, int(code)) for code in codes]
        columns[name] = pl.Series(ids, dtype=ID_TYPES.get(kind, pl.String), strict=False)
    return pl.DataFrame(columns)


def table_of(case: Case) -> pl.DataFrame:
    """Return the table of a case, with the number of each row as `n`."""
    frame = frame_of(case, case.get("users"), case.get("items"))
    n = frame.height
    more = {"n": np.arange(n)}
    if case.get("weights") is not None:
        more["weight"] = case.get("weights")
    if case.get("times") is not None:
        style = case.get("time_style")
        more["time"] = pl.Series([time_of(style, int(s)) for s in case.get("times")])
    return frame.with_columns(**more)


@contextmanager
def presented(frame: pl.DataFrame, library: str) -> Iterator[Any]:
    """Give a table as one of the things that doors take."""
    with tempfile.TemporaryDirectory() as folder:
        yield dressed(frame, library, Path(folder))


def dressed(frame: pl.DataFrame, library: str, folder: Path) -> Any:
    """Return a table in a library's own form, or the path of a file."""
    if library in ("csv", "tsv", "txt"):
        path = folder / f"table.{library}"
        frame.write_csv(path, separator="," if library == "csv" else "\t")
        return path
    if library == "parquet":
        frame.write_parquet(folder / "table.parquet")
        return folder / "table.parquet"
    others = {"lazy": frame.lazy, "pandas": frame.to_pandas, "pyarrow": frame.to_arrow}
    return others[library]() if library in others else frame


def code_of(case: Case, role: str, ids: Any) -> list[int]:
    """Return the codes of ids that came back."""
    kind = case.get(f"{role}_ids")
    as_text = case.get("library") in ("csv", "tsv", "txt")
    codes = range(CODES.get(kind, 1200))
    places = {str(IDS[kind](code)) if as_text else IDS[kind](code): code for code in codes}
    return [places[x] for x in ids]
