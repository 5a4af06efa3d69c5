"""Compiling beforehand: kernels of every model, once for each machine or image of a container."""

import sys
import time
from collections.abc import Iterator
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
    for model in models:
        start = time.perf_counter()
        model.fit(train)
        model.recommend(k=5)
        model.evaluate(table, 5)
        yield model.name, time.perf_counter() - start


def tell_if_cold() -> None:
    """Say on stderr that the first run compiles, where nothing has been compiled yet."""
    from recsys.blend import _cpu_graph
    from sparsenum.doctor import is_compiled

    if not is_compiled(_cpu_graph.fill_sides):
        sys.stderr.write(
            "Compiling for this machine, which only the first run needs: up to a minute "
            "(`recsys warmup` does it beforehand).\n"
        )
