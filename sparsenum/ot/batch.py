"""The door for many problems of one shape: `solve_batch`, in parallel over the problems."""

import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import choice, positive, real_array, whole
from sparsenum._threads import by_rows
from sparsenum.errors import ConvergenceWarning
from sparsenum.ot import _cpu, _cpu_batch
from sparsenum.ot.problem import Vector
from sparsenum.ot.solve import MASS_MISMATCH, MAX_ITER, attempt

RegType = Literal["kl", "entropy"]
SMALL = 128 * 128  # costs up to which a kernel with dense Hessians beats the method of `solve`
SUMS = ("error", "total", "linear", "entropy", "reference")  # what is recomputed of each plan
PASSES = 16  # what a solve costs at least, in passes over its matrix: it sizes the blocks of work


@dataclass(frozen=True)
class BatchSolution:
    """Results of a stack of transport problems, with the attribute names of POT's ``OTResult``.

    Attributes
    ----------
    potentials : tuple of ndarray
        f, shape (B, n), and g, shape (B, m), in cost units; minus infinity where a mass is zero.
        POT's log-scalings are ``f / reg`` and ``g / reg``.
    value : ndarray, shape (B,)
        ``<P, M>`` and `reg` times the regulariser that `reg_type` names.
    value_linear : ndarray, shape (B,)
        Transport costs ``<P, M>``; an infinite cost counts for nothing where the plan is zero.
    marginal_error : ndarray, shape (B,)
        1-norm of the violation of both marginals, relative to the total mass, recomputed in
        float64 from the potentials.
    converged : ndarray of bool, shape (B,)
        Whether `marginal_error` is at most the tolerance.
    status : ndarray of str, shape (B,)
        How each problem ended, in the words of ``Solution.status``.
    n_iter : ndarray of int, shape (B,)
        Iterations: Sinkhorn sweeps and Newton steps.
    log : dict
        ``tol``, ``newton`` (steps for each problem) and ``single``: indices of the problems that
        were solved one by one, as by `solve`, because they are large or hard.
    """

    potentials: tuple[NDArray[np.float64], NDArray[np.float64]]
    value: Vector
    value_linear: Vector
    marginal_error: Vector
    converged: NDArray[np.bool_]
    status: NDArray[np.str_]
    n_iter: NDArray[np.int64]
    log: dict[str, Any]
    _stack: "Stack" = field(repr=False)
    _threads: int = field(repr=False)

    @cached_property
    def plan(self) -> NDArray[np.float64]:
        """Dense plans, shape (B, n, m), computed at first access."""
        stack = self._stack
        P = np.empty_like(stack.M)

        def write(block: slice) -> None:
            f, g, reg, mass = (x[block] for x in (stack.f, stack.g, stack.reg, stack.mass))
            _cpu.plans(stack.M[block], f, g, reg, mass, P[block])

        by_rows(write, (len(P), P[0].size), self._threads)
        return P


def solve_batch(
    M: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    reg: ArrayLike | None = None,
    *,
    tol: float = 1e-9,
    max_iter: int | None = None,
    reg_type: RegType = "kl",
    n_threads: int | None = None,
) -> BatchSolution:
    r"""Solve a stack of entropic optimal transport problems of one shape.

    Each is the problem of `solve`, to the same tolerance. Small problems are solved whole in
    compiled code: annealed Sinkhorn sweeps, then Newton's method with exact, dense Hessians.
    Whatever that cannot finish, and every problem of more than 16,384 costs, is handed to the
    method of `solve`.

    Parameters
    ----------
    M : array_like, shape (B, n, m)
        Costs, in any unit; ``inf`` forbids a pair. A float64, C-contiguous stack is read in place.
    a : array_like, shape (B, n) or (n,), optional
        Masses of the rows, not negative, of each problem or of all; uniform (sum 1) by default.
    b : array_like, shape (B, m) or (m,), optional
        Masses of the columns, with the same totals as `a` up to a relative 1e-6.
    reg : float or array_like, shape (B,)
        Strength of the entropy, in the unit of `M`; positive.
    tol : float, default 1e-9
        Largest 1-norm of the violation of both marginals, relative to the total mass.
    max_iter : int, optional
        Cap on the iterations for each problem; 1,000 by default.
    reg_type : {"kl", "entropy"}, default "kl"
        What `value` adds to the transport cost, `reg` times: ``KL(P | a b')`` as in `solve`, or
        ``sum P log P``, POT's default here. The plan is the same.
    n_threads : int, optional
        Threads to share the problems among; 1 by default. The result does not depend on it.

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
    choice(reg_type, "reg_type", get_args(RegType))
    tol = positive(tol, "tol", "it bounds the violation of the marginals")
    limit = MAX_ITER["auto"] if max_iter is None else whole(max_iter, "max_iter", lower=0)
    M = real_array(M, "M", 3)
    if 0 in M.shape:
        raise ValueError(f"M must hold at least one problem, row and column: got shape {M.shape}")
    sides = _masses(a, "a", M.shape, 1), _masses(b, "b", M.shape, 2)
    stack = Stack(M, *sides, _regs(reg, len(M)), tol, limit)
    stack.refuse_the_unsound()
    by_rows(stack.solve, (len(M), PASSES * M[0].size), threads)
    solution = stack.report(reg_type, threads)
    if not solution.converged.all():
        warnings.warn(_shortfall(solution), ConvergenceWarning, stacklevel=2)
    return solution


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


class Stack:
    """Problems of one shape and, once solved, their potentials at mass one."""

    def __init__(
        self, M: NDArray[np.float64], a: Vector, b: Vector, reg: Vector, tol: float, limit: int
    ) -> None:
        B, n, m = M.shape
        self.M, self.a, self.b, self.reg, self.tol, self.limit = M, a, b, reg, tol, limit
        self.mass = a.sum(axis=1)
        with np.errstate(all="ignore"):  # what is not sound is refused before it is used
            self.shares = a / self.mass[:, None], b / b.sum(axis=1)[:, None]
        self.f, self.g = np.empty((B, n)), np.empty((B, m))
        self.sums = np.empty((B, len(SUMS)))
        self.sweeps, self.newton = np.zeros(B, np.int64), np.zeros(B, np.int64)
        self.status = np.full(B, "converged", "<U10")
        self.single = np.zeros(B, np.bool_)

    def refuse_the_unsound(self) -> None:
        """Raise for the first problem that `solve` would refuse, with what it says."""
        totals = self.mass, self.b.sum(axis=1)
        with np.errstate(all="ignore"):
            sound = np.isfinite(self.M.min(axis=(1, 2))) & (self.reg > 0) & np.isfinite(self.reg)
            for x, total in zip((self.a, self.b), totals, strict=True):
                sound &= (x >= 0).all(axis=1) & (total > 0) & np.isfinite(total)
            sound &= abs(totals[0] - totals[1]) <= MASS_MISMATCH * np.maximum(*totals)
        for k in np.flatnonzero(~sound):
            self.solve_single(int(k))

    def solve(self, block: slice) -> None:
        """Solve some of the problems: small ones by one kernel, what is left one by one."""
        a, b = (x[block] for x in self.shares)
        problems = self.M[block], a, b, self.reg[block]
        potentials = self.f[block], self.g[block]
        done = np.zeros(len(a), np.bool_)
        if self.M[0].size <= SMALL:
            counts = self.sweeps[block], self.newton[block]
            _cpu_batch.solve_stack(*problems, self.tol, self.limit, *potentials, *counts)
            _cpu.assess(*problems, *potentials, self.sums[block])
            done = self.sums[block, 0] <= self.tol
        for k in block.start + np.flatnonzero(~done):
            self.solve_single(int(k))
        if not done.all():
            _cpu.assess(*problems, *potentials, self.sums[block])

    def solve_single(self, k: int) -> None:
        """Solve one problem as `solve` does."""
        problem = self.M[k], self.a[k], self.b[k], float(self.reg[k])
        try:
            found = attempt(*problem, self.tol, self.limit, "auto", None, None, "cpu", None, None)
        except ValueError as error:
            raise ValueError(f"problem {k}: {error}") from None
        self.f[k] = found.potentials[0] - self.reg[k] * np.log(self.mass[k])
        self.g[k] = found.potentials[1]
        self.newton[k] = found.log.get("newton", 0) + found.log.get("refused", 0)
        self.sweeps[k] = found.n_iter - self.newton[k]
        self.status[k] = found.status
        self.single[k] = True

    def report(self, reg_type: RegType, threads: int) -> BatchSolution:
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
            potentials=(self.f + (self.reg * log_mass)[:, None], self.g),
            value=self.mass * (linear + self.reg * regulariser),
            value_linear=self.mass * linear,
            marginal_error=error.copy(),
            converged=converged,
            status=self.status,
            n_iter=self.sweeps + self.newton,
            log={"tol": self.tol, "newton": self.newton, "single": np.flatnonzero(self.single)},
            _stack=self,
            _threads=threads,
        )


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
