"""The POT-shaped doors keep POT's contract."""

import inspect
import threading
import warnings

import numpy as np
import ot as pot
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from sparsenum import ConvergenceWarning, ot

RNG = np.random.default_rng(0)
M = RNG.random((7, 5))
A = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 2.0]) / 12
B = np.array([3.0, 1.0, 2.0, 2.0, 4.0]) / 12
METHODS = ["sns", "sinkhorn", "sinkhorn_log", "sinkhorn_stabilized"]
REG = 0.1


@pytest.mark.parametrize(
    ("ours", "theirs"), [(ot.sinkhorn, pot.sinkhorn), (ot.sinkhorn2, pot.sinkhorn2)]
)
def test_arguments_come_in_pots_order_with_pots_defaults(ours, theirs):
    mine, pots = (inspect.signature(f).parameters for f in (ours, theirs))
    assert list(mine)[: len(pots) - 1] == list(pots)[:-1]
    assert list(mine)[-1] == "kwargs"
    for name in mine.keys() & pots.keys() - {"method"}:
        assert mine[name].default == pots[name].default, name
        assert mine[name].kind == pots[name].kind, name
    assert mine["method"].default == "sns"


# Plans and costs


def digit_problems():
    """Pairs of digits as histograms on their 8 x 8 pixels, squared Euclidean cost."""
    pixels = np.argwhere(np.ones((8, 8)))
    cost = cdist(pixels, pixels, "sqeuclidean")
    images = load_digits().images.reshape(-1, 64) + 0.1
    images /= images.sum(axis=1, keepdims=True)
    return [(images[i], images[i + 1], cost) for i in range(3)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("problem", digit_problems(), ids=range(3))
def test_plans_and_costs_are_pots_on_digits(problem, method):
    reg = 0.05 * problem[2].max()
    theirs = pot.sinkhorn(*problem, reg, stopThr=1e-12, numItermax=10_000)
    plan = ot.sinkhorn(*problem, reg, method, stopThr=1e-12)
    np.testing.assert_allclose(plan, theirs, rtol=0, atol=1e-9)
    cost = ot.sinkhorn2(*problem, reg, method, stopThr=1e-12)
    assert cost == pytest.approx(np.sum(plan * problem[2]), rel=1e-12)
    assert cost == pytest.approx(pot.sinkhorn2(*problem, reg, stopThr=1e-12), rel=1e-8)


@pytest.mark.parametrize("empty", [[], np.zeros(0)])
def test_empty_masses_are_uniform(empty):
    expected = pot.sinkhorn([], [], M, REG, stopThr=1e-13)
    np.testing.assert_allclose(ot.sinkhorn(empty, empty, M, REG), expected, rtol=0, atol=1e-9)


def test_lists_and_positional_arguments():
    expected = pot.sinkhorn(A, B, M, REG, "sinkhorn", 5000, 1e-13)
    plan = ot.sinkhorn(A.tolist(), B.tolist(), M.tolist(), REG, "sinkhorn", 5000, 1e-12)
    assert plan.dtype == np.float64
    np.testing.assert_allclose(plan, expected, rtol=0, atol=1e-10)


def test_precision_follows_the_cost():
    assert ot.solve(M.astype(np.float32), A, B, REG).plan.dtype == np.float32
    plan = ot.sinkhorn(A, B, M.astype(np.float32), REG)
    assert plan.dtype == np.float32
    np.testing.assert_allclose(plan, ot.sinkhorn(A, B, M, REG), rtol=0, atol=1e-6)
    single = ot.sinkhorn(A.astype("f"), B.astype("f"), M, REG)
    assert single.dtype == np.float64
    costs = ot.sinkhorn(A, np.stack([B, B], axis=1), M.astype(np.float32), REG)
    assert costs.dtype == np.float32


@pytest.mark.parametrize("door", ["sinkhorn", "sinkhorn2"])
@pytest.mark.parametrize("k", [1, 3])
def test_columns_of_b_give_a_vector_of_costs(door, k):
    targets = RNG.random((5, k)) + 0.1
    targets /= targets.sum(axis=0)
    expected = getattr(pot, door)(A, targets, M, REG, stopThr=1e-13)
    costs, log = getattr(ot, door)(A, targets, M, REG, stopThr=1e-12, log=True)
    assert costs.shape == expected.shape == (k,)
    np.testing.assert_allclose(costs, expected, rtol=1e-9)
    assert log["u"].shape == log["log_u"].shape == (7, k)
    assert log["v"].shape == log["log_v"].shape == (5, k)
    again, log = getattr(ot, door)(A, targets, M, REG, log=True, warmstart=log["warmstart"])
    np.testing.assert_allclose(again, costs, rtol=1e-12)
    assert max(log["niter"]) <= 1


def test_an_infinite_cost_leaves_a_finite_result():
    walled = np.where(np.eye(7, 5) > 0, np.inf, M)
    plan = ot.sinkhorn(A, B, walled, REG)
    np.testing.assert_allclose(
        plan, pot.sinkhorn(A, B, walled, REG, stopThr=1e-12), rtol=0, atol=1e-9
    )
    assert not plan[np.isinf(walled)].any()
    cost = ot.sinkhorn2(A, B, walled, REG)
    assert cost == pytest.approx(np.sum(plan[plan > 0] * walled[plan > 0]), rel=1e-12)


# Log and warm start


def test_log_has_pots_keys_and_its_scalings_give_the_plan():
    keys = set()
    for method in METHODS[1:]:
        keys |= pot.sinkhorn(A, B, M, REG, method, log=True)[1].keys()
    plan, log = ot.sinkhorn(A, B, M, REG, log=True)
    assert keys - {"logu", "logv"} <= log.keys()
    K = np.exp(-M / REG)
    np.testing.assert_allclose(log["u"][:, None] * K * log["v"], plan, rtol=1e-10)
    np.testing.assert_allclose(np.exp(log["log_u"]), log["u"])
    np.testing.assert_allclose(log["alpha"], REG * log["log_u"])
    np.testing.assert_allclose(log["beta"], REG * log["log_v"])
    assert log["niter"] == log["n_iter"] == len(log["err"]) - 1
    assert log["status"] == "converged"
    assert log["marginal_error"] <= 1e-9
    theirs = pot.bregman.sinkhorn_log(A, B, M, REG, stopThr=1e-13, log=True)[1]
    shift = log["log_u"] - theirs["log_u"]
    np.testing.assert_allclose(shift, shift.mean(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_warm_start_takes_up_where_a_log_left_off(method):
    plan, log = ot.sinkhorn(A, B, M, REG, method, log=True)
    assert log["niter"] > 1
    start = (log["log_u"], log["log_v"])
    again, log = ot.sinkhorn(A, B, M, REG, method, log=True, warmstart=start)
    assert log["niter"] <= 1
    np.testing.assert_allclose(again, plan, rtol=0, atol=1e-12)
    theirs = pot.bregman.sinkhorn_log(A, B, M, REG, stopThr=1e-12, log=True)[1]
    start = (theirs["log_u"], theirs["log_v"])
    _, log = ot.sinkhorn(A, B, M, REG, method, log=True, warmstart=start)
    assert log["niter"] <= 1


# Sinkhorn's method, and Newton's where it is slow


def path_lengths(rng, n):
    """Distances in a random graph: whole numbers."""
    from scipy.sparse.csgraph import shortest_path

    ring = np.roll(np.eye(n), 1, axis=1)
    return shortest_path(ring + (rng.random((n, n)) < 0.05), directed=False, unweighted=True)


def test_pots_gromov_solver_gets_converged_plans(monkeypatch):
    statuses = []

    def inner(*args, log=False, **keywords):
        plan, found = ot.sinkhorn(*args, log=True, warn=False, **keywords)
        statuses.append(found["status"])
        return (plan, found) if log else plan

    monkeypatch.setattr(pot.gromov._bregman, "sinkhorn", inner)
    rng = np.random.default_rng(0)
    graphs = path_lengths(rng, 30), path_lengths(rng, 25)
    pot.gromov.entropic_gromov_wasserstein(*graphs, epsilon=0.01, max_iter=20, symmetric=True)
    assert len(statuses) > 1
    assert set(statuses) == {"converged"}


def test_the_cap_on_iterations_holds_where_sweeps_go_over_to_newton_steps():
    rng = np.random.default_rng(1)
    cost = rng.random((40, 40))
    u = np.full(40, 1 / 40)
    for cap in (1, 5, 20, 60):
        plan, log = ot.sinkhorn(u, u, cost, 1e-3, "sinkhorn", cap, log=True, warn=False)
        assert log["niter"] <= cap
        assert np.isfinite(plan).all()
    _, log = ot.sinkhorn(u, u, cost, 1e-3, "sinkhorn", log=True)
    assert log["niter"] < 200
    for cap in (0, 1):  # a stopped plan has exact rows, as POT's has
        plan = ot.sinkhorn(u, u, cost, 1e-1, "sinkhorn", cap, warn=False)
        assert plan.sum(axis=1) == pytest.approx(u)
    theirs = pot.sinkhorn(u, u, cost, 1e-1, numItermax=1, stopThr=0, warn=False)
    assert theirs.sum(axis=1) == pytest.approx(u)


# Warnings and words


def pots_warning():
    with pytest.warns(UserWarning, match="did not converge") as caught:
        pot.sinkhorn(A, B, M, 0.01, numItermax=2)
    return str(caught[0].message)


def test_the_warning_is_pots_to_the_letter():
    with pytest.warns(UserWarning, match="Sinkhorn did not converge") as caught:
        ot.sinkhorn(A, B, M, 0.01, numItermax=2)
    assert [w.category for w in caught] == [ConvergenceWarning]
    assert str(caught[0].message) == pots_warning()
    assert caught[0].filename == __file__


def test_warn_is_off_when_asked_and_by_default_in_sinkhorn2():
    _, log = ot.sinkhorn(A, B, M, 0.01, numItermax=2, warn=False, log=True)
    assert log["status"] == "max_iter"
    assert ot.sinkhorn2(A, B, M, 0.01, numItermax=2) > 0
    with pytest.warns(ConvergenceWarning):
        ot.sinkhorn2(A, B, M, 0.01, numItermax=2, warn=True)


def test_solves_that_overlap_in_threads_leave_the_warning_filters_alone():
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def enter_first(step):
        first_is_in.set()
        return second_is_in.wait(10)

    def enter_second(step):
        second_is_in.set()
        return first_is_out.wait(10)

    def work(callback):
        ot.sinkhorn(A, B, M, REG, callback=callback, warn=False)

    before = warnings.filters[:]
    first, second = (threading.Thread(target=work, args=(c,)) for c in (enter_first, enter_second))
    first.start()
    assert first_is_in.wait(10)
    second.start()
    first.join()
    first_is_out.set()
    second.join()
    assert warnings.filters == before


def test_verbose_prints_what_a_quiet_call_does_not(capsys):
    ot.sinkhorn(A, B, M, 0.01, "sinkhorn", warn=False)
    assert capsys.readouterr().out == ""
    steps = []
    ot.sinkhorn(A, B, M, 0.01, "sinkhorn", verbose=True, warn=False, callback=steps.append)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("|")[0].strip() == "It."
    first = next(line for line in lines if line.strip().startswith("10|"))
    assert float(first.split("|")[1]) == pytest.approx(steps[10].marginal_error, rel=1e-6)


def test_options_of_solve_pass_through():
    _, log = ot.sinkhorn(A, B, M, 0.01, callback=lambda s: s.n_iter == 3, warn=False, log=True)
    assert (log["status"], log["niter"]) == ("stopped", 3)
    _, log = ot.sinkhorn(A, B, M, 0.01, time_limit=1e-9, n_threads=1, warn=False, log=True)
    assert log["status"] == "time_limit"
    with pytest.raises(ValueError, match=r"^Unknown device 'tpu'"):
        ot.sinkhorn(A, B, M, REG, device="tpu")


BAD = [
    ({"numitermax": 5}, TypeError, "unexpected keyword 'numitermax'"),
    ({"method": "greedy"}, ValueError, "^Unknown method 'greedy'"),
    ({"a": -A}, ValueError, "^a must"),
    ({"b": 2 * B}, ValueError, "^a must sum to the same total as b"),
    ({"M": M * np.nan}, ValueError, "^M must"),
    ({"reg": 0}, ValueError, "^reg must be positive"),
    ({"reg": "x"}, TypeError, "^reg must be a number"),
    ({"warmstart": (A, A)}, ValueError, r"^warmstart must have lengths \(7, 5\): got \(7, 7\)"),
    ({"warmstart": (A, B, B)}, ValueError, "^warmstart must be a pair"),
    ({"warmstart": (A, [["x"]])}, TypeError, "^warmstart must"),
    (
        {"b": np.stack([B, B], 1), "warmstart": [(A, B)]},
        ValueError,
        "^warmstart must hold one pair",
    ),
]


@pytest.mark.parametrize("door", [ot.sinkhorn, ot.sinkhorn2])
@pytest.mark.parametrize(("change", "error", "words"), BAD)
def test_bad_input_is_named(door, change, error, words):
    with pytest.raises(error, match=words):
        door(**({"a": A, "b": B, "M": M, "reg": REG} | change))
