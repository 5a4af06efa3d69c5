"""The sparse layer as a module of torch: its tensors are the kernels' arrays, without a copy."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sparsenum._check import choice, positive, share, whole
from sparsenum.nn import _cpu
from sparsenum.nn.linear import columns, exchanged, growth_of, recipe_of, start
from sparsenum.sparse import CSR, spmm, transpose
from sparsenum.topology import allocate, share_tables, strongest
from sparsenum.topology.recipe import Recipe

__all__ = ["SparseLinear", "exchange", "sparsify"]


class SparseLinear(torch.nn.Module):
    """`torch.nn.Linear` with a fixed number of weights that are not zero, on the CPU.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and outputs.
    density : float, default 0.1
        Share of the weights that is active, above 0 and up to 1.
    bias : bool, default True
        Whether there is a bias, which is dense.
    recipe : {"rigl", "set", "static"} or Recipe, default "rigl"
        What `exchange` exchanges, as for `sparsenum.nn.SparseLinear`.
    seed : int, default 0
        Of the first weights, and of what is drawn in exchanges.

    Attributes
    ----------
    values : Parameter, shape (nnz,)
        The active weights, row by row: what an optimizer moves, and all it keeps state for.
    indptr, indices : Tensor
        Where rows begin, and the columns of the weights: buffers, and part of the state dict.
    bias : Parameter, shape (out_features,), or None
        The bias.

    See Also
    --------
    sparsenum.nn.torch.sparsify : put such layers in the place of a network's dense ones.

    Examples
    --------
    >>> import torch
    >>> from sparsenum.nn.torch import SparseLinear
    >>> layer = SparseLinear(20, 3, density=0.2)
    >>> layer(torch.zeros(4, 20)).shape, layer.values.shape
    (torch.Size([4, 3]), torch.Size([12]))
    """

    indptr: torch.Tensor
    indices: torch.Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        density: float = 0.1,
        bias: bool = True,
        *,
        recipe: Literal["rigl", "set", "static"] | Recipe = "rigl",
        seed: int = 0,
    ) -> None:
        super().__init__()
        n_in = whole(in_features, "in_features", lower=1)
        n_out = whole(out_features, "out_features", lower=1)
        density = positive(share(density, "density"), "density", "0.1 is a good start")
        self.rng = np.random.default_rng(whole(seed, "seed"))
        counts = allocate(round(density * n_in * n_out), np.ones(n_out), upper=n_in)
        self._hold(start(n_in, counts, self.rng), recipe_of(recipe))
        self.bias = torch.nn.Parameter(torch.zeros(n_out)) if bias else None

    @classmethod
    def of(
        cls,
        weights: CSR,
        bias: torch.Tensor | None = None,
        *,
        recipe: Literal["rigl", "set", "static"] | Recipe = "rigl",
        seed: int = 0,
    ) -> "SparseLinear":
        """Return a layer with these weights, float32, and a copy of a bias."""
        layer = cls.__new__(cls)
        torch.nn.Module.__init__(layer)
        layer.rng = np.random.default_rng(seed)
        layer._hold(weights.with_data(weights.data.astype(np.float32)), recipe_of(recipe))
        layer.bias = None if bias is None else torch.nn.Parameter(bias.detach().clone())
        return layer

    def _hold(self, weights: CSR, recipe: Recipe) -> None:
        self.out_features, self.in_features = weights.shape
        self.recipe = recipe
        self.values = torch.nn.Parameter(torch.from_numpy(weights.data))
        # 32 bits, since torch hardly knows unsigned numbers of 16.
        self.register_buffer("indptr", torch.from_numpy(weights.indptr.view(np.int64)))
        indices = weights.indices.astype(np.uint32).view(np.int32)
        self.register_buffer("indices", torch.from_numpy(indices))
        self._batch: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._transposed: tuple[Any, CSR, NDArray[np.uint32]] | None = None

    @property
    def weight(self) -> CSR:
        """The weights, shape (out_features, in_features): the tensors' own memory."""
        indptr, indices = self.indptr.numpy(), self.indices.numpy()
        shape = self.out_features, self.in_features
        values = self.values.detach().numpy()
        return CSR(indptr.view(np.uint64), indices.view(np.uint32), values, shape)

    def transposed(self) -> CSR:
        """Return the transpose; its pattern is found again only once that has changed."""
        weights = self.weight
        mark = self.indices.data_ptr(), self.indices._version
        if self._transposed is None or self._transposed[0] != mark:
            back = transpose(weights.with_data(np.arange(weights.nnz, dtype=np.float64)))
            self._transposed = mark, back, back.data.astype(np.uint32)
        _, back, places = self._transposed
        return back.with_data(weights.data[places])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs for rows of inputs, float32 on the CPU."""
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise TypeError(
                f"x must be float32 on the CPU: got {x.dtype} on {x.device}; convert it, or use "
                "torch.nn.Linear there"
            )
        if x.shape[-1] != self.in_features:
            raise ValueError(f"x must have rows of {self.in_features} numbers: got {x.shape[-1]}")
        rows = x.reshape(-1, self.in_features)
        found: torch.Tensor = _Product.apply(rows, self.values, self.bias, self)
        return found.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Return sizes and the number of active weights."""
        n = self.values.numel()
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, weights={n:,}, "
            f"density={n / (self.in_features * self.out_features):.3g}"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a file needs: not the last batch."""
        return self.__dict__ | {"_batch": None, "_transposed": None}


class _Product(torch.autograd.Function):
    """x W' + b, and its first derivatives."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None, layer: Any
    ) -> torch.Tensor:
        inputs = columns(x.detach().numpy(), "x", layer.in_features)
        outputs = spmm(layer.weight, inputs)
        if bias is not None:
            outputs += bias.detach().numpy()[:, None]
        ctx.save_for_backward(x, values)  # so that torch sees what is written to before backward
        ctx.inputs, ctx.layer, ctx.pattern = inputs, layer, (layer.indptr, layer.indices)
        ctx.back = layer.transposed() if ctx.needs_input_grad[0] else None
        return torch.from_numpy(outputs.T)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slopes: torch.Tensor) -> Any:
        layer, (_, values) = ctx.layer, ctx.saved_tensors
        of_outputs = columns(slopes.numpy(), "slopes", layer.out_features)
        of_inputs = of_values = of_bias = None
        if ctx.needs_input_grad[0]:
            of_inputs = torch.from_numpy(spmm(ctx.back, of_outputs).T)
        if ctx.needs_input_grad[1]:
            indptr, indices = (x.numpy() for x in ctx.pattern)
            gradient = np.zeros(values.numel(), np.float32)
            pattern = indptr.view(np.uint64), indices.view(np.uint32)
            _cpu.add_products(*pattern, of_outputs, ctx.inputs, gradient)
            of_values = torch.from_numpy(gradient)
            layer._batch = ctx.inputs, of_outputs
        if ctx.needs_input_grad[2]:
            of_bias = torch.from_numpy(of_outputs.sum(axis=1))
        return of_inputs, of_values, of_bias, None


def sparsify(
    model: torch.nn.Module,
    density: float,
    rule: str = "erk",
    *,
    start: Literal["random", "magnitude"] = "random",
    dense: Iterable[str] = (),
    recipe: Literal["rigl", "set", "static"] | Recipe = "rigl",
    seed: int = 0,
) -> torch.nn.Module:
    """Return a network with its linear layers made sparse, in place, under one exact budget.

    Parameters
    ----------
    model : torch.nn.Module
        The network; its `torch.nn.Linear` layers on the CPU are replaced.
    density : float
        Share of the weights of these layers together that is active.
    rule : {"erk", "er", "uniform", "erk+", "uniform+"}, default "erk"
        How the budget is shared among layers, in the order of ``model.modules()`` (see
        `sparsenum.topology.share_tables`).
    start : {"random", "magnitude"}, default "random"
        Whether weights begin at random, or are the largest of each row of the dense layer.
    dense : iterable of str
        Names of layers to leave dense and out of the budget.
    recipe : {"rigl", "set", "static"} or Recipe, default "rigl"
        What `exchange` exchanges.
    seed : int, default 0
        Of the first weights.

    Returns
    -------
    torch.nn.Module
        The model itself, or a sparse layer if it was one linear layer. Make the optimizer after
        this.

    Raises
    ------
    ValueError
        If there is no linear layer, or a name of `dense` is none of them.

    Examples
    --------
    >>> import torch
    >>> from sparsenum.nn.torch import sparsify
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    >>> net = sparsify(net, 0.25)
    >>> sum(layer.values.numel() for layer in (net[0], net[2]))  # a quarter of 64 * 32 + 32 * 4
    544
    """
    density = positive(share(density, "density"), "density", "0.1 is a good start")
    choice(start, "start", ("random", "magnitude"))
    layers = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    kept = set(dense)
    if unknown := kept - layers.keys():
        raise ValueError(f"dense must name linear layers, {sorted(layers)}: got {sorted(unknown)}")
    layers = {name: layer for name, layer in layers.items() if name not in kept}
    if not layers:
        raise ValueError("model must have a torch.nn.Linear to make sparse: got none")
    shapes = [(layer.out_features, layer.in_features) for layer in layers.values()]
    total = round(density * sum(n * m for n, m in shapes))
    sizes = share_tables(total, shapes, rule)
    for place, ((name, layer), size) in enumerate(zip(layers.items(), sizes, strict=True)):
        rng = np.random.default_rng([seed, place])
        counts = allocate(int(size), np.ones(layer.out_features), upper=layer.in_features)
        weights = first_weights(layer, counts, start, rng)
        sparse = SparseLinear.of(weights, layer.bias, recipe=recipe, seed=seed + place)
        if not name:
            return sparse
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, sparse)
    return model


def first_weights(
    layer: torch.nn.Linear, counts: NDArray[np.int64], how: str, rng: np.random.Generator
) -> CSR:
    """Return weights for the place of a dense layer: drawn, or its largest."""
    if how == "random":
        return start(layer.in_features, counts, rng)
    values = layer.weight.detach().numpy().astype(np.float32)
    return strongest([values], counts, layer.in_features)


def exchange(
    model: torch.nn.Module, progress: float, optimizer: torch.optim.Optimizer | None = None
) -> int:
    """Drop the weakest weights of each sparse layer and grow as many, budget constant.

    Parameters
    ----------
    model : torch.nn.Module
        A network with layers of `SparseLinear`.
    progress : float
        Share of the training that is done, from 0 to 1; recipes exchange less and less.
    optimizer : torch.optim.Optimizer, optional
        What it remembers of weights that stay goes along; of newborn ones it is zero.

    Returns
    -------
    int
        Weights exchanged.

    Raises
    ------
    ValueError
        If a layer grows by the gradient and has seen no backward pass yet.

    Examples
    --------
    >>> import torch
    >>> from sparsenum.nn.torch import SparseLinear, exchange
    >>> layer = SparseLinear(20, 4, density=0.5)
    >>> layer(torch.ones(8, 20)).sum().backward()
    >>> exchange(layer, 0.0)  # three tenths of ten weights in each row
    12
    """
    progress, grown = share(progress, "progress"), 0
    for layer in model.modules():
        if not isinstance(layer, SparseLinear):
            continue
        weights = layer.weight
        growth = growth_of(layer.recipe, weights.shape, layer._batch)
        fraction = layer.recipe.fraction(progress)
        rewiring = exchanged(weights, layer.recipe, fraction, growth, None, layer.rng)
        if rewiring is None:
            continue
        remembered = {} if optimizer is None else optimizer.state.get(layer.values, {})
        with torch.no_grad():
            for tensor in (layer.values, *remembered.values()):
                if torch.is_tensor(tensor) and tensor.shape == layer.values.shape:
                    tensor.copy_(torch.from_numpy(rewiring.carry(tensor.detach().numpy())))
            layer.indptr.copy_(torch.from_numpy(rewiring.indptr.view(np.int64)))
            indices = rewiring.indices.astype(np.uint32).view(np.int32)
            layer.indices.copy_(torch.from_numpy(indices))
        grown += rewiring.n_grown
    return grown
