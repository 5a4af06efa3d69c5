"""The sparse core on a device gives what it gives on the CPU, where its operands are.

Float64 agrees to 1e-10. Float32 products are summed in float64 on a device, so they differ from
those of the CPU by the rounding of its float32 sums: 1e-6 of the sum of the absolute values.
"""

import numpy as np
import pytest

from sparsenum._device import lives_on_cuda
from sparsenum.errors import DeviceError
from sparsenum.sparse import CSR, ELL, cg, row_top_k, schur_cg, spmm, spmv, spmv_t, transpose

pytestmark = pytest.mark.usefixtures("cuda")

SHAPES = {
    "one": (1, 1, 1.0),
    "several blocks": (29, 11, 0.4),
    "wide": (3, 40, 0.5),
    "empty": (5, 4, 0.0),
    "no rows": (0, 3, 1.0),
    "no columns": (3, 0, 1.0),
}
TYPES = [(dtype, index) for dtype in (np.float64, np.float32) for index in (np.uint32, np.uint16)]
of_all_types = pytest.mark.parametrize(("dtype", "index"), TYPES, ids=["d4", "d2", "f4", "f2"])
of_all_shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def matrix(n, m, share, dtype=np.float64, index=np.uint32, seed=0):
    """Return a matrix by rows and its dense twin; its second row is empty."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n, m)) * (rng.random((n, m)) < share)
    dense[1:2] = 0.0
    dense = dense.astype(dtype)
    A = CSR.from_dense(dense) if dense.size else empty(n, m, dtype)
    return CSR(A.indptr, A.indices.astype(index), A.data, A.shape), dense


def empty(n, m, dtype):
    return CSR(np.zeros(n + 1, np.uint64), np.empty(0, np.uint32), np.empty(0, dtype), (n, m))


def on_device(x):
    from sparsenum import _cuda

    return _cuda.to_device(x)


def assert_close(there, twin, absolute):
    assert type(there) is np.ndarray
    rounding = 1e-10 if there.dtype == np.float64 else 1e-6
    assert (np.abs(there - twin) <= rounding * np.maximum(absolute, 1e-300)).all()


@of_all_types
@of_all_shapes
def test_products_are_those_of_the_dense_matrix(shape, dtype, index):
    A, dense = matrix(*shape, dtype, index)
    n, m = A.shape
    rng = np.random.default_rng(1)
    wide, size = dense.astype(np.float64), np.abs(dense).astype(np.float64)
    for product, operand, twin, absolute in (
        (spmv, rng.normal(size=m), wide, size),
        (spmv_t, rng.normal(size=n), wide.T, size.T),
        (spmm, rng.normal(size=(m, 7)), wide, size),
        (spmm, rng.normal(size=(m, 1)), wide, size),
    ):
        x = operand.astype(dtype)
        there = product(A, x, device="cuda")
        assert there.dtype == dtype
        assert_close(there, twin @ x, absolute @ np.abs(x))
        assert_close(product(A, x), there.astype(np.float64), absolute @ np.abs(x))


@of_all_types
@of_all_shapes
def test_a_transpose_is_that_of_the_cpu(shape, dtype, index):
    A, _ = matrix(*shape, dtype, index)
    here, there = transpose(A), transpose(A, device="cuda")
    assert there.shape == here.shape
    for name in ("indptr", "indices", "data"):
        mine, other = getattr(here, name), getattr(there, name)
        assert type(other) is np.ndarray
        assert other.dtype == mine.dtype
        np.testing.assert_array_equal(other, mine)


def test_a_transpose_takes_wider_indices_where_it_must(monkeypatch):
    A, dense = matrix(29, 11, 0.4, index=np.uint16)
    monkeypatch.setattr("sparsenum.sparse.on_cuda.index_type", lambda length: np.uint32)
    turned = transpose(A, device="cuda")  # as of one with more rows than uint16 counts
    assert turned.indices.dtype == np.uint32
    np.testing.assert_array_equal(turned.to_dense(), dense.T)


@pytest.mark.parametrize("k", [1, 3, 19])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_best_of_each_row_are_those_of_the_cpu(k, dtype):
    rng = np.random.default_rng(2)
    scores = np.concatenate(
        [
            rng.normal(size=(9, 19)),
            rng.integers(0, 3, (9, 19)),  # ties
            rng.choice([np.nan, -np.inf, np.inf, 0.0, -0.0, 1.0], (9, 19)),
            np.full((1, 19), np.nan),
            [np.arange(19), -np.arange(19)],
        ]
    ).astype(dtype)
    here, there = row_top_k(scores, k), row_top_k(scores, k, device="cuda")
    assert there.n_cols == here.n_cols
    np.testing.assert_array_equal(there.indices, here.indices)
    np.testing.assert_array_equal(there.data, here.data)
    assert (there.indices.dtype, there.data.dtype) == (np.uint32, dtype)


def laplacian(n, index=np.uint32, dtype=np.float64):
    """Return the matrix of a chain with both ends held."""
    A = CSR.from_dense((2.5 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)).astype(dtype))
    return CSR(A.indptr, A.indices.astype(index), A.data, A.shape)


@pytest.mark.parametrize("n", [1, 13])
@of_all_types
def test_conjugate_gradients_end_where_they_end_on_the_cpu(n, dtype, index):
    A, b = laplacian(n, index, dtype), np.random.default_rng(3).normal(size=n)
    options = {"diagonal": np.linspace(2.0, 3.0, n), "rtol": 1e-13}
    there = cg(A, b, device="cuda", **options)
    assert there.converged
    assert there.residual <= 1e-13 * np.linalg.norm(b)
    # The matrix of float32 is exact, and all else is float64.
    np.testing.assert_allclose(there.x, np.linalg.solve(A.to_dense(), b), rtol=1e-7, atol=1e-10)
    if dtype == np.float64:
        here = cg(A, b, **options)
        np.testing.assert_allclose(there.x, here.x, rtol=1e-7, atol=1e-10)
        assert there.n_iter == here.n_iter


def test_conjugate_gradients_stop_as_on_the_cpu():
    A, b = laplacian(9), np.arange(9.0)
    here, there = cg(A, b, max_iter=3), cg(A, b, max_iter=3, device="cuda")
    assert (there.n_iter, there.converged) == (here.n_iter, here.converged) == (3, False)
    np.testing.assert_allclose(there.x, here.x, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(there.residual, here.residual, rtol=1e-7, atol=1e-10)
    assert cg(A, np.zeros(9), device="cuda").n_iter == 0
    downhill = CSR.from_dense(-np.eye(4))
    assert not cg(downhill, np.ones(4), device="cuda").converged
    with pytest.raises(TypeError, match="A must be a CSR with device='cuda'"):
        cg(lambda x: x, b, device="cuda")
    with pytest.raises(ValueError, match="diagonal must hold 9 positive numbers"):
        cg(A, b, diagonal=np.zeros(9), device="cuda")
    with pytest.raises(ValueError, match="A must be square"):
        cg(A, np.ones(8), device="cuda")


@pytest.mark.parametrize("share", [0.1, 0.6])
@of_all_types
def test_a_schur_complement_is_solved_as_on_the_cpu(share, dtype, index):
    Q, dense = matrix(17, 12, share, dtype, index)
    product = dense.astype(np.float64).T @ dense
    weight, b = 1.0 + np.abs(product).sum(axis=1), np.random.default_rng(4).normal(size=12)
    there = schur_cg(Q, weight, b, rtol=1e-13, device="cuda")
    assert there.converged
    np.testing.assert_allclose(
        there.x, np.linalg.solve(np.diag(weight) - product, b), rtol=1e-7, atol=1e-10
    )
    here = schur_cg(Q, weight, b, rtol=1e-13)
    np.testing.assert_allclose(
        there.x, here.x, rtol=1e-7, atol=1e-10 if dtype == np.float64 else 1e-6
    )
    assert (there.residual <= 1e-13) == (here.residual <= 1e-13)


def test_what_is_on_the_device_stays_there():
    A, dense = matrix(13, 9, 0.5)
    held = A.to("cuda")
    assert held.to("cuda").data is held.data
    np.testing.assert_array_equal(held.to("cpu").to_dense(), dense)
    assert A.to("cpu").data is A.data
    x, X = np.ones(9), np.ones((9, 2))
    there = spmv(held, on_device(x), device="cuda"), spmm(held, on_device(X), device="cuda")
    assert all(map(lives_on_cuda, there))
    np.testing.assert_allclose(there[0].copy_to_host(), dense @ x, rtol=1e-7, atol=1e-10)
    assert lives_on_cuda(spmv_t(held, on_device(np.ones(13)), device="cuda"))
    assert type(spmv(held, x, device="cuda")) is np.ndarray
    turned = transpose(held, device="cuda")
    assert lives_on_cuda(turned.data)
    np.testing.assert_array_equal(turned.to("cpu").to_dense(), dense.T)
    best = row_top_k(on_device(dense), 2, device="cuda")
    assert lives_on_cuda(best.indices)
    back = best.to("cpu")
    assert isinstance(back, ELL)
    np.testing.assert_array_equal(back.data, row_top_k(dense, 2).data)
    L = laplacian(9).to("cuda")
    assert lives_on_cuda(cg(L, on_device(x), diagonal=on_device(x), device="cuda").x)
    weight = np.full(9, 100.0)
    assert lives_on_cuda(schur_cg(held, weight, on_device(x), device="cuda").x)
    assert type(schur_cg(held, on_device(weight), x, device="cuda").x) is np.ndarray


def test_the_cpu_refuses_what_it_cannot_reach():
    A, dense = matrix(13, 9, 0.5)
    held, x = A.to("cuda"), np.ones(9)
    for call in (
        lambda: spmv(held, x),
        lambda: spmv(A, on_device(x)),
        lambda: spmv_t(held, np.ones(13)),
        lambda: spmm(held, np.ones((9, 2))),
        lambda: transpose(held),
        lambda: row_top_k(on_device(dense), 2),
        lambda: cg(held, x),
        lambda: schur_cg(held, x, x),
    ):
        with pytest.raises(DeviceError, match="is in the memory of a CUDA device, out of reach"):
            call()


def test_operands_on_the_device_are_checked_like_others():
    A, _ = matrix(13, 9, 0.5)
    with pytest.raises(ValueError, match="x must have 9 rows to fit A"):
        spmv(A, on_device(np.ones(8)), device="cuda")
    with pytest.raises(ValueError, match="x must have 1 dimension: got shape"):
        spmv(A, on_device(np.ones((9, 1))), device="cuda")
    with pytest.raises(TypeError, match="x on the device must be a contiguous array of float64"):
        spmv(A, on_device(np.ones(9, np.float32)), device="cuda")
    with pytest.raises(ValueError, match="k must be from 1 to 9"):
        row_top_k(np.ones((2, 9)), 10, device="cuda")
    with pytest.raises(ValueError, match="Unknown device 'gpu'"):
        A.to("gpu")
