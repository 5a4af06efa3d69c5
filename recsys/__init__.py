"""Recommenders trained from a table under a fixed parameter budget."""

from recsys.baselines import Popularity
from recsys.interactions import Interactions, ReadReport
from recsys.models import SparseMF, load
from recsys.split import leave_last

__all__ = ["Interactions", "Popularity", "ReadReport", "SparseMF", "leave_last", "load"]
