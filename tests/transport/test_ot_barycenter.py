"""Barycenters against a slow twin and POT: parity, edges, and how a solve ends."""

import naive
import numpy as np
import ot as pot
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsenum import ConvergenceWarning, ot
from sparsenum.ot.problems.dense import Problem, gather
from sparsenum.ot.problems.support import Restricted
from sparsenum.ot.solvers.annealing import barycenter as algorithm
from sparsenum.ot.solvers.annealing.barycenter import Agreement, direction, newton_step
from sparsenum.ot.solvers.annealing.descent import COARSE, ROOM, Descent
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.solvers.newton import Pace


def line(n):
    x = np.linspace(0, 1, n)
    return (x[:, None] - x) ** 2


def bumps(n, k, seed=0, background=0.0):
    """Histograms on a line, of two bumps each."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, n)[:, None, None]
    middle, width = rng.random((2, k)), 0.02 + 0.05 * rng.random((2, k))
    A = np.exp(-((x - middle) ** 2) / (2 * width**2)).sum(axis=1)
    A[A < 1e-3] = background
    return A / A.sum(axis=0)


def images(side, k, seed=0):
    """Rings in the plane, most pixels empty, and the cost between pixels."""
    rng = np.random.default_rng(seed)
    pixels = np.indices((side, side)).reshape(2, -1).T / (side - 1)
    middles, radii = 0.35 + 0.3 * rng.random((k, 2)), 0.1 + 0.2 * rng.random(k)
    away = np.abs(np.linalg.norm(pixels[:, None] - middles, axis=2) - radii)
    A = np.maximum(0.06 - away, 0.0)
    M = ((pixels[:, None] - pixels) ** 2).sum(axis=2)
    return A / A.sum(axis=0), M / M.max()


def agreement(reg=0.1, k=3, n=10, m=8, seed=0):
    """Problems of unlike size on supports that are everything."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(k))
    parts = []
    for rows in range(n, n + k):
        M, a = rng.random((rows, m)), rng.dirichlet(np.ones(rows))
        every = np.full(rows, np.inf), np.full(m, np.inf)
        everything = gather(M, np.zeros(rows), np.zeros(m), *every)
        parts.append(Restricted(everything, a, np.ones(m), reg))
    view = Agreement([], parts, weights, reg, 1e-12)
    return view, view.balanced(0.1 * rng.normal(size=(k, m)))


# Against the twin and POT


@settings(max_examples=25)
@given(st.data(), st.integers(1, 4), strategies.sizes, st.sampled_from([0.2, 0.5]))
def test_barycenter_is_the_twins(data, k, n, reg):
    m = data.draw(strategies.sizes)
    M = data.draw(strategies.vectors((n, m), strategies.costs))
    A = data.draw(strategies.vectors((n, k), st.integers(0, 5).map(float)))
    A = (A + (A.sum(axis=0) == 0)) / (A + (A.sum(axis=0) == 0)).sum(axis=0)
    weights = data.draw(strategies.marginals(k))
    q, log = ot.barycenter(A, M, reg, weights, stopThr=1e-12, log=True)
    assert log["converged"]
    assert log["status"] == "converged"
    np.testing.assert_allclose(q, naive.bregman_barycenter(A, M, reg, weights), rtol=0, atol=1e-10)
    for a, f, g in zip(A.T, log["f"].T, log["g"].T, strict=True):
        P = naive.plan(M, f, g, reg)
        np.testing.assert_allclose(P.sum(axis=1), a, rtol=0, atol=1e-12)
        np.testing.assert_allclose(P.sum(axis=0), q, rtol=0, atol=1e-10)
    np.testing.assert_allclose(log["g"] @ weights, 0.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weights", [None, [0.2, 0.5, 0.3]])
@pytest.mark.parametrize("symmetric", [True, False])
def test_barycenter_is_pots(weights, symmetric):
    rng = np.random.default_rng(0)
    A, M = rng.dirichlet(np.ones(12), 3).T, rng.random((12, 12))
    M = M + M.T if symmetric else M
    theirs = None if weights is None else np.array(weights)
    # With unequal weights POT's plain variant starts, and so ends, off the constraint on g.
    for method in ["sinkhorn_log", "sinkhorn_stabilized", "sinkhorn"][: 2 + (weights is None)]:
        expected = pot.barycenter(A, M, 0.1, theirs, method=method, stopThr=1e-13)
        np.testing.assert_allclose(ot.barycenter(A, M, 0.1, weights), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("reg", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("background", [0.0, 1e-6])
def test_small_reg_reaches_the_tolerance(reg, background):
    A, M = bumps(80, 3, background=background), line(80)
    q, log = ot.barycenter(A, M, reg, log=True)
    assert log["converged"]
    for a, f, g in zip(A.T, log["f"].T, log["g"].T, strict=True):
        P = naive.plan(M, f, g, reg)
        assert np.abs(P.sum(axis=1) - a).sum() <= 1e-10
        assert np.abs(P.sum(axis=0) - q).sum() <= 3e-9
    assert q.sum() == pytest.approx(1)


def test_images_agree_with_pot():
    A, M = images(14, 3)
    q, log = ot.barycenter(A, M, 2e-3, log=True)
    assert log["converged"]
    assert (A == 0).mean() > 0.5
    expected = pot.barycenter(A, M, 2e-3, stopThr=1e-12)
    np.testing.assert_allclose(q, expected, rtol=0, atol=1e-9)


def test_a_narrow_reg_moves_the_mean_not_the_mass():
    x = np.linspace(0, 1, 101)
    A = np.zeros((101, 2))
    A[10, 0] = A[70, 1] = 1.0
    q = ot.barycenter(A, line(101), 1e-3, [0.25, 0.75])
    assert q @ x == pytest.approx(0.25 * 0.1 + 0.75 * 0.7)
    assert q.argmax() == 55


def test_supports_that_miss_something_are_cut_anew_and_at_last_given_up(monkeypatch):
    A, M = bumps(60, 3), line(60)
    widths, cut = [], Descent.cut

    def too_narrow_once(descent, reg, width):
        last = reg == 1e-3 and width > COARSE + ROOM
        widths.append(width)
        cut(descent, reg, 8.0 if last and max(widths[:-1]) < width else width)

    monkeypatch.setattr(Descent, "cut", too_narrow_once)
    log = ot.barycenter(A, M, 1e-3, log=True)[1]
    assert widths[-1] == widths[-2]
    assert log["converged"]
    monkeypatch.setattr(Descent, "cut", lambda descent, reg, width: cut(descent, reg, 6.0))
    log = ot.barycenter(A, M, 1e-3, log=True, warn=False)[1]
    assert (log["converged"], log["status"]) == (False, "stalled")
    assert log["marginal_error"] > 1e-9


# Edges


def test_total_mass_and_scale_of_the_weights():
    A, M = bumps(30, 3), line(30)
    q = ot.barycenter(A, M, 0.01)
    more, more_log = ot.barycenter(7 * A, M, 0.01, [2, 2, 2], log=True)
    np.testing.assert_allclose(more, 7 * q, rtol=0, atol=1e-8)
    np.testing.assert_allclose(
        naive.plan(M, more_log["f"][:, 0], more_log["g"][:, 0], 0.01).sum(), 7
    )


def test_a_histogram_without_weight_does_not_count():
    A, M = bumps(30, 3), line(30)
    q, log = ot.barycenter(A, M, 0.01, [0.5, 0.0, 0.5], log=True)
    np.testing.assert_array_equal(q, ot.barycenter(A[:, [0, 2]], M, 0.01))
    assert (log["f"][:, 1] == -np.inf).all()


def test_one_histogram_is_only_blurred():
    A, M = bumps(30, 1), line(30)
    K = np.exp(-M / 0.01)
    expected = K.T @ (A[:, 0] / K.sum(axis=1))
    np.testing.assert_allclose(ot.barycenter(A, M, 0.01), expected, rtol=0, atol=1e-12)


def test_order_does_not_matter():
    A, M = bumps(40, 4), line(40)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    q = ot.barycenter(A, M, 2e-3, weights)
    np.testing.assert_allclose(
        ot.barycenter(A[:, ::-1], M, 2e-3, weights[::-1]), q, rtol=0, atol=1e-8
    )
    np.testing.assert_allclose(ot.barycenter(A[::-1], M, 2e-3, weights), q[::-1], rtol=0, atol=1e-8)


def test_a_solve_that_stops_short_says_so():
    A, M = bumps(60, 3), line(60)
    with pytest.warns(ConvergenceWarning, match="Barycenter did not converge"):
        ot.barycenter(A, M, 1e-4, numItermax=3)
    q, log = ot.barycenter(A, M, 1e-4, numItermax=3, warn=False, log=True)
    assert (log["converged"], log["status"], log["niter"]) == (False, "max_iter", 3)
    assert log["marginal_error"] > 1e-9
    columns = [
        naive.plan(M, f, g, 1e-4).sum(axis=0) for f, g in zip(log["f"].T, log["g"].T, strict=True)
    ]
    off = np.mean([np.abs(column - q).sum() for column in columns])
    assert log["marginal_error"] == pytest.approx(off)


def test_verbose_writes_the_errors(capsys):
    _, log = ot.barycenter(bumps(20, 2), line(20), 0.01, verbose=True, log=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("|")[0].strip() == "It."
    assert len(lines) == 2 + (len(log["err"]) + 9) // 10  # every tenth


A, M = bumps(6, 2), line(6)
BAD = [
    ({"A": A[:, 0]}, "A must have 2 dimensions"),
    ({"A": A[:, :0]}, "A must have at least one bin and histogram"),
    ({"A": -A}, "A must hold finite masses, not negative"),
    ({"A": A * [1, 2]}, "A must have columns of one total: got from 1 to 2"),
    ({"A": A * [1, 0]}, "A must have mass in each column: got none in column 1"),
    ({"M": M[:5]}, "M must have one row for each bin of A, 6: got shape \\(5, 6\\)"),
    ({"M": M[:, :0]}, "M must have at least one column"),
    ({"M": np.where(M > 0.9, np.inf, M)}, "M must hold finite costs"),
    ({"reg": 0}, "reg must be positive"),
    ({"weights": [1, 2, 3]}, "weights must have one for each of the 2 columns of A: got 3"),
    ({"weights": [0, 0]}, "weights must be finite, not negative, and not all zero"),
    ({"weights": [-1, 2]}, "weights must be finite, not negative, and not all zero"),
    ({"stopThr": 0}, "stopThr must be positive"),
    ({"numItermax": -1}, "numItermax must be at least 0"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_input_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        ot.barycenter(**{"A": A, "M": M, "reg": 0.1} | change)


# Parts


def test_direction_is_that_of_the_whole_newton_system():
    view, g = agreement()
    at = view.point(g)
    k, m = g.shape
    P = [part.support.with_data(part.entries.copy()).to_dense() for part in view.parts]
    H = np.zeros((k * m + m, k * m + m))
    for i in range(k):
        own = slice(i * m, (i + 1) * m)
        schur = naive.schur(P[i] / np.sqrt(view.parts[i].a)[:, None], at.columns[i])
        H[own, own] = view.weights[i] * schur
        H[own, k * m :] = H[k * m :, own] = view.weights[i] * np.eye(m)
    slope = -(view.weights[:, None] * at.columns).ravel()
    expected = naive.solve(H, np.concatenate([slope, np.zeros(m)]))[: k * m].reshape(k, m)
    x = direction(view, at._replace(error=1e-12), Pace(0.0), 1e-20)
    np.testing.assert_allclose(view.weights @ x, 0.0, rtol=0, atol=1e-12)
    # Only up to constants that sum to zero: they change no plan.
    x, expected = (y - y.mean(axis=1, keepdims=True) for y in (x, expected))
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_slope_of_the_dual_is_minus_the_columns():
    view, g = agreement()
    x, h = view.balanced(np.random.default_rng(1).normal(size=g.shape)), 1e-5
    slope = (view.point(g + h * x).value - view.point(g - h * x).value) / (2 * h)
    at = view.point(g)
    assert slope == pytest.approx(-(view.weights @ (at.columns * x).sum(axis=1)), rel=1e-5)
    swept = view.sweep(at)
    assert swept.value > at.value
    np.testing.assert_allclose(view.weights @ swept.g, 0.0, rtol=0, atol=1e-12)


def test_a_cut_keeps_what_has_a_share():
    A, M = bumps(40, 2, background=1e-6), line(40)
    problems = [Problem(M, np.ascontiguousarray(a), np.ones(40), 1e-2) for a in A.T]
    view = Agreement.whole(problems, np.array([0.5, 0.5]), 0.05, 1e-13)
    descent = Descent(view, view.point(np.zeros((2, 40))), Monitor(1e-9, 100), 4.0)
    before = descent.at.g
    descent.cut(1e-2, 5.0)
    for p, part, g in zip(problems, descent.view.parts, before, strict=True):
        plan = p.iterate(g)
        P = naive.plan(M, plan.f, g, 1e-2)
        share = np.maximum(P / p.a[:, None], P / plan.column_sums)
        costs = part.support.to_dense()
        np.testing.assert_array_equal(costs[M > 0] > 0, (share > np.exp(-5.0))[M > 0])
    assert 0 < descent.view.density < 1


def test_a_step_that_leads_nowhere_is_refused(monkeypatch):
    view, g = agreement()
    at, pace = view.point(g), Pace(0.0)
    better = newton_step(view, at, pace, 1e-9)
    assert better.value > at.value
    assert (pace.newton, pace.refused) == (1, 0)
    downhill = -direction(view, at, pace, 1e-9)
    monkeypatch.setattr(algorithm, "direction", lambda *_: downhill)
    assert newton_step(view, at, pace, 1e-9) is None
    assert (pace.newton, pace.refused) == (1, 1)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("reg", [1e-2, 1e-3])
def test_costs_that_nobody_pays_change_nothing_however_large(share, reg):
    A, M = bumps(60, 3), line(60)
    closed = np.random.default_rng(0).random(M.shape) < share
    q = ot.barycenter(A, np.where(closed, 1e3, M), reg)
    for sentinel in (1e9, 1e15):
        other, log = ot.barycenter(A, np.where(closed, sentinel, M), reg, log=True)
        assert log["converged"]
        assert log["niter"] < 100
        np.testing.assert_allclose(other, q, rtol=0, atol=1e-8)


def test_costs_that_must_be_paid_are_paid():
    A = np.zeros((30, 2))
    A[:15, 0] = A[15:, 1] = 1 / 15
    far = np.arange(30) < 15
    M = line(30) + 1e3 * (far[:, None] != far)
    q, log = ot.barycenter(A, M, 1e-2, log=True)
    assert log["converged"]
    assert q.sum() == pytest.approx(1.0)
    assert q[:15].sum() == pytest.approx(0.5)
