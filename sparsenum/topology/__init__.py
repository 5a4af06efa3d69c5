"""Topologies of sparse tables: budgets, first entries, prune and grow, schedules."""

from sparsenum.topology.budget import allocate, best_densities, share_tables
from sparsenum.topology.recipe import (
    constant_fraction,
    cosine_fraction,
    cubic_excess,
    linear_fraction,
)
from sparsenum.topology.rewire import no_preference, prune, rewire
from sparsenum.topology.rewiring import Rewiring, stack
from sparsenum.topology.score import magnitude, protect_rows, row_share, signed_rank, taylor
from sparsenum.topology.start import aligned_start, random_start, strongest

__all__ = [
    "Rewiring",
    "aligned_start",
    "allocate",
    "best_densities",
    "constant_fraction",
    "cosine_fraction",
    "cubic_excess",
    "linear_fraction",
    "magnitude",
    "no_preference",
    "protect_rows",
    "prune",
    "random_start",
    "rewire",
    "row_share",
    "share_tables",
    "signed_rank",
    "stack",
    "strongest",
    "taylor",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
