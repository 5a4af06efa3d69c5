"""SparseAE: a linear autoencoder of items with sparse rows, trained under a fixed budget."""

import os
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.autoencoder import target, training
from recsys.autoencoder.gradient import Unit
from recsys.data.interactions import Interactions
from recsys.data.required import require_interactions
from recsys.data.table import Source
from recsys.data.vocabulary import lookup, same_type
from recsys.items.item_based import ItemBased
from recsys.scores.history_scores import HistoryScores, ItemTables
from recsys.serving import newcomers
from recsys.storage import files
from recsys.storage.budget import read_budget
from recsys.storage.packing import Values, bytes_of, pack, quantised, unpack, weights_for
from recsys.training.checkpoint import Checkpoints, fingerprint, noted, resumed
from recsys.training.loop import Training
from recsys.training.monitor import Monitor
from recsys.training.tables import ItemTable
from sparsenum._check import choice, non_negative, positive, whole
from sparsenum.sparse import CSR
from sparsenum.topology.recipe import RECIPES, Recipe

YARDSTICK = 64  # columns of the dense tables of users and items that a share is a share of
MOST_COLUMNS = 2**12
SCORED, OTHERS = 10_000, 1_000  # items up to which all are scored in training; above, how many
COUNT_BYTES = 4  # for each item, to say how many users it has


class SparseAE(ItemBased):
    """A linear autoencoder of items whose rows are sparse from the first step of training on.

    One table has a row of few weights in many columns for each item, brought to length one: w_i
    [1]_. The score of item j for a history x is ``d_j^p (sum_i w_i) . w_j``, summed over the items
    i taken, with d_j users of item j. Training makes the positive part of ``W W' x - x`` point
    where x does; after each epoch the weakest weights of each row are dropped and as many are grown
    where the gradient of some thousand users is largest [2]_. There are no parameters of users, so
    whoever has a history is served (`recommend_from`), and training can go on with new events when
    the old ones are gone (`partial_fit`).

    Parameters
    ----------
    budget : int or str, default "25%"
        Weights of the table (``500000``), a share of two dense tables of 64 columns, for users and
        items (``"10%"``), or what the weights take on disk (``"4MB"``; ids and histories come on
        top); at least one weight for each item. A table without room for them holds fewer.
    dim : int, default 128
        Columns of the table.
    epochs : int, default 8
        Passes over the users.
    recipe : {"dsl", "rigl", "set", "static", "prune"} or Recipe, default "dsl"
        How the active weights are chosen (see `recsys.Recipe`). "dsl" starts aligned with the data
        and grows by the gradient of some thousand users, row by row; "rigl" grows by that of one
        batch, "set" at random, "static" keeps a random start, and "prune" trains a dense table and
        prunes it down to the budget.
    learning_rate : float, default 0.1
        That of Adam, whose state lives on active weights alone. It falls linearly to a tenth.
    target_power : float, optional
        The power p of the number of users. By default the best of 0, 0.1, ... 0.5 for pairs that
        are held back, for which another model is trained half as long.
    n_others : int, optional
        Items that are scored for each batch of users, drawn beside those they took. By default all
        where there are up to 10,000, and 1,000 where there are more.
    values : {"float32", "int8"}, default "float32"
        How weights are stored: as they are, or in a byte each with a scale for each row.
    seed : int, default 0
        Same seed, same table, same machine: same model.

    Attributes
    ----------
    table_ : CSR, shape (n_items, dim)
        The rows w, of length one.
    target_power_ : float
        The power p.
    counts_ : ndarray of uint32, shape (n_items,)
        Users of each item in training.
    n_weights_ : int
        The budget in weights; the table holds exactly as many.
    history_ : list of dict
        The ledger of each epoch (see `recsys.training.loop.Epoch`), with validation metrics
        where `valid` is given.

    See Also
    --------
    recsys.ItemBlend : the default, in closed form.
    recsys.SparseMF : tables of users and items trained sparse.
    recsys.Recipe : which weights are exchanged, and when.

    References
    ----------
    .. [1] Vancura et al., "Scalable Linear Shallow Autoencoder for Collaborative Filtering",
       RecSys 2022.
    .. [2] Evci et al., "Rigging the Lottery: Making All Tickets Winners", ICML 2020.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import shop
    >>> train = recsys.Interactions.read(shop(40, 30), user="customer", item="product")
    >>> model = recsys.SparseAE(budget=150, dim=16, epochs=4).fit(train)
    >>> {epoch["weights"] for epoch in model.history_}  # the budget, after every epoch
    {150}
    >>> model.recommend_from(["CUP-0001", "BAG-0002"], k=3).height  # a history of somebody unknown
    3
    """

    name: ClassVar[str] = "sparse-ae"
    recipes: ClassVar[tuple[str, ...]] = ("dsl", "rigl", "set", "static", "prune")
    table_: CSR
    target_power_: float
    counts_: NDArray[np.uint32]
    n_weights_: int
    _tables: ItemTables

    def __init__(
        self,
        *,
        budget: int | str = "25%",
        dim: int = 128,
        epochs: int = 8,
        recipe: Literal["dsl", "rigl", "set", "static", "prune"] | Recipe = "dsl",
        learning_rate: float = 0.1,
        target_power: float | None = None,
        n_others: int | None = None,
        values: Values = "float32",
        seed: int = 0,
    ) -> None:
        self.budget = budget
        self.dim = dim
        self.epochs = epochs
        self.recipe = recipe
        self.learning_rate = learning_rate
        self.target_power = target_power
        self.n_others = n_others
        self.values = values
        self.seed = seed

    def fit(
        self,
        train: Interactions,
        *,
        valid: Source | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on interactions; the budget holds at every step of every recipe but "prune".

        Parameters
        ----------
        train : Interactions
            What users took; weights tell what is liked, but not how much.
        valid : table or path, optional
            Held-out pairs with the same columns. They are looked at after each epoch, and the
            power of the target is chosen by them, for which those that stand in `train` as well
            are left out at first. By default it is chosen by a tenth of the pairs, at random.
        on_epoch : callable, optional
            Called with each new entry of `history_`.
        checkpoint : path, optional
            Folder to write the state of the training to after each epoch; the last two are kept.
        resume : bool, default False
            Go on from the latest sound checkpoint there, if any, to the model that an uninterrupted
            training on the same data and parameters gives, bit for bit.

        Returns
        -------
        SparseAE
            The fitted model. Cost for each epoch O(n_users weights), or O(n_users n_others k) with
            k weights in a row, and for the exchange that of 4,096 users and as many rows of
            ``dim`` numbers, twice.

        Raises
        ------
        ValueError
            If a parameter is out of range or the budget does not fit the table; if the folder of
            `checkpoint` holds those of another training, or any without `resume`.
        """
        require_interactions(train, n_items=2)
        seed = whole(self.seed, "seed")
        choice(self.values, "values", get_args(Values))
        matrix = train.matrix
        weights, plan = self._weights(matrix.shape), self._plan(train.n_items)
        held = None if valid is None else train.read_held(valid).matrix
        checkpoints = None
        if checkpoint is not None:
            mark = fingerprint({"model": self.name} | self.parameters(), matrix, held)
            checkpoints = Checkpoints(checkpoint, mark, resume)
        elif resume:
            raise ValueError("resume must have a checkpoint folder to go on from: got none")
        power = self._power(matrix, held, weights, plan, seed)
        monitor = Monitor(held, matrix, plan["epochs"], None, on_epoch, weights)
        table = self._learn(matrix, weights, plan, seed, power, monitor, checkpoints)
        self._remember(train)
        self.n_weights_, self.history_, self.target_power_ = weights, monitor.history, power
        self._serve(table, matrix.column_counts.astype(np.uint32))
        return self

    def _plan(self, n_items: int) -> dict[str, Any]:
        """Return the settings of the training, checked."""
        recipe = self.recipe
        if not isinstance(recipe, Recipe):
            recipe = RECIPES[choice(recipe, "recipe", self.recipes)]
        if recipe.grow == "momentum":
            raise ValueError(
                "recipe must grow by 'epoch', 'batch' or 'random' in SparseAE: got 'momentum', "
                "which would hold a dense table of gradients"
            )
        n_others = OTHERS if n_items > SCORED else None
        if self.n_others is not None:
            n_others = whole(self.n_others, "n_others", lower=1)
        return {
            "dim": whole(self.dim, "dim", lower=1, upper=MOST_COLUMNS),
            "epochs": whole(self.epochs, "epochs", lower=1),
            "rate": positive(self.learning_rate, "learning_rate", "0.1 is a good start"),
            "recipe": recipe,
            "n_others": n_others,
        }

    def _weights(self, shape: tuple[int, int]) -> int:
        """Return the weights that the budget buys."""
        dim = whole(self.dim, "dim", lower=1, upper=MOST_COLUMNS)
        n_items = shape[1]

        def bought(size: int) -> int:
            return weights_for(size - COUNT_BYTES * n_items, (n_items, dim), self.values)

        weights = min(read_budget(self.budget, YARDSTICK * sum(shape), bought), n_items * dim)
        if weights < n_items:
            raise ValueError(
                f"budget must leave a weight for each of {n_items:,} items: got {self.budget!r}, "
                f"which is {weights:,}; about {24 * n_items:,} are a good start"
            )
        return weights

    def _power(
        self, matrix: CSR, held: CSR | None, weights: int, plan: dict[str, Any], seed: int
    ) -> float:
        """Return the power of the target, chosen by what is held back where it is not given."""
        if self.target_power is not None:
            return non_negative(self.target_power, "target_power", "0 leaves popularity out")
        shorter = plan | {"epochs": (plan["epochs"] + 1) // 2}  # the power hardly depends on them

        def learn(base: CSR) -> CSR:
            monitor = Monitor(None, base, shorter["epochs"], None, None, weights)
            return self._learn(base, weights, shorter, seed, 0.0, monitor, None)

        return target.best_power(matrix, held, learn, np.random.default_rng(seed))

    def _learn(
        self,
        matrix: CSR,
        weights: int,
        plan: dict[str, Any],
        seed: int,
        power: float,
        monitor: Monitor,
        checkpoints: Checkpoints | None,
    ) -> CSR:
        """Return the trained table, its rows at length one."""
        settings, rng = dict(plan), np.random.default_rng(seed)
        first = training.first_table(matrix, weights, settings.pop("dim"), settings["recipe"], rng)
        state = resumed(Training[ItemTable].start(first, rng), monitor, checkpoints)

        def scores(table: CSR) -> HistoryScores:
            return HistoryScores(matrix, target.tables_of(table, matrix.column_counts, power))

        for epoch in training.train(state, matrix, weights, **settings):
            noted(epoch, state, monitor, scores, checkpoints)
        return Unit.of(state.tables.items.weights).table

    def _serve(self, table: CSR, counts: NDArray[np.uint32]) -> None:
        """Keep the table as it is stored, and what scores are made of."""
        self.table_ = quantised(table) if self.values == "int8" else table
        self.counts_ = counts
        self._tables = target.tables_of(self.table_, counts, self.target_power_)

    @property
    def scorer(self) -> HistoryScores:
        """The scorer of users by their histories, which also lists the best items."""
        return HistoryScores(self.seen_, self._tables)

    def scores_of(self, taken: CSR) -> NDArray[np.float32]:
        """Return the scores of all items for users with these rows of interactions."""
        return HistoryScores(taken, self._tables)(np.arange(taken.shape[0]))

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return what each item taken adds to the score of one for a user, by row number."""
        taken, parts = self.scorer.contributions(user, item)
        added = parts["factors"]
        return pl.DataFrame({"item": self.items_.gather(taken), "contribution": added})

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return the scores of all items for a history of that one, by number."""
        return self._tables.similarities(item)

    def partial_fit(self, train: Interactions, *, epochs: int = 2) -> Self:
        """Go on training with more interactions, new users and items among them.

        The budget stays what it was: new items get as many weights as rows have on average, and the
        weakest of all others make room. What is new is then passed over with the topology fixed;
        the histories of known users come along where the model still has them.

        Parameters
        ----------
        train : Interactions
            What is new, with ids of the types of the first training.
        epochs : int, default 2
            Passes over the users of `train`.

        Returns
        -------
        SparseAE
            The model itself; new users and items stand behind the old ones.

        Raises
        ------
        ValueError
            If the ids are of other types, or the budget has no weight left for a new row.
        """
        self._fitted()
        epochs = whole(epochs, "epochs", lower=1)
        plan = self._plan(self.items_.len())
        users, items, taken, touched = newcomers.joined(self, train)
        table = training.extended(self.table_, taken)
        new = taken.take(lookup(users, same_type(train.users, users, "user")))
        moved = training.gone_on(table, new, epochs, plan["rate"], plan["n_others"], self.seed)
        self.users_, self.items_ = users, items
        self.seen_, self.touched_ = taken, touched
        self.popularity_ = taken.column_counts / taken.shape[0]
        self._serve(Unit.of(moved).table, taken.column_counts.astype(np.uint32))
        return self

    def report(self) -> dict[str, Any]:
        """Return budget, weights and bytes of the table, and the settings it was trained with.

        Returns
        -------
        dict
            ``recipe`` (its name or fields), ``budget`` (weights), ``optimizer_floats`` (during
            training), ``weights``, ``bytes_values``, ``bytes_indices``, ``bytes_rows`` (as stored,
            those of the items' counts among them), ``dense_weights`` (of the table without zeros),
            ``density``, ``target_power``, and the share of the positions ``explored``.
        """
        self._fitted()
        size, cells = bytes_of(self.table_, self.values), self.table_.shape
        return {
            "model": self.name,
            "recipe": self.recipe.fields() if isinstance(self.recipe, Recipe) else self.recipe,
            "budget": self.n_weights_,
            "optimizer_floats": self.history_[-1]["optimizer_floats"],
            "weights": self.table_.nnz,
            "bytes_values": size.values,
            "bytes_indices": size.indices,
            "bytes_rows": size.rows + self.counts_.nbytes,
            "dense_weights": cells[0] * cells[1],
            "density": self.table_.nnz / (cells[0] * cells[1]),
            "target_power": self.target_power_,
            "explored": self.history_[-1]["explored"],
        }

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        parameters = files.plain(self.parameters())
        if isinstance(self.recipe, Recipe):
            parameters["recipe"] = self.recipe.fields()
        header = {
            "parameters": parameters,
            "budget": self.n_weights_,
            "target_power": self.target_power_,
            "history": self.history_,
        }
        return header, pack(self.table_, "rows", self.values) | {"counts": self.counts_}

    @classmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        model, counts = cls(**header["parameters"]), arrays["counts"]
        if isinstance(model.recipe, dict):
            model.recipe = Recipe.from_fields(model.recipe)
        if counts.dtype != np.uint32 or counts.shape != (shape[1],):
            raise ValueError("the file's counts of the items are not sound")
        dim = whole(model.dim, "dim", lower=1, upper=MOST_COLUMNS)
        table = unpack(arrays, "rows", (shape[1], dim))
        model.n_weights_, model.history_ = header["budget"], header["history"]
        model.target_power_ = non_negative(header["target_power"], "target_power", "0 is none")
        if model.n_weights_ != table.nnz:
            raise ValueError("the file's table does not hold the weights of its budget")
        model._serve(table, counts)
        return model
