"""What recommenders learn from and are judged by, and what they hand over to be judged."""

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from recsys import Interactions, leave_last
from recsys.data.interactions import read_pairs
from recsys.data.split import random_per_user
from recsys.datasets import shop
from recsys.scores.toplists import Scores
from sparsenum.sparse import CSR

NAMES = {"user": "user", "item": "item"}
SHOP = {"user": "customer", "item": "product"}


class Problem(NamedTuple):
    """What to learn from, what to be judged by, what to choose by, and what to call it."""

    name: str
    train: Interactions
    held: CSR
    valid: Any


class Outcome(NamedTuple):
    """Scores of items for users, what they are made of, and the passes over the data it took."""

    scores: Scores
    weights: int
    bytes: int
    iterations: int | None = None


Learner = Callable[[Problem], Outcome]


@cache
def problem(name: str) -> Problem:
    """Return a public set if SPARSENUM_DATA has it; the made-up shop is always there.

    Gowalla's files keep the order of each user's visits: the last tenth is what to choose by, as
    its test set is later, too. Elsewhere it is a random tenth.
    """
    if name == "shop":
        train, test = leave_last(shop(), **SHOP, time="time", fraction=0.2)
        return _read("made-up shop, last fifth held out", train, test, None, SHOP)
    folder = Path(os.environ.get("SPARSENUM_DATA", ""), "recsys")
    train, test = (folder / f"{name}_{part}.parquet" for part in ("train", "test"))
    if not train.is_file():
        pytest.skip(f"no record: SPARSENUM_DATA names no folder with recsys/{train.name}")
    late = partial(leave_last, fraction=0.1) if name == "gowalla" else random_per_user
    options = {} if name == "gowalla" else {"fraction": 0.1}
    return _read(name, train, test, late(train, **NAMES, **options)[1], NAMES)


def _read(title: str, train: Any, test: Any, valid: Any, names: dict[str, str]) -> Problem:
    read = Interactions.read(train, **names)
    held = read_pairs(test, **names, users=read.users, items=read.items)[0]
    return Problem(title, read, held, valid)
