"""Linear layers, forward and backward on one thread: sparse beside dense, and beside SparseLab.

All get the same weights, inputs and slopes, and are compared in the derivative by the inputs; that
by the weights is computed as well. SparseLab is measured where it is installed (`sparselab`).
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from benches.bench_sparse import Case, judge, pytestmark, relative
from sparsenum.nn import SparseLinear
from sparsenum.sparse import CSR

__all__ = ["pytestmark"]

BATCH, CLOSE = 128, 1e-4  # rows of a batch, and relative error that sums in float32 explain
SHAPES = ((1024, 1024), (8192, 512))  # inputs, outputs
DENSITIES = (0.05, 0.1, 0.2)
OURS, IN_TORCH, DENSE, PEER = "ours", "ours, in torch", "torch, dense", "SparseLab"


@cache
def layer_case(shape: tuple[int, int], density: float) -> Case:
    """Return the ways to go forward and backward through one layer."""
    torch = pytest.importorskip("torch")
    from sparsenum.nn.torch import SparseLinear as TorchLinear

    torch.set_num_threads(1)
    n_in, n_out = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, n_in), np.float32)
    slopes = rng.standard_normal((BATCH, n_out), np.float32)
    ours = SparseLinear(n_in, n_out, density=density)
    weights = ours.weight.to_dense()
    ways: dict[str, Callable[[], Any]] = {OURS: lambda: arrays(ours, x, slopes)}
    layers: dict[str, Any] = {IN_TORCH: TorchLinear.of(ours.weight, torch.zeros(n_out))}
    with torch.no_grad():
        layers[DENSE] = torch.nn.Linear(n_in, n_out)
        layers[DENSE].weight.copy_(torch.from_numpy(weights))
    if find_spec("sparselab"):
        layers[PEER] = sparselab_layer(ours.weight)
    inputs, of_outputs = torch.from_numpy(x).requires_grad_(True), torch.from_numpy(slopes)
    for name, layer in layers.items():
        ways[name] = lambda layer=layer: tensors(layer, inputs, of_outputs)
    moved = 4 * BATCH * 2 * (n_in + n_out)
    facts = {"density": density, "shape": f"{n_in} to {n_out}", "nnz": ours.weight.nnz}
    group = f"layer, {n_in} to {n_out}, {density:g}"
    return Case(group, ways, relative(slopes @ weights), CLOSE, moved, facts)


def arrays(layer: SparseLinear, x: Any, slopes: Any) -> Any:
    """Go forward and backward on arrays."""
    layer.gradient[:] = 0
    layer.forward(x)
    return layer.backward(slopes)


def tensors(layer: Any, x: Any, slopes: Any) -> Any:
    """Go forward and backward in torch."""
    x.grad = None
    layer.zero_grad()
    layer(x).backward(slopes)
    return x.grad.numpy()


def sparselab_layer(weights: CSR) -> Any:
    """Return SparseLab's layer of the same weights."""
    import sparselab
    import torch

    n_out, n_in = weights.shape
    layer = sparselab.SparseLinear(n_in, n_out, sparsity=1 - weights.nnz / (n_in * n_out))
    layer._csr = sparselab.PaddedCSR.from_dense(torch.from_numpy(weights.to_dense()))
    layer._values = torch.nn.Parameter(torch.from_numpy(np.asarray(layer._csr.values)))
    return layer


@pytest.mark.parametrize("way", [OURS, IN_TORCH, DENSE, PEER])
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}-{shape[1]}")
def test_layer(benchmark: Any, peak: Any, shape: tuple[int, int], density: float, way: str) -> None:
    case = layer_case(shape, density)
    if way not in case.ways:
        pytest.skip(f"{way} is not installed")
    judge(benchmark, peak, case, way)
