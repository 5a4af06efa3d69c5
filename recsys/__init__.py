"""Recommenders trained from a table under a fixed parameter budget."""

from recsys.autoencoder.sparse_ae import SparseAE
from recsys.blend.blend import ItemBlend
from recsys.data.interactions import Interactions, ReadReport
from recsys.data.split import leave_last
from recsys.factors.dense_mf import dense_mf
from recsys.factors.lightgcn import LightGCN
from recsys.factors.sparse_als import SparseALS
from recsys.factors.sparse_mf import SparseMF
from recsys.items.ease import EASE
from recsys.items.knn import ItemKNN
from recsys.items.popularity import Popularity
from recsys.items.rp3beta import RP3beta
from recsys.items.sansa import SANSA
from recsys.items.user_knn import UserKNN
from recsys.loading import load
from sparsenum.topology.recipe import Recipe, Schedule

__all__ = [
    "EASE",
    "SANSA",
    "Interactions",
    "ItemBlend",
    "ItemKNN",
    "LightGCN",
    "Popularity",
    "RP3beta",
    "ReadReport",
    "Recipe",
    "Schedule",
    "SparseAE",
    "SparseALS",
    "SparseMF",
    "UserKNN",
    "dense_mf",
    "leave_last",
    "load",
]


def __dir__() -> list[str]:
    """Return the public names, and the packages that have some."""
    return [*__all__, "blend", "data", "evaluation"]
