"""Recommenders trained from a table under a fixed parameter budget."""

from recsys.interactions import Interactions, ReadReport
from recsys.lightgcn import LightGCN
from recsys.loading import load
from recsys.models import Popularity, SparseMF
from recsys.split import leave_last

__all__ = [
    "Interactions",
    "LightGCN",
    "Popularity",
    "ReadReport",
    "SparseMF",
    "leave_last",
    "load",
]
