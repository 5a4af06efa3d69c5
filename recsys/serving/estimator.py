"""The base of every model: its parameters, the ids it was trained on, and its file."""

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.pairs import union
from recsys.data.report import Reading
from recsys.data.table import Source
from recsys.data.vocabulary import Vocabulary
from recsys.serving import saved
from recsys.storage import files
from recsys.storage.series import unpack_series
from sparsenum.sparse import CSR


class Estimator(ABC):
    """A model with parameters that learns from interactions and can be stored.

    Attributes
    ----------
    users_, items_ : Series
        The ids it was trained on, in the type they came in.
    seen_ : CSR, shape (n_users, n_items)
        What each user has taken in training.
    touched_ : CSR, optional
        What each user has met and not liked: not learned from, and not recommended either.
    popularity_ : ndarray of float64, shape (n_items,)
        Share of the users of the training who took each item.
    columns_ : dict
        Names of the columns of the training table.
    reading_ : Reading
        What its weights and times mean, in training and in every test.
    history_ : list of dict
        What happened in each epoch; empty for models without epochs.
    """

    name: ClassVar[str]
    has_users: ClassVar[bool] = True  # parameters of users, in order of users_
    can_forget: ClassVar[bool] = True  # what users have taken, and still score for them
    has_histories: bool = True
    users_: pl.Series
    items_: pl.Series
    seen_: CSR
    touched_: CSR | None = None
    popularity_: NDArray[np.float64]
    columns_: dict[str, str | None]
    reading_: Reading = Reading()
    history_: list[dict[str, Any]]
    _hidden: tuple[CSR, CSR, CSR] | None = None

    @abstractmethod
    def fit(
        self,
        train: Interactions,
        *,
        valid: Source | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> Self:
        """Learn from interactions and return the model itself."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """Return what the model holds: weights, bytes, density of each table."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what, beside ids and history of the users, a file must hold."""

    @classmethod
    @abstractmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        """Build a model for (n_users, n_items) from what `_state` returned, once it is sound."""

    def parameters(self) -> dict[str, Any]:
        """Return the parameters the model was made with, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn asks for them; none holds others."""
        return self.parameters()

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name and return the model, as scikit-learn does."""
        known = self.parameters()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{name!r} is no parameter: expected one of {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """Return the parameters that are not the default, and what the model was fitted on."""
        defaults = inspect.signature(type(self)).parameters
        chosen = ", ".join(
            f"{name}={value!r}"
            for name, value in self.parameters().items()
            if value != defaults[name].default
        )
        fitted = "not fitted"
        if hasattr(self, "seen_"):
            fitted = f"{self.users_.len():,} users, {self.items_.len():,} items"
        return f"<{type(self).__name__}({chosen}): {fitted}>"

    @property
    def known_users(self) -> Vocabulary:
        """The ids of the users and their rows."""
        return self._vocabulary("users_")

    @property
    def known_items(self) -> Vocabulary:
        """The ids of the items and their numbers."""
        return self._vocabulary("items_")

    def _vocabulary(self, side: str) -> Vocabulary:
        """Return how ids of users or items are found; it is kept as long as they are the same."""
        ids, kept = getattr(self, side), self.__dict__.get(f"_known_{side}")
        if kept is None or kept.ids is not ids:
            kept = Vocabulary(ids)
            self.__dict__[f"_known_{side}"] = kept
        return kept  # type: ignore[no-any-return]

    def _remember(self, train: Interactions) -> None:
        self.users_, self.items_ = train.users, train.items
        self.seen_, self.touched_ = train.matrix, train.touched
        self.columns_, self.reading_ = train.columns, train.reading
        self.popularity_ = self.seen_.column_counts / self.seen_.shape[0]

    @property
    def hidden(self) -> CSR:
        """The items hidden from each user: those taken, and those met and not liked."""
        seen, touched = self.seen_, self.touched_
        saved.require_histories(self)
        if touched is None or not touched.nnz:
            return seen
        if self._hidden is None or self._hidden[0] is not seen or self._hidden[1] is not touched:
            self._hidden = seen, touched, union(seen, touched)
        return self._hidden[2]

    def _fitted(self) -> None:
        if not hasattr(self, "seen_"):
            raise ValueError(f"{type(self).__name__} is not fitted yet; call fit first")

    def save(self, path: str | os.PathLike[str], *, histories: bool = True) -> None:
        """Write the model, its ids and what its users have taken to one file, atomically.

        Parameters
        ----------
        path : path
            The file to make or replace; a numpy archive with a JSON header, no pickle.
        histories : bool, default True
            Keep what users have taken. Without, the file is smaller and tells less, and a model
            that knows items alone knows no users: it serves them by the histories they come with.

        Raises
        ------
        ValueError
            If the model cannot do without histories.
        OSError
            If it cannot be written; what was there before stays.
        """
        self._fitted()
        header, arrays = self._state()
        about, history = saved.pack_history(self, histories and self.has_histories)
        files.write(path, {"model": self.name, **about, **header}, history | arrays)

    @classmethod
    def _from_file(cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        users, items = (unpack_series(arrays[side]) for side in ("users", "items"))
        model = cls._restored(header, arrays, (users.len(), items.len()))
        model.users_, model.items_ = users, items
        saved.unpack_history(model, header, arrays)
        model.report()  # which fails on a history that is none
        return model
