"""What dynamic sparse learning keeps of a dense model's quality, beside what else the bytes buy.

Each row of the study is one way to spend a budget on tables of 64 columns. Its learning rate is
chosen on a random tenth of the training interactions; training stops by the same tenth
and keeps the tables of its best epoch. The test interactions are looked at once for each seed, at
the rate that was chosen. Results go to a file of JSON lines as they come, and what stands there is
not done again:

    python benches/dsl_claims.py ml1m_ultragcn mf --data DATA --out study.jsonl
    python benches/dsl_claims.py --table study.jsonl
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

# A script finds its own folder only; the benchmarks are imported by their full names.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.notes import Note, read, write
from recsys import Interactions, LightGCN, SparseMF, dense_mf

DIM = 64
DENSITIES = ("50%", "20%", "10%")
SEEDS = 3
# A tenth of the epochs lies between two looks at the validation; three without a rise end it.
STOPPING = {"validation": 0.1, "patience": 3}
Fit = Callable[..., Any]


class Setting(NamedTuple):
    """What a problem needs of both backbones: the decay was chosen for the dense model."""

    epochs: int
    decay: float
    rate: float


SETTINGS = {
    ("ml1m_ultragcn", "mf"): Setting(60, 0.03, 0.2),
    ("amazon_sports", "mf"): Setting(60, 0.1, 0.4),
    ("ml1m_ultragcn", "lightgcn"): Setting(30, 0.03, 0.1),
    ("amazon_sports", "lightgcn"): Setting(20, 0.003, 0.06),
}


class Row(NamedTuple):
    """One way to spend a budget."""

    name: str
    density: str
    fit: Fit


def rows(train: Interactions, backbone: str, setting: Setting) -> Iterator[Row]:
    """Yield the rows of a study: `fit` takes rate and seed."""
    same: dict[str, Any] = {"epochs": setting.epochs, "weight_decay": setting.decay, **STOPPING}
    model: Any = SparseMF if backbone == "mf" else LightGCN
    recipes = ("dsl", "dsl-paper", "static", "prune") if backbone == "mf" else ("dsl", "static")
    yield Row("dense", "100%", partial(model, budget="100%", dim=DIM, recipe="static", **same))
    for recipe in recipes:
        for density in DENSITIES:
            options = {**same, "budget": density, "dim": DIM, "recipe": recipe}
            if recipe == "static" and backbone == "mf":
                # The penalty wears down weights in places of no use, which it cannot leave.
                options["weight_decay"] = setting.decay / 10
            yield Row(recipe, density, partial(model, **options))
    if backbone == "mf":
        for density in DENSITIES:
            smaller = partial(dense_mf, train, budget=density, dim=DIM, **same)
            yield Row("dense of equal bytes", density, smaller)


def tuned(row: Row, train: Interactions, start: float) -> tuple[float, Any]:
    """Return the learning rate with the best validation NDCG of three a factor of two apart."""

    def fit(rate: float) -> tuple[float, float, Any]:
        model = row.fit(learning_rate=rate, seed=0).fit(train)
        return best(model)["ndcg@20"], rate, model

    found = fit(start)
    twice = fit(2 * start)
    found = max(found, twice if twice[0] > found[0] else fit(start / 2), key=lambda some: some[0])
    return found[1], found[2]


def best(model: Any) -> dict[str, Any]:
    """Return the look at the validation whose tables the model kept."""
    looks = [entry for entry in model.history_ if "ndcg@20" in entry]
    found: dict[str, Any] = max(looks, key=lambda entry: entry["ndcg@20"])
    return found


def study(problem: str, backbone: str, data: Path, out: Path) -> None:
    """Train, test and note every row that is not in the file yet."""
    train = Interactions.read(data / f"{problem}_train.parquet", user="user", item="item")
    setting = SETTINGS[problem, backbone]
    done = {(r["problem"], r["backbone"], r["model"], r["density"]) for r in read(out)}
    for row in rows(train, backbone, setting):
        if (problem, backbone, row.name, row.density) in done:
            continue
        start = time.process_time()
        rate, first = tuned(row, train, setting.rate)
        notes = []
        for seed in range(SEEDS):
            model = row.fit(learning_rate=rate, seed=seed).fit(train) if seed else first
            tested = model.evaluate(data / f"{problem}_test.parquet")
            notes.append(
                {
                    "problem": problem,
                    "backbone": backbone,
                    "model": row.name,
                    "density": row.density,
                    "seed": seed,
                    "rate": rate,
                    "decay": model.weight_decay,
                    "epochs": model.epochs,
                    "best_epoch": best(model)["epoch"],
                    "valid_ndcg": best(model)["ndcg@20"],
                    "recall": tested["recall@20"],
                    "ndcg": tested["ndcg@20"],
                    "weights": model.report()["weights"],
                    "seconds": time.process_time() - start,
                }
            )
        write(out, notes, f"{row.name} {row.density}, rate {rate:g}")


def table(notes: list[Note]) -> str:
    """Return the notes as Markdown tables: mean ± standard deviation over seeds."""
    parts = []
    for problem, backbone in dict.fromkeys((n["problem"], n["backbone"]) for n in notes):
        some = [n for n in notes if (n["problem"], n["backbone"]) == (problem, backbone)]
        dense = statistics.mean(n["ndcg"] for n in some if n["model"] == "dense")
        parts += [
            f"**{backbone}, {problem}**\n",
            "| model | density | weights | rate | best epoch | recall@20 | ndcg@20 | of dense |",
            "| :-- | --: | --: | --: | --: | --: | --: | --: |",
        ]
        for name, density in dict.fromkeys((n["model"], n["density"]) for n in some):
            group = [n for n in some if (n["model"], n["density"]) == (name, density)]
            epochs = statistics.median(n["best_epoch"] for n in group)
            parts.append(
                f"| {name} | {density} | {group[0]['weights']:,} | {group[0]['rate']:g} | "
                f"{epochs:g} of {group[0]['epochs']} | {spread(group, 'recall')} | "
                f"{spread(group, 'ndcg')} | "
                f"{100 * statistics.mean(n['ndcg'] for n in group) / dense:.1f} % |"
            )
        parts.append("")
    return "\n".join(parts)


def spread(notes: list[Note], key: str) -> str:
    """Return mean ± standard deviation of some notes."""
    values = [note[key] for note in notes]
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("problem", nargs="?", choices=sorted({name for name, _ in SETTINGS}))
    parser.add_argument("backbone", nargs="?", choices=("mf", "lightgcn"))
    parser.add_argument("--data", type=Path, help="folder of NAME_train.parquet, NAME_test.parquet")
    parser.add_argument("--out", type=Path, default=Path("study.jsonl"))
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of a study")
    arguments = parser.parse_args()
    if arguments.table:
        sys.stdout.write(table(read(arguments.table)))
    else:
        study(arguments.problem, arguments.backbone, arguments.data, arguments.out)


if __name__ == "__main__":
    main()
