"""Kernels for CUDA against naive twins: several blocks, and sizes that no block divides.

The simulator proves indices, bounds and barriers; not races between blocks, and not speed.
"""

import ast
import inspect
import math
import os
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest

from sparsenum import _cuda as device
from sparsenum.ot.solvers import _cuda as transport
from sparsenum.ot.solvers.on_cuda import extent
from sparsenum.sparse import _cuda as sparse

pytestmark = pytest.mark.usefixtures("cuda")

N, M_COLUMNS, REG = 14, 9, 0.3


@pytest.fixture(params=[np.float64, np.float32])
def problem(request):
    rng = np.random.default_rng(0)
    M = rng.random((N, M_COLUMNS)).astype(request.param)
    M[2, 3] = np.inf
    return M, rng.dirichlet(np.ones(N)), rng.dirichlet(np.ones(M_COLUMNS))


def launch(kernel, grid, *args):
    """Run a kernel on copies of host arrays and return the arrays as it left them."""
    there = [device.to_device(x) if isinstance(x, np.ndarray) else x for x in args]
    kernel[grid](*there)
    return [x.copy_to_host() for x in there if hasattr(x, "copy_to_host")]


ROWS, COLUMNS = device.per_row(N), device.per_item(M_COLUMNS)


def test_row_update(problem):
    M, a, _ = problem
    g = np.linspace(-0.2, 0.2, M_COLUMNS)
    f = launch(transport.row_update, ROWS, M, a, g, REG, np.empty(N))[-1]
    np.testing.assert_allclose(
        f, naive.row_update(M.astype(float), a, g, REG), rtol=1e-7, atol=1e-12
    )


def test_column_update(problem):
    M, _, b = problem
    f = np.linspace(-0.2, 0.2, N)
    g = launch(transport.column_update, COLUMNS, M, b, f, REG, np.empty(M_COLUMNS))[-1]
    np.testing.assert_allclose(
        g, naive.column_update(M.astype(float), b, f, REG), rtol=1e-7, atol=1e-12
    )


def test_sums_and_plan(problem):
    M, a, b = problem
    f, g = REG * np.log(a), REG * np.log(b)
    P = naive.plan(M.astype(float), f, g, REG)
    blocks, threads = COLUMNS
    for ranges in (1, 2, 5):
        grid = (blocks, ranges), (threads, 1)
        parts = launch(transport.column_sums, grid, M, f, g, REG, np.empty((ranges, M_COLUMNS)))[-1]
        sums = launch(transport.add_up, COLUMNS, parts, np.empty(M_COLUMNS))[-1]
        np.testing.assert_allclose(sums, P.sum(axis=0), rtol=1e-7, atol=1e-14)
    sums = launch(transport.row_sums, ROWS, M, f, g, REG, np.empty(N))[-1]
    np.testing.assert_allclose(sums, P.sum(axis=1), rtol=1e-7, atol=1e-14)
    written = launch(transport.plan, ROWS, M, f, g, REG, 2.0, np.empty_like(M))[-1]
    np.testing.assert_allclose(written, 2 * P, rtol=1e-12 if M.dtype == float else 1e-6)


def test_summary(problem):
    _, a, b = problem
    f, g, c = REG * np.log(a), REG * np.log(b), np.linspace(0.01, 0.2, M_COLUMNS)
    out = launch(transport.summary, device.ONE_BLOCK, a, b, f, g, c, np.empty(3))[-1]
    np.testing.assert_allclose(
        out, [np.abs(c - b).sum(), c.min(), a @ f + b @ g], rtol=1e-7, atol=1e-14
    )


@pytest.mark.parametrize("m", [1, 2, 7, 8, 41])
def test_centre(m):
    rng = np.random.default_rng(m)
    x, rhs = rng.normal(size=m), rng.normal(size=m)
    moved, _, (reach, slope) = launch(transport.centre, device.ONE_BLOCK, x, rhs, 0.8, np.empty(2))
    step = x - np.sort(x)[m // 2]
    np.testing.assert_allclose(moved, np.clip(step, -0.8, 0.8), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(
        [reach, slope], [np.abs(step).max(), rhs @ moved], rtol=1e-7, atol=1e-12
    )


def test_the_entries_of_small_slack(problem):
    M, a, b = problem
    f, g = REG * np.log(a), REG * np.log(b)
    row_slack, column_slack = np.linspace(0.1, 1.5, N), np.linspace(0.2, 1.2, M_COLUMNS)
    slack = M.astype(float) - f[:, None] - g
    kept = slack < np.maximum(row_slack[:, None], column_slack)
    args = M, f, g, row_slack, column_slack
    counts = launch(transport.count_slack, ROWS, *args, np.zeros(N, np.uint64))[-1]
    np.testing.assert_array_equal(counts, kept.sum(axis=1))
    indptr = launch(sparse.offsets, device.ONE_BLOCK, counts, np.zeros(N + 1, np.uint64))[-1]
    np.testing.assert_array_equal(indptr, np.append(0, np.cumsum(counts)))
    empty = np.zeros(kept.sum(), np.uint32), np.zeros(kept.sum())
    *_, indices, costs = launch(transport.fill_cost, ROWS, *args, indptr, *empty)
    np.testing.assert_array_equal(indices, np.nonzero(kept)[1])
    np.testing.assert_array_equal(costs, M[kept])
    scaled = launch(transport.scaled_plan, ROWS, indptr, indices, costs, a, f, g, REG)[2]
    P = naive.plan(M.astype(float), f, g, REG) / np.sqrt(a)[:, None]
    np.testing.assert_allclose(scaled, P[kept], rtol=1e-12)


@pytest.mark.parametrize("bad", [False, True])
def test_extent(problem, bad):
    M = problem[0]
    M[5, 5] = np.nan if bad else 2.0
    low, high, endless = extent(device.to_device(M))
    if bad:
        assert math.isnan(low)
    else:
        assert (low, high, endless) == (M.min(), 2.0, True)


def test_take(problem):
    M = problem[0]
    some, others = np.array([11, 2, 5]), np.array([0, 8])
    taken = launch(transport.take, ROWS, M, some, others, np.empty((3, 2), M.dtype))[-1]
    np.testing.assert_array_equal(taken, M[np.ix_(some, others)])


# What the lanes of a warp tell one another is not simulated: here a warp is a numpy vector.


class Warp:
    """Stands in for the module `cuda`: an instruction sees the values of all lanes at once."""

    lanes = np.arange(32)

    def shfl_xor_sync(self, mask, x, k):
        assert mask == 0xFFFFFFFF
        return x[self.lanes ^ k]

    def ballot_sync(self, mask, flag):
        assert mask == 0xFFFFFFFF
        return sum(1 << int(lane) for lane in self.lanes[flag])

    def popc(self, x):
        return np.vectorize(lambda bits: int(bits).bit_count())(x)


def real_lanes(name):
    """Return the body that a formula has on a device, to run on vectors of lanes."""
    tree = ast.parse(inspect.getsource(device))
    choice = next(n for n in tree.body if isinstance(n, ast.If))
    function = next(f for f in choice.orelse if f.name == name)
    function.decorator_list = []
    scope = {"cuda": Warp(), "EVERYONE": device.EVERYONE, "max": np.maximum}
    exec(compile(ast.Module([function], []), "<lanes>", "exec"), scope)
    return scope[name]


def test_lanes_sum_and_compare():
    x = np.random.default_rng(0).normal(size=32)
    np.testing.assert_allclose(real_lanes("lane_sum")(x.copy()), np.full(32, x.sum()))
    assert len(set(real_lanes("lane_sum")(x.copy()))) == 1  # the same bits in all lanes
    np.testing.assert_array_equal(real_lanes("lane_max")(x.copy()), np.full(32, x.max()))


def test_lanes_rank():
    flag = np.random.default_rng(1).random(32) < 0.4
    before, count = real_lanes("lane_rank")(flag, Warp.lanes.astype(object))
    np.testing.assert_array_equal(before, np.cumsum(flag) - flag)
    assert count == flag.sum()


def test_a_launch_with_types_that_are_not_compiled_is_refused(request):
    if request.config.getoption("--gpu"):
        pytest.skip("a device compiles whatever it is given")
    with pytest.raises(AssertionError, match="take is not compiled for"):
        launch(transport.take, ROWS, np.eye(3, dtype=int), *[np.arange(2)] * 2, np.eye(2))
    with pytest.raises(AssertionError, match="take would copy what is on the host"):
        transport.take[ROWS](np.eye(3), *[np.arange(2)] * 2, np.eye(2))


def test_a_small_launch_on_a_device_is_no_reason_to_warn():
    code = (
        "from numba.cuda.core import config\n"
        "from sparsenum import _cuda\n"
        "from sparsenum.ot.solvers._cuda import take\n"
        "assert not _cuda.SIMULATED\n"
        "print(take[_cuda.ONE_BLOCK] is take[_cuda.ONE_BLOCK], config.CUDA_LOW_OCCUPANCY_WARNINGS)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "1"]
