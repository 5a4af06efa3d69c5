"""Points in the order of a k-d tree, and bounds that rule out pairs of its boxes at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

CLUSTER = 4  # points of a cluster: the ratio between two scales
LEAF = 16  # points of a leaf: within it pairs are tested one by one
BLOCK = 128  # points of a block: the unit in which most pairs are ruled out


class Boxes(NamedTuple):
    """Boxes around runs of points, with an affine bound of a potential f on each.

    Attributes
    ----------
    low, high : ndarray, shape (boxes, d)
        Corners.
    slope : ndarray, shape (boxes, d)
    top : ndarray, shape (boxes,)
        Such that f(x) <= top + slope (x - low) for the points of the box.
    """

    low: Points
    high: Points
    slope: Points
    top: NDArray[np.float64]


def tree_order(X: Points) -> NDArray[np.int64]:
    """Return an order in which clusters, leaves and blocks of points are close in space.

    The parts of a k-d tree, split at whole blocks and then at whole clusters, so that runs of
    these lengths never belong to parts that are far apart.
    """
    parts = [np.arange(len(X))]
    for unit in (BLOCK, CLUSTER):
        while max(len(part) for part in parts) > unit:
            halves = []
            for part in parts:
                middle = -(-len(part) // (2 * unit)) * unit
                if len(part) > unit:
                    axis = int(np.argmax(np.ptp(X[part], axis=0)))
                    part = part[np.argpartition(X[part, axis], middle)]
                halves += [part[:middle], part[middle:]]
            parts = [half for half in halves if len(half)]
    return np.concatenate(parts)


def boxes(X: Points, f: NDArray[np.float64], size: int) -> Boxes:
    """Return the boxes of runs of `size` points, and affine bounds on f by least squares.

    Any slope gives a bound; the closer the fit, the less slack it hides.
    """
    count = -(-len(X) // size)
    places = np.minimum(np.arange(count * size), len(X) - 1).reshape(count, size)
    points, values = X[places], f[places]
    low, high = points.min(axis=1), points.max(axis=1)
    spread = points - points.mean(axis=1, keepdims=True)
    squares = np.einsum("nik,nil->nkl", spread, spread)
    ridge = 1e-6 * np.trace(squares, axis1=1, axis2=2) + np.finfo(float).tiny
    squares += ridge[:, None, None] * np.eye(X.shape[1])
    moments = np.einsum("nik,ni->nk", spread, values - values.mean(axis=1, keepdims=True))
    slope = np.linalg.solve(squares, moments[..., None])[..., 0]
    rest = values - np.einsum("nik,nk->ni", points - low[:, None], slope)
    return Boxes(low, high, slope, rest.max(axis=1))
