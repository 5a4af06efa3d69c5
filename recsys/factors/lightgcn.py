"""LightGCN on sparse tables: what is trained and stored is sparse, what is computed is not."""

import time
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.factors.sparse_mf import SparseMF
from recsys.scores.factor_scores import FactorScores, full_rows
from recsys.training import _cpu, loop
from recsys.training.checkpoint import Checkpoints, noted, resumed
from recsys.training.gradient import BLOCK
from recsys.training.monitor import Monitor
from recsys.training.objective import Samples
from recsys.training.tables import Tables
from sparsenum._check import whole
from sparsenum.nn.optimizers import OPTIMIZERS
from sparsenum.nn.table import Table
from sparsenum.sparse import CSR, spmm, transpose
from sparsenum.topology import Rewiring, rewire
from sparsenum.topology.recipe import Recipe

Dense = NDArray[np.float32]

STEPS = 16  # in an epoch; each propagates through the whole graph, whatever it learns from
RATE = 0.1
MAX_LAYERS = 16


class LightGCN(SparseMF):
    """LightGCN on sparse tables: rows are averaged over neighbours in the graph of users and items.

    Of the ego table E, rows of users over rows of items, only `budget` weights exist, and dynamic
    sparse learning [1]_ moves them about. Scores are products of rows of P E, where P is the mean
    of the powers 0 to `layers` of D^-1/2 A D^-1/2 [2]_. The loss is Bayesian personalised ranking
    on P E, a step learns from a sixteenth of the interactions, and the optimizer is Adam, whose
    state lives on active weights alone.

    Sparsity ends with the first layer: P E is dense, in training (some six tables of activations
    and gradients of that size) and in serving. The budget is that of the file, not of memory.
    It is trained on the CPU.

    Parameters
    ----------
    budget : int or str, default "10%"
        Weights of the ego table, as for `SparseMF`.
    dim : int, default 64
        Columns of the table.
    layers : int, default 2
        Steps from neighbour to neighbour.
    epochs : int, default 30
        Passes over the interactions.
    recipe : {"dsl", "static"} or Recipe, default "dsl"
        As for `SparseMF`; a Recipe may choose its start and the schedule of the exchange.
    learning_rate : float, optional
        Of Adam; falls linearly to a tenth, from 0.1 by default.
    weight_decay : float, default 0.03
        L2 penalty on the active weights in each step.
    patience, validation
        As for `SparseMF`.
    seed : int, default 0
        Same seed, same table, same machine: same model.

    Attributes
    ----------
    user_table_, item_table_ : CSR
        The ego table.
    n_weights_, history_
        As for `SparseMF`.

    See Also
    --------
    recsys.SparseMF : factors without the graph.
    recsys.Recipe : which weights are exchanged, and when.

    References
    ----------
    .. [1] Wang, Sui, Wu, Zheng, Xiong, "Dynamic Sparse Learning: A Novel Paradigm for Efficient
       Recommendation", WSDM 2024.
    .. [2] He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for
       Recommendation", SIGIR 2020.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import shop
    >>> train = recsys.Interactions.read(shop(40, 30), user="customer", item="product")
    >>> model = recsys.LightGCN(budget="20%", dim=16, epochs=1).fit(train)
    >>> model.recommend(["C00019"], k=3).columns
    ['user', 'item', 'score', 'rank']
    """

    name: ClassVar[str] = "dsl-lightgcn"
    can_forget: ClassVar[bool] = False
    recipes: ClassVar[tuple[str, ...]] = ("dsl", "static")

    def __init__(
        self,
        *,
        budget: int | str = "10%",
        dim: int = 64,
        layers: int = 2,
        epochs: int = 30,
        recipe: Literal["dsl", "static"] | Recipe = "dsl",
        learning_rate: float | None = None,
        weight_decay: float = 0.03,
        patience: int | None = None,
        validation: float | None = None,
        seed: int = 0,
    ) -> None:
        self.budget = budget
        self.dim = dim
        self.layers = layers
        self.epochs = epochs
        self.recipe = recipe
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.validation = validation
        self.seed = seed

    def _learn(
        self,
        matrix: CSR,
        weights: int,
        monitor: Monitor,
        checkpoints: Checkpoints | None,
        **plan: Any,
    ) -> tuple[CSR, CSR]:
        graph, rng = Graph.of(matrix, self._layers()), plan.pop("rng")
        adam, recipe = OPTIMIZERS["adam"], plan["recipe"]
        tables = loop.first_tables(matrix, weights, plan.pop("dim"), adam, recipe, 0.0, rng)
        training = resumed(loop.Training.start(tables, rng), monitor, checkpoints)
        if not monitor.is_over:
            for entry in train(training, matrix, graph, rate=self._rate(RATE), **plan):
                if noted(entry, training, monitor, graph.scorer, checkpoints):
                    break
        return training.tables.users.weights, training.tables.items.weights

    def _recipe(self) -> Recipe:
        recipe = super()._recipe()
        if recipe != Recipe(recipe.fraction, start=recipe.start):
            raise ValueError(
                "recipe must exchange by magnitude and by the epoch's gradient, row by row, in "
                f"LightGCN: got {recipe}; choose no more than its fraction and start"
            )
        return recipe

    def _layers(self) -> int:
        return whole(self.layers, "layers", upper=MAX_LAYERS)

    @property
    def scorer(self) -> FactorScores:
        """The scorer: the ego table is propagated at the first use, and the result kept."""
        kept: tuple[CSR, FactorScores] | None = getattr(self, "_served", None)
        if kept is None or kept[0] is not self.user_table_:
            graph = Graph.of(self.seen_, self._layers())
            kept = self.user_table_, graph.scorer(self.user_table_, self.item_table_)
            self._served = kept
        return kept[1]

    def for_users(self, users: pl.Series, taken: CSR, touched: CSR | None = None) -> Self:
        """Refuse: a new user would change the graph for all others."""
        raise ValueError("LightGCN cannot fold in new users; choose unknown='popular'")

    def _with_rows(self, rows: NDArray[np.int64]) -> Self:
        raise ValueError("LightGCN cannot forget a user, who is in the graph of others; fit again")

    def partial_fit(self, train: Interactions, *, epochs: int = 10) -> Self:
        """Refuse: new rows would change the graph for all others."""
        raise ValueError("LightGCN cannot go on with new rows; fit it again")

    def report(self) -> dict[str, Any]:
        """Return what `SparseMF.report` does of the ego table, and the size of what serves.

        Returns
        -------
        dict
            With ``layers``, and ``serving_floats`` and ``bytes_serving`` of the dense table that
            scores are made of.
        """
        report = super().report()
        floats = report["dense_weights"]
        sizes = {"layers": self._layers(), "serving_floats": floats, "bytes_serving": 4 * floats}
        return report | sizes


class Graph(NamedTuple):
    """D^-1/2 A D^-1/2 by users and by items, and how often to apply it."""

    by_user: CSR
    by_item: CSR
    layers: int

    @classmethod
    def of(cls, matrix: CSR, layers: int) -> "Graph":
        """Weigh each interaction by one over the root of both degrees, however much was taken."""
        per_user, per_item = (
            1 / np.sqrt(np.maximum(counts, 1, dtype=np.float32))
            for counts in (matrix.row_counts, matrix.column_counts)
        )
        users = np.repeat(per_user, matrix.row_counts)
        by_user = matrix.with_data((users * per_item[matrix.indices]).astype(np.float32))
        return cls(by_user, transpose(by_user), layers)

    def propagate(self, users: Dense, items: Dense) -> tuple[Dense, Dense]:
        """Return the means over all layers. The map is symmetric, and so is its own derivative."""
        sums = users.copy(), items.copy()
        for _ in range(self.layers):
            users, items = spmm(self.by_user, items), spmm(self.by_item, users)
            for total, layer in zip(sums, (users, items), strict=True):
                total += layer
        for total in sums:
            total /= np.float32(self.layers + 1)
        return sums

    def scorer(self, users: CSR, items: CSR) -> FactorScores:
        """Return the scores that sparse ego tables lead to."""
        return FactorScores(
            *(full_rows(side) for side in self.propagate(users.to_dense(), items.to_dense()))
        )


def train(
    training: loop.Training[Tables],
    matrix: CSR,
    graph: Graph,
    *,
    epochs: int,
    rate: float,
    decay: float,
    recipe: Recipe,
) -> Iterator[loop.Epoch]:
    """Yield the ledger after each epoch.

    An epoch is `STEPS` steps of Adam on active weights, and then an exchange as in `loop.train`,
    row by row, where the gradient to grow by is the sum of those of the epoch's steps: it reaches
    every place through the graph, so that nothing has to be computed for it.
    """
    begin = time.perf_counter() - training.seconds
    tables, rng = training.tables, training.rng
    samples = Samples.of(matrix, 1)
    while training.epoch < epochs:
        progress = training.epoch / epochs
        samples = samples.redrawn(rng)
        slower = loop.falling(rate, progress)
        total = 0.0
        gradients = [np.zeros(table.weights.shape, np.float32) for table in tables]
        for batch in np.array_split(np.concatenate([*samples.rounds(rng)]), STEPS):
            loss, slopes = gradient_of_batch(batch, samples, graph, tables)
            total += loss
            for table, slope, gradient in zip(tables, slopes, gradients, strict=True):
                descend_all(table, slope, slower, decay)
                gradient += slope
        fraction = recipe.fraction(progress)
        rewirings = []
        if fraction > 0:
            for table, gradient in zip(tables, gradients, strict=True):
                grow = np.abs(gradient, out=gradient)
                rewirings.append(exchanged(table.weights, grow, fraction, rng))
        grown = training.move(rewirings)
        training.epoch += 1
        training.seconds = time.perf_counter() - begin
        yield training.ledger(total / matrix.nnz, fraction, grown)


def gradient_of_batch(
    batch: NDArray[np.uint32], samples: Samples, graph: Graph, tables: Tables
) -> tuple[float, tuple[Dense, Dense]]:
    """Return the loss of some interactions and its gradient for every place of the ego tables."""
    users, items = graph.propagate(*(table.weights.to_dense() for table in tables))
    slopes = np.zeros_like(users), np.zeros_like(items)
    loss = _cpu.add_slopes(batch, samples.arrays(), users, items, *slopes)
    return float(loss), graph.propagate(*slopes)


def descend_all(table: Table, gradient: Dense, rate: float, decay: float) -> None:
    """Take one step with all active weights of a table."""
    weights = table.weights
    rows = weights.rows
    active = gradient[rows, weights.indices] + np.float32(decay) * weights.data
    table.optimizer.move(weights.data, table.state, active, rate)


def exchanged(weights: CSR, gradient: Dense, fraction: float, rng: np.random.Generator) -> Rewiring:
    """Drop the weakest of each row and grow where the gradient is largest."""
    quota = (fraction * weights.row_counts).astype(np.int64)
    starts = range(0, len(gradient), BLOCK)
    blocks = ((start, gradient[start : start + BLOCK]) for start in starts)
    return rewire(weights, np.abs(weights.data), quota, blocks, rng=rng)
