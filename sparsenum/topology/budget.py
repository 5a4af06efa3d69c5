"""How many entries each row or table gets: whole numbers whose sum is the budget, to the unit."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import choice, real_array, whole

# What each table claims, in entries: a density proportional to 1, to (n + m) / (n m) and to the
# sum of the dimensions over their product.
RULES: dict[str, Callable[[tuple[int, ...]], float]] = {
    "uniform": lambda shape: float(prod(shape)),
    "er": lambda shape: float(prod(shape)) * sum(shape[:2]) / prod(shape[:2]),
    "erk": lambda shape: float(sum(shape)),
}


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

    See Also
    --------
    sparsenum.topology.share_tables : a budget for tables instead of rows.
    sparsenum.topology.best_densities : shares found by a search.

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


def share_tables(
    total: int,
    shapes: Sequence[tuple[int, ...]],
    rule: str | ArrayLike = "erk",
    *,
    dense: int | None = None,
) -> NDArray[np.int64]:
    """Share `total` entries among tables (layers, tensors), sum exact.

    A table whose share exceeds its size is made dense and the rest shared again, as in [2]_. Tables
    with far more rows than columns, like embeddings, get nearly the same density by every rule.

    Parameters
    ----------
    total : int
        Entries in all tables together.
    shapes : sequence of tuple of int
        Dimensions of each table, two at least; kernels of a convolution have theirs last.
    rule : str or array_like, shape (len(shapes),), default "erk"
        "uniform": densities all equal; "er": proportional to (n + m) / (n m) (Erdos and Renyi
        [1]_); "erk": to the sum of all dimensions over their product [2]_. Or numbers to be in
        proportion to: explicit densities, or those of `best_densities`. Of the rules with a plus
        [3]_, "uniform+" makes the first table dense and the last at least a fifth, the others
        alike, and "erk+" makes the last dense and shares the rest as "erk" does.
    dense : int, optional
        The table that a rule with a plus makes dense, if not the first, or the last.

    Returns
    -------
    ndarray of int64, shape (len(shapes),)
        Entries of each table.

    Raises
    ------
    ValueError
        If the tables cannot hold `total`, a shape is no shape, or the rule is unknown.

    See Also
    --------
    sparsenum.topology.allocate : a budget for the rows of one table.

    References
    ----------
    .. [1] Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
       connectivity", Nature Communications 2018.
    .. [2] Evci et al., "Rigging the Lottery", ICML 2020, section 3.
    .. [3] Liu et al., "The Unreasonable Effectiveness of Random Pruning", ICLR 2022.

    Examples
    --------
    >>> share_tables(600, [(100, 10), (10, 10)], "uniform").tolist()
    [545, 55]
    >>> share_tables(600, [(100, 10), (10, 10)], "erk").tolist()
    [508, 92]
    >>> share_tables(600, [(100, 10), (10, 10)], [0.5, 1.0]).tolist()
    [500, 100]
    """
    if any(len(shape) < 2 or min(shape) < 1 for shape in shapes):
        raise ValueError(
            f"shapes must have two dimensions or more, each at least 1: got {list(shapes)}"
        )
    sizes = np.array([prod(shape) for shape in shapes], np.int64)
    least = np.zeros_like(sizes)
    if isinstance(rule, str):
        choice(rule, "rule", (*RULES, "uniform+", "erk+"))
        claims = np.array([RULES[rule.removesuffix("+")](shape) for shape in shapes])
        if rule.endswith("+"):
            first = 0 if rule == "uniform+" else len(sizes) - 1
            full = first if dense is None else whole(dense, "dense", upper=len(sizes) - 1)
            if rule == "uniform+":
                least[-1] = sizes[-1] // 5
            least[full] = sizes[full]
    else:
        densities = real_array(rule, "rule", 1)
        if densities.size != sizes.size:
            raise ValueError(
                f"rule must give a density for each of the {sizes.size} tables: got "
                f"{densities.size}"
            )
        claims = densities * sizes
    return allocate(total, claims, lower=least, upper=sizes)


def best_densities(scores: Sequence[ArrayLike], total: int) -> NDArray[np.float64]:
    """Return the density of each table if the `total` best-scored entries of all were kept.

    With the scores ``|w g|`` of one batch at the start of training these are the SNIP ratios [1]_;
    as the rule of `share_tables`, with positions drawn at random, they are what most of SNIP's
    quality comes from [2]_.

    Parameters
    ----------
    scores : sequence of array_like
        A score for every entry of each table, no NaN; the tables may have any shape.
    total : int
        Entries to keep; ties go to the earlier table, and within it to the earlier entry.

    Returns
    -------
    ndarray, shape (len(scores),)
        Share of each table's entries that is among the best.

    Raises
    ------
    ValueError
        If there are fewer scores than `total`.

    References
    ----------
    .. [1] Lee, Ajanthan, Torr, "SNIP", ICLR 2019.
    .. [2] Liu et al., "The Unreasonable Effectiveness of Random Pruning", ICLR 2022.

    Examples
    --------
    >>> best_densities([[5.0, 4.0, 3.0, 0.0], [6.0, 1.0]], total=3).tolist()
    [0.5, 0.5]
    """
    tables = [np.asarray(score, np.float64).ravel() for score in scores]
    sizes = np.array([table.size for table in tables])
    total = whole(total, "total", upper=int(sizes.sum()))
    best = np.argsort(-np.concatenate(tables), kind="stable")[:total]
    kept = np.bincount(np.searchsorted(np.cumsum(sizes), best, side="right"), minlength=sizes.size)
    densities: NDArray[np.float64] = kept / sizes
    return densities


def _bound(value: ArrayLike, name: str, n: int) -> NDArray[np.int64]:
    bound: NDArray[Any] = np.broadcast_to(np.asarray(value), (n,))
    if not np.issubdtype(bound.dtype, np.integer) or (bound < 0).any():
        raise ValueError(f"{name} must hold whole numbers, not negative: got {value!r}")
    return bound.astype(np.int64)
