"""The command line of recsys: train, split, evaluate, recommend, inspect."""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys import cli_split

if TYPE_CHECKING:
    from recsys.interactions import Interactions
    from recsys.recommender import Recommender

MODELS = (
    "dsl-mf",
    "static-mf",
    "dsl-lightgcn",
    "sparse-als",
    "dense-mf",
    "itemknn",
    "ease",
    "sansa",
    "popularity",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 bad input, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
    except (ValueError, TypeError, OSError, MemoryError) as error:
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

    train = commands.add_parser("train", help="learn from a table of events")
    train.set_defaults(command=_train)
    train.add_argument("table", metavar="TABLE", help="events, one per row: CSV or Parquet")
    train.add_argument("--user", required=True, metavar="COL", help="column of user ids")
    train.add_argument("--item", required=True, metavar="COL", help="column of item ids")
    train.add_argument("--weight", metavar="COL", help="column of weights; others than > 0 drop")
    train.add_argument("--time", metavar="COL", help="column of times")
    _add_reading(train)
    train.add_argument("--model", choices=MODELS, default="dsl-mf", help="default: %(default)s")
    train.add_argument("--budget", metavar="B", help="weights: 500000, 10%% or 4MB")
    train.add_argument("--dim", type=int, metavar="D", help="columns of the tables")
    train.add_argument("--epochs", type=int, metavar="N", help="passes over the data; default 30")
    train.add_argument("--learning-rate", type=float, metavar="R", help="that of the optimiser")
    train.add_argument("--weight-decay", type=float, metavar="L", help="default 0.03")
    train.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    train.add_argument("--valid", metavar="TABLE", help="held-out events to watch while training")
    train.add_argument("--validation", type=float, metavar="F", help="hold back a share for that")
    train.add_argument(
        "--patience", type=int, metavar="N", help="stop after N looks (of 10) without a better one"
    )
    train.add_argument("--checkpoint", metavar="DIR", help="keep the state of each epoch there")
    train.add_argument("--resume", action="store_true", help="go on from --checkpoint")
    train.add_argument("--out", required=True, metavar="MODEL.npz", help="the file to write")
    train.add_argument("--json", action="store_true", help="print one JSON object on stdout")

    cli_split.add_to(commands)

    evaluate = commands.add_parser("evaluate", help="Recall@k and NDCG@k on held-out events")
    evaluate.set_defaults(command=_evaluate)
    evaluate.add_argument("model", metavar="MODEL.npz")
    evaluate.add_argument("table", metavar="TABLE", help="held-out events: CSV or Parquet")
    evaluate.add_argument("--user", metavar="COL", help="if named otherwise than in training")
    evaluate.add_argument("--item", metavar="COL", help="if named otherwise than in training")
    evaluate.add_argument("--k", type=int, default=20, help="default: %(default)s")
    evaluate.add_argument("--valid", metavar="TABLE", help="warn if these are held out otherwise")
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
    recommend.add_argument("--out", required=True, metavar="RECS.parquet", help="Parquet or CSV")

    inspect = commands.add_parser("inspect", help="budget, weights, bytes and density of a model")
    inspect.set_defaults(command=_inspect)
    inspect.add_argument("model", metavar="MODEL.npz")
    inspect.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what becomes of rows."""
    parser.add_argument(
        "--duplicates",
        choices=("sum", "last", "max", "error"),
        default="sum",
        help="what several rows of one user and item count; default: %(default)s",
    )
    parser.add_argument(
        "--bad-rows",
        choices=("drop", "error"),
        default="drop",
        help="rows without id or time, or with a weight not above 0; default: %(default)s",
    )
    for side in ("user", "item"):
        parser.add_argument(
            f"--min-{side}",
            type=int,
            default=1,
            metavar="N",
            help=f"drop {side}s with fewer pairs, until none is left; default: %(default)s",
        )


def _train(arguments: argparse.Namespace) -> None:
    from recsys import Interactions
    from sparsenum.progress import Progress

    out = Path(arguments.out)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--out must lie in an existing folder: got {arguments.out!r}")
    if out.is_dir():
        raise IsADirectoryError(f"--out must be a file to write: got the folder {arguments.out!r}")
    options = {
        name: getattr(arguments, name)
        for name in (
            *("budget", "dim", "epochs", "learning_rate", "weight_decay"),
            *("validation", "patience"),
        )
        if getattr(arguments, name) is not None
    }
    start = time.perf_counter()
    train = Interactions.read(
        arguments.table,
        user=arguments.user,
        item=arguments.item,
        weight=arguments.weight,
        time=arguments.time,
        duplicates=arguments.duplicates,
        bad_rows=arguments.bad_rows,
        min_user=arguments.min_user,
        min_item=arguments.min_item,
    )
    sys.stderr.write(train.report.summary() + "\n")
    read = time.perf_counter()
    model = _make(arguments.model, options | {"seed": arguments.seed}, train)
    asked = model.parameters()
    total = asked["epochs"] + asked.get("polish", 0) if "epochs" in asked else None
    with Progress("train", total=total) as progress:

        def show(entry: dict[str, Any]) -> None:
            note = f"loss {entry['loss']:.4f}, {entry['weights']:,} weights"
            recall = next((entry[key] for key in entry if key.startswith("recall")), None)
            if recall is not None:
                note += f", validation recall {recall:.4f}"
            progress.update(entry["epoch"], note)

        state = {"checkpoint": arguments.checkpoint, "resume": arguments.resume}
        kept = state if arguments.checkpoint or arguments.resume else {}
        try:
            model.fit(train, valid=arguments.valid, on_epoch=show, **kept)
        except KeyboardInterrupt:
            if arguments.checkpoint:
                sys.stderr.write(
                    f"\nThe last epoch is kept in {arguments.checkpoint}: the same command with "
                    "--resume goes on from there.\n"
                )
            raise
    done = time.perf_counter()
    model.save(out)
    result = {
        "out": arguments.out,
        "file_bytes": out.stat().st_size,
        "seconds_reading": round(read - start, 3),
        "seconds_training": round(done - read, 3),
        "rows": {name: getattr(train.report, name) for name in train.report.__slots__},
        **model.report(),
        "history": model.history_,
    }
    if arguments.json:
        _print_json(result)
    else:
        sys.stdout.write(_describe(result))


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
        )
    for warning in caught:
        sys.stderr.write(f"recsys: warning: {warning.message}\n")
    if arguments.json:
        _print_json(metrics)
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
        _print_json(result)
    else:
        sys.stdout.write(_describe(result))


def _make(name: str, options: dict[str, Any], train: "Interactions") -> "Recommender":
    from recsys import EASE, SANSA, ItemKNN, LightGCN, Popularity, SparseALS, SparseMF, dense_mf

    if name == "popularity":
        return Popularity()
    if name == "itemknn":
        return ItemKNN()
    if name == "dense-mf":
        return dense_mf(train, **options)
    if name == "dsl-lightgcn":
        return LightGCN(**options)
    if name == "sparse-als":
        return SparseALS(**_taken_by(SparseALS(), options))
    if name == "ease":
        return EASE(**_taken_by(EASE(), options))
    if name == "sansa":
        return SANSA(**_taken_by(SANSA(), options))
    return SparseMF(recipe="dsl" if name == "dsl-mf" else "static", **options)


def _taken_by(model: "Recommender", options: dict[str, Any]) -> dict[str, Any]:
    """Return the options if the model has such parameters; whatever has no lots has no seed."""
    known = model.parameters()
    for option in options:
        if option not in known and option != "seed":
            raise ValueError(
                f"--{option.replace('_', '-')} does not go with --model {model.name}: leave it out"
            )
    return {option: value for option, value in options.items() if option in known}


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


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, allow_nan=False, default=asdict) + "\n")


def _describe(result: dict[str, Any], indent: str = "") -> str:
    """Return a dict as aligned lines, dicts within it indented."""
    lines = []
    for name, value in result.items():
        if name == "history":
            continue
        if isinstance(value, dict):
            lines.append(f"{indent}{name}\n{_describe(value, indent + '  ')}")
            continue
        if isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, int):
            value = f"{value:,}"
        lines.append(f"{indent}{name:{20 - len(indent)}s} {value}\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
