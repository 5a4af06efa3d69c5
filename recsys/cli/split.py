"""The command `recsys split`: a table into one to train on and one to test on."""

import argparse
import sys
from pathlib import Path
from typing import Any

from recsys.cli.tables import TABLE, add_text_options, table_of
from sparsenum._system import replacing

_TAKES = {
    "last": ("time", "time_format", "k", "fraction"),
    "random": ("fraction", "seed"),
    "time": ("time", "time_format", "cut", "fraction"),
    "users": ("time", "time_format", "fraction", "hide", "seed"),
}


def add_to(commands: Any) -> None:
    """Add the command to those of a parser."""
    split = commands.add_parser("split", help="hold events back, to test on")
    split.set_defaults(command=_split)
    split.add_argument("table", metavar="TABLE", help=TABLE)
    add_text_options(split)
    split.add_argument("--user", required=True, metavar="COL", help="column of user ids")
    split.add_argument("--item", required=True, metavar="COL", help="column of item ids")
    split.add_argument(
        "--by",
        choices=tuple(_TAKES),
        default="last",
        help="the last rows of each user, random ones, all from a time on, or whole users; "
        "default: %(default)s",
    )
    split.add_argument("--time", metavar="COL", help="column of times (last, time, users)")
    split.add_argument(
        "--time-format", metavar="F", help="how times are written: %%d.%%m.%%Y %%H:%%M"
    )
    split.add_argument("--k", type=int, metavar="N", help="rows per user (last); default 1")
    split.add_argument("--fraction", type=float, metavar="F", help="part to hold back, 0 to 1")
    split.add_argument("--cut", metavar="TIME", help="the first time held back (time)")
    split.add_argument("--hide", type=float, metavar="F", help="part of their rows (users)")
    split.add_argument("--seed", type=int, metavar="S", help="of the draw (random, users)")
    split.add_argument(
        "--out", required=True, metavar="FOLDER", help="gets train and test, or known and hidden"
    )


def _split(arguments: argparse.Namespace) -> None:
    from recsys.data.split import by_time, held_out_users, leave_last, random_per_user

    ways = {
        "last": leave_last,
        "random": random_per_user,
        "time": by_time,
        "users": held_out_users,
    }
    said = {
        name: getattr(arguments, name)
        for name in ("time", "time_format", "k", "fraction", "cut", "hide", "seed")
        if getattr(arguments, name) is not None
    }
    strange = sorted(set(said) - set(_TAKES[arguments.by]))
    if strange:
        option = strange[0].replace("_", "-")
        raise ValueError(f"--{option} has no meaning with --by {arguments.by}; leave it out")
    if arguments.by == "time" and "time" not in said:
        raise ValueError("--by time needs --time, the column of times")
    folder = Path(arguments.out)
    if not folder.parent.is_dir() or folder.is_file():
        raise FileNotFoundError(f"--out must be a folder or a new one in one: got {str(folder)!r}")
    split: Any = ways[arguments.by]
    table = table_of(arguments.table, arguments)
    parts = split(table, user=arguments.user, item=arguments.item, **said)
    folder.mkdir(exist_ok=True)
    names = ("train", "known", "hidden") if arguments.by == "users" else ("train", "test")
    for name, part in zip(names, parts, strict=True):
        with replacing(folder / f"{name}.parquet", "--out") as temporary:
            part.write_parquet(temporary)
        sys.stdout.write(f"{part.height:,} rows in {folder / name}.parquet\n")
    if parts[-1].is_empty():
        sys.stderr.write(f"recsys: warning: {_why_empty(parts[0], arguments)}\n")


def _why_empty(first: Any, arguments: argparse.Namespace) -> str:
    """Return why nothing was held back."""
    most = first.group_by(arguments.user).len()["len"].max() or 0
    if arguments.by != "time" and most < 2:
        reason = "each user has one row, which stays in the first table"
    elif arguments.by != "time" and arguments.fraction and arguments.fraction * most < 1:
        reason = (
            f"--fraction {arguments.fraction} of the {most:,} rows of any user is less than one"
        )
    elif arguments.by == "time":
        reason = "no pair from --cut on is new: all come before it, or occur before it as well"
    else:
        reason = "each row to be held back repeats a pair of user and item of the first table"
    return f"nothing was held back: {reason}"
