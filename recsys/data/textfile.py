"""Text files as tables: how their fields are separated, and which line is not as the others."""

import csv
import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_HEAD = 2**16  # bytes that are looked at before a file is read
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class TextFile(os.PathLike[str]):
    """A path of text files that are not written as their ending says.

    Attributes
    ----------
    path : path
        A file, a folder or a pattern.
    separator : str, optional
        The character between fields; by default a comma in `.csv`, a tab in `.tsv` and `.txt`.
    decimal_comma : bool, default False
        Whether weights have a comma for a decimal point.

    See Also
    --------
    recsys.data.open_table : which reads it.

    Examples
    --------
    >>> from recsys.data import TextFile
    >>> TextFile("sales.csv", separator=";", decimal_comma=True).separator
    ';'
    """

    path: str | os.PathLike[str]
    separator: str | None = None
    decimal_comma: bool = False

    def __post_init__(self) -> None:
        """Check the separator."""
        if self.separator is not None and len(self.separator.encode()) != 1:
            raise ValueError(
                f"separator must be one character: got {self.separator!r}; ';' and '|' are such"
            )

    def __fspath__(self) -> str:
        """Return the path."""
        return os.fspath(self.path)


def kind_of(path: Path) -> str:
    """Return the ending that says what a file is, in small letters and without `.gz`."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == ".gz" else suffix


def scan_text(path: Path, separator: str | None, name: str) -> pl.LazyFrame:
    """Open a text file as a table of texts; lines may end as on old Macs."""
    try:
        with _open(path) as file:
            head = file.read(_HEAD)
    except DAMAGE:
        head = b""  # the reader will say so
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(
            f"{name} must be UTF-8 text: got {str(path)!r} in UTF-16; convert it first, for "
            "example with `iconv -f utf-16 -t utf-8`"
        )
    if b"\0" in head:
        raise ValueError(
            f"{name} must be text in .csv, .tsv and .txt: got {str(path)!r}, which holds zero bytes"
        )
    old_mac = b"\r" in head.rstrip(b"\r") and b"\n" not in head
    return pl.scan_csv(
        path,
        separator=separator or SEPARATORS[kind_of(path)],
        infer_schema=False,
        glob=False,
        eol_char="\r" if old_mac else "\n",
    )


def odd_line(path: Path, separator: str | None) -> str | None:
    """Return what is wrong with the first line that has more fields than the header, if one has."""
    try:
        with _open(path) as file:
            lines = (line.decode("utf-8", "replace") for line in file)
            rows = csv.reader(lines, delimiter=separator or SEPARATORS[kind_of(path)])
            width = len(next(rows, []))
            for row in rows:
                if len(row) > width:
                    return (
                        f"line {rows.line_num} has {len(row)} fields where the header has {width}"
                    )
    except (OSError, csv.Error, *DAMAGE):
        pass
    return None


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb")  # type: ignore[return-value]
