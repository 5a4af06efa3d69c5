"""Write a table that is made piece by piece: never whole in memory, whole on disk or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError
from polars.io.plugins import register_io_source

from recsys.data.forks import require_engine
from sparsenum._system import replacing, target_file

_ROW_GROUP = 2**16  # rows of Parquet that are held before they are written


def check_target(path: str | os.PathLike[str], name: str) -> Path:
    """Return the path of a table to write, once its kind and folder are sound."""
    require_engine("writing a table")
    target = Path(path)
    if target.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{name} must end in .parquet or .csv: got {str(target)!r}")
    return target_file(target, name)


def write_frames(frames: Iterator[pl.DataFrame], schema: pl.Schema, target: Path, name: str) -> int:
    """Write frames of one schema after one another and return the number of rows.

    Parameters
    ----------
    frames : iterator of DataFrame
        The pieces; the next one is asked for when the last one is written, or nearly so.
    schema : Schema
        Names and types of their columns.
    target : Path
        A file to make or replace, as `check_target` returns it.
    name : str
        What the caller calls `target`, for messages.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    ValueError
        If the kind of file cannot hold the types.
    OSError
        If it cannot be written; what was there before stays.
    """
    rows = 0
    failure: list[BaseException] = []

    def pieces(*_: Any) -> Iterator[pl.DataFrame]:
        nonlocal rows
        try:
            for frame in frames:
                rows += frame.height
                yield frame
        except BaseException as error:  # which polars would wrap beyond recognition
            failure.append(error)
            raise

    table = register_io_source(pieces, schema=schema)
    try:
        with replacing(target, name) as temporary:
            if target.suffix == ".csv":
                table.sink_csv(temporary)
            else:
                table.sink_parquet(temporary, row_group_size=_ROW_GROUP)
    except PolarsError as error:
        if failure:
            raise failure[0] from None
        fact = str(error).partition("\n")[0]
        raise ValueError(
            f"{name} must be of a kind that holds the ids: {fact}; try .parquet"
        ) from None
    return rows
