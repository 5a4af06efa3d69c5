"""Recommenders trained from a table under a fixed parameter budget."""

from recsys.dense import dense_mf
from recsys.interactions import Interactions, ReadReport
from recsys.models import SparseMF, load
from recsys.neighbours import ItemKNN
from recsys.popularity import Popularity
from recsys.split import leave_last

__all__ = [
    "Interactions",
    "ItemKNN",
    "Popularity",
    "ReadReport",
    "SparseMF",
    "dense_mf",
    "leave_last",
    "load",
]
