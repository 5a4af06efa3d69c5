"""How many entries each group gets: whole numbers whose sum is the budget, to the unit."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import real_array, whole


def allocate(
    total: int, weights: ArrayLike, *, lower: ArrayLike = 0, upper: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Share `total` units among groups in proportion to `weights`, within bounds, sum exact.

    The shares are ``clip(s w_i, lower_i, upper_i)`` with the scale s that makes them sum to
    `total`; they are rounded down and the units left go to the largest remainders, ties to the
    first group.

    Parameters
    ----------
    total : int
        Units to share.
    weights : array_like, shape (n,)
        Claims of the groups; finite and not negative.
    lower, upper : array_like of int, shape (n,) or scalar
        Fewest (0 by default) and most (no bound by default) units of each group.

    Returns
    -------
    ndarray of int64, shape (n,)
        Units of each group; they sum to `total`. Cost O(n log n) for the rounding and O(n) for
        each of about 100 bisection steps.

    Raises
    ------
    ValueError
        If the bounds leave no way to share `total`, or a weight is negative, NaN or infinite.

    Examples
    --------
    >>> allocate(10, [1.0, 1.0, 4.0], upper=5).tolist()
    [3, 2, 5]
    """
    total = whole(total, "total")
    claims = real_array(weights, "weights", 1)
    if not (np.isfinite(claims).all() and (claims >= 0).all()):
        raise ValueError("weights must be finite and not negative; clean them first")
    least = _bound(lower, "lower", claims.size)
    most = np.full(claims.size, total) if upper is None else _bound(upper, "upper", claims.size)
    most = np.minimum(most, total)
    if (least > most).any() or not least.sum() <= total <= most.sum():
        raise ValueError(
            f"total must be from {least.sum()} to {most.sum()} for these bounds: got {total}; "
            "change the budget or the bounds"
        )
    # A group without a claim takes units only where the others are full.
    claims = np.maximum(claims, max(claims.max(initial=0.0), 1.0) * 1e-12)
    low, high = 0.0, float(total + 1) / claims.min(initial=np.inf)
    for _ in range(200):
        scale = 0.5 * (low + high)
        if scale in (low, high):
            break
        if np.clip(scale * claims, least, most).sum() < total:
            low = scale
        else:
            high = scale
    shares = np.clip(low * claims, least, most)
    units: NDArray[np.int64] = np.minimum(np.floor(shares + 1e-9).astype(np.int64), most)
    while (left := total - int(units.sum())) != 0:
        # Rounding of the scale can leave more than one unit a group, hence the loop.
        room = (units < most) if left > 0 else (units > least)
        order = np.argsort((units - shares)[room] * np.sign(left), kind="stable")
        units[np.flatnonzero(room)[order[: abs(left)]]] += np.sign(left)
    return units


def _bound(value: ArrayLike, name: str, n: int) -> NDArray[np.int64]:
    bound: NDArray[Any] = np.broadcast_to(np.asarray(value), (n,))
    if not np.issubdtype(bound.dtype, np.integer) or (bound < 0).any():
        raise ValueError(f"{name} must hold whole numbers, not negative: got {value!r}")
    return bound.astype(np.int64)
