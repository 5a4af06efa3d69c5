"""What POT's ``OTResult`` has beside numbers: its backend of numpy, and its lazy tensor."""

from typing import Any

import numpy as np

from sparsenum.ot.problems.clouds.points import PointProblem, costs
from sparsenum.ot.solutions.optimum import Optimum


def numpy_backend() -> Any:
    """Return POT's backend for numpy."""
    from ot.backend import NumpyBackend

    return NumpyBackend()


def lazy_plan(optimum: Optimum) -> Any:
    """Return the plan of a lazy solve as POT's LazyTensor, whose blocks are computed on demand."""
    from ot.utils import LazyTensor

    problem, reduction = optimum.problem, optimum.reduction
    assert isinstance(problem, PointProblem)
    places = []
    for index, size in zip(reduction.sides, reduction.shape, strict=True):
        place = np.full(size, -1)
        place[index] = np.arange(index.size)
        places.append(place)
    half = optimum.reg * np.log(reduction.mass) / 2
    f, g = (reduction.expand(x + half, axis, -np.inf) for axis, x in enumerate(optimum.inner))

    def block(i: Any, j: Any) -> Any:
        rows, columns = np.atleast_1d(places[0][i]), np.atleast_1d(places[1][j])
        M = costs(problem.X[rows], problem.Y[columns], problem.metric)
        P = np.exp((np.atleast_1d(f[i])[:, None] + np.atleast_1d(g[j]) - M) / problem.reg)
        kept = [k for k, index in enumerate((i, j)) if not isinstance(index, int | np.integer)]
        return P if len(kept) == 2 else P.squeeze(axis=tuple({0, 1} - set(kept)))

    return LazyTensor(reduction.shape, block)
