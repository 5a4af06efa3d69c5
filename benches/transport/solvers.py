"""Transport solvers to compare: ours, and those of other packages as their authors would run them.

All take a problem, ``min <P, M> + reg KL(P | a b')``, and give the dense plan, in float64. What a
package asks for before the clock runs (arrays of its own, compiling) is done by the adapter; what
it offers to try is a sequence of attempts, of which the first that is good enough counts. The
1-norm of the violation of both marginals is to be at most tol, so where a package bounds the
2-norm of a violation with k entries it is asked for tol / sqrt(k): some over-solving, but hardly
ever too little. Criteria that leave something out get a second, stricter attempt.

Which prior the entropy has, uniform or a b', makes no difference to a plan of given marginals.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from benches.transport.problems import TOL, Problem
from sparsenum import ot

ENDLESS = 10_000_000  # iterations: the clock decides
OTT_ENDLESS = 1_000_000  # it keeps a record of them
MDOT_LEAST = 1.5  # its authors' default


Settings = tuple[str, float, float]  # a problem, its reg and the tolerance
EASY: tuple[Settings, ...] = (("warm-up", 1e-1, 1e-3),)
# What runs through all that is compiled at first use.
THOROUGH: tuple[Settings, ...] = (
    *((name, reg, TOL) for name in ("warm-up", "ink squared", "ink L1") for reg in (1, 1e-2, 1e-4)),
    ("mixtures L1", 1e-3, TOL),
)
STACK: tuple[Settings, ...] = (("warm-up, stack", 1e-1, 1e-3),)


class Outcome(NamedTuple):
    """A plan and the iterations it took, where a solver counts them."""

    plan: np.ndarray
    n_iter: int | None


Attempt = Callable[[], Outcome]


class Solver(NamedTuple):
    """A name, how to go about a problem at a reg and a tolerance, and where it comes from."""

    name: str
    attempts: Callable[[Problem, float, float], Iterator[Attempt]]
    module: str
    package: str
    costs: str = ""  # the part of a problem's name that says what it is made for
    warm_up: tuple[Settings, ...] = EASY

    @property
    def is_installed(self) -> bool:
        """Whether its package is there."""
        return find_spec(self.module) is not None


def ours(problem: Problem, reg: float, tol: float, method: Any) -> Iterator[Attempt]:
    def run() -> Outcome:
        M, a, b = problem.M, problem.a, problem.b
        solution = ot.solve(M, a, b, reg, tol=tol, method=method, max_iter=ENDLESS)
        return Outcome(solution.plan, solution.n_iter)

    yield run


def pot_sinkhorn(
    problem: Problem, reg: float, tol: float, function: str, count: str
) -> Iterator[Attempt]:
    import ot as package

    solve = getattr(package.bregman, function)

    def run(stop: float) -> Outcome:
        options = {"numItermax": ENDLESS, "stopThr": stop, "log": True, "warn": False}
        plan, log = solve(problem.a, problem.b, problem.M, reg, **options)
        return Outcome(plan, log[count] + 1)  # POT logs the index of the last one

    yield partial(run, tol / math.sqrt(problem.b.size))
    if function == "sinkhorn_epsilon_scaling":  # its outer loop tests the squares of both sides
        yield partial(run, tol**2 / sum(problem.M.shape))


def pot_exact(problem: Problem, reg: float, tol: float) -> Iterator[Attempt]:
    import ot as package

    def run() -> Outcome:
        return Outcome(package.emd(problem.a, problem.b, problem.M, numItermax=ENDLESS), None)

    yield run


def regot(problem: Problem, reg: float, tol: float, function: str) -> Iterator[Attempt]:
    import regot as package

    solve = getattr(package, function)
    M = np.asfortranarray(problem.M)

    def run(stop: float) -> Outcome:
        result = solve(M, problem.a, problem.b, reg, tol=stop, max_iter=ENDLESS)
        return Outcome(result.plan, int(result.niter))

    stop = tol / math.sqrt(sum(M.shape))
    yield partial(run, stop)
    yield partial(run, stop / 10)  # the gradient leaves out the last column


def ott(problem: Problem, reg: float, tol: float) -> Iterator[Attempt]:
    # Its criterion is the 1-norm of one side's violation, as updates see it.
    import jax

    jax.config.update("jax_enable_x64", True)
    solve = _ott_compiled(*problem.M.shape)
    inputs = [jax.numpy.asarray(x) for x in (problem.M, problem.a, problem.b, reg)]

    def run(stop: float) -> Outcome:
        plan, n_iter = solve(*inputs, stop)
        return Outcome(np.asarray(plan), int(n_iter))

    yield partial(run, tol)
    yield partial(run, tol / 10)


@cache
def _ott_compiled(n: int, m: int) -> Any:
    import jax
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    def solve(M: Any, a: Any, b: Any, reg: Any, tol: Any) -> tuple[Any, Any]:
        solver = Sinkhorn(lse_mode=True, threshold=tol, max_iterations=OTT_ENDLESS)
        out = solver(LinearProblem(Geometry(cost_matrix=M, epsilon=reg), a, b))
        return out.matrix, out.n_iters

    shapes = ((n, m), (n,), (m,), (), ())
    return jax.jit(solve).lower(*(jax.ShapeDtypeStruct(s, np.float64) for s in shapes)).compile()


def mdot(problem: Problem, reg: float, tol: float) -> Iterator[Attempt]:
    # The error it stops at is H / gamma^p, for the lesser entropy H of the two marginals.
    import torch
    from mdot_tnt.mdot import mdot as solve

    torch.set_num_threads(1)
    M, a, b = (torch.from_numpy(x) for x in (problem.M, problem.a, problem.b))
    entropy = min(float(torch.special.entr(mass).sum()) for mass in (a, b))
    p = max(MDOT_LEAST, math.log(entropy / tol) / math.log(1 / reg))

    def run() -> Outcome:
        u, v, gamma, products, _ = solve(a, b, M, 1 / reg, p=p)
        if abs(gamma * reg - 1) > 1e-6:
            raise ArithmeticError(f"it stopped at reg {1 / gamma:.1e}")
        return Outcome((u[:, None] + v[None] - gamma * M).exp_().numpy(), int(products))

    yield run


def geomloss(problem: Problem, reg: float, tol: float) -> Iterator[Attempt]:
    # It has no tolerance: the number of annealing steps decides how good the plan is.
    import torch
    from geomloss import ot as package

    torch.set_num_threads(1)
    M, a, b = (torch.from_numpy(x) for x in (problem.M, problem.a, problem.b))

    def run(steps: int) -> Outcome:
        result = package.solve(M, reg=reg, a=a, b=b, max_iter=steps)
        return Outcome(result.plan.numpy(), steps)

    for k in range(5, 23, 2):
        yield partial(run, 2**k)


def ours_batch(problem: Problem, reg: float, tol: float) -> Iterator[Attempt]:
    def run() -> Outcome:
        solution = ot.solve_batch(problem.M, reg=reg, tol=tol, n_threads=1)
        return Outcome(solution.plan, int(solution.n_iter.max()))

    yield run


def pot_batch(problem: Problem, reg: float, tol: float, method: str) -> Iterator[Attempt]:
    import ot.batch as package

    def run() -> Outcome:
        stop = tol / math.sqrt(problem.a.size)  # it bounds the 2-norm of the rows' violation
        options = {"max_iter": ENDLESS, "tol": stop, "method": method, "grad": "detach"}
        result = package.solve_batch(problem.M, reg, **options)
        return Outcome(result.plan, result.log["n_iter"] + 1)

    yield run


def _ours(name: str, method: str) -> Solver:
    attempts = partial(ours, method=method)
    return Solver(f"ours, {name}", attempts, "sparsenum", "sparsenum", warm_up=THOROUGH)


def _pot(name: str, function: str, count: str) -> Solver:
    return Solver(name, partial(pot_sinkhorn, function=function, count=count), "ot", "POT")


def _pot_batch(name: str, method: str) -> Solver:
    return Solver(name, partial(pot_batch, method=method), "ot", "POT", warm_up=STACK)


def _by_name(*solvers: Solver) -> dict[str, Solver]:
    return {solver.name: solver for solver in solvers}


SINGLE = _by_name(
    _ours("auto", "auto"),
    _ours("SNS as published", "sns-paper"),
    _ours("Sinkhorn", "sinkhorn"),
    _pot("POT ot.sinkhorn", "sinkhorn_knopp", "niter"),
    _pot("POT sinkhorn_log", "sinkhorn_log", "niter"),
    _pot("POT sinkhorn_stabilized", "sinkhorn_stabilized", "n_iter"),
    _pot("POT sinkhorn_epsilon_scaling", "sinkhorn_epsilon_scaling", "niter"),
    Solver("RegOT ssns", partial(regot, function="sinkhorn_ssns"), "regot", "regot"),
    Solver("RegOT splr", partial(regot, function="sinkhorn_splr"), "regot", "regot"),
    Solver("OTT-JAX Sinkhorn", ott, "ott", "ott-jax"),
    Solver("mdot-tnt", mdot, "mdot_tnt", "mdot-tnt"),
    Solver("GeomLoss ot.solve", geomloss, "geomloss", "geomloss", costs="squared"),
    Solver("POT ot.emd, no entropy", pot_exact, "ot", "POT"),
)
BATCH = _by_name(
    Solver("ours, solve_batch", ours_batch, "sparsenum", "sparsenum", warm_up=STACK),
    Solver("POT solve_batch", partial(pot_batch, method="log_sinkhorn"), "ot", "POT", "", STACK),
    Solver(
        "POT solve_batch, sinkhorn", partial(pot_batch, method="sinkhorn"), "ot", "POT", "", STACK
    ),
)
SOLVERS = SINGLE | BATCH
