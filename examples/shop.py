"""Train a recommender from a table of transactions under a fixed budget of weights.

Run as ``python examples/shop.py --out demo-output``, or with your own table:
``python examples/shop.py --out demo-output --data file.parquet --user COL --item COL --time COL``.
"""

import argparse
import sys
import time
from pathlib import Path

import polars as pl

from recsys import Interactions, ItemBlend, Popularity, SparseMF, leave_last
from recsys.data.table import open_table
from recsys.data.validation import pairs_to_choose_by
from recsys.datasets import shop
from recsys.plot import training_figure
from recsys.serving.recommender import Recommender
from recsys.storage.budget import parse_budget
from sparsenum.progress import Progress

K = 20
TEST_SHARE = 0.2  # each customer's latest transactions, held back to test on
BUDGET, DIM, EPOCHS = "10%", 128, 40
# What columns tend to be called, for tables that come without a word.
USER_NAMES = ("user", "user_id", "userid", "customer", "customer_id", "customerid")
ITEM_NAMES = ("item", "item_id", "itemid", "product", "product_id", "stockcode", "sku")
TIME_NAMES = ("time", "timestamp", "date", "datetime", "invoicedate")


def find_column(said: str | None, names: tuple[str, ...], columns: list[str]) -> str | None:
    """Return the column that was named, or the first with a usual name."""
    if said is not None:
        return said
    return next((column for name in names for column in columns if column.lower() == name), None)


def fit(model: Recommender, train: Interactions, valid: pl.DataFrame) -> tuple[Recommender, float]:
    """Train with progress and return the model and its seconds."""
    start = time.perf_counter()
    with Progress(type(model).__name__, total=model.parameters().get("epochs")) as progress:
        model.fit(
            train,
            valid=valid,
            on_epoch=lambda entry: progress.update(
                entry["epoch"],
                f"loss {entry['loss']:.3f}" if "loss" in entry else f"{entry['part']} tried",
            ),
        )
    return model, time.perf_counter() - start


def print_lists(model: Recommender, train: pl.DataFrame, user: str, item: str) -> None:
    """Show for three users what they took last and what is suggested."""
    busy = (
        train.drop_nulls([user, item])
        .group_by(user)
        .len()
        .filter(pl.col("len") > 8)
        .sort(user)[user]
        .head(3)
    )
    for name in busy:
        taken = train.filter(pl.col(user) == name)[item].tail(6).to_list()
        wanted = model.recommend([name], k=6)["item"].to_list()
        print(f"\n  {name} took last  {', '.join(map(str, taken))}")
        print(f"  {' ' * len(str(name))} suggested  {', '.join(map(str, wanted))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    parser.add_argument("--data", type=Path, help="your own table: CSV or Parquet")
    parser.add_argument("--user", help="its column of user ids")
    parser.add_argument("--item", help="its column of item ids")
    parser.add_argument("--time", help="its column of times")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    print("\nA recommender from a table, under a fixed budget of weights\n")
    source = options.data
    if source is None:
        source = options.out / "shop.parquet"
        shop().write_parquet(source)
        print(f"Wrote a year of made-up shop transactions to {source}.")
    columns = open_table(source, {}).collect_schema().names()
    user = find_column(options.user, USER_NAMES, columns)
    item = find_column(options.item, ITEM_NAMES, columns)
    when = find_column(options.time, TIME_NAMES, columns)
    if user is None or item is None:
        raise ValueError(f"--user and --item must name columns of the table: it has {columns}")

    before, after = leave_last(source, user=user, item=item, time=when, fraction=TEST_SHARE)
    train = Interactions.read(before, user=user, item=item, time=when)
    print(train.report.summary())
    print(
        f"Held back to test on: {after.height:,} later transactions of products new to the user.\n"
    )

    # Without decay, so that weights in places of no use do not fade altogether.
    static = {"recipe": "static", "weight_decay": 0.0}
    contenders: dict[str, Recommender] = {
        "popularity": Popularity(),
        "static random mask": SparseMF(budget=BUDGET, dim=DIM, epochs=EPOCHS, **static),
        "dynamic sparse": SparseMF(budget=BUDGET, dim=DIM, epochs=EPOCHS),
    }
    # It chooses how to learn, and so must not see what it is tested on.
    contenders["item blend"] = ItemBlend(budget=parse_budget(BUDGET, sum(train.matrix.shape), DIM))
    chosen_by, _ = pairs_to_choose_by(before, user=user, item=item, time=when)
    rows = []
    for name, contender in contenders.items():
        blend = isinstance(contender, ItemBlend)
        model, seconds = fit(contender, train, chosen_by if blend else after)
        metrics = model.evaluate(after, K)
        rows.append((name, model.report()["weights"], seconds, metrics))
    print(f"\n{'':20s} {'weights':>9s} {'seconds':>8s} {f'recall@{K}':>10s} {f'ndcg@{K}':>8s}")
    for name, weights, seconds, metrics in rows:
        recall, ndcg = metrics[f"recall@{K}"], metrics[f"ndcg@{K}"]
        print(f"{name:20s} {weights:9,d} {seconds:8.2f} {recall:10.4f} {ndcg:8.4f}")

    sparse = contenders["dynamic sparse"]
    report = sparse.report()
    print(
        f"\nThe models trained step by step hold exactly {report['weights']:,} weights in every "
        f"epoch, {report['density']:.0%} of the dense tables, and as many optimizer floats."
    )
    print_lists(sparse, before, user, item)
    sparse.save(options.out / "shop-model.npz")
    training_figure(
        options.out / "shop.png",
        sparse.history_,
        dense_weights=report["dense_weights"],
        baselines={name: row[f"recall@{K}"] for name, _, _, row in rows[:2]},
    )
    print(f"\nModel: {options.out / 'shop-model.npz'}   Picture: {options.out / 'shop.png'}\n")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"shop.py: error: {error}")
