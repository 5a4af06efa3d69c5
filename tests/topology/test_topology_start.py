"""Aligned starts: the range finder written out densely, and what it is for."""

import tracemalloc

import naive_topology as naive
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from sparsenum.sparse import CSR
from sparsenum.topology import aligned_start, random_start, start, strongest


def taken(n, m, share, seed):
    return (np.random.default_rng(seed).random((n, m)) < share).astype(np.float32)


@given(st.integers(0, 12), st.integers(0, 9), st.integers(1, 6), st.data())
def test_aligned_start_has_the_counts(n, m, d, data):
    counts = [
        np.array([data.draw(st.integers(0, d)) for _ in range(rows)], np.int64) for rows in (n, m)
    ]
    matrix = strategies.from_dense(taken(n, m, 0.4, data.draw(st.integers(0, 99))))
    rng = np.random.default_rng(0)
    for table, wanted in zip(
        aligned_start(matrix, *counts, d, rng=rng, index_dtype=np.uint16), counts, strict=True
    ):
        assert table.shape == (wanted.size, d)
        assert table.row_counts.tolist() == wanted.tolist()
        assert (table.indices.dtype, table.data.dtype) == (np.uint16, np.float32)
        assert np.isfinite(table.data).all()
        for i in range(wanted.size):
            row = table.indices[table.indptr[i] : table.indptr[i + 1]].tolist()
            assert row == sorted(set(row))


def test_one_step_equals_the_dense_one(monkeypatch):
    monkeypatch.setattr(start, "BLOCK", 7)
    A, V = taken(30, 20, 0.3, 0), random_start(np.full(20, 4), 6, rng=np.random.default_rng(0))
    V = V.with_data(np.random.default_rng(1).standard_normal(V.nnz, np.float32))
    counts = np.arange(30) % 7
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    scale = np.random.default_rng(2).uniform(1, 2, 30).astype(np.float32)
    found = start._strongest(start._Rows(strategies.from_dense(A), None), V, scale, indptr)
    scaled = scale[:, None] * A.astype(float)
    expected = naive.strongest(scaled, V.to_dense().astype(float), counts.tolist())
    np.testing.assert_allclose(found.to_dense(), expected, rtol=0, atol=1e-5)
    assert (found.to_dense() != 0).sum() > 80


@pytest.mark.parametrize("parts", [1, 3, 8, 50])
@pytest.mark.parametrize("shape", [(30, 20), (3, 40), (5, 0), (0, 4)])
def test_rows_and_columns_come_some_at_a_time(monkeypatch, parts, shape):
    monkeypatch.setattr(start, "BLOCK", 7)
    monkeypatch.setattr(start, "PIECE", 9)
    monkeypatch.setattr(start, "PARTS", parts)
    A = 3 * taken(*shape, 0.3, 0)
    A[:, : shape[1] // 2] = 0  # columns without entries, too
    matrix = strategies.from_dense(A)
    for side, expected in ((start._Rows, A), (start._Columns, A.T)):
        firsts, got = [], []
        for first, rows in side(matrix, np.log1p).blocks():  # a block goes with the next
            assert rows.shape[0] <= 7
            assert rows.nnz <= 9 or rows.shape[0] == 1
            firsts.append(first)
            got.append(rows.to_dense())
        assert firsts == np.cumsum([0, *map(len, got)])[: len(got)].tolist()
        np.testing.assert_allclose(np.concatenate([*got, expected[:0]]), np.log1p(expected), 1e-6)
        sums = np.log1p(expected).sum(axis=1)
        roots = 1 / np.sqrt(np.where(sums == 0, 1, sums))
        np.testing.assert_allclose(start._root_sums(side(matrix, np.log1p)), roots, 1e-5)


def test_groups_that_share_no_item_share_no_column():
    groups, size, d = 4, 30, 8
    dense = np.kron(np.eye(groups), np.ones((size, size))) * taken(120, 120, 0.5, 0)
    U, V = aligned_start(
        strategies.from_dense(dense.astype(np.float32)),
        np.full(120, 2),
        np.full(120, 2),
        d,
        rng=np.random.default_rng(0),
        sweeps=8,
    )
    scores = np.abs(U.to_dense() @ V.to_dense().T)
    inside = np.kron(np.eye(groups), np.ones((size, size))) > 0
    assert scores[inside].mean() > 20 * scores[~inside].mean()
    lot = [random_start(np.full(120, 2), d, rng=np.random.default_rng(s)) for s in range(2)]
    chance = (
        lot[0].with_data(lot[0].data + 1).to_dense()
        @ lot[1].with_data(lot[1].data + 1).to_dense().T
    )
    assert (scores[inside] > 0).mean() > 1.5 * (chance > 0).mean()


@pytest.mark.alone
def test_no_dense_table_is_made():
    n, d = 20_000, 256
    rng = np.random.default_rng(0)
    indices = rng.integers(n, size=n, dtype=np.uint32)
    matrix = CSR(np.arange(n + 1, dtype=np.uint64), indices, np.ones(n, np.float32), (n, n))
    counts = np.full(n, 2)
    aligned_start(matrix, counts, counts, 4, rng=rng, sweeps=1)  # compiles
    tracemalloc.start()
    try:
        aligned_start(matrix, counts, counts, d, rng=rng, sweeps=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * n * d / 2


def test_bad_input_is_named():
    matrix = strategies.from_dense(np.eye(3, dtype=np.float32))
    rng = np.random.default_rng(0)
    for counts, more, words in [
        (([1, 1], [1, 1, 1]), {}, "^row_counts must hold one number for each of 3: got 2"),
        (([1, 1, 1], [1]), {}, "^column_counts must hold one number for each of 3: got 1"),
        (([5, 1, 1], [1, 1, 1]), {}, "^counts must lie from 0 to the 4 columns"),
        (([1, 1, 1], [1, 1, 1]), {"sweeps": 0}, "^sweeps must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=words):
            aligned_start(matrix, *counts, 4, rng=rng, **more)


def test_the_strongest_entries_of_blocks_are_those_of_the_whole():
    table = np.random.default_rng(3).standard_normal((9, 6)).astype(np.float32)
    counts = np.array([0, 1, 2, 3, 4, 5, 6, 1, 2])
    kept = strongest(iter([table[:4], table[4:5], table[5:]]), counts, 6)
    for row, got, count in zip(table, kept.to_dense(), counts, strict=True):
        best = np.argsort(-np.abs(row))[:count]
        assert np.array_equal(np.flatnonzero(got), np.sort(best))
        assert np.array_equal(got[best], row[best])


def test_blocks_that_miss_rows_are_refused():
    with pytest.raises(ValueError, match="3 rows in all: got 2"):
        strongest([np.ones((2, 4), np.float32)], [1, 1, 1], 4)
