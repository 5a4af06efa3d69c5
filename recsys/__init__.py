"""Recommenders trained from a table under a fixed parameter budget."""

from recsys.als import SparseALS
from recsys.dense import dense_mf
from recsys.interactions import Interactions, ReadReport
from recsys.items.blend import ItemBlend
from recsys.items.ease import EASE
from recsys.items.knn import ItemKNN
from recsys.items.sansa import SANSA
from recsys.lightgcn import LightGCN
from recsys.loading import load
from recsys.models import SparseMF
from recsys.popularity import Popularity
from recsys.recipes import Recipe, Schedule
from recsys.split import leave_last

__all__ = [
    "EASE",
    "SANSA",
    "Interactions",
    "ItemBlend",
    "ItemKNN",
    "LightGCN",
    "Popularity",
    "ReadReport",
    "Recipe",
    "Schedule",
    "SparseALS",
    "SparseMF",
    "dense_mf",
    "leave_last",
    "load",
]
