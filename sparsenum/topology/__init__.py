"""Which entries of a sparse table exist: budgets, starts, prune and grow, schedules."""

from sparsenum.topology.budget import allocate
from sparsenum.topology.rewire import Rewiring, random_start, rewire
from sparsenum.topology.schedule import cosine_fraction

__all__ = ["Rewiring", "allocate", "cosine_fraction", "random_start", "rewire"]
