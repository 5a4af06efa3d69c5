"""Recommenders trained from a table under a fixed parameter budget."""

from recsys.dense import dense_mf
from recsys.interactions import Interactions, ReadReport
from recsys.items.knn import ItemKNN
from recsys.lightgcn import LightGCN
from recsys.loading import load
from recsys.models import SparseMF
from recsys.popularity import Popularity
from recsys.split import leave_last

__all__ = [
    "Interactions",
    "ItemKNN",
    "LightGCN",
    "Popularity",
    "ReadReport",
    "SparseMF",
    "dense_mf",
    "leave_last",
    "load",
]
