"""The solver on a device gives what it gives on the CPU, to rounding; inputs there stay there."""

import warnings

import numpy as np
import pytest

from sparsenum import _cuda as device
from sparsenum import _device, ot
from sparsenum.errors import ConvergenceWarning, DeviceError

pytestmark = pytest.mark.usefixtures("cuda")


def problem(n=13, m=9, dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.random((n, m)).astype(dtype), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


def agree(here, there, atol=1e-10):
    assert there.status == here.status == "converged"
    np.testing.assert_allclose(there.plan, here.plan, rtol=1e-7, atol=atol)
    for x, y in zip(there.potentials, here.potentials, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=atol)
    np.testing.assert_allclose(there.value, here.value, rtol=1e-7, atol=atol)
    np.testing.assert_allclose(there.value_linear, here.value_linear, rtol=1e-7, atol=atol)
    assert there.marginal_error <= here.log["tol"]


@pytest.mark.parametrize(
    ("method", "reg"),
    [("auto", 0.5), ("auto", 0.02), ("sns-paper", 0.02), ("sinkhorn", 0.1)],
)
def test_the_result_is_that_of_the_cpu(method, reg):
    options = {"method": method, "tol": 1e-12}
    agree(
        ot.solve(*problem(), reg, **options),
        ot.solve(*problem(), reg, device="cuda", **options),
    )


EDGES = {
    "one by one": (np.ones((1, 1)), None, None),
    "one row": (np.arange(5.0)[None], None, None),
    "one column": (np.arange(5.0)[:, None], None, None),
    "float32": problem(dtype=np.float32),
    "unit of mass": (problem()[0], 7 * problem()[1], 7 * problem()[2]),
    "zero masses": (problem()[0], np.r_[0, np.ones(12)], np.r_[np.ones(8) * 1.5, 0]),
    "column-major": (np.asfortranarray(problem()[0]), *problem()[1:]),
    "a forbidden pair": (np.where(np.eye(13, 9) > 0, np.inf, problem()[0]), *problem()[1:]),
    "whole numbers": (np.arange(12).reshape(3, 4) % 5, None, None),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name):
    M, a, b = EDGES[name]
    atol = 1e-6 if M.dtype == np.float32 else 1e-10  # a plan in float32
    here = ot.solve(M, a, b, 0.1, tol=1e-12)
    there = ot.solve(M, a, b, 0.1, tol=1e-12, device="cuda")
    agree(here, there, atol)
    assert there.plan.dtype == here.plan.dtype
    np.testing.assert_allclose(
        there.sparse_plan.toarray(), here.sparse_plan.toarray(), rtol=1e-7, atol=atol
    )


def test_a_start_is_taken():
    M, a, b = problem()
    first = ot.solve(M, a, b, 0.1, tol=1e-12)
    again = ot.solve(M, a, b, 0.1, tol=1e-12, potentials_init=first.potentials, device="cuda")
    assert again.n_iter == 0
    np.testing.assert_allclose(again.plan, first.plan, rtol=1e-7, atol=1e-12)


def test_the_doors_of_pot():
    M, a, b = problem()
    P, log = ot.sinkhorn(a, b, M, 0.1, stopThr=1e-12, device="cuda", log=True)
    np.testing.assert_allclose(P, ot.sinkhorn(a, b, M, 0.1, stopThr=1e-12), rtol=1e-7, atol=1e-10)
    assert log["status"] == "converged"
    both = np.stack([b, b[::-1]], axis=1)
    np.testing.assert_allclose(
        ot.sinkhorn2(a, both, M, 0.1, stopThr=1e-12, device="cuda"),
        ot.sinkhorn2(a, both, M, 0.1, stopThr=1e-12),
        rtol=0,
        atol=1e-10,
    )


def test_derivatives():
    here = ot.solve(*problem(), 0.1, tol=1e-12)
    there = ot.solve(*problem(), 0.1, tol=1e-12, device="cuda")
    for of in ("value", "value_linear"):
        for name in ("a", "b", "M"):
            x, y = (getattr(result.gradient(of), name) for result in (there, here))
            np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_on_the_device_come_back_there(dtype):
    M, a, b = problem(dtype=dtype)
    here = ot.solve(M, a, b, 0.1, tol=1e-12)
    there = ot.solve(*map(device.to_device, (M, a, b)), 0.1, tol=1e-12, device="cuda")
    for x, y in [
        (there.plan, here.plan),
        (there.potentials[0], here.potentials[0]),
        (there.marginal_b, here.marginal_b),
    ]:
        assert _device.lives_on_cuda(x)
        assert x.dtype == dtype
        np.testing.assert_allclose(
            x.copy_to_host(), y, rtol=1e-7, atol=1e-10 if dtype is np.float64 else 1e-6
        )
    assert there.value == pytest.approx(here.value, abs=1e-6)
    P = ot.sinkhorn(a, b, device.to_device(M), 0.1, device="cuda")
    assert _device.lives_on_cuda(P)


def test_nothing_changes_from_call_to_call():
    first, second = (ot.solve(*problem(), 0.02, device="cuda") for _ in range(2))
    assert first.plan.tobytes() == second.plan.tobytes()


BAD = {
    "NaN": (np.where(np.eye(3) > 0, np.nan, 1.0), {}, ValueError, r"^M must hold numbers.*NaN"),
    "minus infinity": (np.full((2, 2), -np.inf), {}, ValueError, r"^M must hold"),
    "no pair": (np.full((2, 2), np.inf), {}, ValueError, r"^M must"),
    "a closed row": ([[np.inf, np.inf], [1.0, 2.0]], {}, ValueError, r"^M must leave each row"),
    "one dimension": (np.ones(3), {}, ValueError, r"^M must have 2 dimensions"),
    "short a": (np.eye(3), {"a": np.ones(2)}, ValueError, r"^a must have one mass"),
    "unequal masses": (np.eye(2), {"a": [1, 1], "b": [1, 2]}, ValueError, r"^a must sum"),
    "unbalanced": (np.eye(2), {"unbalanced": 1.0}, NotImplementedError, "device='cpu'|'cpu'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    M, change, error, words = BAD[name]
    with pytest.raises(error, match=words):
        ot.solve(M, reg=0.1, device="cuda", **change)


@pytest.mark.parametrize(
    ("M", "error", "words"),
    [
        (np.ones((2, 2), np.int64), TypeError, "float64 or float32: got int64"),
        (np.ones((2, 2, 2)), ValueError, "2 dimensions"),
        (np.ones((4, 3)).T, TypeError, "with strides"),
        (np.full((2, 2), np.nan), ValueError, "NaN"),
    ],
)
def test_bad_arrays_on_the_device_are_named(M, error, words):
    there = device.cuda.to_device(M)
    with pytest.raises(error, match=words):
        ot.solve(there, reg=0.1, device="cuda")


def test_forbidden_pairs_that_leave_no_plan():
    M = np.where(np.arange(3)[:, None] < np.arange(3), np.inf, 1.0)  # the last column: one row
    with pytest.raises(ValueError, match=r"^M forbids too many pairs"):
        ot.solve(M, [0.3, 0.3, 0.4], [0.2, 0.3, 0.5], 0.5, device="cuda", max_iter=60)


def test_what_stopped_it_is_said():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert ot.solve(*problem(), 0.02, device="cuda", max_iter=3).status == "max_iter"
        stopped = ot.solve(*problem(), 0.02, device="cuda", callback=lambda s: s.n_iter == 2)
        assert (stopped.status, stopped.n_iter) == ("stopped", 2)
        assert ot.solve(*problem(), 0.02, device="cuda", time_limit=1e-9).status == "time_limit"
    assert [w.category for w in caught] == [ConvergenceWarning] * 3


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (_device.Facts(None, None, []), r"no NVIDIA driver.*pip install \"sparsenum\[cuda13\]\""),
        (_device.Facts(None, "12.4", ["a GPU"]), r"not installed; pip.*cuda12"),
        (_device.Facts(None, "13.0", []), "no device is visible; check CUDA_VISIBLE_DEVICES"),
    ],
)
def test_without_cuda_the_error_says_what_is_missing(monkeypatch, facts, words):
    monkeypatch.setattr(_device, "facts", lambda: facts)
    _device._require_cuda.cache_clear()
    with pytest.raises(DeviceError, match=rf"^device='cuda' cannot be used here: .*{words}"):
        ot.solve(*problem(), 0.1, device="cuda")
