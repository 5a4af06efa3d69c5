"""Tables to try things on: a synthetic shop, and public sets by name."""

from recsys.datasets.download import fetch
from recsys.datasets.public import load
from recsys.datasets.synthetic import shop

__all__ = ["fetch", "load", "shop"]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
