"""Calls of the doors: each answer as pairs of a problem and what was found, all in one shape."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuzz import oracles
from fuzz.case import Case
from fuzz.judge_barycenter import wrong_barycenter
from fuzz.judge_transport import EPS, Found, Problem, noise, size
from fuzz.oracles import L, long
from sparsenum import ot

SENTINEL, BEYOND = 1e30, 1e18  # costs above both are documented as infinite


@dataclass(frozen=True)
class Whole:
    """What is claimed of several problems together."""

    wrong: Callable[[], Any]
    converged: bool


# The caller's problems, in long double.


def problem(case: Case, M: Any, a: Any, b: Any, reg: Any, kind: str, tol: str = "tol") -> Problem:
    """Return one problem of a case."""
    reg, M = L(reg), np.asarray(M)
    single = M.dtype == np.float32 and case.door in ("solve", "sinkhorn", "sinkhorn2")
    M = long(M)
    M = np.where(max(L(SENTINEL), BEYOND * reg) < M, np.inf, M)
    a, b = (
        np.full(n, L(1) / n) if x is None or np.size(x) == 0 else long(x)
        for x, n in zip((a, b), M.shape, strict=True)
    )
    given = case.get(tol)
    limit = 1e-9 if given is None else float(given) or float(np.finfo(np.float64).tiny)
    rho = case.get("unbalanced")
    if rho is not None:
        rho = rho if isinstance(rho, (tuple, list)) else (rho, rho)
        rho = None if np.isinf(rho[0]) and np.isinf(rho[-1]) else (rho[0], rho[-1])
    return Problem(M, a, b, reg, kind.lower().replace("kl", "KL"), limit, rho, single)


def dense_problems(case):
    """One cost matrix."""
    arguments = (case.get(name) for name in ("M", "a", "b", "reg"))
    return [problem(case, *arguments, case.get("reg_type", "KL"))]


def compat_problems(case):
    """One cost matrix, and a problem for each column of b."""
    a, b = case.get("a"), case.get("b")
    columns = b.T if b.ndim == 2 else [b]
    M, reg = case.get("M"), case.get("reg")
    return [problem(case, M, a, column, reg, "entropy", "stopThr") for column in columns]


def stacked_problems(case):
    """One problem for each matrix of the stack."""
    M, a, b, reg = (case.get(x) for x in ("M", "a", "b", "reg"))
    a, b = (x if x is not None and np.ndim(x) == 2 else [x] * len(M) for x in (a, b))
    each = zip(M, a, b, np.broadcast_to(reg, len(M)), strict=True)
    return [problem(case, *one, case.get("reg_type", "entropy")) for one in each]


def sample_problem(case, X="X_a", Y="X_b", a="a", b="b"):
    """Two clouds of points."""
    clouds = long(case.get(X)), long(case.get(Y))
    with np.errstate(all="ignore"):
        M = oracles.costs(*clouds, case.get("metric", "sqeuclidean"))
    return problem(case, M, *(case.get(x) for x in (a, b, "reg")), case.get("reg_type", "KL"))


def divergence_problems(case):
    """The two clouds, and each of them with itself."""
    sides = ("X_a", "a"), ("X_b", "b")
    pairs = [(x, y) for x, y in ((0, 1), (0, 0), (1, 1))]
    return [
        sample_problem(case, sides[x][0], sides[y][0], sides[x][1], sides[y][1]) for x, y in pairs
    ]


PROBLEMS = {
    "solve": dense_problems,
    "sinkhorn": compat_problems,
    "sinkhorn2": compat_problems,
    "solve_sample": lambda case: [sample_problem(case)],
    "solve_batch": stacked_problems,
    "sinkhorn_divergence": divergence_problems,
    "barycenter": lambda case: [],
}


# The answers.


def solution(result: Any, sparse: bool = False) -> Found:
    """Return what a solution says."""
    f, g = result.potentials
    return Found(
        f=f,
        g=g,
        error=result.marginal_error,
        converged=result.converged,
        status=result.status,
        plan=result.plan,
        value=result.value,
        linear=result.value_linear,
        marginals=result.marginals,
        sparse=result.sparse_plan.toarray() if sparse else None,
    )


def solve(case):
    """Return what `solve` says."""
    return [solution(ot.solve(**case.presented()))]


def solve_sample(case):
    """Return what `solve_sample` says, its sparse plan included."""
    return [solution(ot.solve_sample(**case.presented()), sparse=True)]


def compat(case):
    """Return what POT's doors say: a plan, a cost, or the costs of many."""
    answer, log = getattr(ot, case.door)(**case.presented(), log=True)
    many = np.ndim(case.get("b")) == 2
    found = []
    for k in range(case.get("b").shape[1] if many else 1):
        f, g, status, error = (
            (log[name][:, k] if name in ("alpha", "beta") else log[name][k]) if many else log[name]
            for name in ("alpha", "beta", "status", "marginal_error")
        )
        found.append(Found(f, g, error, status == "converged", status))
        if many or case.door == "sinkhorn2":
            found[-1].linear = np.ravel(answer)[k]
        else:
            found[-1].plan = answer
    return found


def solve_batch(case):
    """Return what `solve_batch` says of each problem."""
    result = ot.solve_batch(**case.presented())
    return [
        Found(
            f=result.potentials[0][k],
            g=result.potentials[1][k],
            error=result.marginal_error[k],
            converged=bool(result.converged[k]),
            status=str(result.status[k]),
            plan=result.plan[k],
            value=result.value[k],
            linear=result.value_linear[k],
        )
        for k in range(len(result))
    ]


def barycenter(case):
    """Return what `barycenter` says of all its plans."""
    q, log = ot.barycenter(**case.presented(), log=True)
    return [Whole(lambda: wrong_barycenter(case, q, log), bool(log["converged"]))]


def sinkhorn_divergence(case):
    """Return what the divergence says of its three problems, and of itself."""
    result = ot.sinkhorn_divergence(**case.presented())
    parts = [solution(part) for part in (result.ab, result.aa, result.bb)]
    return [*parts, Whole(lambda: wrong_divergence(case, result, parts), result.converged)]


def wrong_divergence(case, result, parts):
    """The value is that of its parts, not negative, and zero of a cloud to itself."""
    for name in ("value", "value_linear"):
        ab, aa, bb = (getattr(part, name) for part in (result.ab, result.aa, result.bb))
        moved = abs(ab) + abs(aa) + abs(bb)
        if abs(getattr(result, name) - (ab - 0.5 * (aa + bb))) > 1e-12 * moved:
            yield f"divergence: {name} {getattr(result, name)} of {ab}, {aa}, {bb}"
    if not result.converged:
        return
    # An error of the marginals moves a value by that times the potentials, at most.
    problems = PROBLEMS[case.door](case)
    mass, reg = float(problems[0].a.sum()), float(problems[0].reg)
    errors = max(q.error + float(noise(p, q)) for p, q in zip(problems, parts, strict=True))
    slack = 1e-9 * mass * reg + 4 * mass * errors * max(size(x) for q in parts for x in (q.f, q.g))
    slack += 32 * float(EPS) * max(abs(x) for q in parts for x in (q.linear, q.value))
    if result.value < -slack:
        yield f"divergence: negative, {result.value!r}"
    same = [np.array_equal(case.get(x), case.get(y)) for x, y in (("X_a", "X_b"), ("a", "b"))]
    if all(same) and abs(result.value) > slack:
        yield f"divergence: {result.value!r} of a cloud to itself"


ANSWERS = {
    "solve": solve,
    "sinkhorn": compat,
    "sinkhorn2": compat,
    "solve_sample": solve_sample,
    "solve_batch": solve_batch,
    "sinkhorn_divergence": sinkhorn_divergence,
    "barycenter": barycenter,
}
WARNS = set(ANSWERS) - {"sinkhorn2"}  # which is silent in POT, too
