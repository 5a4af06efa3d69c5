"""The models: sparse factors trained under a budget, and popularity to compare with."""

import os
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.required import require_interactions
from recsys.data.table import Source
from recsys.evaluation.hold_out import hold_out
from recsys.factors import fold_in
from recsys.factors.two_tables import MAX_DIM, Factored
from recsys.scores.factor_scores import FactorScores
from recsys.serving import newcomers
from recsys.storage.budget import parse_budget
from recsys.training import loop
from recsys.training.checkpoint import Checkpoints, fingerprint, noted, resumed
from recsys.training.monitor import Monitor
from recsys.training.objective import LOSSES, Loss
from sparsenum._check import choice, non_negative, positive, whole
from sparsenum._device import Device, on_cuda
from sparsenum.nn.optimizers import OPTIMIZERS
from sparsenum.sparse import CSR, transpose
from sparsenum.topology.recipe import RECIPES, Recipe

MAX_NEGATIVES = 10_000


class SparseMF(Factored):
    """Matrix factorisation on two sparse tables, trained under a fixed budget of weights.

    The score of item i for user u is ``w_u . v_i`` with sparse rows w and v. Both tables are
    sparse from the first step on; after each epoch the weakest weights are dropped and as many
    grown elsewhere (dynamic sparse learning [1]_), the loss is Bayesian personalised ranking [2]_
    and the optimizer Adagrad, whose state lives on active weights alone. Columns are many and
    rows short, which pays on large sparse catalogues; on small dense ones a narrow dense table of
    as many weights is better.

    Parameters
    ----------
    budget : int or str, default "5%"
        Weights in both tables together (``500000``), a share of the dense tables (``"10%"``) or
        what weights take on disk (``"4MB"``); at least one weight for each user and item.
    dim : int, default 256
        Columns of the tables, up to 65,536.
    epochs : int, default 30
        Passes over the interactions.
    recipe : {"dsl", "dsl-paper", "rigl", "set", "static", "prune"} or Recipe, default "dsl"
        How the active weights are chosen (see `recsys.Recipe`). "dsl" is dynamic sparse learning
        with repairs: growth by the gradient of a whole epoch, a budget kept row by row, and, up to
        512 columns, a start aligned with the data. "dsl-paper" is its published rule. The others
        are the baselines that it has to beat: "rigl" and "set" exchange weights as those papers
        do, "static" keeps a random start, and "prune" trains dense tables and prunes them down to
        the budget, which alone of all needs their memory during training.
    row_power : float, default 0.0
        Weights of a user or item grow with this power of its number of events, from 0 (rows
        as equal as can be) to 1.
    loss : {"bpr", "bce", "softmax", "ccl"}, default "bpr"
        Of the item taken against items drawn: Bayesian personalised ranking [2]_, binary cross
        entropy, sampled softmax, or cosine contrastive [3]_.
    optimizer : {"adagrad", "adam", "momentum", "sgd"}, default "adagrad"
        Its state lives on active weights alone: one number for each, three, one, or none.
    n_negatives : int, optional
        Items drawn for each interaction, which have an equal part in the loss; by default 1 for
        "bpr", 4 for "bce", 16 for "softmax" and "ccl".
    learning_rate : float, optional
        Falls linearly to a tenth; starts at 0.1 by default with "adagrad", 0.01 with "adam",
        0.05 with "momentum" and "sgd".
    weight_decay : float, default 0.03
        L2 penalty on the active weights of each sample.
    patience : int, optional
        Stop after this many looks at the validation (about ten in all `epochs`) without a better
        NDCG, and keep the tables of the best look; they are held beside those in training.
    validation : float, optional
        Share of `train` to hold back at random for that, where fit is given no `valid`.
    seed : int, default 0
        Same seed, same table, same machine: same model.
    device : {"cpu", "cuda"}, default "cpu"
        Where `fit` takes its steps. A CUDA device takes the same ones, those side by side that
        share no user and no item, and rounds otherwise: after an epoch weights agree to some five
        digits, later ones may part where rounding decides an exchange. The same device gives the
        same model. The more items are drawn, the less goes side by side. The exchange of weights,
        `fold_in` and `partial_fit` stay on the CPU.

    Attributes
    ----------
    user_table_, item_table_ : CSR
        The trained weights, float32, rows in the order of `users_` and `items_`.
    n_weights_ : int
        The budget in weights; the tables hold exactly as many.
    history_ : list of dict
        The ledger of each epoch (see `recsys.training.loop.Epoch`), with validation metrics
        where taken.

    See Also
    --------
    recsys.LightGCN : factors that pass through the graph.
    recsys.SparseALS : factors from least squares.
    recsys.Recipe : which weights are exchanged, and when.

    References
    ----------
    .. [1] Wang, Sui, Wu, Zheng, Xiong, "Dynamic Sparse Learning: A Novel Paradigm for Efficient
       Recommendation", WSDM 2024.
    .. [2] Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR", UAI 2009.
    .. [3] Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", CIKM
       2021.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import shop
    >>> train = recsys.Interactions.read(shop(40, 30), user="customer", item="product")
    >>> model = recsys.SparseMF(budget="20%", dim=16, epochs=2).fit(train)
    >>> {epoch["weights"] for epoch in model.history_}  # the budget, after every epoch
    {224}
    """

    name: ClassVar[str] = "sparse-mf"
    recipes: ClassVar[tuple[str, ...]] = tuple(RECIPES)

    def __init__(
        self,
        *,
        budget: int | str = "5%",
        dim: int = 256,
        epochs: int = 30,
        recipe: Literal["dsl", "dsl-paper", "rigl", "set", "static", "prune"] | Recipe = "dsl",
        row_power: float = 0.0,
        loss: Literal["bpr", "bce", "softmax", "ccl"] = "bpr",
        optimizer: Literal["adagrad", "adam", "momentum", "sgd"] = "adagrad",
        n_negatives: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.03,
        patience: int | None = None,
        validation: float | None = None,
        seed: int = 0,
        device: Device = "cpu",
    ) -> None:
        self.budget = budget
        self.dim = dim
        self.epochs = epochs
        self.recipe = recipe
        self.row_power = row_power
        self.loss = loss
        self.optimizer = optimizer
        self.n_negatives = n_negatives
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.validation = validation
        self.seed = seed
        self.device = device

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
            What users took; weights count on a logarithmic scale.
        valid : table or path, optional
            Held-out events with the same columns, evaluated about ten times on the way. They are
            watched, not learned from; training stops by them if `patience` says so.
        on_epoch : callable, optional
            Called with each new entry of `history_`.
        checkpoint : path, optional
            Folder to write the state of the training to after each epoch; the last two are kept.
        resume : bool, default False
            Go on from the latest sound checkpoint there, if any, to the very model that an
            uninterrupted training on the same data and parameters gives, bit for bit. So `device`
            must be the same, too.

        Returns
        -------
        SparseMF
            The fitted model. Cost for each epoch O(nnz k) with k weights in a row, and for the
            exchange O(nnz k^2 / dim + (n_users + n_items) dim) in blocks of rows.

        Raises
        ------
        ValueError
            If a parameter is out of range or the budget does not fit the tables; if the folder of
            `checkpoint` holds those of another training, or any without `resume`.
        DeviceError
            If the device is "cuda" and that cannot be had.
        """
        require_interactions(train, n_items=2)
        dim = whole(self.dim, "dim", lower=1, upper=MAX_DIM)
        epochs = whole(self.epochs, "epochs", lower=1)
        rng = np.random.default_rng(whole(self.seed, "seed"))
        patience = None if self.patience is None else whole(self.patience, "patience", lower=1)
        recipe = self._recipe()
        remedy = "0.03 is a good start, and 0 leaves it out"
        decay = non_negative(self.weight_decay, "weight_decay", remedy)
        n_weights = parse_budget(self.budget, train.n_users + train.n_items, dim)
        matrix, held = hold_out(train, valid, self.validation, patience, rng)
        monitor = Monitor(held, matrix, epochs, patience, on_epoch, n_weights)
        plan = {"dim": dim, "epochs": epochs, "decay": decay, "recipe": recipe}
        checkpoints = None
        if checkpoint is not None:
            mark = fingerprint({"model": self.name} | self.parameters(), matrix, held)
            checkpoints = Checkpoints(checkpoint, mark, resume)
        elif resume:
            raise ValueError("resume must have a checkpoint folder to go on from: got none")
        tables = self._learn(matrix, n_weights, monitor, checkpoints, rng=rng, **plan)
        self._remember(train)
        self.user_table_, self.item_table_ = monitor.best or tables
        self.n_weights_, self.history_ = n_weights, monitor.history
        return self

    def _recipe(self) -> Recipe:
        if isinstance(self.recipe, Recipe):
            return self.recipe
        return RECIPES[choice(self.recipe, "recipe", self.recipes)]

    def _learn(
        self,
        matrix: CSR,
        weights: int,
        monitor: Monitor,
        checkpoints: Checkpoints | None,
        **plan: Any,
    ) -> tuple[CSR, CSR]:
        loss = LOSSES[choice(self.loss, "loss", LOSSES)]
        optimizer = OPTIMIZERS[choice(self.optimizer, "optimizer", OPTIMIZERS)]
        n = loss.n_negatives
        if self.n_negatives is not None:
            n = whole(self.n_negatives, "n_negatives", lower=1, upper=MAX_NEGATIVES)
        on_cuda(self.device)
        rate = self._rate(optimizer.rate)
        row_power = non_negative(self.row_power, "row_power", "0 makes all rows equal")

        recipe, rng = plan["recipe"], plan.pop("rng")
        first = loop.first_tables(
            matrix, weights, plan.pop("dim"), optimizer, recipe, row_power, rng
        )
        training = resumed(loop.Training.start(first, rng), monitor, checkpoints)

        def see(epoch: loop.Epoch) -> bool:
            return noted(epoch, training, monitor, FactorScores, checkpoints)

        if not monitor.is_over:
            plan |= {"loss": loss, "n_negatives": n, "rate": rate, "device": self.device}
            loop.train(training, matrix, weights, on_epoch=see, **plan)
        return training.tables.users.weights, training.tables.items.weights

    def _rate(self, default: float) -> float:
        if self.learning_rate is None:
            return default
        return positive(self.learning_rate, "learning_rate", f"{default:g} is a good start")

    def for_users(self, users: pl.Series, taken: CSR, touched: CSR | None = None) -> Self:
        """Return a model of the same items for other users by what they took, without training.

        Each user gets a row of as many weights as the users of the training have on average. Its
        columns are those where the gradient of the ranking loss is largest, its weights come from
        a few passes of the training's steps with the items frozen. Cost O(interactions times
        weights in a row), and O(dim) a user.
        """
        mean = round(self.user_table_.nnz / self.user_table_.shape[0])
        counts = np.full(taken.shape[0], mean)
        table = fold_in.fold_users(taken, self.item_table_, counts, *self._going_on())
        return self._with_table(users, taken, touched, table)

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
        require_interactions(train)
        self._fitted()
        epochs = whole(epochs, "epochs", lower=1)
        users, items, taken, touched = newcomers.joined(self, train)
        tables, (loss, rate, decay, seed) = (self.user_table_, self.item_table_), self._going_on()
        self.user_table_, self.item_table_ = fold_in.extend(
            tables, taken, transpose(taken), loss, epochs, rate, decay, seed
        )
        self.users_, self.items_ = users, items
        self.seen_, self.touched_ = taken, touched
        self.popularity_ = taken.column_counts / taken.shape[0]
        return self

    def _going_on(self) -> tuple[Loss, float, float, int]:
        """Return loss, rate, decay and seed for rows that come later, which Adagrad trains."""
        rate = OPTIMIZERS["adagrad"].rate
        if self.optimizer == "adagrad":
            rate = self._rate(rate)
        return LOSSES[self.loss], rate, float(self.weight_decay), self.seed

    def report(self) -> dict[str, Any]:
        """Return budget, weights, bytes and density of the tables.

        Returns
        -------
        dict
            ``recipe`` (its name or fields), ``budget`` (weights), ``optimizer_floats`` (during
            training), ``weights``, ``bytes_values``, ``bytes_indices``, ``bytes_rows`` (as
            stored), ``dense_weights`` (of tables without zeros), ``density``, the same by table
            under ``tables``, and the share of the positions ``explored``.
        """
        report = super().report()
        name = report.pop("model")
        explored = self.history_[-1]["explored"]
        recipe = self.recipe.fields() if isinstance(self.recipe, Recipe) else self.recipe
        return {"model": name, "recipe": recipe} | report | {"explored": explored}

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        header, arrays = super()._state()
        if isinstance(self.recipe, Recipe):
            header["parameters"]["recipe"] = self.recipe.fields()
        return header, arrays

    @classmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        model = super()._restored(header, arrays, shape)
        if isinstance(model.recipe, dict):
            model.recipe = Recipe.from_fields(model.recipe)
        return model
