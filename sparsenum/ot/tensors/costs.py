"""Cost matrices of two samples of tensors: differences first, so that no digits cancel."""

import sys
from typing import Any

from sparsenum.ot.tensors.backends import (
    as_floats,
    cast,
    float_like,
    is_differentiated,
    library_of,
    like_tensor,
    to_numpy,
)

OURS = ("sqeuclidean", "euclidean", "cityblock")
POTS = ("cosine", "correlation", "minkowski")


def tensor_costs(X: Any, Y: Any, metric: Any) -> Any:
    """Return the cost matrix of two samples of tensors, differentiable where the library can.

    Raises
    ------
    NotImplementedError
        If the metric is none that is differentiated here, and a derivative may be asked for.
    """
    like = float_like(X, Y)
    if metric in OURS or metric in POTS:
        X, Y = (as_floats(x, like) for x in (X, Y))
        if metric in OURS and library_of(like) in ("torch", "jax"):
            return cast(distances(X, Y, metric), like)
        from ot import dist

        return dist(X, Y, metric)
    if is_differentiated(X) or is_differentiated(Y):
        raise NotImplementedError(
            f"metric must be one of {', '.join(OURS + POTS)} for tensors with derivatives: got "
            f"{metric!r}; compute the cost matrix and use solve, or detach the points"
        )
    from scipy.spatial.distance import cdist

    try:
        return like_tensor(cdist(to_numpy(X), to_numpy(Y), metric), like)
    except ValueError as error:
        raise ValueError(f"metric must be one that scipy's cdist knows: {error}") from error


def distances(X: Any, Y: Any, metric: str) -> Any:
    """Return distances between points, whose derivatives are finite where points coincide."""
    torch = library_of(X) == "torch"
    xp = sys.modules["torch"] if torch else sys.modules["jax"].numpy
    if metric == "cityblock":
        return xp.abs(X[:, None, :] - Y[None, :, :]).sum(-1)
    if torch:
        from sparsenum.ot.tensors._torch import SquaredDistances

        squares = SquaredDistances.apply(X.double(), Y.double())
    else:
        squares = xp.square(X[:, None, :] - Y[None, :, :]).sum(-1)
    if metric == "sqeuclidean":
        return squares
    apart = squares > 0
    roots = xp.sqrt(xp.where(apart, squares, xp.ones_like(squares)))
    return xp.where(apart, roots, xp.zeros_like(roots))
