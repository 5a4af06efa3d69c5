"""The door for many problems of one shape: `solve_batch`, in parallel over the problems."""

import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import choice, positive, real_array, whole
from sparsenum._threads import by_rows
from sparsenum.errors import ConvergenceWarning
from sparsenum.ot import _cpu, _cpu_batch
from sparsenum.ot.canonical import MASS_MISMATCH, RegType, canonical, forbidding, value_type
from sparsenum.ot.certify import certify
from sparsenum.ot.gradient import Gradient
from sparsenum.ot.monitor import Monitor
from sparsenum.ot.problem import Vector
from sparsenum.ot.solution import Solution
from sparsenum.ot.solve import MAX_ITER, TOL, attempt
from sparsenum.ot.tensors import GRADS, Grad, as_tensors, to_numpy

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
    _reg_type: RegType = field(repr=False)

    @property
    def potential_a(self) -> NDArray[np.float64]:
        """First potentials, f."""
        return self.potentials[0]

    @property
    def potential_b(self) -> NDArray[np.float64]:
        """Second potentials, g."""
        return self.potentials[1]

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, k: int) -> Solution:
        """Return the solution of one problem, as `solve` would."""
        stack = self._stack
        sides = stack.a[k], stack.b[k]
        problem, support = canonical(stack.M[k], *sides, float(stack.reg[k]), 1)
        f, g = stack.f[k][support.rows], stack.g[k][support.columns]
        monitor = Monitor(stack.tol, stack.limit, status=self.status[k].item())
        monitor.tick(self.marginal_error[k])
        log = {"method": "auto", "tol": stack.tol, "newton": int(stack.newton[k])}
        return certify(problem, support, f, g, monitor, log, self._reg_type)

    def gradient(self, of: Literal["value", "value_linear"] = "value") -> Gradient:
        """Return the derivatives of each value, stacked, as ``Solution.gradient`` does for one.

        Parameters
        ----------
        of : {"value", "value_linear"}, default "value"
            What is differentiated.

        Returns
        -------
        Gradient
            ``a`` (B, n), ``b`` (B, m) and ``M`` (B, n, m).
        """
        return stacked([self[k].gradient(of) for k in range(len(self))])

    def pullback(
        self,
        plan: ArrayLike | None = None,
        potentials: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
    ) -> Gradient:
        """Return the derivatives of a number that depends on plans and potentials, stacked.

        Parameters
        ----------
        plan : array_like, shape (B, n, m), optional
            Its derivatives with respect to the plans.
        potentials : tuple of array_like, optional
            Its derivatives with respect to f, shape (B, n), and g, shape (B, m).

        Returns
        -------
        Gradient
            ``a`` (B, n), ``b`` (B, m) and ``M`` (B, n, m).
        """
        bars = [[None] * len(self) if x is None else x for x in (plan, *potentials)]
        each = zip(*bars, strict=True)
        return stacked([self[k].pullback(P, (f, g)) for k, (P, f, g) in enumerate(each)])

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
    reg: ArrayLike | None = None,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    tol: float | None = None,
    max_iter: int | None = None,
    reg_type: RegType = "entropy",
    n_threads: int | None = None,
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
    costs = real_array(to_numpy(M), "M", 3)
    shape = costs.shape
    if 0 in shape:
        raise ValueError(f"M must hold at least one problem, row and column: got shape {shape}")
    sides = _masses(to_numpy(a), "a", shape, 1), _masses(to_numpy(b), "b", shape, 2)
    stack = Stack(costs, *sides, _regs(to_numpy(reg), len(costs)), tol, limit)
    stack.refuse_the_unsound()
    by_rows(stack.solve, (len(costs), PASSES * costs[0].size), threads)
    solution = stack.report(kind, threads)
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


class Stack:
    """Problems of one shape and, once solved, their potentials at mass one."""

    def __init__(
        self, M: NDArray[np.float64], a: Vector, b: Vector, reg: Vector, tol: float, limit: int
    ) -> None:
        B, n, m = M.shape
        M = forbidding(M, reg[:, None, None])
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
            found = attempt(*problem, tol=self.tol, max_iter=self.limit)
        except ValueError as error:
            raise ValueError(f"problem {k}: {error}") from None
        half = self.reg[k] * np.log(self.mass[k]) / 2
        self.f[k], self.g[k] = found.potentials[0] - half, found.potentials[1] - half
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
            potentials=self.in_gauge(),
            value=self.mass * (linear + self.reg * regulariser),
            value_linear=self.mass * linear,
            marginal_error=error.copy(),
            converged=converged,
            status=self.status,
            n_iter=self.sweeps + self.newton,
            log={"tol": self.tol, "newton": self.newton, "single": np.flatnonzero(self.single)},
            _stack=self,
            _threads=threads,
            _reg_type=reg_type,
        )

    def in_gauge(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the caller's potentials, whose means are equal where there is mass."""
        f, g = (x + (self.reg * np.log(self.mass) / 2)[:, None] for x in (self.f, self.g))
        means = (np.mean(x, axis=1, where=np.isfinite(x), keepdims=True) for x in (f, g))
        shift = (next(means) - next(means)) / 2
        return f - shift, g + shift


def stacked(gradients: list[Gradient]) -> Gradient:
    """Return the gradients of several problems as one, whose arrays have one axis more."""
    return Gradient(*(np.stack([getattr(x, name) for x in gradients]) for name in ("a", "b", "M")))


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
