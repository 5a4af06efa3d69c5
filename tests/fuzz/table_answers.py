"""Calls of the recommenders' doors: what comes back, as numbers of rows and codes of ids."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import recsys
from fuzz.tables import code_of, frame_of, presented, table_of
from recsys.data import split

MODEL_OPTIONS = (
    *("neighbours", "likeness", "budget", "dim", "epochs"),
    *("loss", "recipe", "polish", "trials"),
)
NAMES = {"user": "user", "item": "item"}


def given(case, *names):
    """Return the options of a case that a door takes."""
    return {name: case.get(name) for name in names if case.get(name) is not None}


def timed(case):
    """Return how the time of a case is named."""
    has_time = case.get("times") is not None
    return ({"time": "time"} if has_time else {}) | (given(case, "time_format") if has_time else {})


def read(case) -> dict[str, Any]:
    """Return the pairs with their weights, and the account of the rows."""
    options = given(case, "duplicates", "bad_rows", "min_user", "min_item") | timed(case)
    if case.get("weights") is not None:
        options["weight"] = "weight"
    with presented(table_of(case), case.get("library")) as table:
        found = recsys.Interactions.read(table, **NAMES, **options)
    users, items = code_of(case, "user", found.users), code_of(case, "item", found.items)
    matrix = found.matrix
    rows = np.repeat(np.arange(matrix.shape[0]), matrix.row_counts)
    pairs = {
        (users[row], items[column]): float(weight)
        for row, column, weight in zip(rows, matrix.indices, matrix.data, strict=True)
    }
    return {"pairs": pairs, "report": found.report}


def splitter(name: str, *options: str, with_time: bool = True):
    """Return a call of one of the ways to split."""

    def call(case) -> list[list[int]]:
        more = given(case, *options) | (timed(case) if with_time else {})
        frame = table_of(case)
        with presented(frame, case.get("library")) as table:
            parts = getattr(split, name)(table, **NAMES, **more)
        wrong = [part.columns for part in parts if part.columns != frame.columns]
        if wrong:
            raise AssertionError(f"columns changed: {wrong[0]}")
        return [part["n"].cast(pl.Int64).to_list() for part in parts]

    return call


def recommender(case) -> dict[str, Any]:
    """Fit a model, ask it for lists, judge it on held-out pairs, and read it back from a file."""
    weight = {"weight": "weight"} if case.get("weights") is not None else {}
    train = recsys.Interactions.read(table_of(case), **NAMES, **weight)
    maker = getattr(recsys, case.get("model"))
    model = maker(**given(case, *MODEL_OPTIONS)).fit(train)
    found: dict[str, Any] = {
        "users": code_of(case, "user", train.users),
        "items": code_of(case, "item", train.items),
    }
    k, asked = int(case.get("k")), ids(case, "user", case.get("asked"))
    options = given(case, "exclude_seen", "unknown")
    for name in ("allow", "deny"):
        if case.get(name) is not None:
            options[name] = ids(case, "item", case.get(name))
    if case.get("unknown") == "fold_in":
        strangers = np.repeat([code for code in case.get("asked") if code >= 100], 2)
        options["histories"] = frame_of(
            case, strangers, np.resize(case.get("items"), strangers.size)
        )
    found["scores"] = model.scores(np.arange(train.n_users))
    test = frame_of(case, case.get("test_users"), case.get("test_items"))
    size = min(k, train.n_items)
    try:
        found["metrics"] = model.evaluate(test, k=size)
    except ValueError as error:
        if "got none, with" not in str(error):
            raise
        found["metrics"] = {"users": 0}
    found["everybody"] = listed(case, model.recommend(k=size))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        model.save(path)
        found["again"] = listed(case, recsys.load(path).recommend(k=size))
    found["lists"] = listed(case, model.recommend(asked, k, **options))
    return found


def ids(case, role, codes) -> pl.Series:
    """Return ids as a caller has them."""
    return frame_of(case, codes, codes)[role]


def listed(case, table: pl.DataFrame) -> list[tuple[int, int, float, int]]:
    """Return lists as user, item, score and rank."""
    users, items = code_of(case, "user", table["user"]), code_of(case, "item", table["item"])
    return list(zip(users, items, table["score"].to_list(), table["rank"].to_list(), strict=True))


TABLE_ANSWERS = {
    "read": read,
    "leave_last": splitter("leave_last", "k", "fraction"),
    "by_time": splitter("by_time", "fraction"),
    "random_per_user": splitter("random_per_user", "fraction", "seed", with_time=False),
    "held_out_users": splitter("held_out_users", "fraction", "hide", "seed"),
    "recommender": recommender,
}
