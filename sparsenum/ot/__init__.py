"""Entropic optimal transport."""

from sparsenum.ot._barycenter import barycenter
from sparsenum.ot._batch import solve_batch
from sparsenum.ot._compat import sinkhorn, sinkhorn2
from sparsenum.ot._divergence import Divergence, sinkhorn_divergence
from sparsenum.ot._sample import solve_sample
from sparsenum.ot._solve import solve
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solvers.monitor import Step
from sparsenum.ot.stacks.solution import BatchSolution

__all__ = [
    "BatchSolution",
    "Divergence",
    "Solution",
    "Step",
    "barycenter",
    "sinkhorn",
    "sinkhorn2",
    "sinkhorn_divergence",
    "solve",
    "solve_batch",
    "solve_sample",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
