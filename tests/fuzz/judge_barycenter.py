"""What a barycenter claims: plans from each histogram to it, whose potentials cancel out."""

import numpy as np

from fuzz import oracles
from fuzz.judge_transport import CLEAR, WORK, Found, Problem, chosen, exponentials, noise
from fuzz.oracles import L, long


def wrong_barycenter(case, q, log):
    """Yield what is wrong with a barycenter and its log."""
    numbers = [*q, log["marginal_error"]]
    if not (np.isfinite(numbers).all() and (q >= 0).all()):
        yield f"barycenter: {q.tolist()}, error {log['marginal_error']}"
        return
    A, M, reg = long(case.get("A")), long(case.get("M")), L(case.get("reg"))
    weights = shares(case)
    used = np.flatnonzero(weights)
    mass, tol = A[:, 0].sum(), case.get("stopThr", 1e-9)
    plans, slack = [], L(1e-12)
    for k in used:  # the plans, from potentials that may be too far apart to give any
        f, g = long(log["f"][:, k]), long(log["g"][:, k])
        p = Problem(M, A[:, k] * (mass / A[:, k].sum()), q, reg, "entropy", tol)
        slack += noise(p, Found(f, g, 0, True, "", rebuilt=True))
        plans.append(exponentials(p, f, g))
    said = log["marginal_error"]
    if slack < 0.1:
        yield from wrong_plans(plans, A[:, used], weights[used], q, log, tol, slack)
    if abs(q.sum() - mass) > 1e-6 * mass:
        yield f"mass: {q.sum()!r} of {mass}"
    drift = long(log["g"])[:, used] @ weights[used]
    if np.ptp(drift) > 1e-9 * reg + 1e-12 * np.abs(log["g"]).max():
        yield f"potentials: their weighted sum varies by {np.ptp(drift):.1e}"
    if log["converged"] and (slack > CLEAR or chosen(q)):
        yield from twin(A, M, reg, weights, q, said + min(slack, L(1e-9)))


def wrong_plans(plans, A, weights, q, log, tol, slack):
    """Yield what is wrong with the marginals of the plans."""
    mass, off, said = A[:, 0].sum(), L(0), log["marginal_error"]
    for k, P in enumerate(plans):
        rows = np.abs(P.sum(axis=1) - A[:, k] * (mass / A[:, k].sum())).sum() / mass
        if rows > slack:
            yield f"rows: those of histogram {k} are off by {rows:.1e}"
        off += weights[k] * np.abs(P.sum(axis=0) - q).sum() / mass
    if log["converged"] and off > tol + slack:
        yield f"marginals: the plans differ from q by {off:.1e}, said {said:.1e}"
    elif abs(off - said) > 1e-3 * max(off, said) + slack:
        yield f"error: {said:.2e}, truly {off:.2e}"


def shares(case):
    """Return the weights, of sum one."""
    given = case.get("weights")
    weights = np.ones(case.get("A").shape[1], L) if given is None else long(given)
    return weights / weights.sum()


def twin(A, M, reg, weights, q, error):
    """A barycenter differs from a plain solver's by its error times its condition, at most."""
    cap = int(min(200, WORK // (M.size * A.shape[1])))
    right, sweeps = oracles.plain_barycenter(A, M, reg, weights, cap)
    if right is not None:
        apart = np.abs(q - right).sum() / right.sum()
        if apart > (20 + 2 * sweeps) * (error + oracles.rounding(M, reg)) + 1e-10:
            yield f"twin: differs by {apart:.1e} from a plain solver, error {error:.1e}"
