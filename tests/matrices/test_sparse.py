"""The sparse core against slow twins and scipy."""

import naive
import numpy as np
import pytest
import scipy.sparse
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparsenum.sparse import (
    CSR,
    ELL,
    cg,
    row_top_k,
    rows_times_sparse,
    spmm,
    spmv,
    spmv_t,
    transpose,
)
from sparsenum.sparse.formats import index_type

ROUNDING = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-12}


def assert_sound(A):
    assert A.indptr.dtype == np.uint64
    assert A.indptr[0] == 0
    assert A.indptr[-1] == A.nnz == len(A.data)
    rows = np.repeat(np.arange(A.shape[0]), A.row_counts)
    places = rows * A.shape[1] + A.indices.astype(np.int64)
    assert (np.diff(places) > 0).all()
    assert A.nnz == 0 or A.indices.max() < A.shape[1]


def assert_product(result, expected, A):
    assert result.dtype == A.data.dtype
    scale = 16.0 * strategies.LARGEST
    np.testing.assert_allclose(result, expected, rtol=0, atol=scale * ROUNDING[result.dtype])


# Formats


@given(strategies.dense(), st.sampled_from([0.0, 0.5, 2.0, 5.0]))
def test_from_dense_keeps_what_exceeds_the_threshold(A, threshold):
    result = CSR.from_dense(A, threshold)
    assert_sound(result)
    assert result.data.dtype == A.dtype
    np.testing.assert_array_equal(result.to_dense(), naive.above(A, threshold))


def test_from_dense_drops_nan_and_reads_any_layout():
    A = np.asfortranarray([[1, 0, 3], [0, 5, 0]])
    np.testing.assert_array_equal(CSR.from_dense(A).to_dense(), A)
    np.testing.assert_array_equal(CSR.from_dense(A.tolist()).to_dense(), A)
    assert CSR.from_dense([[np.nan, 1.0]]).indices.tolist() == [1]
    assert CSR.from_dense(np.zeros((0, 3))).shape == (0, 3)


@given(strategies.sparse(), st.data())
def test_rows_and_lengths_say_where_entries_are(A, data):
    dense = np.zeros(A.shape, A.data.dtype)
    dense[A.rows, A.indices] = A.data
    np.testing.assert_array_equal(dense, A.to_dense())
    again = CSR.from_counts(A.row_counts, A.indices, A.data, A.shape)
    np.testing.assert_array_equal(again.indptr, A.indptr)
    assert_sound(again)
    n = A.shape[0]
    wanted = data.draw(st.lists(st.integers(0, n - 1), max_size=6)) if n else []
    some = A.take(np.array(wanted, np.int64))
    assert_sound(some)
    np.testing.assert_array_equal(some.to_dense(), dense[wanted])


@given(strategies.sparse())
def test_scipy_round_trip(A):
    there = A.to_scipy()
    assert there.has_canonical_format
    np.testing.assert_array_equal(there.toarray(), A.to_dense())
    back = CSR.from_scipy(there)
    assert_sound(back)
    assert (back.shape, back.data.dtype) == (A.shape, A.data.dtype)
    np.testing.assert_array_equal(back.to_dense(), A.to_dense())


def test_from_scipy_sums_duplicates_sorts_and_leaves_the_source_alone():
    source = scipy.sparse.coo_array(([1, 2, 4, 8], ([1, 0, 0, 0], [0, 2, 1, 2])), shape=(2, 3))
    result = CSR.from_scipy(source)
    assert_sound(result)
    assert result.data.tolist() == [4.0, 10.0, 1.0]
    unsorted = scipy.sparse.csr_array((np.array([1.0, 2.0]), [2, 0], [0, 2]), shape=(1, 3))
    assert CSR.from_scipy(unsorted).indices.tolist() == [0, 2]
    assert unsorted.indices.tolist() == [2, 0]


@given(strategies.sparse())
def test_small_properties_of_csr(A):
    assert A.nnz == np.count_nonzero(A.to_dense())
    assert A.row_counts.tolist() == np.count_nonzero(A.to_dense(), axis=1).tolist()
    assert A.column_counts.tolist() == np.count_nonzero(A.to_dense(), axis=0).tolist()
    assert A.nbytes == 8 * (A.shape[0] + 1) + A.nnz * (A.indices.itemsize + A.data.itemsize)
    doubled = A.with_data(2 * A.data)
    assert doubled.indices is A.indices
    np.testing.assert_array_equal(doubled.to_dense(), 2 * A.to_dense())


@pytest.mark.parametrize(("n", "index"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_transpose_keeps_short_indices_where_they_fit(n, index):
    indices = np.array([1], np.uint16)
    A = CSR(np.r_[np.zeros(n), 1].astype(np.uint64), indices, np.ones(1), (n, 2))
    result = transpose(A)
    assert result.indices.dtype == index
    assert result.indices.tolist() == [n - 1]


@given(strategies.sparse())
def test_transpose_equals_its_twin_and_undoes_itself(A):
    result = transpose(A)
    assert_sound(result)
    np.testing.assert_array_equal(result.to_dense(), naive.transpose(A.to_dense()))
    again = transpose(result)
    assert again.indptr.tolist() == A.indptr.tolist()
    assert again.indices.tolist() == A.indices.tolist()
    assert again.data.tolist() == A.data.tolist()


def test_a_transpose_has_wider_indices_where_it_needs_them():
    tall = strategies.from_dense(np.arange(65_537.0)[:, None] == [0, 65_536], np.uint16)
    assert transpose(tall).indices.tolist() == [0, 65_536]
    assert index_type(65_536) == np.uint16
    assert index_type(65_537) == np.uint32


# Products


@given(st.data(), strategies.sparse())
def test_products_with_vectors(data, A):
    x = data.draw(strategies.vectors(A.shape[1]))
    y = data.draw(strategies.vectors(A.shape[0]))
    assert_product(spmv(A, x), naive.spmv(A.to_dense(), x), A)
    assert_product(spmv_t(A, y), naive.spmv_t(A.to_dense(), y), A)
    assert_product(spmv(transpose(A), y), naive.spmv_t(A.to_dense(), y), A)


@given(st.data(), strategies.sparse(), st.integers(1, 5))
def test_products_with_blocks(data, A, width):
    X = data.draw(strategies.dense(rows=A.shape[1], columns=width))
    assert_product(spmm(A, X), naive.spmm(A.to_dense(), X), A)


@given(st.data(), strategies.sparse(dtypes=(np.float64,)))
def test_products_of_sparse_matrices_by_blocks_of_rows(data, A):
    B = data.draw(strategies.sparse(rows=A.shape[1], dtypes=(np.float64,)))
    start = data.draw(st.integers(0, A.shape[0]))
    stop = data.draw(st.integers(start, A.shape[0]))
    expected = naive.rows_times_sparse(A.to_dense(), B.to_dense(), start, stop)
    assert_product(rows_times_sparse(A, B, start, stop), expected, A)


def test_products_of_empty_shapes():
    A = strategies.from_dense(np.zeros((0, 3)))
    assert spmv(A, np.ones(3)).shape == (0,)
    assert spmv_t(A, np.ones(0)).tolist() == [0.0, 0.0, 0.0]
    assert spmm(A, np.ones((3, 2))).shape == (0, 2)
    assert transpose(A).to_dense().shape == (3, 0)


# Selection


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=strategies.LARGEST),
        elements=st.integers(-5, 5).map(float) | st.sampled_from([np.nan, np.inf, -np.inf]),
    ),
    st.data(),
    st.sampled_from([np.float32, np.float64]),
)
def test_row_top_k_equals_sorting(scores, data, dtype):
    k = data.draw(st.integers(1, scores.shape[1]))
    result = row_top_k(scores.astype(dtype), k)
    assert result.data.dtype == dtype
    expected = naive.row_top_k(scores, k)
    padding = [(scores.shape[1], -np.inf)]
    for columns, values, pairs in zip(result.indices, result.data, expected, strict=True):
        got = list(zip(columns.tolist(), values.tolist(), strict=True))
        assert got == pairs + padding * (k - len(pairs))
    compressed = result.to_csr()
    assert_sound(compressed)
    expected_rows = [sorted(pairs) for pairs in expected]
    assert compressed.row_counts.tolist() == [len(pairs) for pairs in expected]
    flat = list(zip(compressed.indices.tolist(), compressed.data.tolist(), strict=True))
    assert flat == [pair for pairs in expected_rows for pair in pairs]


# Conjugate gradients


@given(st.data(), st.integers(1, strategies.LARGEST), st.booleans(), st.booleans())
def test_cg_solves_definite_systems(data, n, sparse, scaled):
    B = data.draw(strategies.dense(rows=n, columns=n, dtypes=(np.float64,)))
    b = data.draw(strategies.vectors(n))
    A = B @ B.T + np.diag(np.arange(1.0, n + 1.0))
    operator = CSR.from_dense(A) if sparse else A.__matmul__
    result = cg(operator, b, diagonal=np.diag(A) if scaled else None, rtol=1e-12)
    assert result.converged
    assert result.residual <= 1e-12 * np.linalg.norm(b)
    np.testing.assert_allclose(
        result.x, naive.solve(A, b), rtol=0, atol=1e-9 * (1 + np.abs(b).sum())
    )


@given(st.data(), st.integers(2, strategies.LARGEST))
def test_cg_solves_singular_but_consistent_systems(data, n):
    weights = data.draw(strategies.vectors(n, st.integers(1, 9).map(float)))
    x = data.draw(strategies.vectors(n))
    laplacian = np.diag(weights.sum() * weights) - np.outer(weights, weights)
    b = laplacian @ x
    assume(np.linalg.norm(b) > 1e-3)
    result = cg(laplacian.__matmul__, b, rtol=1e-10)
    assert result.converged
    np.testing.assert_allclose(result.x, naive.solve(laplacian, b), rtol=0, atol=1e-6)


def test_cg_is_preconditioned_by_the_diagonal():
    scales = np.logspace(0, 12, 13)
    result = cg(scales.__mul__, np.ones(13), diagonal=scales, rtol=1e-12)
    assert (result.n_iter, result.converged) == (1, True)
    np.testing.assert_allclose(result.x, 1.0 / scales, rtol=1e-14)
    rng = np.random.default_rng(0)
    B = rng.random((13, 13))
    A = np.sqrt(np.outer(scales, scales)) * (B @ B.T + 13 * np.eye(13))
    scaled, plain = (cg(A.__matmul__, np.ones(13), diagonal=d) for d in (np.diag(A), None))
    assert scaled.converged
    assert scaled.n_iter < plain.n_iter / 3


def test_cg_stops_where_it_must():
    b = np.array([1.0, 2.0, 3.0])
    still = cg(np.diag([1.0, 2.0, 4.0]).__matmul__, b, max_iter=1)
    assert (still.n_iter, still.converged) == (1, False)
    assert still.residual == pytest.approx(
        np.linalg.norm(b - np.diag([1.0, 2.0, 4.0]) @ still.x), rel=1e-12
    )
    negative = cg(lambda v: -v, b)
    assert (negative.n_iter, negative.converged, negative.x.tolist()) == (1, False, [0.0] * 3)
    nothing = cg(lambda v: v, np.zeros(3))
    assert (nothing.n_iter, nothing.converged, nothing.x.tolist()) == (0, True, [0.0] * 3)
    assert b.tolist() == [1.0, 2.0, 3.0]


# What bad input is told

A = strategies.from_dense(np.eye(2, 3))
BAD = [
    (lambda: spmv(A, [1.0]), ValueError, "^x must have 3 rows"),
    (lambda: spmv(A, np.ones((3, 1))), ValueError, "^x must have 1 dimension"),
    (lambda: spmv(A, [1j, 0, 0]), TypeError, "^x must be an array of real"),
    (lambda: spmv_t(A, [1.0]), ValueError, "^y must have 2 rows"),
    (lambda: spmm(A, np.ones((2, 2))), ValueError, "^X must have 3 rows"),
    (lambda: spmm(A, np.ones(3)), ValueError, "^X must have 2 dimensions"),
    (lambda: rows_times_sparse(A, A, 0, 1), ValueError, "^B must have 3 rows"),
    (lambda: rows_times_sparse(A, transpose(A), 0, 3), ValueError, "^stop must be from 0 to 2"),
    (lambda: rows_times_sparse(A, transpose(A), 2, 1), ValueError, "^start must be from 0 to 1"),
    (lambda: rows_times_sparse(A, transpose(A), -1, 1), ValueError, "^start must be"),
    (lambda: row_top_k(np.ones((2, 3)), 0), ValueError, "^k must be from 1 to 3"),
    (lambda: row_top_k(np.ones((2, 3)), 4), ValueError, "^k must be from 1 to 3"),
    (lambda: row_top_k(np.ones((2, 3)), 1.5), TypeError, "^k must be a whole number"),
    (lambda: row_top_k(np.ones(3), 1), ValueError, "^scores must have 2 dimensions"),
    (lambda: CSR.from_dense([1.0]), ValueError, "^A must have 2 dimensions"),
    (lambda: CSR.from_dense([["x"]]), TypeError, "^A must be an array of real"),
    (lambda: cg(A, [["x"]]), TypeError, "^b must be an array of real"),
    (lambda: cg(A, [1.0], diagonal=[1.0, 1.0]), ValueError, "^diagonal must hold 1 positive"),
    (lambda: cg(A, [1.0], diagonal=[0.0]), ValueError, "^diagonal must hold 1 positive"),
    (lambda: cg(A, [1.0], diagonal=[np.nan]), ValueError, "^diagonal must hold 1 positive"),
    (lambda: cg(A, [1.0], max_iter=-1), ValueError, "^max_iter must be at least 0"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_kept_entries_are_those_of_the_dense_matrix():
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 3, (5, 7)).astype(np.float32)
    matrix = CSR.from_dense(dense)
    kept = rng.random(matrix.nnz) < 0.5
    wanted = np.zeros_like(dense)
    wanted[dense != 0] = dense[dense != 0] * kept
    assert (matrix.only(kept).to_dense() == wanted).all()
    assert matrix.only(kept).nnz == kept.sum()


def test_matrices_are_shown_on_one_line():
    A = CSR.from_dense(np.eye(3, 4, dtype=np.float32))
    assert repr(A) == "CSR(shape=(3, 4), nnz=3, dtype=float32)"
    best = ELL(np.zeros((3, 2), np.uint32), np.zeros((3, 2)), 4)
    assert repr(best) == "ELL(shape=(3, 4), places=2, dtype=float64)"
