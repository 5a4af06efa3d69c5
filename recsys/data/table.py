"""The one door for tables: any supported source becomes a polars LazyFrame with known columns."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import polars as pl
from polars.exceptions import PolarsError


class ArrowTable(Protocol):
    """A table in memory that exports an Arrow C stream: polars, pandas, pyarrow and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the stream as a PyCapsule."""


Source: TypeAlias = pl.LazyFrame | ArrowTable | str | os.PathLike[str]

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def open_table(
    source: Source, columns: Mapping[str, str | None], *, name: str = "source"
) -> pl.LazyFrame:
    """Open a table lazily and check that it has the columns asked for.

    Files are recognised by extension: `.csv` (commas), `.tsv` and `.txt` (tabs), each also with
    `.gz`, with a header line and read as text throughout, so that an id `007` stays `007`; and
    `.parquet`.

    Parameters
    ----------
    source : LazyFrame, DataFrame, pandas or pyarrow table, or path
        The table; anything with an Arrow C stream will do.
    columns : mapping of str to str or None
        For each argument of the caller the column it names; None where it names none.
    name : str, default "source"
        What the caller calls `source`, for messages.

    Returns
    -------
    LazyFrame
        All columns of the table, nothing read yet beyond the schema.

    Raises
    ------
    TypeError
        If the source is no table, or a named column holds lists, structs or Python objects.
    FileNotFoundError
        If the path is not that of a file.
    ValueError
        If the file cannot be read, or the columns are absent or named twice.
    """
    frame = _lazy(source, name)
    with readable(source, name):
        schema = frame.collect_schema()
    _check_columns(columns, schema)
    return frame


@contextmanager
def readable(source: Source, name: str = "source") -> Iterator[None]:
    """Turn what polars raises while it reads `source` into a ValueError that says what to do."""
    try:
        yield
    except (PolarsError, OSError) as error:
        path = isinstance(source, str | os.PathLike)
        what = repr(str(source)) if path else f"a {type(source).__name__}"
        fact = str(error).strip().partition("\n")[0] or type(error).__name__
        if "utf-8" in fact.lower():
            raise ValueError(
                f"{name} must be UTF-8 text: got {what} with other bytes; convert it first, for "
                "example with `iconv -f latin1 -t utf-8`"
            ) from None
        raise ValueError(
            f"{name} must be a readable table: got {what} ({fact}); check that it is complete and "
            "that every row has as many fields as the header"
        ) from None


def missing(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return an expression that is true where the column is null, NaN or an empty text."""
    values = pl.col(column)
    if dtype.is_float():
        return values.is_null() | values.is_nan()
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
        return values.is_null() | (values == "")
    return values.is_null()


def _lazy(source: Source, name: str) -> pl.LazyFrame:
    if isinstance(source, pl.LazyFrame):
        return source
    if isinstance(source, str | os.PathLike):
        return _scan(existing(source, name), name)
    if not hasattr(source, "__arrow_c_stream__"):
        raise TypeError(
            f"{name} must be a polars, pandas or pyarrow table or a path: got "
            f"{type(source).__name__}; make it a table first, for example with polars.DataFrame"
        )
    try:
        return pl.DataFrame(source).lazy()
    except (PolarsError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must have columns of one plain type each: got a {type(source).__name__} that "
            f"polars cannot take over ({error}); cast or leave out the column"
        ) from None


def existing(path: str | os.PathLike[str], name: str) -> Path:
    """Return the path if a file is there."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} must be the path of a file: got {str(path)!r}, which is none; check the "
            f"spelling and the current folder {str(Path.cwd())!r}"
        )
    return path


def _scan(path: Path, name: str) -> pl.LazyFrame:
    if path.suffix == ".parquet":
        return pl.scan_parquet(path, glob=False)
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if kind not in _SEPARATORS:
        raise ValueError(
            f"{name} must end in .parquet, .csv, .tsv or .txt (the last three also with .gz): got "
            f"{path.name!r}; rename or convert the file"
        )
    return pl.scan_csv(path, separator=_SEPARATORS[kind], infer_schema=False, glob=False)


def _check_columns(columns: Mapping[str, str | None], schema: pl.Schema) -> None:
    taken: dict[str, str] = {}
    for argument, column in columns.items():
        if column is None:
            continue
        if column not in schema:
            raise ValueError(
                f"{argument} must name a column of the table: got {column!r}; columns are "
                f"{list(schema)}"
            )
        if column in taken:
            raise ValueError(
                f"{argument} must name another column than {taken[column]}: got {column!r} for "
                f"both; columns are {list(schema)}"
            )
        if schema[column].is_nested() or schema[column] == pl.Object:
            raise TypeError(
                f"{argument} must name a column of plain values: got {column!r} of type "
                f"{schema[column]}; cast it to text or numbers first"
            )
        taken[column] = argument
