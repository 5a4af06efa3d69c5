"""Threads: blocks that depend on the shape alone, and results that do not depend on threads."""

import threading

import numpy as np
import pytest

from sparsenum import _threads, ot
from sparsenum._threads import by_rows
from sparsenum.ot.problems.dense import gather


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (10, 4), (7, 10**7), (64, 8)])
def test_blocks_cover_all_rows_in_order(monkeypatch, n, m, n_threads):
    monkeypatch.setattr(_threads, "BLOCK", 32)
    blocks = by_rows(lambda rows: rows, (n, m), n_threads)
    covered = [row for rows in blocks for row in range(rows.start, rows.stop)]
    assert covered == list(range(n))
    assert blocks == by_rows(lambda rows: rows, (n, m), 1)


def test_small_work_stays_on_the_callers_thread():
    here = threading.get_ident()
    assert by_rows(lambda _: threading.get_ident(), (100, 100), 8) == [here]


def test_large_work_is_shared(monkeypatch):
    monkeypatch.setattr(_threads, "BLOCK", 1)
    both = threading.Barrier(2, timeout=10)  # passes only if two blocks run at the same time
    assert by_rows(lambda _: both.wait(), (2, 1), 2) != [0, 0]


def test_errors_come_through(monkeypatch):
    monkeypatch.setattr(_threads, "BLOCK", 1)
    with pytest.raises(ZeroDivisionError):
        by_rows(lambda rows: 1 // rows.start, (3, 1), 2)


@pytest.mark.parametrize("reg", [0.3, 0.002])
@pytest.mark.parametrize("method", ["auto", "sns-paper", "sinkhorn"])
def test_results_do_not_depend_on_the_number_of_threads(monkeypatch, method, reg):
    monkeypatch.setattr(_threads, "BLOCK", 2000)
    M = np.random.default_rng(0).random((120, 90))
    options = {"method": method, "max_iter": 60, "tol": 1e-6}
    if method == "sinkhorn" and reg < 0.01:
        options["tol"] = 0.1
    one, two, five = (ot.solve(M, reg=reg, n_threads=k, **options) for k in (1, 2, 5))
    assert one.converged
    for other in (two, five):
        np.testing.assert_array_equal(one.potentials[0], other.potentials[0])
        np.testing.assert_array_equal(one.potentials[1], other.potentials[1])
        np.testing.assert_array_equal(one.plan, other.plan)
        assert one.marginal_error == other.marginal_error


@pytest.mark.parametrize("n_threads", [2, 5])
@pytest.mark.parametrize("block", [1, 90, 2000])
def test_a_support_gathered_by_blocks_is_the_same(monkeypatch, block, n_threads):
    M = np.random.default_rng(0).random((120, 90))
    f, g = np.linspace(0.0, 0.9, 120), np.linspace(0.1, -0.1, 90)
    slack = np.full(120, 0.05), np.linspace(-0.1, 0.1, 90)
    whole = gather(M, f, g, *slack)
    monkeypatch.setattr(_threads, "BLOCK", block)
    for _ in range(20):  # a race would not lose each time
        parts = gather(M, f, g, *slack, n_threads)
        np.testing.assert_array_equal(parts.indptr, whole.indptr)
        np.testing.assert_array_equal(parts.indices, whole.indices)
        np.testing.assert_array_equal(parts.data, whole.data)
