"""Tables as a command's user names them: a file, a folder, a pattern, or - for what is piped in."""

import argparse
import io
import sys

import polars as pl

from recsys.data.table import Source, readable
from recsys.data.textfile import TextFile

TABLE = "events, one per row: CSV, Parquet, a folder or pattern of such files, or - for stdin"


def add_text_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how text files are written."""
    parser.add_argument("--separator", metavar="C", help="character between fields of text files")
    parser.add_argument(
        "--decimal-comma", action="store_true", help="weights have a comma for a decimal point"
    )


def table_of(said: str, arguments: argparse.Namespace) -> Source:
    """Return the table that an argument means."""
    file = TextFile(said, arguments.separator, arguments.decimal_comma)
    if said != "-":
        return file
    if file.decimal_comma:
        raise ValueError("--decimal-comma does not go with a table from stdin: name a file")
    data = sys.stdin.buffer.read()
    with readable(said, "table"):
        if data[:4] == b"PAR1":
            return pl.read_parquet(io.BytesIO(data))
        return pl.read_csv(
            io.BytesIO(data), separator=arguments.separator or ",", infer_schema=False
        )
