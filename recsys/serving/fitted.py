"""The protocol of a fitted model, as serving needs it."""

from typing import Any, ClassVar, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.report import Reading
from recsys.data.vocabulary import FEW, Ids, Vocabulary
from recsys.scores.toplists import Scores
from sparsenum.sparse import CSR


class Learned(Protocol):
    """The data that a model has learned from: ids, and the items its users have taken."""

    users_: pl.Series
    items_: pl.Series
    seen_: CSR
    touched_: CSR | None
    popularity_: NDArray[np.float64]
    columns_: dict[str, str | None]
    reading_: Reading
    has_histories: bool
    has_users: ClassVar[bool]
    can_forget: ClassVar[bool]


class Fitted(Learned, Protocol):
    """A model that has learned, and what serving asks of it: look-ups, scores and reasons."""

    @property
    def hidden(self) -> CSR:
        """The items hidden from each user: those taken, and those met and not liked."""

    @property
    def known_users(self) -> Vocabulary:
        """The ids of the users and their rows."""

    @property
    def known_items(self) -> Vocabulary:
        """The ids of the items and their numbers."""

    def scorer_on(self, device: str) -> Scores:
        """Return the scorer that lists are made with, on the CPU or on a CUDA device."""

    def for_users(self, users: pl.Series, taken: CSR, touched: CSR | None = None) -> "Fitted":
        """Return the same model for other users, by what they took."""

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return parts that add up to a score, by row numbers."""

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return how like one item each is, by number."""


def ids_of(series: pl.Series, places: NDArray[Any]) -> pl.Series:
    """Return the ids at some places, without polars' engine."""
    if places.size == 1:
        return series.slice(int(places[0]), 1)
    if places.size <= FEW:
        few: pl.Series = series[places.tolist()]
        return few
    return series[pl.Series(places.astype(np.uint32, copy=False))]


def known(vocabulary: Vocabulary, ids: Ids, name: str) -> NDArray[np.int64]:
    """Return the places of ids, all of which must be known."""
    places = vocabulary.places(ids)
    if not places.size:
        raise ValueError(f"{name} must name at least one id: got none")
    if (places < 0).any():
        strange = ids[int(np.argmin(places))]
        raise ValueError(f"{name} must have been in training: got {strange!r}")
    return places
