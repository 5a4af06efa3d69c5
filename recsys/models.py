"""The models: sparse factors trained under a budget, and popularity to compare with."""

import os
from collections.abc import Callable
from copy import copy
from dataclasses import asdict
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys import dsl, foldin, newcomers, storage
from recsys.budget import parse_budget
from recsys.factors import FactorScores
from recsys.interactions import Interactions, read_pairs
from recsys.neighbours import ItemKNN
from recsys.popularity import Popularity
from recsys.ranking import ranking_metrics
from recsys.recommender import Recommender, rows_from_counts
from recsys.table import Source
from sparsenum._check import choice, positive, whole
from sparsenum.sparse import CSR, transpose

MAX_DIM = 2**16  # columns are stored in 16 bits
RECIPES = {"dsl": 0.5, "static": 0.0}  # share of the weights exchanged after the first epoch
STOP = 0.75  # share of the training after which the topology is left alone
VALID_LOOKS = 10  # evaluations on the validation table during training, about


class SparseMF(Recommender):
    """Matrix factorisation on two sparse tables, trained under a fixed budget of weights.

    The score of item i for user u is ``w_u . v_i`` with sparse rows w and v. Both tables are
    sparse from the first step on; after each epoch the weakest weights are dropped and as many
    grown elsewhere (dynamic sparse learning [1]_), the loss is Bayesian personalised ranking [2]_
    and the optimiser Adagrad, whose state lives on active weights alone. Columns are many and
    rows short, which pays on large sparse catalogues; on small dense ones a narrow dense table of
    as many weights is better.

    Parameters
    ----------
    budget : int or str, default "5%"
        Weights in both tables together (``500000``), a share of the dense tables (``"10%"``) or
        a size on disk (``"4MB"``); at least one weight for each user and item.
    dim : int, default 256
        Columns of the tables, up to 65,536.
    epochs : int, default 30
        Passes over the interactions.
    recipe : {"dsl", "static"}, default "dsl"
        "static" keeps the random topology of the start: the baseline that dynamic sparse
        learning has to beat.
    learning_rate : float, default 0.1
        Of Adagrad; falls linearly to a tenth.
    weight_decay : float, default 0.03
        L2 penalty on the active weights of each triple.
    seed : int, default 0
        Same seed, same table, same machine: same model.

    Attributes
    ----------
    user_table_, item_table_ : CSR
        The trained weights, float32, rows in the order of `users_` and `items_`.
    n_weights_ : int
        The budget in weights; the tables hold exactly as many.
    history_ : list of dict
        The ledger of each epoch (see `recsys.dsl.Epoch`), with validation metrics where taken.

    References
    ----------
    .. [1] Wang, Sui, Wu, Zheng, Xiong, "Dynamic Sparse Learning: A Novel Paradigm for Efficient
       Recommendation", WSDM 2024.
    .. [2] Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR", UAI 2009.
    """

    name: ClassVar[str] = "sparse-mf"
    user_table_: CSR
    item_table_: CSR
    n_weights_: int

    def __init__(
        self,
        *,
        budget: int | str = "5%",
        dim: int = 256,
        epochs: int = 30,
        recipe: Literal["dsl", "static"] = "dsl",
        learning_rate: float = 0.1,
        weight_decay: float = 0.03,
        seed: int = 0,
    ) -> None:
        self.budget = budget
        self.dim = dim
        self.epochs = epochs
        self.recipe = recipe
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.seed = seed

    def fit(
        self,
        train: Interactions,
        *,
        valid: Source | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> Self:
        """Train on interactions; the budget holds at every step.

        Parameters
        ----------
        train : Interactions
            What users took; weights count on a logarithmic scale.
        valid : table or path, optional
            Held-out events with the same columns, evaluated about ten times on the way. They are
            watched, not learned from: training does not stop by them.
        on_epoch : callable, optional
            Called with each new entry of `history_`.

        Returns
        -------
        SparseMF
            The fitted model. Cost for each epoch O(nnz k) with k weights in a row, and for the
            exchange O(nnz k^2 / dim + (n_users + n_items) dim) in blocks of rows.

        Raises
        ------
        ValueError
            If a parameter is out of range or the budget does not fit the tables.
        """
        dim = whole(self.dim, "dim", lower=1, upper=MAX_DIM)
        epochs = whole(self.epochs, "epochs", lower=1)
        choice(self.recipe, "recipe", RECIPES)
        rate = positive(self.learning_rate, "learning_rate", "0.1 is a good start")
        decay = 0.0
        if self.weight_decay != 0:
            remedy = "0.03 is a good start, and 0 leaves it out"
            decay = positive(self.weight_decay, "weight_decay", remedy)
        if train.n_items < 2:
            raise ValueError("train must have at least two items to rank one above another: got 1")
        n_weights = parse_budget(self.budget, train.n_users + train.n_items, dim)
        held = None
        if valid is not None:
            columns = {"user": str(train.columns["user"]), "item": str(train.columns["item"])}
            held = read_pairs(valid, **columns, users=train.users, items=train.items)[0]
        history: list[dict[str, Any]] = []

        def keep(epoch: dsl.Epoch, tables: dsl.Tables) -> None:
            entry = asdict(epoch)
            if not np.isfinite(epoch.loss):
                raise ValueError(
                    f"learning_rate must let the training converge: got {rate:g}, which led to a "
                    f"loss of {epoch.loss} in epoch {epoch.epoch}; 0.1 is a good start"
                )
            if held is not None and (
                epoch.epoch % max(1, epochs // VALID_LOOKS) == 0 or epoch.epoch == epochs
            ):
                current = FactorScores(tables.users.weights, tables.items.weights)
                k = min(20, train.n_items)
                entry |= ranking_metrics(current, held, train.matrix, k)
            history.append(entry)
            if on_epoch is not None:
                on_epoch(entry)

        tables = dsl.train(
            train.matrix,
            n_weights,
            dim,
            epochs=epochs,
            rate=rate,
            decay=decay,
            drop=RECIPES[self.recipe],
            stop=STOP,
            rng=np.random.default_rng(whole(self.seed, "seed")),
            on_epoch=keep,
        )
        self._remember(train)
        self.user_table_, self.item_table_ = tables.users.weights, tables.items.weights
        self.n_weights_, self.history_ = n_weights, history
        return self

    @property
    def scorer(self) -> FactorScores:
        """What gives scores for users by row number, and the best of them without all others."""
        return FactorScores(self.user_table_, self.item_table_)

    def scores(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for users given by row number."""
        return self.scorer(rows)

    def fold_in(self, rows: Source, *, user: str | None = None, item: str | None = None) -> Self:
        """Return a model of new users by what they took, without training; this one stays as it is.

        Each user gets a row of as many weights as the users of the training have on average. Its
        columns are those where the gradient of the ranking loss is largest, its weights come from
        a few passes of the training's steps with the items frozen.

        Parameters
        ----------
        rows : table or path
            What the new users took; items that were not in training are left out, and users
            without others.
        user, item : str, optional
            Columns of ids; those of the training table by default.

        Returns
        -------
        SparseMF
            The same items with the new users in place of the old: recommend, evaluate and
            explain as ever. Cost O(interactions times weights in a row), and O(dim) a user.

        Raises
        ------
        ValueError
            If no row holds an item of the training.
        """
        self._fitted()
        guests = copy(self)
        guests.users_, guests.seen_ = newcomers.histories(self, rows, user, item)
        mean = round(self.user_table_.nnz / self.user_table_.shape[0])
        counts = np.full(guests.seen_.shape[0], mean)
        rate, decay = float(self.learning_rate), float(self.weight_decay)
        guests.user_table_ = foldin.fold_users(
            guests.seen_, self.item_table_, counts, rate, decay, self.seed
        )
        guests.n_weights_ = guests.user_table_.nnz + self.item_table_.nnz
        return guests

    def partial_fit(self, train: Interactions, *, epochs: int = 10) -> Self:
        """Go on training with more interactions, new users and items among them.

        The budget stays what it was: new rows get as many weights as rows have on average, and
        the weakest weights of all others make room for them. All interactions, old and new, are
        then passed over a few times with the topology fixed.

        Parameters
        ----------
        train : Interactions
            What is new, with ids of the types of the first training.
        epochs : int, default 10
            Passes over all interactions.

        Returns
        -------
        SparseMF
            The model itself; new users and items stand behind the old ones.

        Raises
        ------
        ValueError
            If the ids are of other types, or the budget has no weight left for a new row.
        """
        self._fitted()
        epochs = whole(epochs, "epochs", lower=1)
        users, items, taken = newcomers.joined(self, train)
        tables = (self.user_table_, self.item_table_)
        rate, decay = float(self.learning_rate), float(self.weight_decay)
        self.user_table_, self.item_table_ = foldin.extend(
            tables, taken, transpose(taken), epochs, rate, decay, self.seed
        )
        self.users_, self.items_, self.seen_ = users, items, taken
        self.popularity_ = taken.column_counts / taken.shape[0]
        return self

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return what each column adds to the score of an item for a user, by row number."""
        columns, parts = self.scorer.parts(user, item)
        return pl.DataFrame({"column": columns, "contribution": parts})

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return the cosine of the row of each item with that of one, by number."""
        return self.scorer.cosines(item)

    def report(self) -> dict[str, Any]:
        """Return budget, weights, bytes and density of the tables.

        Returns
        -------
        dict
            ``budget`` (weights), ``weights``, ``optimiser_floats`` (during training),
            ``bytes_values``, ``bytes_indices``, ``bytes_rows`` (as stored), ``dense_weights``
            (of tables without zeros), ``density``, and the same by table under ``tables``.
        """
        self._fitted()
        tables = {}
        for name, table in (("users", self.user_table_), ("items", self.item_table_)):
            tables[name] = {
                "rows": table.shape[0],
                "dim": table.shape[1],
                "weights": table.nnz,
                "density": table.nnz / (table.shape[0] * table.shape[1]),
                "bytes_values": table.data.nbytes,
                "bytes_indices": table.indices.nbytes,
                "bytes_rows": 2 * table.shape[0],
                "largest_row": int(table.row_counts.max()),
            }
        totals = {
            key: sum(table[key] for table in tables.values())
            for key in ("weights", "bytes_values", "bytes_indices", "bytes_rows")
        }
        dense = sum(table["rows"] * table["dim"] for table in tables.values())
        last = self.history_[-1]
        return {
            "model": self.name,
            "recipe": self.recipe,
            "budget": self.n_weights_,
            "optimiser_floats": last["optimiser_floats"],
            **totals,
            "dense_weights": dense,
            "density": totals["weights"] / dense,
            "explored": last["explored"],
            "tables": tables,
        }

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays: dict[str, NDArray[Any]] = {}
        for side, table in (("user", self.user_table_), ("item", self.item_table_)):
            # A row has at most 65,536 weights; a full one is stored as its length less one.
            arrays[f"{side}_counts"] = (table.row_counts - 1).astype(np.uint16)
            arrays[f"{side}_indices"] = table.indices
            arrays[f"{side}_data"] = table.data
        header = {
            "parameters": {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in self.parameters().items()
            },
            "budget": self.n_weights_,
            "history": self.history_,
        }
        return header, arrays

    @classmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        model = cls(**header["parameters"])
        dim = whole(model.dim, "dim", lower=1, upper=MAX_DIM)
        tables = []
        for side, n in zip(("user", "item"), shape, strict=True):
            counts = arrays[f"{side}_counts"].astype(np.uint32, casting="safe") + np.uint32(1)
            indices, data = arrays[f"{side}_indices"], arrays[f"{side}_data"]
            tables.append(rows_from_counts(counts, indices, data, (n, dim)))
        model.user_table_, model.item_table_ = tables
        model.n_weights_, model.history_ = header["budget"], header["history"]
        if model.n_weights_ != tables[0].nnz + tables[1].nnz:
            raise ValueError("the file's tables do not hold the weights of its budget")
        return model


def load(path: str | os.PathLike[str]) -> SparseMF | Popularity | ItemKNN:
    """Read a saved model back; the file is checked, not trusted.

    Parameters
    ----------
    path : path
        A file made by `save`.

    Returns
    -------
    SparseMF, Popularity or ItemKNN
        The model, ready to recommend.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no model, damaged, altered, or of a newer version.
    """
    header, arrays = storage.read(path)
    models: dict[str, type[SparseMF] | type[Popularity] | type[ItemKNN]] = {
        model.name: model for model in (SparseMF, Popularity, ItemKNN)
    }
    try:
        return models[header["model"]]._from_file(header, arrays)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"path must be that of a model file of this library: got {str(path)!r}, in which "
            f"something is missing or unsound ({error}); save the model again"
        ) from None
