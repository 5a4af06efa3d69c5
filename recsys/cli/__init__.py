"""The command line of recsys: train, split, evaluate, recommend, similar, explain, inspect."""

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence

from polars.exceptions import PanicException

from recsys.cli import split, train, use
from recsys.cli.words import as_said
from sparsenum.errors import DeviceError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 bad input, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # who read our output has left: let Python's last flush succeed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, TypeError, OSError, MemoryError, DeviceError, PanicException) as error:
        sys.stderr.write(f"recsys: error: {as_said(str(error)) or type(error).__name__}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("recsys: interrupted\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recsys",
        description="Train a recommender from a table under a fixed budget of weights, and use it.",
        epilog="Tables are CSV (.csv, .tsv, also .gz) or Parquet. Start with: "
        "recsys train events.csv --user customer --item product --out model.npz",
    )
    version = importlib.metadata.version("sparsenum")
    parser.add_argument("--version", action="version", version=f"recsys {version}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train.add_to(commands)
    split.add_to(commands)
    use.add_to(commands)
    return parser
