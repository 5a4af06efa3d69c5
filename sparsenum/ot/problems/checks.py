"""What a cost matrix, masses and a convention for the value must be."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from sparsenum._check import float_type, moderate, positive, real_array, shape_of
from sparsenum.ot.problems.dense import Matrix, Vector

RegType = Literal["KL", "entropy"]
REG_TYPES: dict[str, RegType] = {"kl": "KL", "entropy": "entropy"}
# Relative difference of the totals of a and b that is taken for rounding; of masses in float32, of
# which each is rounded, as many units as the sum of their rounding errors is likely to have.
MASS_MISMATCH, UNITS = 1e-6, 4.0


TOL = 1e-9


def cost_matrix(M: ArrayLike) -> Matrix:
    """Return a cost without NaN and minus infinity."""
    cost: Matrix = real_array(M, "M", 2, float_type(M))
    if 0 in cost.shape:
        raise ValueError(f"M must have at least one row and one column: got shape {cost.shape}")
    refuse_cost(float(cost.min()))
    return cost


def refuse_cost(lowest: float) -> None:
    """Raise unless the least cost is finite."""
    if not np.isfinite(lowest):
        fact = (
            "NaN" if np.isnan(lowest) else "a row of infinity" if lowest > 0 else "minus infinity"
        )
        raise ValueError(f"M must hold numbers or plus infinity: got {fact}; clean the cost first")


def strength(reg: Any) -> float:
    """Return the checked strength of the entropy."""
    if reg is None:
        raise ValueError("reg must be given; for unregularised transport use POT's ot.emd")
    return moderate(reg, "reg", "it is the strength of the entropy, in the unit of M")


def tolerance(tol: Any, name: str = "tol") -> float:
    """Return the checked tolerance; more than all of the mass says no more than that."""
    if tol is None:
        return TOL
    return min(positive(tol, name, "it bounds the violation of the marginals"), 1.0)


def masses(x: ArrayLike | None, name: str, length: int) -> Vector:
    """Return the checked masses of one side of a problem, uniform if none are given."""
    if x is None or 0 in shape_of(x, name):
        return np.full(length, 1.0 / length)
    mass = real_array(x, name, 1).copy()  # a result is a value
    if mass.size != length:
        side = "row" if name == "a" else "column"
        raise ValueError(
            f"{name} must have one mass for each {side} of M, {length}: got {mass.size}"
        )
    if not (np.isfinite(mass).all() and (mass >= 0).all()):
        raise ValueError(
            f"{name} must hold finite masses, not negative: got values from {mass.min()} to "
            f"{mass.max()}; clean it, or clip what rounding made negative"
        )
    with np.errstate(over="ignore"):
        total = float(mass.sum())
    if math.isinf(total):
        raise ValueError(
            f"{name} must have a total that float64 can hold: got infinity; rescale it"
        )
    if not total > 0:
        raise ValueError(f"{name} must have positive total mass: got 0; is the histogram empty?")
    return mass


def refuse_total(mass: float, pairs: int, name: str = "a") -> None:
    """Raise if float32, the type of the cost and so of the plan, cannot hold such masses."""
    limits = np.finfo(np.float32)
    if not float(limits.tiny) * pairs <= mass <= float(limits.max):
        raise ValueError(
            f"{name} must lead to a total that a plan of float32, the type of M, can hold: got "
            f"{mass:.3g} for {pairs} pairs; pass M in float64, or divide a and b by their total"
        )


def mismatch(*masses: Vector) -> float:
    """Return which relative difference of totals is taken for rounding, by the type of masses."""
    single = [x for x in masses if is_single(x)]
    size = max((x.size for x in single), default=0)
    return max(MASS_MISMATCH, UNITS * float(np.finfo(np.float32).eps) * math.sqrt(size))


def is_single(x: Vector) -> bool:
    """Return whether masses look as if they had been rounded to float32: fractions it can hold."""
    with np.errstate(over="ignore", under="ignore"):
        return bool((x == x.astype(np.float32)).all() and (x != np.rint(x)).any())


def shared_mass(a: Vector, b: Vector) -> float:
    """Return the total mass, once it is the same on both sides."""
    total_a, total_b = float(a.sum()), float(b.sum())
    if abs(total_a - total_b) > mismatch(a, b) * max(total_a, total_b):
        raise ValueError(
            f"a must sum to the same total as b: got {total_a:.9g} and {total_b:.9g}; divide each "
            "by its sum, or use unbalanced transport"
        )
    return total_a


def value_type(reg_type: str) -> RegType:
    """Return the lower-case name of a convention for the value."""
    name = str(reg_type).lower()
    if name not in REG_TYPES:
        raise NotImplementedError(
            f"reg_type must be 'KL' or 'entropy': got {reg_type!r}; POT's ot.solve has others"
        )
    return REG_TYPES[name]
