"""Recommenders trained from a table under a fixed parameter budget."""

from recsys.als import SparseALS
from recsys.dense import dense_mf
from recsys.ease import EASE
from recsys.interactions import Interactions, ReadReport
from recsys.lightgcn import LightGCN
from recsys.loading import load
from recsys.models import SparseMF
from recsys.neighbours import ItemKNN
from recsys.popularity import Popularity
from recsys.sansa import SANSA
from recsys.split import leave_last

__all__ = [
    "EASE",
    "SANSA",
    "Interactions",
    "ItemKNN",
    "LightGCN",
    "Popularity",
    "ReadReport",
    "SparseALS",
    "SparseMF",
    "dense_mf",
    "leave_last",
    "load",
]
