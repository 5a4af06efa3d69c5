"""Entropic optimal transport."""

from sparsenum.ot.barycenter import barycenter
from sparsenum.ot.batch import solve_batch
from sparsenum.ot.batch_solution import BatchSolution
from sparsenum.ot.compat import sinkhorn, sinkhorn2
from sparsenum.ot.divergence import Divergence, sinkhorn_divergence
from sparsenum.ot.monitor import Step
from sparsenum.ot.sample import solve_sample
from sparsenum.ot.solution import Solution
from sparsenum.ot.solve import solve

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
