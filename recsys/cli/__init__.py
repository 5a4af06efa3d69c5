"""The command line of recsys: train, split, evaluate, recommend, inspect."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from recsys.cli import split as cli_split
from recsys.cli import train as cli_train
from recsys.cli.show import describe, print_json
from sparsenum._device import DEVICES
from sparsenum.errors import DeviceError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 bad input, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
    except (ValueError, TypeError, OSError, MemoryError, DeviceError) as error:
        sys.stderr.write(f"recsys: error: {error}\n")
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    cli_train.add_to(commands)
    cli_split.add_to(commands)

    evaluate = commands.add_parser("evaluate", help="Recall@k and NDCG@k on held-out events")
    evaluate.set_defaults(command=_evaluate)
    evaluate.add_argument("model", metavar="MODEL.npz")
    evaluate.add_argument("table", metavar="TABLE", help="held-out events: CSV or Parquet")
    evaluate.add_argument("--user", metavar="COL", help="if named otherwise than in training")
    evaluate.add_argument("--item", metavar="COL", help="if named otherwise than in training")
    evaluate.add_argument("--k", type=int, default=20, help="default: %(default)s")
    evaluate.add_argument("--valid", metavar="TABLE", help="warn if these are held out otherwise")
    _add_device(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print one JSON object on stdout")

    recommend = commands.add_parser("recommend", help="write the best items of each user")
    recommend.set_defaults(command=_recommend)
    recommend.add_argument("model", metavar="MODEL.npz")
    recommend.add_argument(
        "--users",
        default="all",
        metavar="all|FILE|ID,ID",
        help="everybody, a text file with one id per line, or ids; default: %(default)s",
    )
    recommend.add_argument("--k", type=int, default=20, help="default: %(default)s")
    recommend.add_argument("--allow", metavar="FILE|ID,ID", help="items to choose from")
    recommend.add_argument("--deny", metavar="FILE|ID,ID", help="items never to recommend")
    recommend.add_argument(
        "--unknown",
        choices=("error", "skip", "popular", "fold_in"),
        default="error",
        help="what users get who were not in training; default: %(default)s",
    )
    recommend.add_argument("--histories", metavar="TABLE", help="what they took, for fold_in")
    recommend.add_argument(
        "--memory-limit", default="256MB", metavar="M", help="beside the model; default 256MB"
    )
    _add_device(recommend)
    recommend.add_argument("--out", required=True, metavar="RECS.parquet", help="Parquet or CSV")

    inspect = commands.add_parser("inspect", help="budget, weights, bytes and density of a model")
    inspect.set_defaults(command=_inspect)
    inspect.add_argument("model", metavar="MODEL.npz")
    inspect.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=DEVICES, default="cpu", help="where items are ranked; default cpu"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from recsys import load
    from sparsenum.errors import ProtocolWarning

    model = load(arguments.model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProtocolWarning)
        metrics = model.evaluate(
            arguments.table,
            arguments.k,
            user=arguments.user,
            item=arguments.item,
            valid=arguments.valid,
            device=arguments.device,
        )
    for warning in caught:
        sys.stderr.write(f"recsys: warning: {warning.message}\n")
    if arguments.json:
        print_json(metrics)
    else:
        for name, value in metrics.items():
            shown = f"{value:.4f}" if isinstance(value, float) else value
            sys.stdout.write(f"{name:14s} {shown}\n")


def _recommend(arguments: argparse.Namespace) -> None:
    from recsys import load

    model = load(arguments.model)
    rows, users = model.recommend_to(
        arguments.out,
        "all" if arguments.users == "all" else _ids(arguments.users, "--users") or [],
        arguments.k,
        memory_limit=arguments.memory_limit,
        allow=_ids(arguments.allow, "--allow"),
        deny=_ids(arguments.deny, "--deny"),
        unknown=arguments.unknown,
        histories=arguments.histories,
        device=arguments.device,
        name="--out",
    )
    sys.stdout.write(f"{rows:,} recommendations for {users:,} users in {arguments.out}\n")


def _inspect(arguments: argparse.Namespace) -> None:
    from recsys import load

    model = load(arguments.model)
    result = {
        "file_bytes": os.path.getsize(arguments.model),
        "users": model.users_.len(),
        "items": model.items_.len(),
        "interactions": model.seen_.nnz,
        "columns": model.columns_,
        **model.report(),
        "parameters": model.parameters(),
    }
    if arguments.json:
        print_json(result)
    else:
        sys.stdout.write(describe(result))


def _ids(said: str | None, option: str) -> list[str] | None:
    """Return the ids an option means: the lines of a file, or what stands between commas."""
    if said is None:
        return None
    if os.path.isfile(said):
        try:
            return [line for line in Path(said).read_text("utf-8-sig").splitlines() if line]
        except UnicodeDecodeError:
            raise ValueError(
                f"{option} must be UTF-8 text: got {said!r} with other bytes"
            ) from None
    return [word for word in said.split(",") if word]
