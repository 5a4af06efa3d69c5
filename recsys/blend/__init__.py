"""The default model: a graph and factors of items under one budget."""

from recsys.blend.blend import ItemBlend
from recsys.blend.graph import GraphRule
from recsys.blend.latent import LatentRule
from recsys.blend.plan import Plan
from recsys.blend.walk import WalkRule

__all__ = [
    "GraphRule",
    "ItemBlend",
    "LatentRule",
    "Plan",
    "WalkRule",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
