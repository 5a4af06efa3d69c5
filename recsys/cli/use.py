"""The commands that use a model: evaluate, recommend, similar, explain, inspect, warmup."""

import argparse
import os
import sys
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.cli.show import describe, print_json
from recsys.cli.tables import TABLE, add_text_options, table_of
from recsys.data.table import Source, open_table
from sparsenum._device import DEVICES

if TYPE_CHECKING:
    from recsys.loading import Model


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to those of the program."""
    evaluate = _command(commands, "evaluate", "Recall@k and NDCG@k on held-out events", _evaluate)
    evaluate.add_argument("table", metavar="TABLE", help=TABLE)
    evaluate.add_argument("--user", metavar="COL", help="if named otherwise than in training")
    evaluate.add_argument("--item", metavar="COL", help="if named otherwise than in training")
    evaluate.add_argument(
        "--k", default="20", metavar="K,K", help="lengths of lists; default: %(default)s"
    )
    evaluate.add_argument("--valid", metavar="TABLE", help="warn if these are held out otherwise")
    add_text_options(evaluate)
    _add_device(evaluate)
    _add_json(evaluate)

    recommend = _command(commands, "recommend", "write the best items of each user", _recommend)
    recommend.add_argument(
        "--users",
        default="all",
        metavar="all|FILE|ID,ID",
        help="everybody, a text file with one id per line, or ids; default: %(default)s",
    )
    _add_k(recommend)
    recommend.add_argument("--include-seen", action="store_true", help="also what users have taken")
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
        "--user", metavar="COL", help="column of --histories, if named otherwise"
    )
    recommend.add_argument(
        "--item", metavar="COL", help="column of --histories, if named otherwise"
    )
    add_text_options(recommend)
    recommend.add_argument(
        "--memory-limit", default="256MB", metavar="M", help="beside the model; default 256MB"
    )
    _add_device(recommend)
    recommend.add_argument(
        "--out", required=True, metavar="RECS.parquet", help="Parquet or CSV, or - for stdout"
    )

    similar = _command(commands, "similar", "show the items most like one", _similar)
    similar.add_argument("item", metavar="ITEM", help="an item of the training")
    _add_k(similar)
    _add_json(similar)

    explain = _command(commands, "explain", "take the score of an item for a user apart", _explain)
    explain.add_argument("user", metavar="USER", help="a user of the training")
    explain.add_argument("item", metavar="ITEM", help="an item of the training")
    _add_json(explain)

    inspect = _command(commands, "inspect", "budget, weights and bytes of a model", _inspect)
    _add_json(inspect)

    warmup = commands.add_parser("warmup", help="compile everything once, as for a container")
    warmup.set_defaults(command=_warmup)


def _command(commands: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about)
    parser.set_defaults(command=run)
    parser.add_argument("model", metavar="MODEL.npz")
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=DEVICES, default="cpu", help="where items are ranked; default cpu"
    )


def _add_k(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--k", type=int, help="length of lists; default 20, or all items")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def _load(path: str) -> "Model":
    from recsys import load

    return load(path)


def _evaluate(arguments: argparse.Namespace) -> None:
    from sparsenum.errors import ProtocolWarning

    lengths = [int(word) for word in arguments.k.split(",") if word.strip().isdecimal()]
    if not lengths or len(lengths) != arguments.k.count(",") + 1:
        raise ValueError(f"--k must be a number, or some with commas: got {arguments.k!r}")
    model = _load(arguments.model)
    test = table_of(arguments.table, arguments)
    valid = table_of(arguments.valid, arguments) if arguments.valid else None
    metrics: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProtocolWarning)
        for place, k in enumerate(lengths):
            options = {"user": arguments.user, "item": arguments.item, "device": arguments.device}
            found = model.evaluate(test, k, valid=None if place else valid, **options)
            # Counts are the same at each length, and come last.
            metrics = {name: metrics[name] for name in metrics if name not in found} | found
    for warning in caught:
        sys.stderr.write(f"recsys: warning: {warning.message}\n")
    if arguments.json:
        print_json(metrics)
    else:
        for name, value in metrics.items():
            shown = f"{value:.4f}" if isinstance(value, float) else value
            sys.stdout.write(f"{name:14s} {shown}\n")


def _recommend(arguments: argparse.Namespace) -> None:
    model = _load(arguments.model)
    users = "all" if arguments.users == "all" else _ids(arguments.users, "--users") or []
    options: dict[str, Any] = {
        "exclude_seen": not arguments.include_seen,
        "allow": _ids(arguments.allow, "--allow"),
        "deny": _ids(arguments.deny, "--deny"),
        "unknown": arguments.unknown,
        "histories": _histories(model, arguments),
        "device": arguments.device,
    }
    if arguments.out == "-":
        sys.stdout.write(model.recommend(users, arguments.k, **options).write_csv())
        return
    limit = {"memory_limit": arguments.memory_limit, "name": "--out"}
    rows, n_users = model.recommend_to(arguments.out, users, arguments.k, **limit, **options)
    sys.stdout.write(f"{rows:,} recommendations for {n_users:,} users in {arguments.out}\n")


def _histories(model: "Model", arguments: argparse.Namespace) -> Source | None:
    """Return the histories with the columns named as in training."""
    if arguments.histories is None:
        return None
    source = table_of(arguments.histories, arguments)
    trained = {side: str(model.columns_[side]) for side in ("user", "item")}
    said = {side: getattr(arguments, side) or trained[side] for side in trained}
    table = open_table(source, said, name="histories")
    return table.rename({said[side]: trained[side] for side in said})


def _similar(arguments: argparse.Namespace) -> None:
    model = _load(arguments.model)
    _show(model.similar_items(arguments.item, arguments.k), arguments.json, "similar")


def _explain(arguments: argparse.Namespace) -> None:
    found = _load(arguments.model).explain(arguments.user, arguments.item)
    if arguments.json:
        parts = {name: getattr(found, name).to_dicts() for name in ("contributions", "because")}
        print_json({"score": found.score, **parts})
        return
    sys.stdout.write(f"score {found.score:.4g}\n\nparts of it\n")
    _show(found.contributions.head(20), False, "")
    sys.stdout.write("\nwhat was taken, most alike first\n")
    _show(found.because.head(20), False, "")


def _show(table: pl.DataFrame, as_json: bool, name: str) -> None:
    """Print a table: one JSON object, or lines with tabs."""
    if as_json:
        print_json({name: table.to_dicts()})
    else:
        sys.stdout.write(table.write_csv(separator="\t", float_precision=4))


def _inspect(arguments: argparse.Namespace) -> None:
    model = _load(arguments.model)
    result = {
        "file_bytes": os.path.getsize(arguments.model),
        "file": _bytes_by_part(arguments.model),
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


def _bytes_by_part(path: str) -> dict[str, int]:
    """Return what ids, histories and weights take of a model file: a budget covers the last."""
    sizes = dict.fromkeys(("weights", "ids", "histories", "header"), 0)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in ("users", "items"):
                part = "ids"
            elif name.startswith(("seen_", "touched_")) or name == "popularity":
                part = "histories"
            else:
                part = "header" if name == "header" else "weights"
            sizes[part] += member.file_size
    return sizes


def _warmup(arguments: argparse.Namespace) -> None:
    from recsys.cli.warm import warm_up

    for name, seconds in warm_up():
        sys.stdout.write(f"{name:12s} {seconds:.1f} s\n")


def _ids(said: str | None, option: str) -> list[str] | None:
    """Return the ids that an option names: the lines of a file, or a list between commas."""
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
