"""Compiling beforehand: kernels of every model, once for each machine or image of a container."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import polars as pl


def warm_up() -> Iterator[tuple[str, float]]:
    """Fit and use each model on a small table, and yield its name and the seconds it took."""
    import recsys

    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {"user": rng.integers(40, size=600), "item": rng.integers(30, size=600), "weight": 1.0}
    )
    table = table.with_columns(weight=pl.Series(rng.integers(1, 4, 600)))
    train = recsys.Interactions.read(table, user="user", item="item", weight="weight")
    small: dict[str, Any] = {"dim": 8, "budget": "50%", "epochs": 1}
    models = (
        recsys.Popularity(),
        recsys.ItemKNN(),
        recsys.UserKNN(),
        recsys.RP3beta(),
        recsys.EASE(budget="50%"),
        recsys.SANSA(budget="50%"),
        recsys.ItemBlend(budget="50%", trials=1),
        recsys.ItemBlend(budget="50%", trials=1, values="int8"),
        recsys.SparseAE(**small),
        recsys.SparseMF(**small),
        recsys.SparseALS(**small),
        recsys.LightGCN(**small),
    )
    held = pl.DataFrame({"user": rng.integers(40, size=600), "item": rng.integers(30, size=600)})
    for model in models:
        start = time.perf_counter()
        model.fit(train)
        _use(model, held)
        yield model.name, time.perf_counter() - start


def _use(model: Any, held: pl.DataFrame) -> None:
    """Ask a model for all that it can give: lists of many and of one, scores, reasons, metrics."""
    user, item = model.users_[0], model.items_[0]
    model.recommend(k=5)
    model.recommend([user], 5)
    model.evaluate(held, 5)
    model.score([user], [item])
    questions: tuple[Callable[[], Any], ...] = (
        lambda: model.recommend_from([item], 5),
        lambda: model.similar_items(item, 5),
        lambda: model.explain(user, item),
    )
    for ask in questions:
        with suppress(ValueError):  # what a model has no answer to
            ask()


def tell_if_cold() -> None:
    """Say on stderr that the first run compiles, where nothing has been compiled yet."""
    from recsys.blend import _cpu_graph
    from sparsenum.doctor import is_compiled

    if not is_compiled(_cpu_graph.fill_sides):
        sys.stderr.write(
            "Compiling for this machine, which only the first run needs: up to a minute "
            "(`recsys warmup` does it beforehand).\n"
        )
