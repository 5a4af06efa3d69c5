"""The door for many problems of one shape: `solve_batch`, in parallel over the problems."""

import warnings
from collections import Counter
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from sparsenum._check import choice, real_array, shape_of, whole
from sparsenum._device import Device, device_name, on_cuda
from sparsenum.errors import ConvergenceWarning
from sparsenum.ot.problems.checks import RegType, strength, tolerance, value_type
from sparsenum.ot.problems.dense import Vector
from sparsenum.ot.problems.seal import Seal
from sparsenum.ot.solutions.attempt import MAX_ITER
from sparsenum.ot.solutions.implicit import Convention
from sparsenum.ot.stacks.solution import BatchSolution
from sparsenum.ot.stacks.stack import Stack
from sparsenum.ot.tensors.backends import is_traced, to_numpy
from sparsenum.ot.tensors.results import GRADS, Grad, as_tensors, traced


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

    See Also
    --------
    sparsenum.ot.solve : one problem, of any size.

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
    device = device_name(device)
    kind = value_type(reg_type)
    tol = tolerance(tol)
    limit = MAX_ITER["auto"] if max_iter is None else whole(max_iter, "max_iter", lower=0)
    limit = min(limit, np.iinfo(np.int64).max)  # which kernels count in
    inputs = M, a, b, reg
    if is_traced(*inputs):
        options: dict[str, Any] = {"tol": tol, "max_iter": max_iter, "reg_type": kind}
        options |= {"n_threads": threads, "device": device}

        def solved(M: Any, a: Any, b: Any, reg: Any) -> BatchSolution:
            return solve_batch(M, reg, a, b, **options)

        convention = Convention(None, kind, threads)
        return cast(BatchSolution, traced(solved, inputs, convention, grad))
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
    seal = None
    if isinstance(costs, np.ndarray):
        costs, seal = Seal.on(costs, to_numpy(M))
    stack = Stack(costs, *masses, _regs(regs, shape[0]), tol, limit, device, threads, seal)
    stack.refuse_the_unsound()
    stack.solve()
    solution = BatchSolution.of(stack, kind)
    if not solution.converged.all():
        warnings.warn(_shortfall(solution), ConvergenceWarning, stacklevel=2)
    return cast(BatchSolution, as_tensors(solution, inputs, grad))


def _masses(x: ArrayLike | None, name: str, shape: tuple[int, ...], axis: int) -> Vector:
    """Return masses for one side of all problems, shape (B, n), not yet checked one by one."""
    length = shape[axis]
    if x is None or 0 in shape_of(x, name):
        return np.full((shape[0], length), 1.0 / length)
    mass = real_array(x, name, 1 if len(shape_of(x, name)) == 1 else 2)
    if mass.shape not in ((length,), (shape[0], length)):
        raise ValueError(
            f"{name} must have shape ({length},), for all problems, or ({shape[0]}, {length}): "
            f"got {mass.shape}"
        )
    return np.array(np.broadcast_to(mass, (shape[0], length)))  # a copy: a result is a value


def _regs(reg: ArrayLike | None, count: int) -> Vector:
    if shape_of(reg, "reg") == ():
        return np.full(count, strength(reg))
    regs = real_array(reg, "reg", 1).copy()
    if regs.size != count:
        raise ValueError(
            f"reg must be one number or one for each problem, {count}: got {regs.size}"
        )
    return regs


def _shortfall(solution: BatchSolution) -> str:
    """Return a warning about the problems that missed their tolerance, or None."""
    missed = ~solution.converged
    ends = Counter(solution.status[missed].tolist())
    return (
        f"{missed.sum()} of {missed.size} transport problems did not converge "
        f"({', '.join(f'{status}: {count}' for status, count in ends.items())}): worst marginal "
        f"error {solution.marginal_error.max():.1e} in problem "
        f"{solution.marginal_error.argmax()}, tolerance {solution.log['tol']:.1e}; raise tol, "
        "max_iter or reg."
    )
