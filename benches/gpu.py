"""Entropic transport on a GPU beside its peers there, in one run of at most eight minutes.

``python benches/gpu.py`` needs a CUDA device; whatever of torch, cupy, OTT-JAX, mdot-tnt, GeomLoss
and cuRegOT is installed takes part, and who does not is named. All get the cost on the device in
float64, are warmed up, and are timed until the potentials or the plan are there; errors are ours,
recomputed in float64. ``--small`` runs tiny problems, in numba's simulator where there is no
device: that shows that the script works, and nothing else.
"""

import argparse
import importlib
import json
import math
import signal
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TOL = 1e-9
BUDGET = 8 * 60.0  # seconds in all: what does not fit is named
CAP = 20.0  # seconds that one solver may take on one problem
ROUNDS = 3
ENDLESS = 10_000_000


class Problem(NamedTuple):
    """A cost with its largest entry one, equal masses, and the strength of the entropy."""

    name: str
    M: np.ndarray
    reg: float

    @property
    def masses(self) -> tuple[np.ndarray, np.ndarray]:
        """Equal masses."""
        n, m = self.M.shape
        return np.full(n, 1 / n), np.full(m, 1 / m)


def problems(n: int) -> Iterator[Problem]:
    """Yield what the figures are asked for: random costs and clouds in the plane."""
    rng = np.random.default_rng(0)
    X, Y = rng.random((n, 1, 2)), rng.random((1, n, 2))
    square = (X[..., 0] - Y[..., 0]) ** 2 + (X[..., 1] - Y[..., 1]) ** 2
    for name, M in (("assignment", rng.random((n, n))), ("cloud", square)):
        for reg in (1e-3, 1e-4):
            yield Problem(f"{name} {n}", M / M.max(), reg)


Run = Callable[[], np.ndarray]  # to the plan, on the host


def ours(problem: Problem) -> Run:
    from sparsenum import _cuda as device
    from sparsenum import ot

    M, masses = device.to_device(problem.M), problem.masses

    def run() -> Any:
        return ot.solve(M, *masses, problem.reg, tol=TOL, max_iter=5000, device="cuda")

    return run


def pot_torch(problem: Problem) -> Run:
    import ot as pot

    tensors = _torch(problem.M, *problem.masses)
    stop = TOL / math.sqrt(len(problem.M))

    def run() -> Any:
        M, a, b = tensors
        options = {"method": "sinkhorn_log", "numItermax": ENDLESS, "stopThr": stop, "warn": False}
        return pot.sinkhorn(a, b, M, problem.reg, **options)

    return run


def pot_cupy(problem: Problem) -> Run:
    import cupy
    import ot as pot

    M, a, b = map(cupy.asarray, (problem.M, *problem.masses))
    stop = TOL / math.sqrt(len(problem.M))

    def run() -> Any:
        options = {"method": "sinkhorn_log", "numItermax": ENDLESS, "stopThr": stop, "warn": False}
        return pot.sinkhorn(a, b, M, problem.reg, **options)

    return run


def ott(problem: Problem) -> Run:
    import jax

    jax.config.update("jax_enable_x64", True)
    from ott.geometry.geometry import Geometry
    from ott.problems.linear.linear_problem import LinearProblem
    from ott.solvers.linear.sinkhorn import Sinkhorn

    M, a, b = map(jax.numpy.asarray, (problem.M, *problem.masses))

    @jax.jit
    def solve(M: Any, a: Any, b: Any) -> Any:
        solver = Sinkhorn(lse_mode=True, threshold=TOL, max_iterations=1_000_000)
        return solver(LinearProblem(Geometry(cost_matrix=M, epsilon=problem.reg), a, b)).matrix

    return lambda: solve(M, a, b).block_until_ready()


def mdot(problem: Problem) -> Run:
    import torch
    from mdot_tnt.mdot import mdot as solve

    M, a, b = _torch(problem.M, *problem.masses)
    entropy = float(torch.special.entr(a).sum())
    p = max(1.5, math.log(entropy / TOL) * -1 / math.log(problem.reg))

    def run() -> Any:
        u, v, gamma, *_ = solve(a, b, M, 1 / problem.reg, p=p)
        return (u[:, None] + v[None] - gamma * M).exp_()

    return run


def geomloss(problem: Problem) -> Run:
    from geomloss import ot as package

    M, a, b = _torch(problem.M, *problem.masses)
    return lambda: package.solve(M, reg=problem.reg, a=a, b=b, max_iter=2**12).plan


def curegot(problem: Problem) -> Run:
    import curegot as package

    M, masses = problem.M, problem.masses
    return lambda: package.sinkhorn_splr(M, *masses, problem.reg, tol=TOL, max_iter=ENDLESS).plan


def _torch(*arrays: np.ndarray) -> list[Any]:
    import torch

    place = "cuda" if torch.cuda.is_available() else "cpu"
    return [torch.from_numpy(x).to(place) for x in arrays]


SOLVERS = (
    ("ours, device='cuda'", ours, ("sparsenum",)),
    ("POT sinkhorn_log, torch", pot_torch, ("ot", "torch")),
    ("POT sinkhorn_log, cupy", pot_cupy, ("ot", "cupy")),
    ("OTT-JAX Sinkhorn", ott, ("ott", "jax")),
    ("mdot-tnt", mdot, ("mdot_tnt", "torch")),
    ("GeomLoss ot.solve", geomloss, ("geomloss", "torch")),
    ("cuRegOT splr", curegot, ("curegot",)),
)


class Clock:
    """The seconds that are left of the whole run."""

    def __init__(self) -> None:
        self.end = time.perf_counter() + BUDGET

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.perf_counter()


class TooSlowError(Exception):
    """A solver took longer than its cap."""


@contextmanager
def capped(seconds: float) -> Iterator[None]:
    """Raise in what runs for too long."""

    def stop(*_: Any) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def settled() -> None:
    """Wait until the device has done what it was told to do."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.synchronize()
    importlib.import_module("numba.cuda").synchronize()


def on_host(plan: Any) -> np.ndarray:
    for move in ("copy_to_host", "get"):  # numba's and cupy's
        if hasattr(plan, move):
            return getattr(plan, move)()
    return plan.cpu().numpy() if hasattr(plan, "cpu") else np.asarray(plan)


def timed(make: Callable[[Any], Run], problem: Any, warm: Any, clock: Clock) -> dict[str, Any]:
    """Warm a solver up, run it a few times, and say how it went."""
    seconds: list[float] = []
    try:
        make(warm)()
        with capped(min(CAP, clock.left)):
            run = make(problem)
            while len(seconds) < ROUNDS:
                settled()
                start = time.perf_counter()
                result = run()
                settled()
                seconds.append(time.perf_counter() - start)
    except TooSlowError:
        if not seconds:
            return {"outcome": f"over {min(CAP, max(clock.left, 0)):.0f} s"}
    except Exception as error:  # a peer's own failure is a row
        return {"outcome": f"failed: {type(error).__name__}: {str(error)[:60]}"}
    plan = on_host(getattr(result, "plan", result)).astype(np.float64)
    return {"seconds": statistics.median(seconds), "error": violation(plan)}


def violation(plan: np.ndarray) -> float:
    """Return the worst 1-norm of the violation of both marginals, all masses being equal."""
    n, m = plan.shape[-2:]
    sums = np.abs(plan.sum(axis=-1) - 1 / n).sum(axis=-1)
    return float(np.max(sums + np.abs(plan.sum(axis=-2) - 1 / m).sum(axis=-1)))


def transport(n: int, warm_n: int, clock: Clock) -> list[dict[str, Any]]:
    """Return a row for each problem and solver."""
    rows = []
    for problem in problems(n):
        warm = next(problems(warm_n))._replace(reg=1e-2)
        for name, make, modules in SOLVERS:
            row: dict[str, Any] = {"problem": problem.name, "reg": problem.reg, "solver": name}
            absent = [module for module in modules if find_spec(module) is None]
            if absent:
                row["outcome"] = f"{absent[0]} is not installed"
            elif clock.left < 1:
                row["outcome"] = "not run: no time left"
            else:
                row |= timed(make, problem, warm, clock)
            rows.append(row)
            say(row)
    return rows


def stacks(count: int, n: int, clock: Clock) -> list[dict[str, Any]]:
    """Return rows for many small problems in one call."""
    from sparsenum import _cuda as device
    from sparsenum import ot

    M = np.random.default_rng(1).random((count, n, n))

    def ours_batch(M: np.ndarray) -> Run:
        there = device.to_device(M)
        return lambda: ot.solve_batch(there, reg=1e-2, tol=1e-6, device="cuda")

    def pot_batch(M: np.ndarray) -> Run:
        import ot.batch as package

        (there,) = _torch(M)
        stop = 1e-6 / math.sqrt(n)
        options = {"max_iter": ENDLESS, "tol": stop, "method": "log_sinkhorn", "grad": "detach"}
        return lambda: package.solve_batch(there, 1e-2, **options)

    rows = []
    for name, make, module in (
        ("ours, solve_batch", ours_batch, "sparsenum"),
        ("POT solve_batch, torch", pot_batch, "torch"),
    ):
        row: dict[str, Any] = {"problem": f"{count} of {n} x {n}", "reg": 1e-2, "solver": name}
        missing = find_spec(module) is None
        row |= (
            {"outcome": f"{module} is not installed"} if missing else timed(make, M, M[:4], clock)
        )
        rows.append(row)
        say(row)
    return rows


def passes(n: int) -> dict[str, float]:
    """Return the bytes a second of a copy, and of the two passes of an iteration, reading alone."""
    from sparsenum import _cuda as device
    from sparsenum.ot.solvers.on_cuda import DeviceProblem

    M, masses = device.to_device(np.random.default_rng(0).random((n, n))), np.full(n, 1 / n)
    other, problem = device.empty((n, n)), DeviceProblem(M, masses, masses, 1e-2)
    g = device.to_device(np.zeros(n))

    def rate(work: Callable[[], Any], moved: int) -> float:
        work()
        settled()
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            work()
            settled()
            seconds.append(time.perf_counter() - start)
        return moved / statistics.median(seconds)

    copy = rate(lambda: other.copy_to_device(M), 2 * M.nbytes)
    iterate = rate(lambda: problem.iterate(g), 2 * M.nbytes)
    return {"copy, GB/s": copy / 1e9, "pass, GB/s": iterate / 1e9, "share": iterate / copy}


def say(row: dict[str, Any]) -> None:
    figure = f"{row['seconds']:.4g} s" if "seconds" in row else row["outcome"]
    error = f"{row['error']:.1e}" if "error" in row else "-"
    sys.stdout.write(
        f"| {row['problem']} | {row['reg']:g} | {row['solver']} | {figure} | {error} |\n"
    )
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="tiny problems, simulated if need be")
    parser.add_argument("--out", type=Path, help="file to write the rows to, as JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # who stops short is caught by the error
    from sparsenum import doctor
    from sparsenum._device import on_cuda

    on_cuda("cuda")  # or an error that says what is missing
    facts, clock = doctor.report(), Clock()
    chip = ", ".join(facts["cuda_devices"]) or "no device: simulated, so times mean nothing"
    sys.stdout.write(f"{chip}; numba-cuda {facts['cuda_package']}\n\n")
    sys.stdout.write("| problem | reg | solver | median | verified error |\n")
    sys.stdout.write("| :-- | --: | :-- | --: | --: |\n")
    n, warm, count, side = (9, 5, 3, 5) if options.small else (10_000, 64, 1024, 128)
    rows = transport(n, warm, clock) + stacks(count, side, clock)
    bandwidth = passes(n)
    sys.stdout.write("\n" + ", ".join(f"{k} {v:.3g}" for k, v in bandwidth.items()) + "\n")
    if options.out is not None:
        found = {"chip": chip, "rows": rows, "bandwidth": bandwidth, "facts": facts}
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
