"""The annealing on dense passes, which devices use, on a numpy problem that anyone can check."""

from typing import NamedTuple

import naive
import numpy as np
import pytest

from sparsenum import ot
from sparsenum.ot.solvers.annealing import dense
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.solvers.newton import backtrack


class Point(NamedTuple):
    f: np.ndarray
    g: np.ndarray
    column_sums: np.ndarray
    error: float
    least: float
    value: float


class NumpyProblem:
    """A dense problem, with the exact Newton direction by least squares."""

    def __init__(self, M, a, b, reg):
        self.M, self.a, self.b, self.reg = M, a, b, reg

    def at(self, reg):
        return NumpyProblem(self.M, self.a, self.b, reg)

    def iterate(self, g):
        f = naive.row_update(self.M, self.a, g, self.reg)
        c = naive.plan(self.M, f, g, self.reg).sum(axis=0)
        return Point(f, g, c, np.abs(c - self.b).sum(), c.min(), self.a @ f + self.b @ g)

    def sinkhorn_sweep(self, at):
        return self.iterate(naive.column_update(self.M, self.b, at.f, self.reg))

    def relative(self, g, reg):
        return g + reg * np.log(self.b)

    def newton_step(self, at, pace, goal):
        P = naive.plan(self.M, at.f, at.g, self.reg)
        x = naive.newton_direction(P, self.a, at.column_sums, self.b, pace.damping)
        x -= np.median(x)
        reach, step = np.abs(x).max(), np.clip(x, -pace.cap, pace.cap)
        slope = self.reg * (self.b - at.column_sums) @ step
        lengths = []

        def point(length):
            lengths.append(length)
            return self.iterate(at.g + length * self.reg * step)

        better = backtrack(at, point, slope, self.reg, pace, reach)
        return better, better is not None and len(lengths) == 1 and reach < 1


def cloud(power):
    X, Y = (np.random.default_rng(k).random((60 + 10 * k, 2)) for k in range(2))
    return (np.abs(X[:, None] - Y) ** power).sum(axis=-1)


COSTS = {
    "random": lambda: np.random.default_rng(0).random((60, 60)),
    "squared cloud": lambda: cloud(2),
    "L1 cloud": lambda: cloud(1),
    "line": lambda: np.abs(np.linspace(0, 1, 50)[:, None] - np.linspace(0, 1, 40) ** 2),
}


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("reg", [0.5, 1e-2, 1e-3, 1e-4])
def test_it_gets_there(name, reg):
    M = COSTS[name]()
    rng = np.random.default_rng(1)
    a, b = rng.dirichlet(np.ones(len(M))), rng.dirichlet(np.ones(len(M.T)))
    monitor = Monitor(1e-9, 1000)
    at, counts = dense.annealed(NumpyProblem(M, a, b, reg), np.zeros(b.size), np.ptp(M), monitor)
    assert monitor.status == "converged"
    assert at.error <= 1e-9
    assert len(monitor.errors) < 300
    assert (counts["newton"] == 0) == (reg == 0.5)  # easy: no Hessian is worth it
    P = naive.plan(M, at.f, at.g, reg)
    np.testing.assert_allclose(P, ot.solve(M, a, b, reg).plan, rtol=0, atol=1e-8)


def test_a_good_start_is_not_annealed():
    M = COSTS["random"]()
    a = np.full(60, 1 / 60)
    solved = ot.solve(M, a, a, 1e-3, tol=1e-11).potentials[1]
    counts = []
    for start in (solved, solved + 1e-5 * np.cos(np.arange(60)), np.zeros(60)):
        monitor = Monitor(1e-9, 1000)
        dense.annealed(NumpyProblem(M, a, a, 1e-3), start, 1.0, monitor)
        assert monitor.status == "converged"
        counts.append(len(monitor.errors))
    there, near, cold = counts
    assert there == 1
    assert near < 0.7 * cold


@pytest.mark.parametrize("limit", [0, 1, 5, 30])
def test_it_stops_when_told(limit):
    M = COSTS["random"]()
    a = np.full(60, 1 / 60)
    monitor = Monitor(1e-9, limit)
    at, _ = dense.annealed(NumpyProblem(M, a, a, 1e-3), np.zeros(60), 1.0, monitor)
    assert len(monitor.errors) == limit + 1
    assert monitor.status == "max_iter"
    np.testing.assert_allclose(naive.plan(M, at.f, at.g, 1e-3).sum(axis=1), a)
