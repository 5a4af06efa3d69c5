"""A linear layer whose weights are sparse throughout training, on arrays."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import choice, positive, real_array, share, whole
from sparsenum.nn import _cpu
from sparsenum.nn.optimizers import OPTIMIZERS
from sparsenum.nn.table import Table
from sparsenum.sparse import CSR, spmm, transpose
from sparsenum.sparse.formats import index_type
from sparsenum.topology import Rewiring, allocate, no_preference, random_start, rewire
from sparsenum.topology.recipe import RECIPES, Recipe

BLOCK = 256  # rows of the gradient that exist at every place at a time
Dense = NDArray[np.float32]


class SparseLinear:
    """A linear layer ``y = x W' + b`` with a fixed number of weights that are not zero.

    Weights, their gradient and what the optimizer remembers exist for active weights alone. After
    some steps `exchange` drops the weakest weights and grows as many where the gradient of the
    last batch is largest [1]_, or at random [2]_.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of inputs and outputs.
    density : float, default 0.1
        Share of the n_in n_out weights that is active, above 0 and up to 1; rows have as many as
        each other, give or take one.
    bias : bool, default True
        Whether there is a b, which is dense.
    recipe : {"rigl", "set", "static"} or Recipe, default "rigl"
        What `exchange` exchanges. Only its `fraction`, whether it grows at "random", and its scope
        count: row by row, or within the layer.
    optimizer : {"sgd", "momentum", "adagrad", "adam"}, default "adam"
        The rule of `step`.
    seed : int, default 0
        Of the first weights, and of what is drawn in exchanges.

    Attributes
    ----------
    weight : CSR, shape (n_out, n_in)
        W, float32.
    bias : ndarray of float32, shape (n_out,), or None
        b.
    gradient, bias_gradient : ndarray
        Derivatives by the active weights and by b, summed up since the last `step`.
    trainable : ndarray of bool, shape (nnz,), or None
        The weights that `step` moves and `exchange` may drop; all by default.

    See Also
    --------
    sparsenum.topology.share_tables : densities of several layers under one budget.

    References
    ----------
    .. [1] Evci et al., "Rigging the Lottery: Making All Tickets Winners", ICML 2020.
    .. [2] Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
       connectivity", Nature Communications 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenum import nn
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(64, 20)).astype(np.float32)
    >>> target = x[:, :3]
    >>> layer = nn.SparseLinear(20, 3, density=0.2)
    >>> for step in range(200):
    ...     y = layer.forward(x)
    ...     slopes = layer.backward((y - target) / len(x))
    ...     layer.step(0.03)
    ...     if step % 20 == 0:
    ...         n_grown = layer.exchange(step / 200)
    >>> layer.weight.nnz, bool(abs(layer.forward(x) - target).max() < 0.1)
    (12, True)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        density: float = 0.1,
        bias: bool = True,
        recipe: Literal["rigl", "set", "static"] | Recipe = "rigl",
        optimizer: Literal["sgd", "momentum", "adagrad", "adam"] = "adam",
        seed: int = 0,
    ) -> None:
        n_in, n_out = whole(n_in, "n_in", lower=1), whole(n_out, "n_out", lower=1)
        density = positive(share(density, "density"), "density", "0.1 is a good start")
        self.rng = np.random.default_rng(whole(seed, "seed"))
        self.recipe = recipe_of(recipe)
        rule = OPTIMIZERS[choice(optimizer, "optimizer", OPTIMIZERS)]
        counts = allocate(round(density * n_in * n_out), np.ones(n_out), upper=n_in)
        pattern = start(n_in, counts, self.rng)
        self._adopt(Table(pattern, rule.start(pattern.nnz), rule))
        self.bias = np.zeros(n_out, np.float32) if bias else None
        self.bias_gradient = np.zeros(n_out, np.float32)
        self._bias_state = rule.start(n_out)
        self.trainable: NDArray[np.bool_] | None = None
        self._batch: tuple[Dense, Dense] | None = None

    def _adopt(self, table: Table) -> None:
        """Take over a pattern, and note where its weights stand in the transpose."""
        self.table = table
        places = np.arange(table.weights.nnz, dtype=np.float64)  # exact, and what a CSR may hold
        self._transposed = transpose(table.weights.with_data(places))
        self._places = self._transposed.data.astype(np.uint32)
        self.gradient = np.zeros(table.weights.nnz, np.float32)

    @property
    def weight(self) -> CSR:
        """The weights W, shape (n_out, n_in)."""
        return self.table.weights

    def forward(self, x: ArrayLike) -> Dense:
        """Return the outputs of a batch, and remember its inputs for `backward`.

        Parameters
        ----------
        x : array_like, shape (batch, n_in)
            The inputs; they are not copied where they are float32 and lie by columns, as what
            another layer returns does.

        Returns
        -------
        ndarray of float32, shape (batch, n_out)
            ``x W' + b``, by columns. Cost O(nnz batch).

        Raises
        ------
        ValueError
            If x has another number of inputs.
        """
        inputs = columns(x, "x", self.weight.shape[1])
        self._batch = inputs, np.empty((0, 0), np.float32)
        outputs = spmm(self.weight, inputs)
        if self.bias is not None:
            outputs += self.bias[:, None]
        return np.asarray(outputs.T)

    def backward(self, slopes: ArrayLike) -> Dense:
        """Return the derivative by the inputs, and add up those by weights and bias.

        Parameters
        ----------
        slopes : array_like, shape (batch, n_out)
            The derivative of a loss by the outputs of the last `forward`.

        Returns
        -------
        ndarray of float32, shape (batch, n_in)
            The derivative by the inputs. Cost O(nnz batch), twice.

        Raises
        ------
        ValueError
            If there was no `forward`, or of another batch.
        """
        if self._batch is None:
            raise ValueError("backward must follow forward: got no inputs; call forward first")
        inputs, of_outputs = self._batch[0], columns(slopes, "slopes", self.weight.shape[0])
        if of_outputs.shape[1] != inputs.shape[1]:
            raise ValueError(
                f"slopes must have a row for each of {inputs.shape[1]} inputs: got "
                f"{of_outputs.shape[1]}; pass those of the last forward"
            )
        self._batch = inputs, of_outputs
        pattern = self.weight.indptr, self.weight.indices
        _cpu.add_products(*pattern, of_outputs, inputs, self.gradient)
        self.bias_gradient += of_outputs.sum(axis=1)
        back = self._transposed.with_data(self.weight.data[self._places])
        return np.asarray(spmm(back, of_outputs).T)

    def step(self, rate: float) -> None:
        """Move the active weights, and the bias, against their gradients, which become zero.

        Parameters
        ----------
        rate : float
            The learning rate.
        """
        rate = positive(rate, "rate", "0.01 is a good start for Adam")
        optimizer, weights = self.table.optimizer, self.weight
        before = weights.data.copy() if self.trainable is not None else weights.data
        optimizer.move(weights.data, self.table.state, self.gradient, rate)
        if self.trainable is not None:
            np.copyto(weights.data, before, where=~self.trainable)
        if self.bias is not None:
            optimizer.move(self.bias, self._bias_state, self.bias_gradient, rate)
        self.gradient[:] = 0
        self.bias_gradient[:] = 0

    def exchange(self, progress: float) -> int:
        """Drop the weakest weights and grow as many, by the recipe at some progress.

        Parameters
        ----------
        progress : float
            Share of the training that is done, from 0 to 1.

        Returns
        -------
        int
            Weights exchanged; newborns are zero, and so is what the optimizer remembers of them.

        Raises
        ------
        ValueError
            If the recipe grows by the gradient and there was no `backward` yet.
        """
        fraction = self.recipe.fraction(share(progress, "progress"))
        growth = growth_of(self.recipe, self.weight.shape, self._batch)
        rewiring = exchanged(self.weight, self.recipe, fraction, growth, self.trainable, self.rng)
        if rewiring is None:
            return 0
        if self.trainable is not None:
            self.trainable = rewiring.carry(self.trainable, True)
        self.table.move(rewiring)
        self._adopt(self.table)
        return int(rewiring.n_grown)

    def __repr__(self) -> str:
        """Return sizes, active weights and density."""
        n_out, n_in = self.weight.shape
        nnz = self.weight.nnz
        return f"SparseLinear({n_in}, {n_out}, {nnz:,} weights, density {nnz / (n_in * n_out):.3g})"


def recipe_of(recipe: str | Recipe) -> Recipe:
    """Return a recipe by its name, or as it is."""
    if isinstance(recipe, Recipe):
        return recipe
    return RECIPES[choice(recipe, "recipe", ("rigl", "set", "static"))]


def start(n_in: int, counts: NDArray[np.int64], rng: np.random.Generator) -> CSR:
    """Return first weights: rows of these counts at random places, scaled by their own fan-in."""
    pattern = random_start(counts, n_in, rng=rng, index_dtype=index_type(n_in))
    weights = rng.uniform(-1, 1, pattern.nnz) * np.sqrt(3 / np.repeat(counts, counts))
    return pattern.with_data(weights.astype(np.float32))


def growth_of(
    recipe: Recipe, shape: tuple[int, int], batch: tuple[Dense, Dense] | None
) -> Iterator[tuple[int, Dense]]:
    """Yield the absolute gradient of a batch at every place, or zeros, in blocks of rows."""
    if recipe.grow == "random":
        yield from no_preference(shape)
        return
    if batch is None or not batch[1].size:
        raise ValueError(
            "exchange must have a gradient to grow by: got none; call forward and backward first"
        )
    inputs, slopes = batch
    for first in range(0, shape[0], BLOCK):
        gradient = slopes[first : first + BLOCK] @ inputs.T
        yield first, np.abs(gradient, out=gradient)


def exchanged(
    weights: CSR,
    recipe: Recipe,
    fraction: float,
    growth: Iterator[tuple[int, Dense]],
    trainable: NDArray[np.bool_] | None,
    rng: np.random.Generator,
) -> Rewiring | None:
    """Return where the weights stand once a share of them is exchanged, None if none is."""
    worth, free = np.abs(weights.data), weights.row_counts
    if trainable is not None:
        worth[~trainable] = np.inf
        free = np.bincount(weights.rows[trainable], minlength=weights.shape[0])
    quota = np.minimum((fraction * weights.row_counts).astype(np.int64), free)
    if not quota.any():
        return None
    n_exchange: Any = quota if recipe.scope == "row" else int(quota.sum())
    return rewire(weights, worth, n_exchange, growth, rng=rng)


def columns(x: ArrayLike, name: str, n: int) -> Dense:
    """Return rows of n numbers as columns, contiguous float32, without a copy where they are."""
    ready = isinstance(x, np.ndarray) and x.dtype == np.float32 and x.ndim == 2
    rows: NDArray[Any] = x if ready else real_array(x, name, 2)  # type: ignore[assignment]
    if rows.shape[1] != n:
        raise ValueError(f"{name} must have rows of {n} numbers: got {rows.shape[1]}")
    return np.ascontiguousarray(rows.T, np.float32)
