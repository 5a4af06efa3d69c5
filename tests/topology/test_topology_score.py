"""What is dropped and by what: scores, floors, pruning, tables on top of one another, schedules."""

import naive
import naive_topology
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from sparsenum import topology
from sparsenum.sparse import CSR

tables = strategies.sparse()


def rows(A):
    return np.repeat(np.arange(A.shape[0]), A.row_counts).tolist()


# Scores


@given(tables)
def test_magnitude_and_row_share_equal_loops(A):
    assert topology.magnitude(A).tolist() == [abs(x) for x in A.data.tolist()]
    norms = np.linalg.norm(A.to_dense().astype(float), axis=1)
    expected = [
        abs(x) / norms[i] if norms[i] else 0.0 for i, x in zip(rows(A), A.data, strict=True)
    ]
    np.testing.assert_allclose(topology.row_share(A), expected, rtol=1e-6)


@given(tables, st.booleans())
def test_signed_rank_equals_sorting(A, by_row):
    groups = rows(A) if by_row else [0] * A.nnz
    ranks = naive_topology.signed_ranks(A.data.tolist(), groups)
    np.testing.assert_allclose(topology.signed_rank(A, by_row=by_row), ranks)


def test_signed_rank_takes_equal_shares_of_both_signs():
    A = strategies.from_dense(np.array([[0.1, 0.2, 0.3, 0.4, -5.0, -6.0]]))
    gone = topology.prune(A, topology.signed_rank(A), 3)
    kept = A.data[gone.source].tolist()
    assert kept == [0.3, 0.4, -6.0]


@given(tables, st.integers(1, 5), st.integers(0, 2**32))
def test_taylor_equals_the_dense_product(A, rows_per_block, seed):
    gradient = np.random.default_rng(seed).standard_normal(A.shape)
    blocks = ((i, gradient[i : i + rows_per_block]) for i in range(0, A.shape[0], rows_per_block))
    product = np.abs(A.to_dense() * gradient)
    expected = product[rows(A), A.indices.astype(int)]
    np.testing.assert_allclose(topology.taylor(A, blocks), expected, rtol=1e-6)


@given(tables, st.integers(0, 4), st.data())
def test_protected_entries_are_the_best_of_each_row(A, floor, data):
    scores = data.draw(strategies.vectors(A.nnz, st.integers(0, 5).map(float)))
    guarded = topology.protect_rows(A, scores, floor)
    expected = naive_topology.protected(scores.tolist(), A.row_counts.tolist(), floor)
    assert set(np.flatnonzero(np.isinf(guarded)).tolist()) == expected
    free = np.isfinite(guarded)
    assert guarded[free].tolist() == scores[free].tolist()


# Pruning and stacking


@given(tables, st.data(), st.booleans())
def test_prune_drops_the_weakest_and_grows_none(A, data, by_row):
    scores = data.draw(strategies.vectors(A.nnz, st.integers(0, 8).map(float)))
    limits = A.row_counts.tolist() if by_row else [A.nnz]
    quota = [data.draw(st.integers(0, limit)) for limit in limits]
    result = topology.prune(A, scores, np.array(quota, np.int64) if by_row else quota[0])
    starts = A.indptr.astype(int).tolist() if by_row else [0, A.nnz]
    gone = set()
    for start, stop, count in zip(starts[:-1], starts[1:], quota, strict=True):
        gone |= {start + p for p in naive.weakest(scores[start:stop].tolist(), count)}
    assert result.source.tolist() == [p for p in range(A.nnz) if p not in gone]
    assert result.n_grown == 0
    left = CSR(result.indptr, result.indices, result.carry(A.data), A.shape).to_dense()
    expected = A.to_dense().copy()
    for p in gone:
        expected[rows(A)[p], A.indices[p]] = 0
    np.testing.assert_array_equal(left, expected)


@given(tables, st.integers(0, 2**32), st.data())
def test_entries_move_between_stacked_tables_and_come_apart(A, seed, data):
    rng = np.random.default_rng(seed)
    above = data.draw(st.integers(0, A.shape[0]))
    cut = int(A.indptr[above])
    upper = CSR(A.indptr[: above + 1], A.indices[:cut], A.data[:cut], (above, A.shape[1]))
    below = A.indptr[above:] - A.indptr[above]
    lower = CSR(below, A.indices[cut:], A.data[cut:], (A.shape[0] - above, A.shape[1]))
    both = topology.stack(upper, lower)
    np.testing.assert_array_equal(both.to_dense(), A.to_dense())

    n = data.draw(st.integers(0, A.nnz))
    blocks = [(0, rng.random(A.shape))]
    moved = topology.rewire(both, topology.magnitude(both), n, blocks, rng=rng)
    parts = moved.split(above, upper.nnz)
    pieces = []
    for part, table in zip(parts, (upper, lower), strict=True):
        shape = (part.indptr.size - 1, A.shape[1])
        assert shape == table.shape
        pieces.append(CSR(part.indptr, part.indices, part.carry(table.data), shape).to_dense())
    whole = CSR(moved.indptr, moved.indices, moved.carry(both.data), both.shape).to_dense()
    np.testing.assert_array_equal(np.vstack(pieces), whole)
    assert sum(part.indices.size for part in parts) == A.nnz
    assert sum(part.n_grown for part in parts) == moved.n_grown == n


def test_without_preference_every_free_place_is_as_likely():
    A = strategies.from_dense(np.eye(3, 4))
    grown = np.zeros(A.shape)
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        blocks = topology.no_preference(A.shape, rows=2)
        moved = topology.rewire(A, A.data, 1, blocks, rng=rng)
        born = moved.source < 0
        moved_rows = np.repeat(np.arange(3), np.diff(moved.indptr.astype(int)))
        grown[moved_rows[born], moved.indices[born]] += 1
    # The first entry goes (ties), the other two stay, and ten places are free.
    assert grown[1, 1] == grown[2, 2] == 0
    free = grown[grown > 0]
    assert free.size == 10
    assert ((free - 150) ** 2 / 150).sum() < 33.7  # chi-square, 9 degrees, p = 1e-4


# Schedules


@pytest.mark.parametrize("stop", [1.0, 0.6])
@pytest.mark.parametrize(
    ("schedule", "ends"),
    [
        (topology.linear_fraction, (0.5, 0.25, 0.0)),
        (topology.constant_fraction, (0.3, 0.3, 0.3)),
        (topology.cosine_fraction, (0.5, 0.2525, 0.005)),
        (topology.cubic_excess, (1.0, 0.125, 0.0)),
    ],
)
def test_schedules_at_their_ends(schedule, ends, stop):
    asked = [0.0, stop / 2, stop * (1 - 1e-12)]
    assert [schedule(t, stop=stop) for t in asked] == pytest.approx(ends, abs=1e-9)
    assert schedule(stop, stop=stop) == schedule(1.0, stop=stop) == 0.0


# What bad input is told

A = strategies.from_dense(np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]))
BAD = [
    (lambda: topology.prune(A, A.data, 4), ValueError, "^n_drop must be from 0 to 3"),
    (lambda: topology.prune(A, A.data, 0.5), TypeError, "^n_drop must be a whole number"),
    (lambda: topology.prune(A, A.data, np.array([3, 0])), ValueError, "^n_drop must be from 0"),
    (lambda: topology.prune(A, A.data[:1], 1), ValueError, "^keep_score must hold one number"),
    (lambda: topology.protect_rows(A, A.data, -1), ValueError, "^floor must be at least 0"),
    (
        lambda: topology.stack(A, strategies.from_dense(np.eye(2))),
        ValueError,
        "^lower must have 3 columns like upper: got 2",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
