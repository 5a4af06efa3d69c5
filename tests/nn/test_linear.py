"""The sparse layer on arrays against dense twins: products, steps, exchanges, budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsenum import nn
from sparsenum.nn.optimizers import OPTIMIZERS
from sparsenum.topology.recipe import Recipe, Schedule


def case(seed=0, n_in=13, n_out=7, batch=5, density=0.4, **options):
    rng = np.random.default_rng(seed)
    layer = nn.SparseLinear(n_in, n_out, density=density, seed=seed % 1000, **options)
    x, slopes = rng.normal(size=(batch, n_in)), rng.normal(size=(batch, n_out))
    return layer, x.astype(np.float32), slopes.astype(np.float32)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    n_in=st.integers(1, 20),
    n_out=st.integers(1, 20),
    batch=st.integers(0, 9),
    density=st.floats(0.05, 1.0),
)
def test_products_are_those_of_the_dense_matrix(seed, n_in, n_out, batch, density):
    layer, x, slopes = case(seed, n_in, n_out, batch, density)
    layer.bias[:] = np.arange(n_out)
    W = layer.weight.to_dense()
    np.testing.assert_allclose(layer.forward(x), x @ W.T + layer.bias, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.backward(slopes), slopes @ W, rtol=1e-4, atol=1e-4)
    expected = (slopes.T @ x)[layer.weight.rows, layer.weight.indices]
    np.testing.assert_allclose(layer.gradient, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.bias_gradient, slopes.sum(axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("density", [0.01, 0.1, 0.33, 1.0])
def test_the_number_of_weights_is_the_density_rows_alike(density):
    layer = nn.SparseLinear(40, 30, density=density)
    assert layer.weight.nnz == round(density * 1200)
    assert np.ptp(layer.weight.row_counts) <= 1


def test_gradients_add_up_until_a_step():
    layer, x, slopes = case()
    layer.forward(x)
    layer.backward(slopes)
    once = layer.gradient.copy()
    layer.forward(x)
    layer.backward(slopes)
    np.testing.assert_allclose(layer.gradient, 2 * once, rtol=1e-6)
    layer.step(0.01)
    assert not layer.gradient.any()
    assert not layer.bias_gradient.any()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_moves_active_weights_alone_and_lowers_the_loss(optimizer):
    layer, x, _ = case(density=0.5, optimizer=optimizer)
    target = np.ones((5, 7), np.float32)
    before = layer.weight

    def loss():
        return float(((layer.forward(x) - target) ** 2).sum())

    first = loss()
    for _ in range(30):
        layer.backward(2 * (layer.forward(x) - target))
        layer.step(0.005)
    assert loss() < 0.9 * first
    np.testing.assert_array_equal(layer.weight.indices, before.indices)
    assert layer.table.state.shape == (len(OPTIMIZERS[optimizer].fresh), layer.weight.nnz)


def test_momentum_keeps_nine_tenths():
    layer, x, slopes = case(optimizer="momentum", bias=False)
    start = layer.weight.data.copy()
    velocity = np.zeros_like(start)
    for _ in range(3):
        layer.forward(x)
        layer.backward(slopes)
        velocity = 0.9 * velocity + layer.gradient
        start = start - 0.01 * velocity
        layer.step(0.01)
    np.testing.assert_allclose(layer.weight.data, start, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scope", ["row", "table"])
@pytest.mark.parametrize("grow", ["batch", "random"])
def test_exchanges_keep_the_number_of_weights(scope, grow):
    recipe = Recipe(Schedule("cosine", 0.4, 0.75), grow=grow, scope=scope)
    layer, x, slopes = case(n_in=30, n_out=12, recipe=recipe)
    for step in range(8):
        layer.forward(x)
        layer.backward(slopes)
        layer.step(0.01)
        nnz, rows = layer.weight.nnz, layer.weight.row_counts
        grown = layer.exchange(step / 8)
        assert layer.weight.nnz == layer.gradient.size == layer.table.state.shape[1] == nnz
        assert grown > 0 if step < 3 else grown == 0 or step < 6
        if scope == "row":
            np.testing.assert_array_equal(layer.weight.row_counts, rows)
    W = layer.weight.to_dense()
    np.testing.assert_allclose(layer.forward(x), x @ W.T + layer.bias, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.backward(slopes), slopes @ W, rtol=1e-4, atol=1e-4)


def test_growth_is_where_the_gradient_of_the_batch_is_largest():
    layer, x, slopes = case(n_in=10, n_out=4, density=0.5, recipe=Recipe(Schedule("constant", 0.2)))
    layer.forward(x)
    layer.backward(slopes)
    W, gradient = layer.weight.to_dense(), np.abs(slopes.T @ x)
    assert layer.exchange(0.0) == 4
    for row, after in enumerate(layer.weight.to_dense() != 0):
        active = np.flatnonzero(W[row])
        weakest = active[np.argmin(np.abs(W[row, active]))]
        free = np.setdiff1d(np.arange(10), np.setdiff1d(active, [weakest]))
        grown = free[np.argmax(gradient[row, free])]
        held = layer.weight.indices[layer.weight.rows == row]
        assert set(held) == {*np.setdiff1d(active, [weakest]), grown}
        assert not after[grown]  # newborn


def test_only_what_is_trainable_moves_or_goes():
    layer, x, slopes = case(n_in=20, n_out=6)
    layer.trainable = np.arange(layer.weight.nnz) % 3 == 0
    fixed = layer.weight.to_dense().copy()
    fixed[layer.weight.rows[layer.trainable], layer.weight.indices[layer.trainable]] = 0
    for step in range(6):
        layer.forward(x)
        layer.backward(slopes)
        layer.step(0.05)
        layer.exchange(step / 6)
        now = layer.weight.to_dense()
        np.testing.assert_array_equal(now[fixed != 0], fixed[fixed != 0])
        assert layer.trainable.size == layer.weight.nnz


def test_a_chain_of_layers_copies_no_activations():
    first, second = nn.SparseLinear(6, 8, density=0.5), nn.SparseLinear(8, 3, density=0.5)
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    hidden = first.forward(x)
    assert hidden.flags.f_contiguous
    second.forward(hidden)
    assert np.shares_memory(second._batch[0], hidden)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, "density must be positive"),
        ({"density": 1.5}, "density must be from 0 to 1"),
        ({"recipe": "dsl"}, "Unknown recipe 'dsl'"),
        ({"optimizer": "lion"}, "Unknown optimizer 'lion'"),
        ({"n_in": 0}, "n_in must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        nn.SparseLinear(**({"n_in": 4, "n_out": 3} | options))


def test_what_does_not_fit_is_refused():
    layer, x, slopes = case()
    with pytest.raises(ValueError, match="backward must follow forward"):
        layer.backward(slopes)
    with pytest.raises(ValueError, match="x must have rows of 13 numbers: got 12"):
        layer.forward(x[:, 1:])
    layer.forward(x)
    with pytest.raises(ValueError, match="exchange must have a gradient to grow by"):
        layer.exchange(0.0)
    with pytest.raises(ValueError, match="slopes must have a row for each of 5 inputs: got 4"):
        layer.backward(slopes[1:])
    with pytest.raises(ValueError, match="progress must be from 0 to 1"):
        layer.exchange(1.5)
    assert repr(layer) == "SparseLinear(13, 7, 36 weights, density 0.396)"
