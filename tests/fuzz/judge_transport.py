"""What a door has answered, held against the caller's own problem in long double."""

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from fuzz import oracles
from fuzz.oracles import L, long

EPS = L(np.finfo(np.float64).eps)
SINGLE = 3e-7  # roundings of a sum of float32
SMALLEST, LARGEST = 1e-34, 1e38  # masses of plans that float32 holds
LEAST = L(1e-200)  # share of the total from which a mass is documented to count
WORK = 20_000  # exponentials that an oracle may take
# Rounding up to which marginals and potentials settle what a plan is; of those one in some is
# solved again all the same.
CLEAR, ONE_IN = 1e-7, 8


@dataclass
class Problem:
    """The caller's problem in long double."""

    M: Any
    a: Any
    b: Any
    reg: Any
    kind: str
    tol: float
    rho: Any = None
    single: bool = False

    @property
    def spread(self):
        """How far apart the finite costs are, whatever is added to all."""
        return self.M - self.M[np.isfinite(self.M)].min()

    @property
    def feasible(self):
        """Whether some plan avoids the infinite costs."""
        rows, columns = counts(self.a), counts(self.b)
        allowed = np.isfinite(self.M[np.ix_(rows, columns)])
        open_sides = allowed.any(axis=1).all(), allowed.any(axis=0).all()
        if self.rho:
            sides = zip(open_sides, self.rho, strict=True)
            return allowed.any() and all(is_open or np.isfinite(rho) for is_open, rho in sides)
        return all(open_sides) and (allowed.all() or oracles.feasible(self.M, self.a, self.b))

    @property
    def holds(self):
        """Whether float32, where it is the type of the cost, can hold a plan with penalties."""
        if not (self.single and self.rho):
            return True
        P, _ = oracles.plain_unbalanced(
            self.M, self.a, self.b, self.reg, self.rho, self.kind, self.cap
        )
        return P is not None and SMALLEST < P.sum() < LARGEST

    @property
    def cap(self):
        """How many sweeps an oracle may take."""
        return int(min(300, WORK // self.M.size))


@dataclass
class Found:
    """What was answered: some doors leave some of it out."""

    f: Any
    g: Any
    error: float
    converged: bool
    status: str
    plan: Any = None
    value: Any = None
    linear: Any = None
    marginals: Any = None
    sparse: Any = None
    rebuilt: bool = False


def complaints(p, found):
    """Yield what is wrong with an answer, the kind of fault first."""
    if found.plan is None:
        found.rebuilt = True
        found.plan = exponentials(p, long(found.f), long(found.g))
        if noise(p, found) > 0.1:  # which nobody can know from them
            found.plan = None
            yield from unknown(p, found)
            return
    P = long(found.plan)
    if P.shape != p.M.shape:
        yield f"shape: {P.shape} for {p.M.shape}"
        return
    if not (np.isfinite(P).all() and (P >= 0).all()):
        yield f"plan: values from {P.min()} to {P.max()}, status {found.status}"
        return
    numbers = [found.error, found.value, found.linear]
    if not np.isfinite([x for x in numbers if x is not None]).all():
        yield f"numbers: error, value, cost {numbers}"
        return
    if found.converged != (found.status == "converged"):
        yield f"status: {found.status!r}, converged {found.converged}"
    yield from potentials(p, found)
    yield from (unbalanced if p.rho else balanced)(p, found, P)
    if not found.rebuilt:
        yield from optimality(p, found, P)
    yield from values(p, found, P)
    if found.converged and (noise(p, found) > CLEAR or chosen(P)):
        yield from twin(p, found, P)


def unknown(p, found):
    """Yield what is wrong with an answer whose plan its potentials do not tell."""
    numbers = [x for x in (found.error, found.value, found.linear) if x is not None]
    if not np.isfinite(numbers).all():
        yield f"numbers: error, value, cost {numbers}"
    if found.converged != (found.status == "converged"):
        yield f"status: {found.status!r}, converged {found.converged}"
    yield from potentials(p, found)
    if found.converged:
        yield from twin(p, found, None)


def counts(mass):
    """Return which masses are large enough to have entries in a plan."""
    return mass > LEAST * mass.sum()


def chosen(P):
    """Return whether a plan is of the few that are solved again though nothing is left to ask.

    A plan with the right marginals that its potentials explain is the only one.
    """
    return crc32(np.asarray(P, float).tobytes()) % ONE_IN == 0


def potentials(p, found):
    """The potentials are finite where there is mass, and minus infinity elsewhere."""
    for name, x, mass in (("f", found.f, p.a), ("g", found.g, p.b)):
        x = np.asarray(x)
        if np.isnan(x).any() or ((np.isinf(x) & counts(mass)).any() and not p.rho):
            yield f"potentials: {name} = {x.tolist()}"


def noise(p, found):
    """How far rounding may move a marginal, relative to all mass.

    An answer must not suffer from a constant that all costs have; but potentials from which the
    plan is to be made can, and so can what was stopped early.
    """
    wide = max(width(x) for x in (found.f, found.g))
    if found.rebuilt or not found.converged or p.rho:  # where a constant changes the plan
        wide = max(wide, *(np.abs(x[np.isfinite(x)]).max(initial=0) for x in (found.f, found.g)))
    return 1e-12 + 8 * EPS * wide / p.reg + (SINGLE if p.single else 0)


def size(x):
    """How large potentials are where there is mass."""
    return np.abs(x[np.isfinite(x)]).max(initial=0)


def width(x):
    """How far apart potentials are where there is mass."""
    finite = np.asarray(x)[np.isfinite(x)]
    return np.ptp(finite) if finite.size else 0.0


def balanced(p, found, P):
    """Both marginals are what the caller gave, as exactly as the answer says."""
    true, slack = oracles.marginal_error(P, p.a, p.b), noise(p, found)
    if slack > 0.1 and (found.rebuilt or not found.converged):
        return  # potentials that are too far apart to say anything about a plan
    apart = abs(1 - p.b.sum() / p.a.sum())  # which no plan can make up for
    if found.converged and true > p.tol + 1.001 * apart + slack:
        yield f"marginals: off by {true:.1e}, said to be {found.error:.1e}"
    elif abs(true - found.error) > 0.02 * max(true, found.error) + slack + 0.01 * p.tol:
        yield f"error: {found.error:.2e}, truly {true:.2e}"
    if found.marginals is not None:
        for sums, axis in zip(found.marginals, (1, 0), strict=True):
            if np.abs(sums - P.sum(axis=axis)).sum() > 2 * slack * p.a.sum():
                yield "sums: the marginals returned are not those of the plan"
    if found.sparse is not None:
        left_out = np.abs(P - long(found.sparse)).sum() / p.a.sum()
        if left_out > p.tol + slack:
            yield f"sparse plan: leaves out {left_out:.1e}"


def twin(p, found, P):
    """An answer differs from an exact one by its error times the problem's condition, at most."""
    if p.rho:
        right, sweeps = oracles.plain_unbalanced(p.M, p.a, p.b, p.reg, p.rho, p.kind, p.cap)
    else:
        right, sweeps = oracles.plain_sinkhorn(p.M, p.a, p.b, p.reg, p.cap)
    if right is None or right.sum() <= 1e-280:
        return
    if found.plan is None:
        yield from cost_of(right, sweeps, p, found)
    else:
        apart, error = np.abs(P - right).sum() / right.sum(), found.error + noise(p, found)
        if apart > (20 + 2 * sweeps) * (error + oracles.rounding(p.M, p.reg)) + 1e-10:
            yield f"twin: differs by {apart:.1e} from a plain solver, error {error:.1e}"


def cost_of(right, sweeps, p, found):
    """The cost of an answer whose plan is not known is that of the right plan."""
    cost = oracles.product(right, p.M)
    error = found.error + oracles.rounding(p.M, p.reg) + 1e-12
    share = (20 + 2 * sweeps) * error + 1e-9
    moved = oracles.product(right, p.spread) + p.reg * right.sum()
    roundings = 64 * EPS + (SINGLE if p.single else 0)
    slack = share * moved + roundings * oracles.product(right, np.abs(p.M))
    if found.linear is not None and abs(found.linear - cost) > slack:
        yield f"cost: {found.linear!r}, a plain solver's is {cost}"


def unbalanced(p, found, P):
    """The sums of the plan are what its potentials and the penalties ask for."""
    phi, psi = long(found.f), long(found.g)
    if p.kind == "KL":
        phi, psi = phi - p.reg * logs(p.a), psi - p.reg * logs(p.b)
    off, wanted, sums = L(0), L(0), P.sum()
    for x, mass, axis, rho in ((phi, p.a, 1, p.rho[0]), (psi, p.b, 0, p.rho[1])):
        some = counts(mass) & np.isfinite(x)
        target = mass[some] * (np.exp(-x[some] / L(rho)) if np.isfinite(rho) else 1)
        off, wanted = off + np.abs(P.sum(axis=axis)[some] - target).sum(), wanted + target.sum()
    if sums < 1e-290 and wanted < 1e-290:
        return  # nothing is moved, and nothing should be
    true, slack = off / max(sums, L(1e-290)), 4 * noise(p, found) + 0.01 * p.tol
    sizes = [np.abs(x[np.isfinite(x)]).max(initial=0) for x in (phi, psi, found.f, found.g)]
    slack += 8 * EPS * max(sizes) / min(p.rho)  # rounding of what the penalties ask for
    if found.converged and true > p.tol + slack:
        yield f"marginals: off by {true:.1e}, said to be {found.error:.1e}"
    elif true < 1e3 and abs(true - found.error) > 1e-3 * max(true, found.error) + slack:
        yield f"error: {found.error:.2e}, truly {true:.2e}"


def exponentials(p, f, g):
    """Return the plan of two potentials, minus infinity among them."""
    return np.exp((f[:, None] + g - p.M) / p.reg)


def optimality(p, found, P):
    """The plan is exp((f + g - M) / reg) wherever float64 can say so."""
    f, g = long(found.f), long(found.g)
    with np.errstate(invalid="ignore"):
        right = np.where((p.a > 0)[:, None] & (p.b > 0), exponentials(p, f, g), L(0))
    finite = np.where(np.isfinite(p.M), np.abs(p.M), L(0))
    # The gauge that they share costs all potentials the digits that it costs the largest.
    sizes = sum(np.abs(x[np.isfinite(x)]).max(initial=0) for x in (f, g))
    rounding = 1e-9 + 8 * EPS * (sizes + finite) / p.reg + (SINGLE if p.single else 0)
    total = max(P.sum(), L(1e-290))
    least = total * 1e-100 + (1e-37 * max(total, L(1)) if p.single else L(1e-290))
    bad = (np.abs(P - right) > rounding * right + least) & (rounding < 0.1)
    bad &= counts(p.a)[:, None] & counts(p.b)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        yield f"optimality: P[{i}, {j}] = {P[i, j]}, its potentials say {right[i, j]}"


def values(p, found, P):
    """Value and cost are what the plan says."""
    roundings = noise(p, found)
    if roundings > 0.1 and not found.converged:
        return  # no digit of this plan means anything
    linear = oracles.product(P, p.M)
    moved = oracles.product(P, p.spread) + p.reg * ((np.abs(logs(P)) + 1) * P).sum()
    share = 1e-9 + 4 * roundings
    share += 0 if p.rho else abs(1 - p.b.sum() / p.a.sum())  # totals that are about equal
    exact = found.converged and not found.rebuilt and not p.single
    all_cost = 32 * EPS + min(found.error, 1e-6) if exact else roundings
    slack = share * moved + all_cost * oracles.product(P, np.abs(p.M))
    if found.linear is not None and abs(found.linear - linear) > slack:
        yield f"cost: {found.linear!r}, the plan's is {linear}"
    if found.value is None:
        return
    if p.rho:
        value = oracles.unbalanced_value(P, p.M, p.a, p.b, p.reg, p.rho, p.kind)
        slack += share * (p.reg * p.a.sum() * p.b.sum() + penalised(p, P))
    else:
        value = linear + p.reg * oracles.regulariser(P, p.a, p.b, p.kind)
    if abs(found.value - value) > slack:
        yield f"value: {found.value!r}, the plan's is {value}"


def penalised(p, P):
    """How large the terms of the penalties are."""
    total = L(0)
    for rho, sums, mass in zip(p.rho, (P.sum(axis=1), P.sum(axis=0)), (p.a, p.b), strict=True):
        if np.isfinite(rho):
            total += rho * (sums * (np.abs(logs(sums)) + np.abs(logs(mass)) + 1) + mass).sum()
    return total


def logs(x):
    """Return logarithms, 0 of nothing."""
    return np.log(np.where(x > 0, x, L(1)))
