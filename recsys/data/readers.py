"""Files of other recommenders as tables that `Interactions.read` takes; ids are text throughout."""

import os

import polars as pl

from recsys.data.table import existing, readable

Path = str | os.PathLike[str]

_ABSENT = "\x1f"  # the unit separator, which no text file holds: a line stays in one piece
_MOVIELENS = ("user", "item", "rating", "time")
_RECBOLE = {
    "token": lambda column: column,
    "float": lambda column: column.cast(pl.Float64),
    "token_seq": lambda column: column.str.split(" "),
    "float_seq": lambda column: column.str.split(" ").cast(pl.List(pl.Float64)),
}


def lightgcn(path: Path) -> pl.LazyFrame:
    """Open a file as LightGCN writes it: per line a user and all of the user's items.

    Parameters
    ----------
    path : path
        Text with spaces between ids; users without items are left out.

    Returns
    -------
    LazyFrame
        `user` and `item`, one row per item, in the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no text, or none of its first lines holds an item.
    """
    lines = _open(path, separator=_ABSENT, names=["line"])
    words = lines.select(pl.col("line").str.extract_all(r"\S+"))
    pairs = words.select(user=pl.col("line").list.first(), item=pl.col("line").list.slice(1))
    table = pairs.explode("item").drop_nulls()
    _check(path, table, "a user and items on each line, with spaces between")
    return table


def movielens(path: Path) -> pl.LazyFrame:
    """Open the ratings of a MovieLens set: `u.data`, `ratings.dat` or `ratings.csv`.

    Parameters
    ----------
    path : path
        The file; its ending tells the kind: `.dat` with `::` between fields, `.csv` with commas
        and a header, all else with tabs.

    Returns
    -------
    LazyFrame
        `user`, `item`, `rating` (Float64) and `time` (Int64, seconds since 1970).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If its first rows are no ratings; later ones raise it when they are read.
    """
    kind = os.path.splitext(path)[1]
    if kind == ".csv":
        table = _open(path, separator=",", names=_MOVIELENS, skip_rows=1)
    elif kind == ".dat":
        # Split at each colon, every second field is the empty text within "::".
        gaps = [name for field in _MOVIELENS for name in (field, f"after {field}")]
        table = _open(path, separator=":", names=gaps[:-1]).select(_MOVIELENS)
    else:
        table = _open(path, separator="\t", names=_MOVIELENS)
    table = table.with_columns(pl.col("rating").cast(pl.Float64), pl.col("time").cast(pl.Int64))
    _check(path, table, "a user, an item, a rating and a time on each line")
    return table


def recbole(path: Path) -> pl.LazyFrame:
    r"""Open an atomic file of RecBole, such as `.inter`: tabs, and a header with types.

    Parameters
    ----------
    path : path
        The file; its header names fields like `user_id:token` and `rating:float`.

    Returns
    -------
    LazyFrame
        The fields by their names without types: `token` as text, `float` as Float64, `token_seq`
        and `float_seq` as lists.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a field of the header has no type, or the first rows are not of these types; later ones
        raise it when they are read.
    """
    file = existing(path, "path")
    with readable(path, "path"):
        header = pl.scan_csv(file, separator="\t", quote_char=None, infer_schema=False, glob=False)
        fields = header.collect_schema().names()
    columns = {}
    for field in fields:
        name, _, kind = field.rpartition(":")
        if not name or kind not in _RECBOLE:
            raise ValueError(
                f"path must be a RecBole file with a type for each field: got {field!r} in the "
                f"header of {str(path)!r}; write it as name:type with one of {', '.join(_RECBOLE)}"
            )
        columns[name] = _RECBOLE[kind](pl.col(field))
    table = header.select(**columns)
    _check(path, table, "fields of the types in its header")
    return table


def _open(
    path: Path, *, separator: str, names: list[str] | tuple[str, ...], skip_rows: int = 0
) -> pl.LazyFrame:
    return pl.scan_csv(
        existing(path, "path"),
        separator=separator,
        has_header=False,
        skip_rows=skip_rows,
        schema=dict.fromkeys(names, pl.String),
        quote_char=None,
        glob=False,
    )


def _check(path: Path, table: pl.LazyFrame, expected: str) -> None:
    """Raise unless the first row reads as it should."""
    with readable(path, "path"):
        first = table.head(1).collect()
    if first.is_empty() or None in first.row(0):
        raise ValueError(
            f"path must be a file with {expected}: got {str(path)!r}, whose first row is "
            f"{first.rows()}; choose the reader of its kind"
        )
