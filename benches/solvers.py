"""Transport solvers to compare: ours, and those of other packages as their authors would run them.

All take a problem, ``min <P, M> + reg KL(P | a b')``, and give the dense plan, in float64. What a
package asks for before the clock runs (arrays of its own, compiling) is done by the adapter; what
it offers to try is a sequence of attempts, of which the first that is good enough counts. The
1-norm of the violation of both marginals is to be at most tol, so 2-norms are asked for
tol / sqrt(n): some over-solving, but never too little.

Which prior the entropy has, uniform or a b', makes no difference to a plan of given marginals.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from benches.problems import Problem
from sparsenum import ot

ENDLESS = 10_000_000  # iterations: the clock decides
OTT_ENDLESS = 1_000_000  # it keeps a record of them
MDOT_LEAST = 1.5  # its authors' default


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

    @property
    def is_installed(self) -> bool:
        return find_spec(self.module) is not None


def ours(problem: Problem, reg: float, tol: float, method: Any) -> Iterator[Attempt]:
    def run() -> Outcome:
        M, a, b = problem.M, problem.a, problem.b
        solution = ot.solve(M, a, b, reg, tol=tol, method=method, max_iter=ENDLESS)
        return Outcome(solution.plan, solution.n_iter)

    yield run


def two_norm(problem: Problem, tol: float) -> float:
    """Return what a 2-norm must be for the 1-norm to be at most tol."""
    return tol / math.sqrt(max(problem.M.shape))


def pot_sinkhorn(
    problem: Problem, reg: float, tol: float, function: str, count: str
) -> Iterator[Attempt]:
    import ot as package

    solve = getattr(package.bregman, function)

    def run(stop: float) -> Outcome:
        options = {"numItermax": ENDLESS, "stopThr": stop, "log": True, "warn": False}
        plan, log = solve(problem.a, problem.b, problem.M, reg, **options)
        return Outcome(plan, log[count] + 1)  # POT logs the index of the last one

    stop = two_norm(problem, tol)
    yield partial(run, stop)
    if function == "sinkhorn_epsilon_scaling":
        yield partial(run, stop**2)  # its outer loop tests the square


def pot_exact(problem: Problem, reg: float, tol: float) -> Iterator[Attempt]:
    import ot as package

    def run() -> Outcome:
        return Outcome(package.emd(problem.a, problem.b, problem.M, numItermax=ENDLESS), None)

    yield run


def regot(problem: Problem, reg: float, tol: float, function: str) -> Iterator[Attempt]:
    import regot as package

    solve = getattr(package, function)
    M, stop = np.asfortranarray(problem.M), two_norm(problem, tol)

    def run() -> Outcome:
        result = solve(M, problem.a, problem.b, reg, tol=stop, max_iter=ENDLESS)
        return Outcome(result.plan, int(result.niter))

    yield run


def ott(problem: Problem, reg: float, tol: float) -> Iterator[Attempt]:
    # Its criterion is the 1-norm of one side's violation; the other side's is zero.
    import jax

    jax.config.update("jax_enable_x64", True)
    solve = _ott_compiled(*problem.M.shape)
    inputs = [jax.numpy.asarray(x) for x in (problem.M, problem.a, problem.b, reg, tol)]

    def run() -> Outcome:
        plan, n_iter = solve(*inputs)
        return Outcome(np.asarray(plan), int(n_iter))

    yield run


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
    p = max(MDOT_LEAST, math.log(entropy / tol) * -1 / math.log(reg))

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


def _pot(name: str, function: str, count: str) -> Solver:
    return Solver(name, partial(pot_sinkhorn, function=function, count=count), "ot", "POT")


SOLVERS = {
    solver.name: solver
    for solver in (
        Solver("ours, auto", partial(ours, method="auto"), "sparsenum", "sparsenum"),
        Solver(
            "ours, SNS as published", partial(ours, method="sns-paper"), "sparsenum", "sparsenum"
        ),
        Solver("ours, Sinkhorn", partial(ours, method="sinkhorn"), "sparsenum", "sparsenum"),
        _pot("POT ot.sinkhorn", "sinkhorn_knopp", "niter"),
        _pot("POT sinkhorn_log", "sinkhorn_log", "niter"),
        _pot("POT sinkhorn_stabilized", "sinkhorn_stabilized", "n_iter"),
        _pot("POT sinkhorn_epsilon_scaling", "sinkhorn_epsilon_scaling", "niter"),
        Solver("RegOT ssns", partial(regot, function="sinkhorn_ssns"), "regot", "regot"),
        Solver("RegOT splr", partial(regot, function="sinkhorn_splr"), "regot", "regot"),
        Solver("OTT-JAX Sinkhorn", ott, "ott", "ott-jax"),
        Solver("mdot-tnt", mdot, "mdot_tnt", "mdot-tnt"),
        Solver("GeomLoss ot.solve", geomloss, "geomloss", "geomloss"),
        Solver("POT ot.emd, no entropy", pot_exact, "ot", "POT"),
    )
}
