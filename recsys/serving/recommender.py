"""What every recommender can do once fitted: recommend, explain, evaluate."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import sink
from recsys.data.table import Source
from recsys.data.vocabulary import Ids
from recsys.scores.toplists import is_searcher
from recsys.serving import explain, newcomers, quality
from recsys.serving import lists as serving
from recsys.serving.rules import Rule, rules_of
from recsys.serving.servable import Servable
from sparsenum._check import whole
from sparsenum._device import Device

LENGTH = 20  # of lists, where nothing else is asked for


class Recommender(Servable):
    """A fitted model that lists, explains and is judged; subclasses say how it scores."""

    def recommend(
        self,
        users: Ids | Literal["all"] = "all",
        k: int | None = None,
        *,
        exclude_seen: bool = True,
        allow: Rule | None = None,
        deny: Rule | None = None,
        unknown: serving.Unknown = "error",
        histories: Source | None = None,
        device: Device = "cpu",
    ) -> pl.DataFrame:
        """Return the k best items of each user.

        Parameters
        ----------
        users : sequence of ids or "all", default "all"
            Whom to recommend to, by the ids of the training table.
        k : int, optional
            Length of the lists, from 1 to the number of items; by default 20, or all items where
            there are fewer.
        exclude_seen : bool, default True
            Leave out what the user has taken in training, or met there and not liked.
        allow, deny : sequence of ids, or mapping of user ids to such, optional
            Items to choose from, and items never to recommend, for all users or for each of those
            named; a denied item is not allowed. A RuleWarning tells of ids that match nothing.
        unknown : {"error", "skip", "popular", "fold_in"}, default "error"
            What those get who were not in training: an error, no list, what most users took
            (with a null score: it is none of the model's), or the list for their rows in
            `histories`.
        histories : table or path, optional
            What users took since the training, for "fold_in", in columns named as those of the
            training. Users that were in training get lists for what they took then and now.
        device : {"cpu", "cuda"}, default "cpu"
            Where items are scored and the best are picked, for models of two tables and
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
        asked, request = self._request(users, k, exclude_seen, allow, deny, device)
        parts, _ = serving.lists_for(self, asked, request, unknown, histories)
        return serving.table(self, parts, request.k)

    def _request(
        self,
        users: Ids | Literal["all"],
        k: int | None,
        exclude_seen: bool,
        allow: Rule | None,
        deny: Rule | None,
        device: str,
    ) -> tuple[Ids, serving.Request]:
        """Return whom lists are asked for and what they shall hold, checked."""
        asked, n_items = serving.asked_for(self, users), self.items_.len()
        k = min(LENGTH, n_items) if k is None else whole(k, "k", lower=1, upper=n_items)
        rules = rules_of(self.known_items, asked, allow, deny)
        return asked, serving.Request(k, exclude_seen, rules, device)

    def recommend_to(
        self,
        path: str | os.PathLike[str],
        users: Ids | Literal["all"] = "all",
        k: int | None = None,
        *,
        memory_limit: int | str = "256MB",
        exclude_seen: bool = True,
        allow: Rule | None = None,
        deny: Rule | None = None,
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
            As for `recommend`, but that users come last whom the model does not answer as it is:
            those who were not in training, and those of `histories`.
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
        asked, request = self._request(users, k, exclude_seen, allow, deny, device)
        whole_rows = not is_searcher(self.scorer)
        n_items = self.items_.len()
        block = serving.users_at_a_time(memory_limit, n_items, request.k, whole_rows)
        target = sink.check_target(path, name)
        request = replace(request, block=block)
        parts, n_users = serving.lists_for(self, asked, request, unknown, histories)
        return serving.write(self, parts, target, name), n_users

    def recommend_from(
        self,
        history: Ids,
        k: int | None = None,
        *,
        exclude_seen: bool = True,
        allow: Ids | None = None,
        deny: Ids | None = None,
    ) -> pl.DataFrame:
        """Return the k best items for a history of items, whether or not its user is known.

        Parameters
        ----------
        history : sequence of ids
            Items taken; those that were not in training are left out.
        k, exclude_seen, allow, deny
            As for `recommend`.

        Returns
        -------
        DataFrame
            Columns item, score and rank (from 1).

        Raises
        ------
        ValueError
            If no item was in training, the model cannot take new users in, or as `recommend`.
        """
        self._fitted()
        guest = self.for_users(pl.Series([0]), newcomers.one_history(self, history))
        lists = guest.recommend("all", k, exclude_seen=exclude_seen, allow=allow, deny=deny)
        return pl.DataFrame(lists.get_columns()[1:])

    def score(self, users: Ids, items: Ids) -> NDArray[np.float32]:
        """Return the scores of pairs of users and items: those that lists are made of.

        Parameters
        ----------
        users, items : sequence of ids
            A user and an item of the training for each pair.

        Returns
        -------
        ndarray of float32, shape (len(users),)
            The scores. Cost that of all items for each of the users.

        Raises
        ------
        ValueError
            If one was not in training or there are not as many users as items.
        """
        self._fitted()
        return explain.score(self, users, items)

    def similar_items(self, item: Any, k: int | None = None) -> pl.DataFrame:
        """Return the k items most like one, or most like each of several.

        Parameters
        ----------
        item : id or sequence of ids
            Items of the training.
        k : int, optional
            Length of the lists, from 1 to the number of items; by default 20, or all items where
            there are fewer.

        Returns
        -------
        DataFrame
            Columns item, similarity and rank (from 1), without the item itself; of several items
            also `of`, the item that the others are like.

        Raises
        ------
        ValueError
            If an item was not in training or the model does not know which items are alike.
        """
        self._fitted()
        return explain.similar_items(self, item, k)

    def explain(self, user: Any, item: Any) -> explain.Explanation:
        """Return the parts of the score of an item for a user.

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
        k: int | Sequence[int] | None = None,
        *,
        user: str | None = None,
        item: str | None = None,
        per_user: bool = False,
        valid: Source | None = None,
        device: Device = "cpu",
    ) -> dict[str, Any]:
        """Return the metrics of lists of k items on held-out pairs.

        All but coverage are means over the users with held-out items. Pairs seen in training are
        neither recommended nor counted. Weights mean what they mean in training: what is not liked
        is no hit.

        Parameters
        ----------
        test : table or path
            Held-out events, as `Interactions.read` takes them.
        k : int or sequence of int, optional
            Length of the lists, or several, from 1 to the number of items; by default 20, of which
            lists hold as many as there are items.
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
            ``mrr@k``, ``precision@k`` (hits over k), ``map@k`` (the sum over hits of the share of
            hits up to there, over ``min(k, held-out items)``), ``novelty@k`` (mean -log2 of the
            share of users who took an item) and
            ``coverage@k`` (share of the items that stand in any list); ``users`` (evaluated), and
            rows left out: ``unknown_users``, ``unknown_items``; and known pairs left out as
            ``not_liked``. With `per_user` also ``per_user``, a DataFrame with a row for each user:
            id, number of held-out items and metrics.

        Raises
        ------
        ValueError
            If `k` is out of range, `test` lacks a column or holds nothing to judge by, or the model
            cannot rank on the device.
        TypeError
            If `test` or `valid` is no table.
        DeviceError
            If the device is "cuda" and that cannot be had.
        """
        self._fitted()
        lengths = [LENGTH]
        if k is not None:
            asked = k if isinstance(k, Sequence | np.ndarray) and not isinstance(k, str) else [k]
            lengths = [whole(each, "k", lower=1, upper=self.items_.len()) for each in asked]
        return quality.evaluate(self, test, lengths, user, item, per_user, valid, device)
