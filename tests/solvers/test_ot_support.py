"""Supports: their kernels against dense twins, and what they promise not to miss."""

import math

import naive
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from sparsenum import ot
from sparsenum.ot.problems import _cpu, _cpu_support
from sparsenum.ot.problems.dense import Problem, gather
from sparsenum.ot.problems.support import Restricted, bare_columns, is_full, narrow
from sparsenum.ot.solvers.annealing import supports
from sparsenum.ot.solvers.annealing.supports import Cut, Levels
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.solvers.newton import Pace
from sparsenum.sparse import CSR

CLOSE = {"rtol": 1e-11, "atol": 1e-13}
WIDTHS = st.sampled_from([math.pi / 100, math.pi / 10, math.e / 2, 100 * math.pi])


@st.composite
def states(draw):
    """A problem, some of its pairs forbidden, and any f and g."""
    M, a, b, reg = draw(strategies.problems(regs=(0.05, 0.2, 1.0)))
    forbidden = draw(strategies.hnp.arrays(np.bool_, M.shape))
    forbidden[:, 0] = forbidden[0] = False
    f, g = draw(strategies.vectors(len(a))), draw(strategies.vectors(len(b)))
    return Problem(np.where(forbidden, np.inf, M), a, b, reg), f, g


def everything(M):
    """All finite costs as a support."""
    rows, columns = np.nonzero(np.isfinite(M))
    indptr = np.searchsorted(rows, np.arange(len(M) + 1)).astype(np.uint64)
    return CSR(indptr, columns.astype(np.uint32), M[rows, columns], M.shape)


def mask(support):
    """Where a support has entries."""
    return support.with_data(np.ones(support.nnz)).to_dense() > 0


def written(M, support):
    """The costs of a support, infinite elsewhere."""
    costs = np.full(M.shape, np.inf)
    costs[mask(support)] = support.data
    return costs


# Kernels


@given(states(), WIDTHS, st.data())
def test_gather_keeps_what_is_below_its_rows_or_its_columns_slack(state, width, data):
    problem, f, g = state
    M = problem.M
    n, m = M.shape
    row_slack = width * data.draw(strategies.vectors(n))
    column_slack = width * data.draw(strategies.vectors(m))
    result = gather(M, f, g, row_slack, column_slack)
    kept = M - f[:, None] - g < np.maximum(row_slack[:, None], column_slack)
    np.testing.assert_array_equal(mask(result), kept)
    np.testing.assert_array_equal(written(M, result), naive.support_costs(M, kept))
    within = problem.within(f, g, width)
    np.testing.assert_array_equal(mask(within), M - f[:, None] - g < width)


@given(states(), WIDTHS)
def test_narrow_keeps_what_is_below_the_width(state, width):
    problem, f, g = state
    wide = gather(problem.M, f, g, np.full(len(f), 2 * width), np.full(len(g), -np.inf))
    result = narrow(wide, f, g, width)
    kept = problem.M - f[:, None] - g < width
    most = kept.sum() >= 0.8 * wide.nnz
    assert (result is wide) == most
    kept = mask(wide) if most else kept
    np.testing.assert_array_equal(mask(result), kept)
    np.testing.assert_array_equal(written(problem.M, result), naive.support_costs(problem.M, kept))


@pytest.mark.parametrize(("m", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_indices_are_as_small_as_the_columns_allow(m, dtype):
    M = np.zeros((2, m))
    M[0, :-1] = M[1, 1:] = 1.0
    support = gather(M, np.zeros(2), np.zeros(m), np.full(2, 0.5), np.full(m, -np.inf))
    assert support.indices.tolist() == [m - 1, 0]
    assert support.indices.dtype == dtype
    assert narrow(support, np.zeros(2), np.arange(m) / m, 0.1).indices.dtype == dtype
    at = Restricted(support, np.ones(2), np.ones(m), 1.0).iterate(np.zeros(m))
    assert Restricted(support, np.ones(2), np.ones(m), 1.0).hessian(at, 0.1).indices.dtype == dtype


@given(states(), WIDTHS)
def test_fills_need_one_spare_place_at_most_and_leave_all_others_alone(state, width):
    problem, f, g = state
    M, (n, m) = problem.M, problem.M.shape
    full = everything(M)
    triple = full.indptr, full.indices, full.data
    P, c = np.abs(full.data) + 1e-3, np.ones(m)

    def guarded(indptr, spare=1):
        np.cumsum(indptr, out=indptr)
        size = int(indptr[-1]) + spare
        indices, data = np.full(size + 5, 77, np.uint32), np.full(size + 5, -7.0)
        return indptr, indices, data, slice(size, None)

    slack = np.full(n, width), np.full(m, -np.inf)
    for kernel in ("cost", "narrow", "strong"):
        indptr = np.zeros(n + 1, np.uint64)
        if kernel == "cost":
            _cpu.count_slack(M, f, g, *slack, indptr)
            indptr, indices, data, beyond = guarded(indptr, 0)
            _cpu.fill_cost(M, f, g, *slack, indptr, indices, data)
        elif kernel == "narrow":
            _cpu_support.count_narrow(*triple, f, g, width, indptr)
            indptr, indices, data, beyond = guarded(indptr)
            _cpu_support.fill_narrow(*triple, f, g, width, indptr, indices, data)
        else:
            _cpu_support.count_strong(full.indptr, full.indices, P, problem.a, c, width, indptr)
            indptr, indices, data, beyond = guarded(indptr)
            _cpu_support.fill_strong(
                full.indptr, full.indices, P, problem.a, c, width, indptr, indices, data
            )
        assert (indices[beyond] == 77).all(), kernel
        assert (data[beyond] == -7.0).all(), kernel


@given(states(), st.sampled_from([3e-3, 0.1, 0.9]), WIDTHS)
def test_a_restricted_problem_is_the_problem_with_all_else_forbidden(state, drop, width):
    problem, f, g = state
    M, a, b, reg = problem.M, problem.a, problem.b, problem.reg
    near = M - f[:, None] - g < width
    near[:, 0] = near[0] = True
    costs = naive.support_costs(M, near)
    view = Restricted(everything(costs), a, b, reg)
    at = view.iterate(g)
    P = naive.plan(costs, at.f, g, reg)
    np.testing.assert_allclose(at.f, naive.row_update(costs, a, g, reg), **CLOSE)
    np.testing.assert_allclose(at.column_sums, P.sum(axis=0), **CLOSE)
    np.testing.assert_allclose(view.support.with_data(view.entries).to_dense(), P, **CLOSE)
    assert at.error == pytest.approx(np.abs(P.sum(axis=0) - b).sum(), abs=1e-13)
    s = view.support
    entries = np.empty(s.nnz)
    _cpu_support.support_plan(s.indptr, s.indices, s.data, at.f, g, reg, entries)
    np.testing.assert_allclose(s.with_data(entries).to_dense(), P, **CLOSE)
    exact = naive.strong(s.with_data(view.entries).to_dense(), a, at.column_sums, drop)
    np.testing.assert_allclose(view.hessian(at, drop).to_dense(), exact, **CLOSE)
    # The one array of entries may have gone to a Hessian or to another iterate since.
    np.testing.assert_allclose(view.hessian(at, drop).to_dense(), exact, **CLOSE)
    view.iterate(g + np.arange(len(g)))
    np.testing.assert_allclose(view.hessian(at, drop).to_dense(), exact, **CLOSE)


@given(states())
def test_restricted_to_everything_is_the_whole_problem(state):
    problem, _, g = state
    whole = problem.iterate(g)
    at = Restricted(everything(problem.M), problem.a, problem.b, problem.reg).iterate(g)
    for mine, theirs in zip(at, whole, strict=True):
        np.testing.assert_allclose(mine, theirs, **CLOSE)


@given(strategies.dense(dtypes=(np.float64,)))
def test_is_full_where_no_row_and_no_column_is_empty(A):
    expected = (A != 0).any(axis=1).all() and (A != 0).any(axis=0).all()
    assert is_full(strategies.from_dense(A)) == expected
    bare = [j for j in range(A.shape[1]) if not (A[:, j] != 0).any()]
    assert bare_columns(strategies.from_dense(A)).tolist() == bare


# Promises


@given(states(), WIDTHS, st.data())
def test_a_cut_misses_no_slack_below_what_it_says_it_reaches(state, width, data):
    problem, f, g = state
    cut = Cut(problem.within(f, g, width), f, g, width)
    phi = f + data.draw(strategies.vectors(len(f)))
    psi = g + data.draw(strategies.vectors(len(g)))
    below = problem.M - phi[:, None] - psi < cut.reaches(phi, psi) - 1e-9
    assert not (below & ~mask(cut.support)).any()
    assert cut.reaches(f, g) == width


@given(states(), WIDTHS, st.data())
def test_a_cut_bounds_the_mass_of_what_it_misses(state, width, data):
    problem, f, g = state
    cut = Cut(problem.within(f, g, width), f, g, width)
    phi = f + data.draw(strategies.vectors(len(f)))
    psi = g + data.draw(strategies.vectors(len(g)))
    slack = problem.M - phi[:, None] - psi
    P = problem.a[:, None] * problem.b * np.exp(-np.maximum(slack, 0.0) / problem.reg)
    bound = cut.misses(phi, psi, problem.reg)
    assert P[~mask(cut.support)].sum() <= bound * (1 + 1e-9)
    assert 0.0 <= bound <= 1.0


def test_a_step_beyond_its_support_is_not_followed_to_the_goal():
    """What the support does not hold, the error on it does not show."""
    rng = np.random.default_rng(0)
    M, reg = rng.random((30, 40)), 1e-3
    problem = Problem(M, np.full(30, 1 / 30), np.full(40, 1 / 40), reg)
    at = Levels(problem, Monitor(1e-9, 1000), np.zeros(30), np.zeros(40), Pace(0.0))
    at.phi[:] = M.min(axis=1)
    why, iterate = at.refine(reg, 16 * reg, 1e-12, 100)
    assert why == "moved"
    assert at.cut.misses(at.phi, at.psi, reg) > iterate.error


@given(states(), WIDTHS, st.data())
def test_supports_of_a_descent_are_full_and_complete(state, width, data):
    problem, f, g = state
    at = Levels(problem, Monitor(1e-9, 100), f, g, Pace(0.0))
    scans = 0
    for _ in range(3):
        cut = at.support(width)
        assert is_full(cut.support)
        assert (at.phi >= f - 1e-12).all()
        assert (at.psi >= g - 1e-12).all()
        assert cut.reaches(at.phi, at.psi) >= width
        slack = problem.M - at.phi[:, None] - at.psi
        assert not ((slack < cut.reaches(at.phi, at.psi) - 1e-9) & ~mask(cut.support)).any()
        finite = np.isfinite(problem.M)
        assert not (mask(cut.support) & ~finite).any()
        assert at.scans <= scans + 2
        scans = at.scans
        f = at.phi = at.phi + 0.1 * data.draw(strategies.vectors(len(f)))
        g = at.psi = at.psi + 0.1 * data.draw(strategies.vectors(len(g)))


def cloud(n, m, power, seed):
    rng = np.random.default_rng(seed)
    X, Y = rng.random((n, 2)), rng.random((m, 2))
    M = (np.abs(X[:, None] - Y) ** power).sum(axis=2)
    return M, rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reg", [3e-3, 3e-4, 3e-5])
def test_the_certified_support_leaves_out_a_hundredth_of_the_tolerance(
    power, seed, reg, monkeypatch
):
    seen = []
    refine = Levels.refine

    def watch(self, *args):
        why, at = refine(self, *args)
        seen.append((self.cut, self.cut.reaches(self.phi, self.psi), self.problem, at))
        return why, at

    monkeypatch.setattr(supports.Levels, "refine", watch)
    for tol in (1e-6, 1e-9):
        M, a, b = cloud(90, 110, power, seed)
        result = ot.solve(M, a, b, reg, tol=tol)
        assert result.converged
        assert "support" in result.log
        cut, reach, problem, at = seen[-1]
        assert reach >= math.log(100 / tol) * reg
        P = naive.plan(problem.M, at.f, at.g, problem.reg)
        assert P[~mask(cut.support)].sum() <= 0.01 * tol
        # The costs that were solved may lack an offset of each row and column; slacks do not.
        ours, theirs = at.f[:, None] + at.g - problem.M, np.add.outer(*result.potentials) - M
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)
