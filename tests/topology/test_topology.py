"""Budgets, starts and rewiring: exact counts, and the entries that a sort would choose."""

import math

import naive
import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparsenum.topology import _cpu, allocate, cosine_fraction, random_start, rewire

# Budgets

weights = st.lists(
    st.integers(0, 1000).map(lambda x: x / 10) | st.sampled_from([1e-9, 1e9]),
    min_size=1,
    max_size=strategies.LARGEST,
)


@st.composite
def budgets(draw):
    """Weights, bounds, and a total that the bounds allow."""
    claims = draw(weights)
    lower = draw(hnp.arrays(np.int64, len(claims), elements=st.integers(0, 20)))
    upper = lower + draw(hnp.arrays(np.int64, len(claims), elements=st.integers(0, 50)))
    total = draw(st.integers(int(lower.sum()), int(upper.sum())))
    return total, claims, lower, upper


@given(budgets())
def test_allocate_sums_within_bounds(budget):
    total, claims, lower, upper = budget
    units = allocate(total, claims, lower=lower, upper=upper)
    assert units.dtype == np.int64
    assert units.sum() == total
    assert (lower <= units).all()
    assert (units <= upper).all()


@given(st.integers(0, 10**9), weights, st.integers(0, 3))
def test_allocate_is_monotone_in_the_weights(total, claims, lower):
    assume(total >= lower * len(claims))
    units = allocate(total, claims, lower=lower)
    order = np.argsort(claims, kind="stable")
    assert (np.diff(units[order])[np.diff(np.array(claims)[order]) > 0] >= 0).all()
    ties = np.flatnonzero(np.diff(np.array(claims)[order]) == 0)
    assert np.isin(np.diff(units[order])[ties], [0, -1]).all()  # the first of equals is favoured


@given(st.integers(0, 10**4), st.lists(st.integers(1, 1000), min_size=1, max_size=20))
def test_allocate_is_largest_remainder_without_bounds(total, claims):
    remainders = sorted({total * w % sum(claims) for w in claims})
    assume(len(remainders) == len(claims))  # ties are broken by rounding: not compared
    assert allocate(total, claims).tolist() == naive.largest_remainder(total, claims).tolist()


def test_allocate_where_bounds_bind():
    assert allocate(10, [1.0, 1.0, 4.0], upper=5).tolist() == [3, 2, 5]
    assert allocate(10, [0.0, 0.0, 1.0], upper=[9, 9, 4]).tolist() == [3, 3, 4]
    assert allocate(7, [100.0, 1.0, 1.0], lower=2).tolist() == [3, 2, 2]
    assert allocate(0, [1.0, 2.0]).tolist() == [0, 0]
    assert allocate(0, []).tolist() == []
    assert allocate(5, [0.0, 0.0]).tolist() == [3, 2]
    assert allocate(10**15 + 1, [1.0, 1.0, 1.0]).sum() == 10**15 + 1


# Starts


@st.composite
def row_counts(draw):
    n_cols = draw(strategies.sizes)
    n = draw(st.integers(0, strategies.LARGEST))
    return draw(hnp.arrays(np.int64, n, elements=st.integers(0, n_cols))), n_cols


@given(row_counts(), st.integers(0, 2**32), st.sampled_from([np.uint16, np.uint32]))
def test_random_start_has_the_counts_and_nothing_else(case, seed, dtype):
    counts, n_cols = case
    table = random_start(counts, n_cols, rng=np.random.default_rng(seed), index_dtype=dtype)
    assert table.shape == (len(counts), n_cols)
    assert table.row_counts.tolist() == counts.tolist()
    assert (table.indices.dtype, table.data.dtype) == (dtype, np.float32)
    assert not table.data.any()
    for i in range(len(counts)):
        row = table.indices[table.indptr[i] : table.indptr[i + 1]].tolist()
        assert row == sorted(set(row))
        assert all(column < n_cols for column in row)
    again = random_start(counts, n_cols, rng=np.random.default_rng(seed), index_dtype=dtype)
    assert again.indices.tolist() == table.indices.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_start_draws_every_subset_equally_often(seed):
    rows, subsets = 20_000, math.comb(5, 2)
    table = random_start(np.full(rows, 2), 5, rng=np.random.default_rng(seed))
    pairs = table.indices.reshape(rows, 2).astype(int) @ [5, 1]
    _, observed = np.unique(pairs, return_counts=True)
    assert len(observed) == subsets
    expected = rows / subsets
    assert ((observed - expected) ** 2 / expected).sum() < 33.7  # chi-square, 9 degrees, p = 1e-4


def test_random_starts_of_different_generators_differ():
    tables = [random_start(np.full(9, 8), 20, rng=np.random.default_rng(s)) for s in range(20)]
    assert len({table.indices.tobytes() for table in tables}) == 20


# Rewiring


@st.composite
def exchanges(draw, by_row):
    """A table, scores to keep by, scores to grow by, how many to exchange, and a seed."""
    A, grow, seed = draw(strategies.tables())
    keep = draw(strategies.vectors(A.nnz, st.integers(0, 8).map(float)))
    if by_row:
        quota = np.array([draw(st.integers(0, int(c))) for c in A.row_counts], np.int64)
    else:
        quota = draw(st.integers(0, A.nnz))
    return A, keep, quota, grow, seed


def run(A, keep, quota, grow, seed, rows_per_block=None):
    step = rows_per_block or A.shape[0]
    blocks = ((i, grow[i : i + step].copy()) for i in range(0, A.shape[0], step))
    return rewire(A, keep, quota, blocks, rng=np.random.default_rng(seed))


def places(indptr, indices):
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr.astype(np.int64)))
    return list(zip(rows.tolist(), indices.tolist(), strict=True))


def check(A, keep, grow, result, groups, born_limits):
    """Compare a rewiring with sorting, group of entries by group of entries."""
    old, new = places(A.indptr, A.indices), places(result.indptr, result.indices)
    assert new == sorted(set(new))
    assert len(new) == len(old)
    survivors = [p for p in result.source.tolist() if p >= 0]
    assert [old[p] for p in survivors] == [
        place for place, p in zip(new, result.source, strict=True) if p >= 0
    ]
    dropped = set(range(len(old))) - set(survivors)
    kept = {old[p] for p in survivors}
    born = {place for place, p in zip(new, result.source, strict=True) if p < 0}
    assert result.n_grown == len(born) == len(dropped)
    for positions, within, count in zip(groups, born_limits[0], born_limits[1], strict=True):
        positions = list(positions)
        expected = naive.weakest([keep[p] for p in positions], count)
        assert dropped & set(positions) == {positions[p] for p in expected}
        here = np.where(within, grow, -np.inf)
        free = {place for place, s in np.ndenumerate(here) if s > -np.inf} - kept
        mine = {place for place in born if within[place]}
        assert len(mine) == count
        promising = sum(grow[place] > 0 for place in free)
        best = naive.best_free(here, kept, min(count, promising))
        assert best <= mine  # beyond the positive scores it is a lottery among the rest
        assert mine <= free


@given(exchanges(by_row=False))
def test_rewire_in_the_whole_table_equals_sorting(case):
    A, keep, quota, grow, seed = case
    result = run(A, keep, quota, grow, seed)
    assert result.indices.dtype == A.indices.dtype
    everywhere = np.ones(A.shape, bool)
    check(A, keep, grow, result, [range(A.nnz)], ([everywhere], [quota]))


@given(exchanges(by_row=True))
def test_rewire_by_row_equals_sorting_and_keeps_the_row_counts(case):
    A, keep, quota, grow, seed = case
    result = run(A, keep, quota, grow, seed)
    assert result.indptr.tolist() == A.indptr.tolist()
    groups = [range(int(A.indptr[i]), int(A.indptr[i + 1])) for i in range(A.shape[0])]
    rows = np.arange(A.shape[0])[:, None]
    within = [np.broadcast_to(rows == i, A.shape) for i in range(A.shape[0])]
    check(A, keep, grow, result, groups, (within, quota.tolist()))


@given(st.data(), st.booleans(), st.integers(1, 7))
def test_rewire_does_not_depend_on_the_blocks(data, by_row, rows_per_block):
    case = data.draw(exchanges(by_row=by_row))
    whole, parts = run(*case), run(*case, rows_per_block=rows_per_block)
    assert parts.indptr.tolist() == whole.indptr.tolist()
    assert parts.indices.tolist() == whole.indices.tolist()
    assert parts.source.tolist() == whole.source.tolist()


@given(exchanges(by_row=False))
def test_survivors_carry_their_state_and_newborns_start_fresh(case):
    A, keep, quota, grow, seed = case
    result = run(A, keep, quota, grow, seed)
    state = np.arange(1.0, A.nnz + 1.0, dtype=np.float32)
    carried = result.carry(state, newborn=-7.0)
    assert carried.dtype == np.float32
    position = dict(zip(places(A.indptr, A.indices), state.tolist(), strict=True))
    new = places(result.indptr, result.indices)
    for place, source, number in zip(new, result.source, carried.tolist(), strict=True):
        assert number == (-7.0 if source < 0 else position[place])
    assert not result.carry(state)[result.source < 0].any()


def test_what_was_just_dropped_may_come_back_as_a_newborn():
    A = strategies.from_dense(np.array([[1.0, 2.0, 0.0]]))
    result = run(A, A.data, 1, np.array([[9.0, 9.0, 1.0]]), 0)
    assert result.indices.tolist() == [0, 1]
    assert result.source.tolist() == [-1, 1]


def test_the_lottery_is_fair_and_follows_the_generator():
    A = strategies.from_dense(np.eye(1, 5))
    grown = [run(A, A.data, 1, np.zeros((1, 5)), seed).indices[0] for seed in range(2000)]
    observed = np.bincount(grown, minlength=5)
    assert ((observed - 400) ** 2 / 400).sum() < 23.5  # chi-square, 4 degrees, p = 1e-4
    assert grown[:50] == [run(A, A.data, 1, np.zeros((1, 5)), s).indices[0] for s in range(50)]


def test_a_score_of_float32_and_not_a_number_grow_as_documented():
    A = strategies.from_dense(np.eye(1, 4, dtype=np.float32), np.uint16)
    result = run(A, A.data, 1, np.array([[0.0, np.nan, 0.5, 0.25]], np.float32), 0)
    assert result.indices.tolist() == [2]


# Kernels by themselves


@given(st.data(), st.lists(st.integers(0, strategies.LARGEST), min_size=1, max_size=8))
def test_weakest_in_groups_equals_sorting(data, counts):
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    score = data.draw(strategies.vectors(sum(counts), st.integers(0, 6).map(float)))
    quota = np.array([data.draw(st.integers(0, c)) for c in counts], np.int64)
    keep, order = np.ones(len(score), bool), np.empty(max(counts), np.uint32)
    _cpu.weakest_in_groups(score, starts, quota, order, keep)
    for i, count in enumerate(quota):
        group = slice(int(starts[i]), int(starts[i + 1]))
        assert set(np.flatnonzero(~keep[group])) == naive.weakest(score[group].tolist(), count)


@given(st.data(), strategies.dense(dtypes=(np.float64,)))
def test_best_in_rows_equals_sorting(data, scores):
    n, m = scores.shape
    quota = [data.draw(st.integers(0, m)) for _ in range(n)]
    starts = np.concatenate([[0], np.cumsum(quota)])
    columns = np.empty(starts[-1], np.uint32)
    _cpu.best_in_rows(scores, 0, starts, columns)
    for i in range(n):
        expected = sorted(range(m), key=lambda j, row=scores[i]: (-row[j], j))[: quota[i]]
        assert columns[starts[i] : starts[i + 1]].tolist() == sorted(expected)


@given(strategies.tables(), st.data())
def test_free_scores_rules_out_what_is_kept_and_draws_below_zero(case, data):
    A, scores, seed = case
    keep = data.draw(hnp.arrays(np.bool_, A.nnz))
    block = scores.copy()
    _cpu.free_scores(block, 0, A.indptr, A.indices, keep, np.uint64(seed))
    kept = np.zeros(A.shape, bool)
    kept[tuple(np.array(places(A.indptr, A.indices), int).reshape(-1, 2)[keep].T)] = True
    assert (block[kept] == -np.inf).all()
    positive = ~kept & (scores > 0)
    np.testing.assert_array_equal(block[positive], scores[positive])
    lots = block[~kept & (scores == 0)]
    assert ((lots <= -1) & (lots > -2)).all()
    assert len(set(lots.tolist())) == len(lots)


@given(strategies.tables(), st.data())
def test_merge_rows_equals_sorting(case, data):
    A, _, _ = case
    keep = data.draw(hnp.arrays(np.bool_, A.nnz))
    chosen = data.draw(hnp.arrays(np.bool_, A.shape))
    old = places(A.indptr, A.indices)
    kept = [place for place, k in zip(old, keep, strict=True) if k]
    chosen[tuple(np.array(kept, int).reshape(-1, 2).T)] = False
    rows, columns = np.nonzero(chosen)
    born_starts = np.searchsorted(rows, np.arange(A.shape[0] + 1))
    expected = sorted(kept + list(zip(rows.tolist(), columns.tolist(), strict=True)))
    new_indptr = np.searchsorted([i for i, _ in expected], np.arange(A.shape[0] + 1))
    new_indptr = new_indptr.astype(np.uint64)
    new_indices = np.empty(len(expected), A.indices.dtype)
    source = np.empty(len(expected), np.int64)
    born = columns.astype(A.indices.dtype)
    _cpu.merge_rows(A.indptr, A.indices, keep, born_starts, born, new_indptr, new_indices, source)
    assert places(new_indptr, new_indices) == expected
    assert source.tolist() == [old.index(p) if p in kept else -1 for p in expected]


# Schedule


@pytest.mark.parametrize("stop", [1.0, 0.75])
def test_cosine_fraction_at_its_ends(stop):
    def f(x):
        return cosine_fraction(x, start=0.3, end=0.1, stop=stop)

    assert f(0.0) == 0.3
    assert f(stop / 2) == pytest.approx(0.2)
    assert f(stop * (1 - 1e-9)) == pytest.approx(0.1)
    assert f(stop) == f(1.0) == 0.0
    steps = [f(x) for x in np.linspace(0.0, stop, 50)]
    assert steps == sorted(steps, reverse=True)


def test_cosine_fraction_defaults_are_those_of_the_paper():
    assert cosine_fraction(0.0) == 0.5
    assert cosine_fraction(1 - 1e-12) == pytest.approx(0.005)


# What bad input is told

A = strategies.from_dense(np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]))
RNG = np.random.default_rng(0)


def grow(quota, blocks=((0, (2, 3)),), score=(1.0, 2.0, 3.0)):
    arrays = [(first, np.ones(shape)) for first, shape in blocks]
    return rewire(A, np.array(score), quota, arrays, rng=RNG)


BAD = [
    (lambda: allocate(-1, [1.0]), ValueError, "^total must be at least 0"),
    (lambda: allocate(1.5, [1.0]), TypeError, "^total must be a whole number"),
    (lambda: allocate(1, []), ValueError, "^total must be from 0 to 0"),
    (lambda: allocate(5, [1.0, 1.0], upper=2), ValueError, "^total must be from 0 to 4"),
    (lambda: allocate(1, [1.0, 1.0], lower=1), ValueError, "^total must be from 2 to 2"),
    (lambda: allocate(2, [1.0], lower=2, upper=1), ValueError, "^total must be"),
    (lambda: allocate(1, [-1.0]), ValueError, "^weights must be finite and not negative"),
    (lambda: allocate(1, [np.nan]), ValueError, "^weights must be finite"),
    (lambda: allocate(1, [np.inf]), ValueError, "^weights must be finite"),
    (lambda: allocate(1, [[1.0]]), ValueError, "^weights must have 1 dimension"),
    (lambda: allocate(1, [1.0], lower=0.5), ValueError, "^lower must hold whole numbers"),
    (lambda: allocate(1, [1.0], upper=-1), ValueError, "^upper must hold whole numbers"),
    (lambda: random_start([4], 3, rng=RNG), ValueError, "^counts must lie from 0 to the 3"),
    (lambda: random_start([-1], 3, rng=RNG), ValueError, "^counts must lie"),
    (
        lambda: random_start([1], 65_537, rng=RNG, index_dtype=np.uint16),
        ValueError,
        "^index_dtype must hold columns up to 65536",
    ),
    (lambda: grow(4), ValueError, "^n_exchange must be from 0 to 3"),
    (lambda: grow(-1), ValueError, "^n_exchange must be from 0 to 3"),
    (lambda: grow(0.5), TypeError, "^n_exchange must be a whole number"),
    (lambda: grow(np.array([3, 0])), ValueError, "^n_exchange must be from 0 to the number"),
    (lambda: grow(np.array([-1, 0])), ValueError, "^n_exchange must be from 0 to the number"),
    (lambda: grow(np.array([1])), ValueError, "^n_exchange must be from 0 to the number"),
    (lambda: grow(1, score=(1.0,)), ValueError, "^keep_score must hold one number for each of"),
    (lambda: grow(1, [(0, (1, 3))]), ValueError, "^grow_scores must cover 2 rows: got 1"),
    (lambda: grow(1, [(1, (1, 3))]), ValueError, "^grow_scores must go on at row 0"),
    (lambda: grow(1, [(0, (2, 2))]), ValueError, "^grow_scores must go on at row 0"),
    (lambda: grow(1, [(0, (3, 3))]), ValueError, "^grow_scores must go on at row 0"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
