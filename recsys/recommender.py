"""What every recommender can do once fitted: recommend, evaluate, report, save."""

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys import storage
from recsys.interactions import Interactions, lookup, read_pairs
from recsys.ranking import ranking_metrics, top_items
from recsys.table import Source
from sparsenum._check import whole
from sparsenum.sparse import CSR


class Recommender(ABC):
    """A fitted model that scores every item for a user; subclasses say how.

    Attributes
    ----------
    users_, items_ : Series
        The ids it was trained on, in the type they came in.
    seen_ : CSR, shape (n_users, n_items)
        What each user has taken in training.
    columns_ : dict
        Names of the columns of the training table.
    history_ : list of dict
        What happened in each epoch; empty for models without epochs.
    """

    name: ClassVar[str]
    users_: pl.Series
    items_: pl.Series
    seen_: CSR
    columns_: dict[str, str | None]
    history_: list[dict[str, Any]]

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
        self.seen_, self.columns_ = train.matrix, train.columns

    def _fitted(self) -> None:
        if not hasattr(self, "seen_"):
            raise ValueError(f"{type(self).__name__} is not fitted yet; call fit first")

    def recommend(
        self,
        users: Sequence[Any] | pl.Series | Literal["all"] = "all",
        k: int = 20,
        *,
        exclude_seen: bool = True,
    ) -> pl.DataFrame:
        """Return the k best items of each user.

        Parameters
        ----------
        users : sequence of ids or "all", default "all"
            Whom to recommend to, by the ids of the training table.
        k : int, default 20
            Length of the lists, from 1 to the number of items.
        exclude_seen : bool, default True
            Leave out what the user has taken in training.

        Returns
        -------
        DataFrame
            Columns user, item, score and rank (from 1), in the order of `users`; fewer than k
            rows for a user to whom fewer items are left. Cost O(n_items) for each user and what
            scoring costs, in blocks of users.

        Raises
        ------
        ValueError
            If a user was not in training, or `k` is out of range.
        """
        self._fitted()
        k = whole(k, "k", lower=1, upper=self.items_.len())
        if isinstance(users, str):
            if users != "all":
                raise ValueError(f"users must be a sequence of ids or 'all': got {users!r}")
            rows = np.arange(self.users_.len())
        else:
            rows = lookup(self.users_, users)
            if (rows < 0).any():
                unknown = [who for who, row in zip(users, rows, strict=False) if row < 0][:3]
                raise ValueError(
                    f"users must have been in training: got {int((rows < 0).sum())} unknown, like "
                    f"{', '.join(map(repr, unknown))}; leave them out or train with their rows"
                )
        parts = []
        for block, best in top_items(self.scores, rows, k, self.seen_ if exclude_seen else None):
            used = best.indices < best.n_cols
            user, rank = np.nonzero(used)
            parts.append(
                pl.DataFrame(
                    {
                        "user": self.users_.gather(block[user]),
                        "item": self.items_.gather(best.indices[used]),
                        "score": best.data[used],
                        "rank": (rank + 1).astype(np.uint32),
                    }
                )
            )
        if not parts:
            raise ValueError("users must name at least one user: got none")
        return pl.concat(parts)

    def evaluate(
        self, test: Source, k: int = 20, *, user: str | None = None, item: str | None = None
    ) -> dict[str, Any]:
        """Return Recall@k and NDCG@k on held-out pairs, as LightGCN defines them.

        Recall is the share of a user's held-out items among the k recommended; NDCG discounts
        hits by the logarithm of their rank. Both are means over the users with held-out items.
        Pairs seen in training are neither recommended nor counted.

        Parameters
        ----------
        test : table or path
            Held-out events, as `Interactions.read` takes them.
        k : int, default 20
            Length of the lists.
        user, item : str, optional
            Columns of ids; those of the training table by default.

        Returns
        -------
        dict
            ``recall@k``, ``ndcg@k`` (None without any user), ``users`` (evaluated), and rows left
            out: ``unknown_users``, ``unknown_items``.

        Raises
        ------
        ValueError
            If `k` is out of range or `test` lacks a column.
        """
        self._fitted()
        k = whole(k, "k", lower=1, upper=self.items_.len())
        held, unknown_users, unknown_items = read_pairs(
            test,
            user=user or str(self.columns_["user"]),
            item=item or str(self.columns_["item"]),
            users=self.users_,
            items=self.items_,
        )
        metrics = ranking_metrics(self.scores, held, self.seen_, k)
        return metrics | {"unknown_users": unknown_users, "unknown_items": unknown_items}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, its ids and what its users have taken to one file, atomically.

        Parameters
        ----------
        path : path
            The file to make or replace; a numpy archive with a JSON header, no pickle.

        Raises
        ------
        OSError
            If it cannot be written; what was there before stays.
        """
        self._fitted()
        header, arrays = self._state()
        history: dict[str, NDArray[Any]] = {
            "users": storage.pack_series(self.users_),
            "items": storage.pack_series(self.items_),
            "seen_counts": self.seen_.row_counts.astype(np.uint32),
            "seen_indices": self.seen_.indices,
        }
        meta = {"model": self.name, "columns": self.columns_}
        storage.write(path, meta | header, history | arrays)

    @classmethod
    def _from_file(cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        users, items = (storage.unpack_series(arrays[side]) for side in ("users", "items"))
        shape = (users.len(), items.len())
        model = cls._restored(header, arrays, shape)
        model.users_, model.items_ = users, items
        roles = ("user", "item", "weight", "time")
        model.columns_ = {role: header["columns"][role] for role in roles}
        counts, indices = arrays["seen_counts"], arrays["seen_indices"]
        model.seen_ = rows_from_counts(counts, indices, np.ones(indices.size, np.float32), shape)
        model.report()  # which fails on a history that is none
        return model


def rows_from_counts(
    counts: NDArray[Any], indices: NDArray[Any], data: NDArray[Any], shape: tuple[int, int]
) -> CSR:
    """Return a CSR matrix from the lengths of its rows, as files hold it, once it is sound."""
    indptr = np.zeros(shape[0] + 1, np.uint64)
    sound = (
        counts.dtype in (np.uint16, np.uint32)
        and indices.dtype in (np.uint16, np.uint32)
        and data.dtype == np.float32
        and counts.shape == (shape[0],)
        and indices.shape == data.shape == (int(counts.sum()),)
    )
    if sound:
        np.cumsum(counts, out=indptr[1:], dtype=np.uint64)
        falls = np.flatnonzero(indices[1:] <= indices[:-1]) + 1
        sound = (
            bool(np.isin(falls, indptr.view(np.int64)).all()) and not (indices >= shape[1]).any()
        )
    if not sound:
        raise ValueError("the file's rows are not sound (lengths, order or range of the columns)")
    return CSR(indptr, indices, data, shape)
