"""Metrics of ranked lists, and the protocol they are taken by."""

from recsys.evaluation.protocol import DegreeProfile, degree_profile, warn_of_drift

__all__ = [
    "DegreeProfile",
    "degree_profile",
    "warn_of_drift",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
