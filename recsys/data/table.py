"""The one door for tables: any supported source becomes a polars LazyFrame with known columns."""

import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import polars as pl
from polars.exceptions import PanicException, PolarsError

from recsys.data.forks import require_engine
from recsys.data.textfile import SEPARATORS, TextFile, kind_of, odd_line, scan_text


class ArrowTable(Protocol):
    """A table in memory that exports an Arrow C stream: polars, pandas, pyarrow and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the stream as a PyCapsule."""


Source: TypeAlias = pl.LazyFrame | ArrowTable | str | os.PathLike[str]

LONGEST = 300  # characters of what others say that are passed on


def open_table(
    source: Source, columns: Mapping[str, str | None], *, name: str = "source"
) -> pl.LazyFrame:
    """Open a table lazily and check that it has the columns asked for.

    Files are recognised by extension: `.csv` (commas), `.tsv` and `.txt` (tabs), each also with
    `.gz`, with a header line and read as text throughout, so that an id `007` stays `007`; and
    `.parquet`. `TextFile` says where separators are others. A folder, with what lies deeper in it,
    and a pattern such as `2024-*.csv` are one table of all their files, which are of one kind;
    folders named `key=value` add a column.

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
        If there is no such file, or no file of a table in the folder.
    ValueError
        If the file cannot be read, or the columns are absent or named twice.
    RuntimeError
        In a process forked from one in which polars was at work, where reading would never end.

    See Also
    --------
    recsys.Interactions : users, items and weights of a table.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> events = pl.DataFrame({"user": [1, 1], "item": [1, 2], "price": [3.0, 4.0]})
    >>> recsys.data.open_table(events, {"user": "user", "item": "item"}).collect_schema().names()
    ['user', 'item', 'price']
    """
    require_engine("a table")
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
    except (PolarsError, PanicException, OSError) as error:
        path = source if isinstance(source, str | os.PathLike) else None
        what = f"a {type(source).__name__}" if path is None else repr(os.fspath(path))
        fact = shortened(str(error).strip().partition("\n")[0]) or type(error).__name__
        if "utf-8" in fact.lower():
            raise ValueError(
                f"{name} must be UTF-8 text: got {what} with other bytes; convert it first, for "
                "example with `iconv -f latin1 -t utf-8`"
            ) from None
        fact = (None if path is None else _odd_line(path)) or fact
        raise ValueError(
            f"{name} must be a readable table: got {what} ({fact}); check that it is complete and "
            "that every row has as many fields as the header"
        ) from None


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text without its middle where it is long."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def _odd_line(source: str | os.PathLike[str]) -> str | None:
    """Return which line of a text file is not as the others, and in which file."""
    separator = source.separator if isinstance(source, TextFile) else None
    for path in files_of(source, "source"):
        if kind_of(path) in SEPARATORS and (fault := odd_line(path, separator)):
            return f"{fault}, in {path.name!r}"
    return None


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
        return _scan(source, name)
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


def files_of(source: str | os.PathLike[str], name: str) -> list[Path]:
    """Return the files that a path stands for: itself, those of a folder or of a pattern."""
    said = os.fspath(source)
    if "://" in said:
        raise ValueError(
            f"{name} must be a path of this machine: got {said!r}; download it, or open it with "
            "polars.scan_parquet and pass the LazyFrame"
        )
    path = Path(said)
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if _is_part(one, path))
    elif not path.exists() and glob.has_magic(said):
        found = sorted(Path(one) for one in glob.glob(said, recursive=True) if Path(one).is_file())
    else:
        return [existing(path, name)]
    if not found:
        raise FileNotFoundError(
            f"{name} must stand for files of tables: got {said!r}, in which none ends in "
            f".parquet, .csv, .tsv or .txt; the current folder is {str(Path.cwd())!r}"
        )
    return found


def _is_part(path: Path, folder: Path) -> bool:
    """Return whether a file in a folder is one of the table: hidden ones and markers are not."""
    names = path.relative_to(folder).parts
    hidden = any(part.startswith((".", "_")) for part in names)
    return not hidden and path.is_file() and kind_of(path) in (".parquet", *SEPARATORS)


def _scan(source: str | os.PathLike[str], name: str) -> pl.LazyFrame:
    files = files_of(source, name)
    kinds = sorted({kind_of(path) for path in files})
    if len(kinds) > 1:
        raise ValueError(
            f"{name} must stand for files of one kind: got {os.fspath(source)!r} with "
            f"{', '.join(kinds)}; name one kind by a pattern such as '*{kinds[0]}'"
        )
    if kinds[0] not in (".parquet", *SEPARATORS):
        raise ValueError(
            f"{name} must end in .parquet, .csv, .tsv or .txt (the last three also with .gz): got "
            f"{files[0].name!r}; rename or convert the file"
        )
    folder = Path(os.fspath(source))
    if kinds[0] == ".parquet":
        return pl.scan_parquet(files, glob=False, hive_partitioning=folder.is_dir() or None)
    separator = source.separator if isinstance(source, TextFile) else None
    tables = []
    for path in files:
        parts = path.relative_to(folder).parts[:-1] if folder.is_dir() else ()
        keys = dict(part.split("=", 1) for part in parts if "=" in part)
        tables.append(
            scan_text(path, separator, name).with_columns(**{k: pl.lit(v) for k, v in keys.items()})
        )
    return pl.concat(tables)


def _check_columns(columns: Mapping[str, str | None], schema: pl.Schema) -> None:
    taken: dict[str, str] = {}
    for argument, column in columns.items():
        if column is None:
            continue
        if column not in schema:
            names = shortened(str(list(schema)))
            hint = ""
            if len(schema) == 1 and any(mark in names for mark in (";", "|", "\\t", ",")):
                hint = "; if another character separates them, say so by separator (--separator)"
            raise ValueError(
                f"{argument} must name a column of the table: got {column!r}; columns are "
                f"{names}{hint}"
            )
        if column in taken:
            raise ValueError(
                f"{argument} must name another column than {taken[column]}: got {column!r} for "
                f"both; columns are {shortened(str(list(schema)))}"
            )
        if schema[column].is_nested() or schema[column] == pl.Object:
            raise TypeError(
                f"{argument} must name a column of plain values: got {column!r} of type "
                f"{schema[column]}; cast it to text or numbers first"
            )
        taken[column] = argument
