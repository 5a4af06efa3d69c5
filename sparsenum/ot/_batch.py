"""The door for many problems of one shape: `solve_batch`, in parallel over the problems."""

import warnings
from collections import Counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import choice, positive, real_array, whole
from sparsenum._device import Device, on_cuda
from sparsenum._threads import by_rows
from sparsenum.errors import ConvergenceWarning
from sparsenum.ot._solve import MAX_ITER, TOL, attempt
from sparsenum.ot.problems import _cpu
from sparsenum.ot.problems.dense import Vector
from sparsenum.ot.problems.reduction import MASS_MISMATCH, RegType, forbidding, value_type
from sparsenum.ot.stacks import _cpu as _cpu_batch
from sparsenum.ot.stacks.solution import BatchSolution
from sparsenum.ot.tensors.results import GRADS, Grad, as_tensors, to_numpy

SMALL = 128 * 128  # costs up to which a kernel with dense Hessians beats the method of `solve`
SUMS = ("error", "total", "linear", "entropy", "reference")  # what is recomputed of each plan
PASSES = 16  # what a solve costs at least, in passes over its matrix: it sizes the blocks of work


def solve_batch(
    M: ArrayLike,
    reg: ArrayLike | None = None,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    tol: float | None = None,
    max_iter: int | None = None,
    reg_type: RegType = "entropy",
    n_threads: int | None = None,
    device: Device = "cpu",
    grad: Grad = "autodiff",
) -> BatchSolution:
    r"""Solve a stack of entropic optimal transport problems of one shape.

    Each is the problem of `solve`, to the same tolerance; the order of the arguments and the
    default of `reg_type` are those of POT's ``ot.solve_batch``. Small problems are solved whole in
    compiled code: annealed Sinkhorn sweeps, then Newton's method with exact, dense Hessians.
    Whatever that cannot finish, and every problem of more than 16,384 costs, is handed to the
    method of `solve`.

    Parameters
    ----------
    M : array_like, shape (B, n, m)
        Costs, in any unit; ``inf`` forbids a pair. A float64, C-contiguous stack is read in place.
        Tensors are taken as in `solve`.
    reg : float or array_like, shape (B,)
        Strength of the entropy, in the unit of `M`; positive.
    a : array_like, shape (B, n) or (n,), optional
        Masses of the rows, not negative, of each problem or of all; uniform (sum 1) by default.
    b : array_like, shape (B, m) or (m,), optional
        Masses of the columns, with the same totals as `a` up to a relative 1e-6.
    tol : float, default 1e-9
        Largest 1-norm of the violation of both marginals, relative to the total mass.
    max_iter : int, optional
        Cap on the iterations for each problem; 1,000 by default.
    reg_type : {"entropy", "KL"}, default "entropy"
        What `value` adds to the transport cost, `reg` times: ``sum P log P``, or ``KL(P | a b')``
        as in `solve`. The plan is the same.
    n_threads : int, optional
        Threads to share the problems among; 1 by default. The result does not depend on it.
    device : {"cpu", "cuda"}, default "cpu"
        Where to solve. "cuda": all small problems in one launch, a block of threads for each, in
        float64. Costs that are on the device already (float64 or float32, contiguous) stay there,
        and so do their plans; masses and potentials, which are small, pass through the host.
    grad : {"autodiff", "envelope", "last_step", "detach"}, default "autodiff"
        For tensors, what of the result has derivatives, as in `solve`.

    Returns
    -------
    BatchSolution
        Arrays with one entry for each problem: potentials, values, errors, status; and the plans
        on access.

    Raises
    ------
    ValueError
        If an argument is NaN, negative, of the wrong shape or out of range; if the totals of `a`
        and `b` differ or are zero; if infinite costs leave no plan with these marginals. The
        message names the first problem that is wrong.
    TypeError
        If an argument is not numeric.
    NotImplementedError
        For another `reg_type`.
    DeviceError
        If `device` is "cuda" and that cannot be had.

    Warns
    -----
    ConvergenceWarning
        Once, if any problem missed the tolerance.

    Examples
    --------
    >>> from sparsenum import ot
    >>> result = ot.solve_batch([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 2.0], [1.0, 0.0]]], reg=0.5)
    >>> result.plan[0].round(3).tolist()
    [[0.44, 0.06], [0.06, 0.44]]
    >>> result.status.tolist()
    ['converged', 'converged']
    """
    threads = 1 if n_threads is None else whole(n_threads, "n_threads", lower=1)
    choice(grad, "grad", GRADS)
    kind = value_type(reg_type)
    tol = positive(TOL if tol is None else tol, "tol", "it bounds the violation of the marginals")
    limit = MAX_ITER["auto"] if max_iter is None else whole(max_iter, "max_iter", lower=0)
    if on_cuda(device):
        from sparsenum.ot.stacks.on_cuda import device_costs, to_host

        costs, sides, regs = device_costs(M), (to_host(a), to_host(b)), to_host(reg)
    else:
        costs = real_array(to_numpy(M), "M", 3)
        sides, regs = (to_numpy(a), to_numpy(b)), to_numpy(reg)
    shape = costs.shape
    if 0 in shape:
        raise ValueError(f"M must hold at least one problem, row and column: got shape {shape}")
    masses = _masses(sides[0], "a", shape, 1), _masses(sides[1], "b", shape, 2)
    stack = Stack(costs, *masses, _regs(regs, shape[0]), tol, limit, device, threads)
    stack.refuse_the_unsound()
    stack.solve()
    solution = stack.report(kind)
    if not solution.converged.all():
        warnings.warn(_shortfall(solution), ConvergenceWarning, stacklevel=2)
    result: BatchSolution = as_tensors(solution, (M, a, b), grad)
    return result


def _masses(x: ArrayLike | None, name: str, shape: tuple[int, ...], axis: int) -> Vector:
    """Return masses for one side of all problems, shape (B, n), not yet checked one by one."""
    length = shape[axis]
    if x is None or np.size(x) == 0:
        return np.full((shape[0], length), 1.0 / length)
    mass = real_array(x, name, 1 if np.ndim(x) == 1 else 2)  # type: ignore[arg-type]
    if mass.shape not in ((length,), (shape[0], length)):
        raise ValueError(
            f"{name} must have shape ({length},), for all problems, or ({shape[0]}, {length}): "
            f"got {mass.shape}"
        )
    return np.ascontiguousarray(np.broadcast_to(mass, (shape[0], length)))


def _regs(reg: ArrayLike | None, count: int) -> Vector:
    if reg is None:
        raise ValueError("reg must be given; for unregularised transport use POT's ot.emd")
    if np.ndim(reg) == 0:  # type: ignore[arg-type]
        remedy = "it is the strength of the entropy, in the unit of M"
        return np.full(count, positive(reg, "reg", remedy))
    regs = real_array(reg, "reg", 1)
    if regs.size != count:
        raise ValueError(
            f"reg must be one number or one for each problem, {count}: got {regs.size}"
        )
    return regs


class Passes(Protocol):
    """What is computed on all problems of a stack at once, wherever the costs are."""

    M: Any

    def cost(self, k: int) -> NDArray[Any]:
        """Return one cost on the host."""

    def sound(self) -> NDArray[np.bool_]:
        """Return which costs `solve` would take."""

    def solve(
        self, tol: float, most: int, f: Vector, g: Vector, sweeps: Vector, steps: Vector
    ) -> None:
        """Solve all problems as far as kernels do; write potentials and counts."""

    def assess(self, f: Vector, g: Vector, sums: NDArray[np.float64]) -> None:
        """Write what the sums of each plan say."""

    def plans(self, f: Vector, g: Vector, mass: Vector) -> Any:
        """Return the plans, each times its mass."""


class HostPasses:
    """Passes in parallel over blocks of problems, each problem with masses of sum one."""

    def __init__(
        self, M: NDArray[np.float64], a: Vector, b: Vector, reg: Vector, threads: int
    ) -> None:
        self.M: NDArray[np.float64] = forbidding(M, reg[:, None, None])
        self.problems = self.M, a, b, reg
        self.threads = threads

    def cost(self, k: int) -> NDArray[Any]:
        """Return one cost."""
        cost: NDArray[Any] = self.M[k]
        return cost

    def sound(self) -> NDArray[np.bool_]:
        """Return which costs hold numbers, or plus infinity."""
        with np.errstate(all="ignore"):
            sound: NDArray[np.bool_] = np.isfinite(self.M.min(axis=(1, 2)))
        return sound

    def solve(
        self, tol: float, most: int, f: Vector, g: Vector, sweeps: Vector, steps: Vector
    ) -> None:
        """Solve all problems as far as the kernel does; write potentials and counts."""
        out = f, g, sweeps, steps

        def work(block: slice) -> None:
            problems = (x[block] for x in self.problems)
            _cpu_batch.solve_stack(*problems, tol, most, *(x[block] for x in out))

        by_rows(work, (len(f), PASSES * self.M[0].size), self.threads)

    def assess(self, f: Vector, g: Vector, sums: NDArray[np.float64]) -> None:
        """Write what the sums of each plan say."""
        arrays = *self.problems, f, g, sums

        def work(block: slice) -> None:
            _cpu.assess(*(x[block] for x in arrays))

        by_rows(work, (len(f), self.M[0].size), self.threads)

    def plans(self, f: Vector, g: Vector, mass: Vector) -> NDArray[np.float64]:
        """Return the plans, each times its mass."""
        P = np.empty_like(self.M)
        arrays = self.M, f, g, self.problems[3], mass, P

        def work(block: slice) -> None:
            _cpu.plans(*(x[block] for x in arrays))

        by_rows(work, (len(P), P[0].size), self.threads)
        return P


class Stack:
    """Problems of one shape and, once solved, their potentials at mass one."""

    def __init__(
        self,
        M: Any,
        a: Vector,
        b: Vector,
        reg: Vector,
        tol: float,
        limit: int,
        device: Device,
        threads: int,
    ) -> None:
        B, n, m = M.shape
        self.a, self.b, self.reg, self.tol, self.limit = a, b, reg, tol, limit
        self.device, self.threads = device, threads if device == "cpu" else 1
        self.mass = a.sum(axis=1)
        with np.errstate(all="ignore"):  # what is not sound is refused before it is used
            shares = a / self.mass[:, None], b / b.sum(axis=1)[:, None]
        self.passes = passes_over(M, *shares, reg, device, threads)
        self.f, self.g = np.empty((B, n)), np.empty((B, m))
        self.sums = np.empty((B, len(SUMS)))
        self.sweeps, self.newton = np.zeros(B, np.int64), np.zeros(B, np.int64)
        self.status = np.full(B, "converged", "<U10")
        self.single = np.zeros(B, np.bool_)

    def refuse_the_unsound(self) -> None:
        """Raise for the first problem that `solve` would refuse, with what it says."""
        totals = self.mass, self.b.sum(axis=1)
        with np.errstate(all="ignore"):
            sound = self.passes.sound() & (self.reg > 0) & np.isfinite(self.reg)
            for x, total in zip((self.a, self.b), totals, strict=True):
                sound &= (x >= 0).all(axis=1) & (total > 0) & np.isfinite(total)
            sound &= abs(totals[0] - totals[1]) <= MASS_MISMATCH * np.maximum(*totals)
        for k in np.flatnonzero(~sound):
            self.solve_single(int(k))

    def solve(self) -> None:
        """Solve all problems: small ones by one kernel, what is left one by one."""
        potentials = self.f, self.g
        left = np.arange(len(self.f))
        if self.f.shape[1] * self.g.shape[1] <= SMALL:
            self.passes.solve(self.tol, self.limit, *potentials, self.sweeps, self.newton)
            self.passes.assess(*potentials, self.sums)
            left = np.flatnonzero(~(self.sums[:, 0] <= self.tol))
        if left.size:

            def singly(block: slice) -> None:
                for k in left[block]:
                    self.solve_single(int(k))

            by_rows(singly, (left.size, PASSES * self.passes.M[0].size), self.threads)
            self.passes.assess(*potentials, self.sums)

    def solve_single(self, k: int) -> None:
        """Solve one problem as `solve` does."""
        problem = self.passes.M[k], self.a[k], self.b[k], float(self.reg[k])
        options: dict[str, Any] = {"tol": self.tol, "max_iter": self.limit, "device": self.device}
        try:
            found = attempt(*problem, **options)
        except ValueError as error:
            raise ValueError(f"problem {k}: {error}") from None
        half = self.reg[k] * np.log(self.mass[k]) / 2
        self.f[k], self.g[k] = found.potentials[0] - half, found.potentials[1] - half
        self.newton[k] = found.log.get("newton", 0) + found.log.get("refused", 0)
        self.sweeps[k] = found.n_iter - self.newton[k]
        self.status[k] = found.status
        self.single[k] = True

    def report(self, reg_type: RegType) -> BatchSolution:
        """Build the result on the recomputed plans."""
        error, total, linear, entropy, reference = self.sums.T
        converged = error <= self.tol
        self.status[converged] = "converged"
        self.status[~converged & (self.status == "converged")] = "precision"
        log_mass = np.log(self.mass)
        # With P the plan at mass one and s the mass: sP log sP, and sP log (sP / (sa sb)).
        regulariser = (
            entropy + total * log_mass
            if reg_type == "entropy"
            else entropy - reference - total * log_mass
        )
        return BatchSolution(
            potentials=self.in_gauge(),
            value=self.mass * (linear + self.reg * regulariser),
            value_linear=self.mass * linear,
            marginal_error=error.copy(),
            converged=converged,
            status=self.status,
            n_iter=self.sweeps + self.newton,
            log={"tol": self.tol, "newton": self.newton, "single": np.flatnonzero(self.single)},
            _stack=self,
            _reg_type=reg_type,
        )

    def in_gauge(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the caller's potentials, whose means are equal where there is mass."""
        f, g = (x + (self.reg * np.log(self.mass) / 2)[:, None] for x in (self.f, self.g))
        means = (np.mean(x, axis=1, where=np.isfinite(x), keepdims=True) for x in (f, g))
        shift = (next(means) - next(means)) / 2
        return f - shift, g + shift


def passes_over(M: Any, a: Vector, b: Vector, reg: Vector, device: Device, threads: int) -> Passes:
    """Return the passes over costs for where they are to be computed."""
    if device == "cpu":
        return HostPasses(M, a, b, reg, threads)
    from sparsenum.ot.stacks.on_cuda import DevicePasses

    return DevicePasses(M, a, b, reg)


def _shortfall(solution: BatchSolution) -> str:
    """Return what to tell about problems that missed their tolerance."""
    missed = ~solution.converged
    ends = Counter(solution.status[missed].tolist())
    return (
        f"{missed.sum()} of {missed.size} transport problems did not converge "
        f"({', '.join(f'{status}: {count}' for status, count in ends.items())}): worst marginal "
        f"error {solution.marginal_error.max():.1e} in problem "
        f"{solution.marginal_error.argmax()}, tolerance {solution.log['tol']:.1e}; raise tol, "
        "max_iter or reg."
    )
