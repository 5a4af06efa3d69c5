r"""The optimality conditions of transport, differentiated: formulas for arrays of any library.

With ``phi = f - reg log a`` and ``psi = g - reg log b`` the plan is ``P_ij = a_i b_j E_ij`` with
the density ``E_ij = exp((phi_i + psi_j - M_ij) / reg)``, and its marginals are right where

.. math:: \sum_j b_j E_{ij} = s_i, \quad \sum_i a_i E_{ij} = t_j, \qquad
          s_i = e^{-\phi_i / \rho_1}, \; t_j = e^{-\psi_j / \rho_2}

(1 where a marginal is exact). That holds at rows and columns without mass, too. What moves with
cost, masses and reg follows from these conditions by one linear solve, and so do its derivatives:
no iterate is kept. Axes before the last two are those of a stack.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EXACT = (float("inf"), float("inf"))  # penalties that keep both marginals exact
LEAST = 1e-300  # of a density, where its logarithm is taken
MOST = 700.0  # of the logarithm of one, between a row and a column without mass


@dataclass(frozen=True)
class Convention:
    """What a problem asks of its marginals, and what its value counts as the entropy.

    Attributes
    ----------
    rho : tuple of float, optional
        Strengths of the penalties on the marginals; None where these are exact.
    reg_type : {"KL", "entropy"}
        The entropy.
    n_threads : int
        Threads for derivatives of a stack.
    """

    rho: tuple[float, float] | None = None
    reg_type: str = "KL"
    n_threads: int = 1

    @property
    def relative(self) -> bool:
        """Whether potentials are reported relative to the masses."""
        return self.rho is not None and self.reg_type == "entropy"


@dataclass(frozen=True)
class Data:
    """What a transport problem is made of, and what it is solved with.

    Attributes
    ----------
    a, b : arrays, shape (..., n) and (..., m)
        Masses.
    reg : array, shape (...)
        Strength of the entropy.
    rho : tuple of float
        Strengths of the penalties on the marginals; infinite where a marginal is exact.
    xp : module
        numpy, torch or jax.numpy.
    solve : callable
        ``solve(P, e1, e2, y1, y2)`` returns the solution (z1, z2) of the two-sided system
        ``[[diag(P 1 + e1), P], [P', diag(P' 1 + e2)]] z = y``.
    """

    a: Any
    b: Any
    reg: Any
    rho: tuple[float, float]
    xp: Any
    solve: Callable[..., tuple[Any, Any]]


def moved(
    data: Data, phi: Any, psi: Any, E: Any, dM: Any, da: Any, db: Any, dreg: Any
) -> tuple[Any, Any, Any]:
    """Return how phi, psi and E move when cost, masses and reg do."""
    a, b, reg, xp = data.a, data.b, data.reg, data.xp
    L, s, t = log_density(E, xp), _ratio(phi, data.rho[0], xp), _ratio(psi, data.rho[1], xp)
    pull = E * (dM + L * dreg[..., None, None])
    h1 = _times(pull, b, xp) - reg[..., None] * _times(E, db, xp)
    h2 = _times_t(pull, a, xp) - reg[..., None] * _times_t(E, da, xp)
    z1, z2 = data.solve(*system(data, phi, psi, E), a * h1, b * h2)
    k1, k2 = _stiffness(data)
    dphi = xp.where(a > 0, z1, (h1 - _times(E, b * z2, xp)) / (k1 * s))
    dpsi = xp.where(b > 0, z2, (h2 - _times_t(E, a * z1, xp)) / (k2 * t))
    shift = dphi[..., :, None] + dpsi[..., None, :] - dM - L * dreg[..., None, None]
    return dphi, dpsi, E * shift / reg[..., None, None]


def pulled(
    data: Data, phi: Any, psi: Any, E: Any, phi_bar: Any, psi_bar: Any, E_bar: Any
) -> tuple[Any, Any, Any, Any]:
    """Return the derivatives of a number for cost, masses and reg, given those for phi, psi, E."""
    a, b, reg, xp = data.a, data.b, data.reg, data.xp
    s, t = _ratio(phi, data.rho[0], xp), _ratio(psi, data.rho[1], xp)
    direct = E_bar * E / reg[..., None, None]
    y1, y2 = phi_bar + direct.sum(-1), psi_bar + direct.sum(-2)
    k1, k2 = _stiffness(data)
    bare1 = xp.where(a > 0, xp.zeros_like(y1), y1 / (k1 * s))
    bare2 = xp.where(b > 0, xp.zeros_like(y2), y2 / (k2 * t))
    z1, z2 = data.solve(
        *system(data, phi, psi, E),
        xp.where(a > 0, y1 - a * _times(E, bare2, xp), xp.zeros_like(y1)),
        xp.where(b > 0, y2 - b * _times_t(E, bare1, xp), xp.zeros_like(y2)),
    )
    u, v = a * z1 + bare1, b * z2 + bare2
    M_bar = E * (u[..., :, None] * b[..., None, :] + a[..., :, None] * v[..., None, :]) - direct
    a_bar, b_bar = -reg[..., None] * _times(E, v, xp), -reg[..., None] * _times_t(E, u, xp)
    return M_bar, a_bar, b_bar, (log_density(E, xp) * M_bar).sum((-2, -1))


def system(data: Data, phi: Any, psi: Any, E: Any) -> tuple[Any, Any, Any]:
    """Return the matrix of the conditions: the plan, and what penalties add to the diagonal."""
    a, b, reg, xp = data.a, data.b, data.reg, data.xp
    P = a[..., :, None] * E * b[..., None, :]
    e1 = a * _held(phi, data.rho[0], xp) * reg[..., None] / data.rho[0]
    e2 = b * _held(psi, data.rho[1], xp) * reg[..., None] / data.rho[1]
    return P, e1, e2


def residual(P: Any, e1: Any, e2: Any, z1: Any, z2: Any, xp: Any) -> tuple[Any, Any]:
    """Return the product of that matrix with z."""
    return (
        (P.sum(-1) + e1) * z1 + _times(P, z2, xp),
        (P.sum(-2) + e2) * z2 + _times_t(P, z1, xp),
    )


def envelope(data: Data, phi: Any, psi: Any, E: Any) -> tuple[Any, Any, Any, Any]:
    """Return the derivatives of the value, with KL for the entropy, for M, a, b and reg."""
    a, b, reg, xp = data.a, data.b, data.reg, data.xp
    P = a[..., :, None] * E * b[..., None, :]
    of_reg = (P * log_density(E, xp)).sum((-2, -1))
    if _is_balanced(data):
        half = reg[..., None] / 2
        return P, phi - half, psi - half, of_reg
    totals = a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)
    sides = []
    for x, rho, other in ((phi, data.rho[0], totals[1]), (psi, data.rho[1], totals[0])):
        s = _held(x, rho, xp)
        penalty = rho * (1.0 - s) if rho < float("inf") else x
        sides.append(penalty + reg[..., None] * (other - s))
    of_reg = of_reg - P.sum((-2, -1)) + (totals[0] * totals[1])[..., 0]
    return P, sides[0], sides[1], of_reg


def along(slopes: tuple[Any, Any, Any, Any], moves: tuple[Any, ...]) -> Any:
    """Return how a number moves when cost, masses and reg do."""
    of_M, of_a, of_b, of_reg = slopes
    dM, da, db, dreg = moves
    return (of_M * dM).sum((-2, -1)) + (of_a * da).sum(-1) + (of_b * db).sum(-1) + of_reg * dreg


def reference(M: Any, a: Any, b: Any, reg: Any, xp: Any) -> Any:
    """Return the cost whose KL problem is the one of M with the entropy: M + reg log(a b')."""
    some = (a > 0)[..., :, None] & (b > 0)[..., None, :]
    logs = (xp.log(xp.where(x > 0, x, xp.ones_like(x))) for x in (a, b))
    log_a, log_b = next(logs)[..., :, None], next(logs)[..., None, :]
    cost = M + reg[..., None, None] * (log_a + log_b)
    return xp.where(some, cost, xp.full_like(cost, float("inf")))


def density(M: Any, phi: Any, psi: Any, reg: Any, xp: Any) -> Any:
    """Return the density of the plan against the masses, zero where a cost is infinite."""
    x = (phi[..., :, None] + psi[..., None, :] - M) / reg[..., None, None]
    x = xp.where(float("inf") > M, x, xp.full_like(x, -float("inf")))
    return xp.exp(xp.clip(x, None, MOST))


def plan(data: Data, E: Any) -> Any:
    """Return the plan."""
    return data.a[..., :, None] * E * data.b[..., None, :]


def potentials(data: Data, phi: Any, psi: Any, relative: bool) -> tuple[Any, Any]:
    """Return f and g, minus infinity where there is no mass; relative ones, if so reported."""
    xp, reg = data.xp, data.reg[..., None]
    some = (data.a > 0) & (phi < float("inf")), (data.b > 0) & (psi < float("inf"))
    f, g = phi, psi
    if not relative:
        f = phi + reg * xp.log(xp.where(some[0], data.a, xp.ones_like(data.a)))
        g = psi + reg * xp.log(xp.where(some[1], data.b, xp.ones_like(data.b)))
    none = xp.zeros_like(f[..., :1]) - float("inf")
    if _is_balanced(data):
        means = (
            xp.where(with_mass, x, xp.zeros_like(x)).sum(-1, keepdims=True)
            / with_mass.sum(-1, keepdims=True)
            for x, with_mass in ((f, some[0]), (g, some[1]))
        )
        shift = (next(means) - next(means)) / 2
        f, g = f - shift, g + shift
    return xp.where(some[0], f, none), xp.where(some[1], g, none)


def transport_cost(data: Data, phi: Any, psi: Any, E: Any, relative: bool) -> Any:
    """Return <P, M>, from M = phi + psi - reg log E, so that M itself need not be kept.

    Relative potentials are those of M + reg log(a b').
    """
    xp, P = data.xp, plan(data, E)
    if relative:
        column = data.reg[..., None]
        phi, psi = (
            x - column * xp.log(xp.where(mass > 0, mass, xp.ones_like(mass)))
            for x, mass in ((phi, data.a), (psi, data.b))
        )
    cost = -data.reg * (P * log_density(E, xp)).sum((-2, -1))
    for x, sums in ((phi, P.sum(-1)), (psi, P.sum(-2))):
        cost = cost + (xp.where(sums > 0, x, xp.zeros_like(x)) * sums).sum(-1)
    return cost


def log_density(E: Any, xp: Any) -> Any:
    """Return log E, finite where E has underflowed."""
    return xp.log(xp.where(E > LEAST, E, xp.full_like(E, LEAST)))


def entropy(x: Any, xp: Any) -> Any:
    """Return sum x log x, whose slope is finite also where x is zero."""
    some = x > 0
    return xp.where(some, x * xp.log(xp.where(some, x, xp.ones_like(x))), x).sum(-1)


def same_totals(a: Any, b: Any, xp: Any, constant: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Return a and b, with derivatives for changes that keep their totals equal.

    Only these mean something where marginals are exact: a constant could be moved from the
    derivatives for a to those for b. It is split so that both have the same mean where there is
    mass.
    """
    b = b * constant(a.sum(-1, keepdims=True) / b.sum(-1, keepdims=True))  # as they are solved
    excess = (a.sum(-1, keepdims=True) - b.sum(-1, keepdims=True)) / 2
    excess = excess - constant(excess)  # zero, but for its derivative
    some = (xp.where(x > 0, xp.ones_like(x), xp.zeros_like(x)) for x in (a, b))
    shares = (x / x.sum(-1, keepdims=True) for x in some)
    return a - excess * next(shares), b + excess * next(shares)


def _held(x: Any, rho: float, xp: Any) -> Any:
    """Return the ratio of a marginal to its mass."""
    return xp.exp(-x / rho) if rho < float("inf") else xp.ones_like(x)


def _ratio(x: Any, rho: float, xp: Any) -> Any:
    """Return the same, to divide by: 1 where it has underflowed, and nothing moves."""
    s = _held(x, rho, xp)
    return xp.where(s > 0, s, xp.ones_like(s))


def _stiffness(data: Data) -> tuple[Any, Any]:
    return tuple(1.0 + data.reg[..., None] / rho for rho in data.rho)  # type: ignore[return-value]


def _is_balanced(data: Data) -> bool:
    return data.rho == EXACT


def _times(E: Any, x: Any, xp: Any) -> Any:
    return xp.einsum("...ij,...j->...i", E, x)


def _times_t(E: Any, x: Any, xp: Any) -> Any:
    return xp.einsum("...ij,...i->...j", E, x)
