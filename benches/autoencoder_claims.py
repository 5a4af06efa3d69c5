"""What growth, the start and width are worth to a sparse autoencoder, beside what is solved.

Each row spends one budget on a table of items. The learning rate of each is the best of three on a
random tenth of the training pairs; the test pairs are looked at once for each seed. Results go to a
file of JSON lines as they come, and what stands there is not done again:

    python benches/autoencoder_claims.py ml1m_ultragcn --data DATA --out study.jsonl
    python benches/autoencoder_claims.py --table study.jsonl
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

# A script finds its own folder only; the benchmarks are imported by their full names.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.notes import Note, read, write
from recsys import Interactions, ItemBlend, Popularity, Recipe, SparseAE
from recsys.data import random_per_user
from sparsenum.topology.recipe import RECIPES

WIDE, SEEDS, RATES = 128, 3, (0.03, 0.1, 0.3)
PER_ITEM = {"ml1m_ultragcn": 24, "amazon_sports": 8, "gowalla": 8, "yelp2018": 8}
NAMES = {"user": "user", "item": "item"}


class Row(NamedTuple):
    """One way to spend a budget, and whether its learning rate is to be chosen."""

    name: str
    fit: Callable[..., Any]
    is_trained: bool


def rows(n_items: int, k: int) -> Iterator[Row]:
    """Yield the rows of a study at k weights an item."""
    weights = n_items * k
    wide = partial(SparseAE, budget=weights, dim=WIDE)
    dsl, exchange = RECIPES["dsl"], RECIPES["dsl"].fraction
    yield Row("aligned start, grown", partial(wide, recipe=dsl), True)
    yield Row("random start, grown", partial(wide, recipe=Recipe(exchange)), True)
    yield Row("aligned start, static", partial(wide, recipe=Recipe(start="aligned")), True)
    yield Row("random start, static", partial(wide, recipe="static"), True)
    for name, dim in (("equal weights", k), ("equal bytes", 5 * k // 4), ("64 columns", 64)):
        dense = partial(SparseAE, budget=n_items * dim, dim=dim, recipe="static")
        yield Row(f"dense, {name}", dense, True)
    solved = partial(ItemBlend, budget=weights)
    yield Row("factors in closed form", partial(solved, graph_share=0.0), False)
    yield Row("ItemBlend", solved, False)
    yield Row("popularity", lambda seed: Popularity(), False)


def rate_of(row: Row, base: Interactions, valid: pl.DataFrame) -> float:
    """Return the learning rate whose lists are best for pairs that are held back."""

    def quality(rate: float) -> float:
        found = row.fit(learning_rate=rate, seed=0).fit(base).evaluate(valid)
        return float(found["ndcg@20"])

    return max(RATES, key=quality)


def study(problem: str, data: Path, out: Path) -> None:
    """Tune, train, test and note every row that is not in the file yet."""
    table = pl.read_parquet(data / f"{problem}_train.parquet")
    train = Interactions.read(table, **NAMES)
    first, valid = random_per_user(table, fraction=0.1, seed=1, **NAMES)
    base = Interactions.read(first, **NAMES)
    done = {(note["problem"], note["model"]) for note in read(out)}
    for row in rows(train.n_items, PER_ITEM[problem]):
        if (problem, row.name) in done:
            continue
        options = {"learning_rate": rate_of(row, base, valid)} if row.is_trained else {}
        notes = []
        for seed in range(SEEDS):
            start = time.process_time()
            model = row.fit(seed=seed, **options).fit(train)
            seconds = time.process_time() - start
            tested = model.evaluate(data / f"{problem}_test.parquet")
            notes.append(
                {
                    "problem": problem,
                    "model": row.name,
                    "seed": seed,
                    "rate": options.get("learning_rate"),
                    "recall": tested["recall@20"],
                    "ndcg": tested["ndcg@20"],
                    "weights": model.report()["weights"],
                    "seconds": seconds,
                }
            )
        write(out, notes, row.name)


def table_of(notes: list[Note]) -> str:
    """Return the notes as Markdown tables: mean and range over seeds."""
    parts = []
    for problem in dict.fromkeys(note["problem"] for note in notes):
        parts += [
            f"**{problem}**\n",
            "| model | weights | rate | recall@20 | ndcg@20 | lowest to highest | CPU s |",
            "| :-- | --: | --: | --: | --: | --: | --: |",
        ]
        some = [note for note in notes if note["problem"] == problem]
        for name in dict.fromkeys(note["model"] for note in some):
            group = [note for note in some if note["model"] == name]
            recall, ndcg, seconds = (
                [note[key] for note in group] for key in ("recall", "ndcg", "seconds")
            )
            parts.append(
                f"| {name} | {group[0]['weights']:,} | {group[0]['rate'] or '-'} | "
                f"{statistics.mean(recall):.4f} | {statistics.mean(ndcg):.4f} | "
                f"{min(ndcg):.4f} to {max(ndcg):.4f} | {statistics.median(seconds):.1f} |"
            )
        parts.append("")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("problem", nargs="?", choices=sorted(PER_ITEM))
    parser.add_argument("--data", type=Path, help="folder of NAME_train.parquet, NAME_test.parquet")
    parser.add_argument("--out", type=Path, default=Path("study.jsonl"))
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of a study")
    arguments = parser.parse_args()
    if arguments.table:
        sys.stdout.write(table_of(read(arguments.table)))
    else:
        study(arguments.problem, arguments.data, arguments.out)


if __name__ == "__main__":
    main()
