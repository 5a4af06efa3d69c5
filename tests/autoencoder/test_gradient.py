"""The gradient of the autoencoder against a dense twin and finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.autoencoder.gradient import Growth, Unit, gradient_of_batch
from sparsenum.sparse import CSR


def case(seed, n_users=9, n_items=7, dim=5, density=0.5):
    """A table without empty rows, and histories, one of which is empty."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n_items, dim)) * (rng.random((n_items, dim)) < density)
    A[np.arange(n_items), rng.integers(dim, size=n_items)] = rng.normal(size=n_items) + 2
    X = (rng.random((n_users, n_items)) < 0.4).astype(np.float32)
    X[0] = 0
    return A.astype(np.float32), X


def loss_of(A, X, rows=slice(None)):
    """The loss, as it is written, in float64."""
    A, X = A.astype(np.float64), X.astype(np.float64)
    W = A / np.linalg.norm(A, axis=1, keepdims=True)
    total = 0.0
    for x in X:
        r = (W @ (W.T @ x) - x)[rows]
        r[r < 1e-5] = 0.0
        length, taken = np.linalg.norm(r), np.linalg.norm(x)
        if length > 0 and taken > 0:
            total += ((r / length - x[rows] / taken) ** 2).sum()
        else:
            total += 1.0
    return total


def slopes_of(A, X, rows=slice(None), h=1e-6):
    """Finite differences at every place."""
    A = A.astype(np.float64)
    out = np.zeros_like(A)
    for place in np.ndindex(A.shape):
        up, down = A.copy(), A.copy()
        up[place] += h
        down[place] -= h
        out[place] = (loss_of(up, X, rows) - loss_of(down, X, rows)) / (2 * h)
    return out


def gradient_everywhere(A, X):
    """The chain rule, dense and in float64; at a score of exactly zero nothing is learned."""
    A, X = A.astype(np.float64), X.astype(np.float64)
    lengths = np.linalg.norm(A, axis=1, keepdims=True)
    W = A / lengths
    total = np.zeros_like(A)
    for x in X:
        z = W.T @ x
        r = W @ z - x
        r[r < 1e-5] = 0.0
        if r.any() and x.any():
            c = np.linalg.norm(r)
            u, v = r / c, x / np.linalg.norm(x)
            ds = np.where(r > 0, -2 / c * (v - (u @ v) * u), 0.0)
            total += np.outer(ds, z) + np.outer(x, W.T @ ds)
    return (total - (W * total).sum(axis=1, keepdims=True) * W) / lengths


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_loss_and_gradient_on_active_weights(seed):
    A, X = case(seed)
    table, matrix = CSR.from_dense(A), CSR.from_dense(X)
    users, rows = np.arange(len(X)), np.arange(len(A))
    loss, gradient = gradient_of_batch(matrix, users, Unit.of(table), rows)
    assert loss == pytest.approx(loss_of(A, X), rel=1e-4)
    expected = slopes_of(A, X)[A != 0]
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=2e-3)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_growth_is_the_gradient_at_every_place(seed):
    A, X = case(seed, n_items=11)
    table, matrix = CSR.from_dense(A), CSR.from_dense(X)
    growth = Growth(matrix, np.arange(len(X)), table)
    for _ in range(2):  # it can be read again
        found = np.concatenate([block.copy() for _, block in growth.blocks()])
        free = A == 0
        expected = np.abs(gradient_everywhere(A, X))[free]
        np.testing.assert_allclose(found[free], expected, rtol=1e-4, atol=1e-5)


def test_scores_of_some_items_leave_out_the_others():
    A, X = case(3)
    X[:, 5:] = 0
    rows = np.array([0, 1, 2, 3, 4, 6])
    table, matrix = CSR.from_dense(A), CSR.from_dense(X)
    loss, gradient = gradient_of_batch(matrix, np.arange(len(X)), Unit.of(table), rows)
    assert loss == pytest.approx(loss_of(A, X, rows), rel=1e-4)
    np.testing.assert_allclose(gradient, slopes_of(A, X, rows)[A != 0], rtol=1e-3, atol=2e-3)


def test_growth_comes_in_blocks(monkeypatch):
    A, X = case(4, n_items=11)
    table, matrix = CSR.from_dense(A), CSR.from_dense(X)
    whole = [(first, block.copy()) for first, block in Growth(matrix, np.arange(9), table).blocks()]
    monkeypatch.setattr("recsys.autoencoder.gradient.BLOCK", 4)
    parts = [(first, block.copy()) for first, block in Growth(matrix, np.arange(9), table).blocks()]
    assert [first for first, _ in parts] == [0, 4, 8]
    np.testing.assert_allclose(
        np.concatenate([block for _, block in parts]), whole[0][1], rtol=1e-5, atol=1e-6
    )


def test_a_row_of_zeros_does_no_harm():
    A, X = case(5)
    table = CSR.from_dense(A)
    start, stop = table.indptr[2:4].astype(int)
    table.data[start:stop] = 0.0
    unit = Unit.of(table)
    loss, gradient = gradient_of_batch(CSR.from_dense(X), np.arange(len(X)), unit, np.arange(7))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
