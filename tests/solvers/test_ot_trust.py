"""What a solve promises besides its numbers: to stop when told, and to mind no company."""

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from sparsenum import ConvergenceWarning, ot

ENDLESS = """
import sys, warnings
import numpy as np
from sparsenum import ot

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, Y = rng.random((900, 2)), rng.random((1000, 2))
M = abs(X[:, None] - Y).sum(axis=2)
ot.solve(M[:50, :60], reg=1e-3), ot.solve(M, reg=1e-3)
print("ready", flush=True)
try:
    while True:
        ot.solve(M, reg=10.0 ** rng.uniform(-4, -1), n_threads=2)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.alone
@pytest.mark.parametrize("wait", [0.05, 0.3, 0.71])
def test_an_interrupt_is_answered_at_once(wait):
    command = [sys.executable, "-c", ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        time.sleep(wait)
        start = time.perf_counter()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        seconds = time.perf_counter() - start
    assert child.returncode == 0
    assert seconds < 0.5  # 0.2 on a machine that does nothing else


def cloud(n, m, seed=0):
    rng = np.random.default_rng(seed)
    return np.abs(rng.random((n, 1, 2)) - rng.random((m, 2))).sum(axis=2)


@pytest.mark.alone
@pytest.mark.parametrize("options", [{}, {"method": "sinkhorn"}, {"method": "sns-paper"}])
def test_a_time_limit_is_kept(options):
    M = cloud(1200, 1300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ot.solve(M, reg=1e-3, max_iter=3, **options)  # compiles
        start = time.perf_counter()
        result = ot.solve(M, reg=1e-4, tol=1e-13, time_limit=0.4, **options)
    assert time.perf_counter() - start < 0.6  # 0.44 on a machine that does nothing else
    assert result.status in ("time_limit", "converged", "precision")
    assert result.marginal_error == pytest.approx(
        sum(np.abs(s - 1 / s.size).sum() for s in result.marginals)
    )


def test_an_interrupt_from_a_callback_passes_through():
    def interrupt(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ot.solve(cloud(20, 30), reg=1e-3, callback=interrupt)


def answers():
    """Solve some problems, and give back all digits."""
    problems = [(cloud(60, 70, seed), reg) for seed in range(3) for reg in (0.3, 1e-2, 1e-3)]
    return [ot.solve(M, reg=reg).potentials[1].tobytes() for M, reg in problems]


def test_solves_in_several_threads_do_not_meet():
    alone, together = answers(), [None] * 4

    def work(i):
        together[i] = answers()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(together))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone] * len(together)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_children_solve_as_their_parent_does(start):
    alone = answers()  # the parent has run its threads before
    ot.solve(cloud(1100, 1200), reg=0.3, n_threads=2)
    context = multiprocessing.get_context(start)
    with warnings.catch_warnings():
        # Python warns of every fork in a process with threads, and pytest may have some.
        warnings.simplefilter("ignore", DeprecationWarning)
        with context.Pool(1) as pool:
            assert pool.apply_async(answers).get(60) == alone


def test_deterministic_is_the_only_way():
    M = cloud(40, 50)
    result = ot.solve(M, reg=1e-2, deterministic=True, n_threads=2)
    np.testing.assert_array_equal(result.plan, ot.solve(M, reg=1e-2).plan)
    result = ot.solve(M, reg=1e-2, deterministic=False, n_threads=3)
    np.testing.assert_array_equal(result.plan, ot.solve(M, reg=1e-2).plan)
