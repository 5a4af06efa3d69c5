"""The command `recsys train`: from a table to a model file."""

import argparse
import inspect
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from recsys.cli.show import print_json
from recsys.cli.tables import TABLE, add_text_options, table_of
from recsys.cli.warm import tell_if_cold
from recsys.data.table import Source
from recsys.storage.budget import read_budget
from sparsenum._device import DEVICES
from sparsenum._system import processors, target_file

if TYPE_CHECKING:
    from recsys.blend.plan import Plan
    from recsys.data.interactions import Interactions
    from recsys.serving.recommender import Recommender

MODELS = (
    "auto",
    "sparse-ae",
    "dsl-mf",
    "static-mf",
    "dsl-lightgcn",
    "sparse-als",
    "dense-mf",
    "itemknn",
    "userknn",
    "rp3beta",
    "ease",
    "sansa",
    "popularity",
)
# Models that use nothing else of a weight than that it is a like.
LIKES_ALONE = ("auto", "sparse-ae", "userknn", "rp3beta", "ease", "sansa", "popularity")
OPTIONS = (
    "budget",
    "values",
    "trials",
    "dim",
    "epochs",
    "learning_rate",
    "weight_decay",
    "validation",
    "patience",
    "device",
)


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of the program."""
    train = commands.add_parser("train", help="learn from a table of events")
    train.set_defaults(command=run)
    train.add_argument("table", metavar="TABLE", help=TABLE)
    train.add_argument("--user", required=True, metavar="COL", help="column of user ids")
    train.add_argument("--item", required=True, metavar="COL", help="column of item ids")
    train.add_argument("--weight", metavar="COL", help="column of weights; above 0 is a like")
    train.add_argument("--min-weight", type=float, metavar="W", help="the least weight of a like")
    train.add_argument("--time", metavar="COL", help="column of times")
    train.add_argument(
        "--time-format", metavar="F", help="how times are written: %%d.%%m.%%Y %%H:%%M"
    )
    add_text_options(train)
    _add_reading(train)
    train.add_argument(
        "--model",
        choices=MODELS,
        default="auto",
        help="auto blends a graph and factors of items, chosen on held-out events (default)",
    )
    train.add_argument(
        "--budget",
        metavar="B",
        help="of weights, beside ids and histories: 500000, 10%% or 4MB; or auto",
    )
    train.add_argument("--values", choices=("float32", "int8"), help="auto: how weights are stored")
    train.add_argument("--trials", type=int, metavar="N", help="auto: graphs tried to choose by")
    train.add_argument("--plan", metavar="MODEL", help="auto: learn as that model was, at once")
    train.add_argument("--dim", type=int, metavar="D", help="columns of the tables")
    train.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the data; default 30, or 8 of sparse-ae",
    )
    train.add_argument("--learning-rate", type=float, metavar="R", help="that of the optimizer")
    train.add_argument("--weight-decay", type=float, metavar="L", help="default 0.03")
    train.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    train.add_argument(
        "--valid",
        metavar="TABLE",
        help="held-out events: auto chooses by them (by default by a tenth of TABLE, the latest "
        "of half of the users), others are watched while training",
    )
    train.add_argument("--validation", type=float, metavar="F", help="hold back a share for that")
    train.add_argument(
        "--patience", type=int, metavar="N", help="stop after N looks (of 10) without a better one"
    )
    train.add_argument("--device", choices=DEVICES, help="where steps are taken; default cpu")
    train.add_argument("--checkpoint", metavar="DIR", help="keep the state of each epoch there")
    train.add_argument("--resume", action="store_true", help="go on from --checkpoint")
    train.add_argument("--out", required=True, metavar="MODEL.npz", help="the file to write")
    train.add_argument("--json", action="store_true", help="print one JSON object on stdout")


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
        help="rows without id or time, or with a weight that is no number; default: %(default)s",
    )
    for side in ("user", "item"):
        parser.add_argument(
            f"--min-{side}",
            type=int,
            default=1,
            metavar="N",
            help=f"drop {side}s with fewer pairs, until none is left; default: %(default)s",
        )


def run(arguments: argparse.Namespace) -> None:
    """Read the table, learn, and write the model."""
    from recsys import Interactions

    out = target_file(arguments.out, "--out")
    maker = _maker(arguments)
    if arguments.budget not in (None, "auto"):
        read_budget(arguments.budget, 1, int)  # raises before the table is read
    table = table_of(arguments.table, arguments)
    if arguments.model == "auto":
        tell_if_cold()
    start = time.perf_counter()
    train = Interactions.read(
        table,
        user=arguments.user,
        item=arguments.item,
        weight=arguments.weight,
        min_weight=arguments.min_weight,
        time=arguments.time,
        time_format=arguments.time_format,
        duplicates=arguments.duplicates,
        bad_rows=arguments.bad_rows,
        min_user=arguments.min_user,
        min_item=arguments.min_item,
    )
    sys.stderr.write(train.report.summary() + "\n")
    if arguments.weight is not None and arguments.model in LIKES_ALONE:
        sys.stderr.write("Weights tell this model which pairs are liked, but not how much.\n")
    read = time.perf_counter()
    model = maker(train)
    _fit(model, train, table, arguments)
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
        print_json(result)
    else:
        sys.stdout.write(_in_short(result, model))


def _maker(arguments: argparse.Namespace) -> "Callable[[Interactions], Recommender]":
    """Return what makes the model, once every option that was given is one of its parameters."""
    import recsys

    dense = recsys.dense_mf
    models: dict[str, tuple[Any, dict[str, Any]]] = {
        "auto": (recsys.ItemBlend, {"n_threads": processors()}),
        "sparse-ae": (recsys.SparseAE, {}),
        "dsl-mf": (recsys.SparseMF, {}),
        "static-mf": (recsys.SparseMF, {"recipe": "static"}),
        "dsl-lightgcn": (recsys.LightGCN, {}),
        "sparse-als": (recsys.SparseALS, {}),
        "dense-mf": (recsys.SparseMF, {}),
        "itemknn": (recsys.ItemKNN, {}),
        "userknn": (recsys.UserKNN, {}),
        "rp3beta": (recsys.RP3beta, {}),
        "ease": (recsys.EASE, {}),
        "sansa": (recsys.SANSA, {}),
        "popularity": (recsys.Popularity, {}),
    }
    kind, options = models[arguments.model]
    known = inspect.signature(kind).parameters
    for name in OPTIONS:
        value = getattr(arguments, name)
        if value is not None and name not in known:
            raise ValueError(
                f"--{name.replace('_', '-')} does not go with --model {arguments.model}: "
                "leave it out"
            )
        if value is not None:
            options[name] = value
    if "seed" in known:
        options["seed"] = arguments.seed
    kept = arguments.checkpoint or arguments.resume
    if kept and "checkpoint" not in inspect.signature(kind.fit).parameters:
        raise ValueError(
            f"--checkpoint and --resume do not go with --model {arguments.model}: leave them out"
        )
    if arguments.plan is not None and arguments.model != "auto":
        raise ValueError(f"--plan does not go with --model {arguments.model}: leave it out")
    if arguments.model == "dense-mf":
        return partial(dense, **options)
    return lambda train: kind(**options)  # type: ignore[no-any-return]


def _in_short(result: dict[str, Any], model: "Recommender") -> str:
    """Return what was made, how good it was on pairs held back, and what to do next."""
    out, weights = result["out"], result["weights"]
    lines = [
        f"Trained {result['model']} in {result['seconds_training']:.1f} s: {weights:,} weights; "
        f"with ids and histories {result['file_bytes']:,} bytes in {out}"
    ]
    looks = [entry for entry in model.history_ if any(key.startswith("ndcg@") for key in entry)]
    rivals = [entry for entry in looks if "popularity" in entry.get("part", "")]
    own = [entry for entry in looks if entry not in rivals]
    if own:
        last = own[-1] if "part" not in own[-1] else max(own, key=_ndcg)
        lines.append(f"On pairs held back: {_metrics(last)}.")
        better = [entry for entry in rivals if _ndcg(entry) > _ndcg(last)]
        lines += [f"There {entry['part']} alone has {_metrics(entry)}." for entry in rivals]
        if better:
            lines.append(
                "Popularity does better here: `--model popularity` is smaller, and as good."
            )
    lines.append(
        f"Next: recsys recommend {out} --out lists.csv   (recsys inspect {out}: all figures)"
    )
    return "\n".join(lines) + "\n"


def _ndcg(entry: dict[str, Any]) -> float:
    return float(next((entry[key] or 0.0 for key in entry if key.startswith("ndcg@")), 0.0))


def _metrics(entry: dict[str, Any]) -> str:
    kinds = ("recall@", "ndcg@")
    return ", ".join(
        f"{k} {v:.4f}" for k, v in entry.items() if k.startswith(kinds) and v is not None
    )


def _fit(
    model: "Recommender", train: "Interactions", table: Source, arguments: argparse.Namespace
) -> None:
    """Learn, and show how it goes."""
    from recsys import ItemBlend
    from recsys.data.validation import pairs_to_choose_by, recent_counts
    from sparsenum.progress import Progress

    asked = model.parameters()
    valid = None if arguments.valid is None else table_of(arguments.valid, arguments)
    total = asked["epochs"] + asked.get("polish", 0) if "epochs" in asked else None
    options: dict[str, Any] = {}
    if arguments.checkpoint or arguments.resume:
        options = {"checkpoint": arguments.checkpoint, "resume": arguments.resume}
    if arguments.plan is not None:
        options["plan"] = _plan_of(arguments.plan)
    elif isinstance(model, ItemBlend) and model.trials and valid is None:
        names = {name: getattr(arguments, name) for name in ("user", "item", "weight", "time")}
        names["time_format"] = arguments.time_format
        spared, _ = pairs_to_choose_by(table, **names, seed=arguments.seed)
        valid = spared if spared.height else None
        if valid is not None and arguments.time is not None:
            options["recent"] = recent_counts(table, spared, train)
    with Progress("train", total=total) as progress:
        try:
            model.fit(
                train,
                valid=valid,
                on_epoch=lambda entry: progress.update(entry["epoch"], _note(entry)),
                **options,
            )
        except KeyboardInterrupt:
            if arguments.checkpoint:
                sys.stderr.write(
                    f"\nThe last epoch is kept in {arguments.checkpoint}: the same command with "
                    "--resume goes on from there.\n"
                )
            raise


def _plan_of(path: str) -> "Plan":
    """Return the plan of an earlier model."""
    from recsys import ItemBlend, load

    model = load(path)
    if not isinstance(model, ItemBlend):
        raise ValueError(
            f"--plan must be a model that `recsys train` made by itself: got {path!r}, which is "
            f"{model.name}"
        )
    return model.plan_


def _note(entry: dict[str, Any]) -> str:
    """Return what an entry of the history says, in a few words."""
    parts = [f"{entry['part']} tried"] if "part" in entry else []
    if "loss" in entry:
        parts += [f"loss {entry['loss']:.4f}", f"{entry['weights']:,} weights"]
    recall = next((entry[key] for key in entry if key.startswith("recall")), None)
    if recall is not None:
        parts.append(f"validation recall {recall:.4f}")
    return ", ".join(parts)
