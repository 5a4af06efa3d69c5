"""What every recommender can do once fitted: recommend, evaluate, report, save."""

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import sink
from recsys.data.interactions import Interactions
from recsys.data.pairs import union
from recsys.data.report import Reading
from recsys.data.table import Source
from recsys.scores.toplists import Scores, Searcher
from recsys.serving import explain, quality, saved
from recsys.serving import lists as serving
from recsys.storage import files as storage
from recsys.storage.series import unpack_series
from sparsenum._check import whole
from sparsenum._device import Device, on_cuda
from sparsenum.sparse import CSR


class Recommender(ABC):
    """A fitted model that scores every item for a user; subclasses say how.

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
    def scores(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for users given by row number, (len(rows), n_items)."""

    @property
    def scorer(self) -> Scores:
        """What gives the scores that lists are made of; models with faster ways say so here."""
        return self.scores

    def scorer_on(self, device: str) -> Scores:
        """Return what gives the scores that lists are made of, on the CPU or on a CUDA device."""
        if not on_cuda(device):
            return self.scorer
        from recsys.scores.on_cuda import on_device  # which imports numba.cuda

        return on_device(self.scorer, type(self).__name__)

    def fold_in(
        self, rows: Source, *, user: str | None = None, item: str | None = None
    ) -> "Recommender":
        """Return a model of new users by what they took, without training; see `SparseMF`."""
        raise ValueError(
            f"{type(self).__name__} cannot fold in new users; choose unknown='popular', or a "
            "SparseMF or a model that knows items alone"
        )

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return parts that add up to a score, by row numbers; models that have such say so."""
        raise ValueError(f"{type(self).__name__} has no parts of a score to explain it by")

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return how like one item each is, by number; models that know say so."""
        raise ValueError(f"{type(self).__name__} does not know which items are alike")

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

    def _remember(self, train: Interactions) -> None:
        self.users_, self.items_ = train.users, train.items
        self.seen_, self.touched_ = train.matrix, train.touched
        self.columns_, self.reading_ = train.columns, train.reading
        self.popularity_ = self.seen_.column_counts / self.seen_.shape[0]

    @property
    def hidden(self) -> CSR:
        """What is not recommended to each user: what was taken, and what was met and not liked."""
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

    def recommend(
        self,
        users: Sequence[Any] | pl.Series | Literal["all"] = "all",
        k: int = 20,
        *,
        exclude_seen: bool = True,
        allow: Sequence[Any] | pl.Series | None = None,
        deny: Sequence[Any] | pl.Series | None = None,
        unknown: serving.Unknown = "error",
        histories: Source | None = None,
        device: Device = "cpu",
    ) -> pl.DataFrame:
        """Return the k best items of each user.

        Parameters
        ----------
        users : sequence of ids or "all", default "all"
            Whom to recommend to, by the ids of the training table.
        k : int, default 20
            Length of the lists, from 1 to the number of items.
        exclude_seen : bool, default True
            Leave out what the user has taken in training, or met there and not liked.
        allow, deny : sequence of ids, optional
            Items to choose from, and items never to recommend; a denied item is not allowed.
        unknown : {"error", "skip", "popular", "fold_in"}, default "error"
            What those get who were not in training: an error, no list, what most users took
            (scored by the share of users), or the list for their rows in `histories`.
        histories : table or path, optional
            What unknown users took, for "fold_in", in columns named as those of the training.
        device : {"cpu", "cuda"}, default "cpu"
            Where items are scored and the best are picked, for models of two sparse tables and
            `ItemBlend`. A CUDA device scores all items; nothing but lists comes back from there.

        Returns
        -------
        DataFrame
            Columns user, item, score and rank (from 1), in the order of `users`; k rows for each
            user while as many items are left. Cost for each user at most O(n_items) and what
            scoring costs, in blocks of users.

        Raises
        ------
        ValueError
            If a user was not in training, `k` is out of range or no item is left to choose from,
            or if the model cannot rank on the device.
        DeviceError
            If the device is "cuda" and that cannot be had.
        """
        self._fitted()
        k = whole(k, "k", lower=1, upper=self.items_.len())
        permitted = serving.permitted_items(self.items_, allow, deny)
        asked = users, k, exclude_seen, permitted, unknown, histories, device
        return serving.recommend(self, serving.lists_for(self, *asked)[0], k)

    def recommend_to(
        self,
        path: str | os.PathLike[str],
        users: Sequence[Any] | pl.Series | Literal["all"] = "all",
        k: int = 20,
        *,
        memory_limit: int | str = "256MB",
        exclude_seen: bool = True,
        allow: Sequence[Any] | pl.Series | None = None,
        deny: Sequence[Any] | pl.Series | None = None,
        unknown: serving.Unknown = "error",
        histories: Source | None = None,
        device: Device = "cpu",
        name: str = "path",
    ) -> tuple[int, int]:
        """Write the k best items of each user to a file, in bounded memory, whole or not at all.

        Parameters
        ----------
        path : path
            A `.parquet` or `.csv` to make or replace.
        users, k, exclude_seen, allow, deny, unknown, histories, device
            As for `recommend`, but that users who were not in training come last.
        memory_limit : int or str, default "256MB"
            Bytes beside the model and the libraries; sets for how many users lists are held. That
            of a device is not counted.
        name : str, default "path"
            What the caller calls `path`, for messages.

        Returns
        -------
        tuple of int
            Rows written, and users who were asked for and not skipped.

        Raises
        ------
        ValueError
            As `recommend`, or if the limit is too small or the kind of file cannot hold the ids.
        DeviceError
            As `recommend`.
        OSError
            If it cannot be written; what was there before stays.
        """
        self._fitted()
        k = whole(k, "k", lower=1, upper=self.items_.len())
        permitted = serving.permitted_items(self.items_, allow, deny)
        whole_rows = not isinstance(self.scorer, Searcher)
        block = serving.users_at_a_time(memory_limit, self.items_.len(), k, whole_rows)
        target = sink.check_target(path, name)
        asked = users, k, exclude_seen, permitted, unknown, histories, device
        parts, n_users = serving.lists_for(self, *asked, block)
        return serving.write(self, parts, target, name), n_users

    def similar_items(self, item: Any, k: int = 20) -> pl.DataFrame:
        """Return the k items most like one.

        Parameters
        ----------
        item : id
            An item of the training.
        k : int, default 20
            Length of the list, from 1 to the number of items.

        Returns
        -------
        DataFrame
            Columns item, similarity and rank (from 1), without the item itself.

        Raises
        ------
        ValueError
            If the item was not in training or the model does not know which items are alike.
        """
        self._fitted()
        return explain.similar_items(self, item, k)

    def explain(self, user: Any, item: Any) -> explain.Explanation:
        """Take the score of an item for a user apart.

        Parameters
        ----------
        user, item : id
            Of the training.

        Returns
        -------
        Explanation
            The score, parts that add up to it, and what the user took that is most alike.

        Raises
        ------
        ValueError
            If one was not in training or the model's scores have no parts.
        """
        self._fitted()
        return explain.explain(self, user, item)

    def evaluate(
        self,
        test: Source,
        k: int = 20,
        *,
        user: str | None = None,
        item: str | None = None,
        per_user: bool = False,
        valid: Source | None = None,
        device: Device = "cpu",
    ) -> dict[str, Any]:
        """Return how well lists of k items do on held-out pairs.

        All but coverage are means over the users with held-out items. Pairs seen in training are
        neither recommended nor counted. Weights mean what they mean in training: what is not liked
        is no hit.

        Parameters
        ----------
        test : table or path
            Held-out events, as `Interactions.read` takes them.
        k : int, default 20
            Length of the lists.
        user, item : str, optional
            Columns of ids; those of the training table by default.
        per_user : bool, default False
            Return the metrics of each user as well.
        valid : table or path, optional
            The held-out events that parameters were chosen by, with the same columns: a
            `ProtocolWarning` says if they spread over popular and rare items in another way than
            `test`, for then they rank models in another way, too (see `recsys.evaluation`).
        device : {"cpu", "cuda"}, default "cpu"
            Where lists are made, as for `recommend`.

        Returns
        -------
        dict
            ``recall@k`` (hits over held-out items) and ``ndcg@k`` as LightGCN defines them,
            ``recall_capped@k`` (hits over ``min(k, held-out items)``), ``hit_rate@k``,
            ``mrr@k``, ``novelty@k`` (mean -log2 of the share of users who took an item) and
            ``coverage@k`` (share of the items that stand in any list), all None without any
            user; ``users`` (evaluated), and rows left out: ``unknown_users``,
            ``unknown_items``; and known pairs left out as ``not_liked``. With `per_user` also
            ``per_user``, a DataFrame with a row for each user: id, number of held-out items and
            metrics.

        Raises
        ------
        ValueError
            If `k` is out of range, `test` lacks a column or the model cannot rank on the device.
        DeviceError
            If the device is "cuda" and that cannot be had.
        """
        self._fitted()
        k = whole(k, "k", lower=1, upper=self.items_.len())
        return quality.evaluate(self, test, k, user, item, per_user, valid, device)

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
        storage.write(path, {"model": self.name, **about, **header}, history | arrays)

    @classmethod
    def _from_file(cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        users, items = (unpack_series(arrays[side]) for side in ("users", "items"))
        model = cls._restored(header, arrays, (users.len(), items.len()))
        model.users_, model.items_ = users, items
        saved.unpack_history(model, header, arrays)
        model.report()  # which fails on a history that is none
        return model
