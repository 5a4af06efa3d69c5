"""What a solve holds beside the cost, and the types in which a cost is read where it lies."""

import tracemalloc
import warnings

import numpy as np
import pytest
from transport_problems import METHODS, clouds, problem

from sparsenum import ConvergenceWarning, ot


@pytest.mark.alone
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("reg", "most"), [(1e-3, 1.2), (1.0, 1.4)], ids=["sparse plan", "dense plan"]
)
def test_a_cost_on_disk_is_not_copied(reg, most, dtype, tmp_path):
    cost = np.lib.format.open_memmap(tmp_path / "cost.npy", "w+", dtype, (600, 600))
    cost[:] = np.random.default_rng(0).random((600, 600))
    cost.flush()
    M = np.load(tmp_path / "cost.npy", mmap_mode="r")
    assert isinstance(M, np.memmap)
    assert not M.flags.writeable
    ot.solve(M, reg=reg)  # compiles
    tracemalloc.start()
    try:
        result = ot.solve(M, reg=reg)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.converged
    assert np.shares_memory(result._optimum.problem.M, M)
    assert peak < most * 8 * M.size


@pytest.mark.alone
@pytest.mark.parametrize(
    ("d", "power", "reg"),
    [(1, 1, 1e-2), (1, 2, 3e-3), (2, 2, 5e-3)],
    ids=["line", "line, squared", "plane"],
)
def test_a_half_full_support_takes_less_than_twice_the_cost(d, power, reg):
    M, a, b = clouds(np.random.default_rng(5), 500, 600, d, power)
    reg *= M.max()
    ot.solve(M, a, b, reg)  # compiles
    tracemalloc.start()
    try:
        result = ot.solve(M, a, b, reg)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.45 * M.size < result.log["support"] < 0.7 * M.size
    assert peak < 2.0 * M.nbytes


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reg", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("family", ["clouds", "l1 grid", "walled"])
def test_float32_costs_are_read_in_place_and_solved_in_float64(family, reg, method, monkeypatch):
    monkeypatch.setattr("sparsenum.ot.problems.seal.COPIED", 0)
    M, a, b, reg = problem(family, reg)
    M = M.astype(np.float32)
    options = {"method": method, "max_iter": 100, "tol": 1e-12}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        single, double = (ot.solve(x, a, b, reg, **options) for x in (M, M.astype(np.float64)))
    assert np.shares_memory(single._optimum.problem.M, M)
    assert (single.status, single.n_iter) == (double.status, double.n_iter)
    assert single.marginal_error == pytest.approx(double.marginal_error, rel=1e-6, abs=1e-15)
    for mine, theirs in zip(single.potentials, double.potentials, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-9 * reg)
    assert (single.plan.dtype, double.plan.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(single.plan, double.plan, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(
    "held",
    [
        np.asfortranarray,
        lambda M: M[:, ::-1],
        lambda M: M.astype(M.dtype.newbyteorder()),
        lambda M: M.astype(np.float16),
        lambda M: np.rint(8 * M).astype(np.int64),
        lambda M: M.tolist(),
    ],
    ids=["columns first", "strided", "other byte order", "float16", "integers", "lists"],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_other_costs_are_copied(dtype, held):
    M, a, b, reg = problem("clouds", 1e-2)
    M = held(M.astype(dtype))
    result = ot.solve(M, a, b, reg)
    assert not np.shares_memory(result._optimum.problem.M, M)
    expected = ot.solve(np.array(M, np.float64, order="C"), a, b, reg)
    rtol = 1e-8 if result.plan.dtype == np.float64 else 1e-6
    np.testing.assert_allclose(result.plan, expected.plan, rtol=rtol, atol=1e-37)


def test_the_cost_is_left_as_it_was():
    M, a, b, reg = problem("l1 grid", 1e-3)
    before = M.copy()
    M.flags.writeable = a.flags.writeable = b.flags.writeable = False
    assert ot.solve(M, a, b, reg).converged
    np.testing.assert_array_equal(M, before)
