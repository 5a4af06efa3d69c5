"""The result of `solve_batch`: potentials, values and errors of a stack of problems."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsenum._check import choice, real_array
from sparsenum.ot.problems.checks import RegType
from sparsenum.ot.problems.dense import Vector
from sparsenum.ot.solutions.certify import certify
from sparsenum.ot.solutions.derivatives import Derivatives
from sparsenum.ot.solutions.gradient import Gradient
from sparsenum.ot.solutions.implicit import Convention
from sparsenum.ot.solutions.optimum import frozen
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solvers.monitor import Monitor
from sparsenum.ot.stacks.stack import Stack


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

    See Also
    --------
    sparsenum.ot.solve_batch : which returns it.
    sparsenum.ot.Solution : the result of one problem.

    Examples
    --------
    >>> from sparsenum import ot
    >>> stack = ot.solve_batch([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 2.0], [2.0, 0.0]]], 0.5)
    >>> len(stack), stack.converged.tolist()
    (2, [True, True])
    >>> stack[1].plan.round(4).tolist()
    [[0.491, 0.009], [0.009, 0.491]]
    """

    potentials: tuple[NDArray[np.float64], NDArray[np.float64]]
    value: Vector
    value_linear: Vector
    marginal_error: Vector
    converged: NDArray[np.bool_]
    status: NDArray[np.str_]
    n_iter: NDArray[np.int64]
    log: dict[str, Any]
    _stack: Stack = field(repr=False)
    _reg_type: RegType = field(repr=False)

    def __repr__(self) -> str:
        """Return one line: size, how many problems met the tolerance, and the largest error."""
        shape = (*self.potentials[0].shape, self.potentials[1].shape[1])
        return (
            f"BatchSolution(shape={shape}, converged={self.converged.sum()} of {shape[0]}, "
            f"marginal_error<={self.marginal_error.max(initial=0.0):.1e})"
        )

    @classmethod
    def of(cls, stack: Stack, reg_type: RegType) -> "BatchSolution":
        """Return the result of a solved stack, from its recomputed plans."""
        error, total, linear, entropy, reference = stack.sums.T
        converged = error <= stack.tol
        stack.status[converged] = "converged"
        stack.status[~converged & (stack.status == "converged")] = "precision"
        if stack.passes.offsets is not None:
            P = stack.passes.plans(stack.f, stack.g, np.ones_like(stack.mass))
            sides = P.sum(axis=2), P.sum(axis=1)
            for x, sums in zip(stack.passes.offsets, sides, strict=True):
                linear = linear + (x * sums).sum(axis=1)
        log_mass = np.log(stack.mass)
        # With P the plan at mass one and s the mass: sP log sP, and sP log (sP / (sa sb)).
        regulariser = (
            entropy + total * log_mass
            if reg_type == "entropy"
            else entropy - reference - total * log_mass
        )
        f, g = stack.potentials()
        return cls(
            potentials=(frozen(f), frozen(g)),
            value=frozen(stack.mass * (linear + stack.reg * regulariser)),
            value_linear=frozen(stack.mass * linear),
            marginal_error=frozen(stack.errors()),
            converged=frozen(converged),
            status=frozen(stack.status),
            n_iter=frozen(stack.sweeps + stack.newton),
            log={"tol": stack.tol, "newton": stack.newton, "single": np.flatnonzero(stack.single)},
            _stack=stack,
            _reg_type=reg_type,
        )

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
        stack.check_costs()
        reduction, problem, f, g = stack.canonical(k)
        monitor = Monitor(stack.tol, stack.limit, status=self.status[k].item())
        monitor.tick(self.marginal_error[k])
        log = {"method": "auto", "tol": stack.tol, "newton": int(stack.newton[k])}
        return certify(problem, reduction, f, g, monitor, log, self._reg_type)

    def gradient(self, of: Literal["value", "value_linear"] = "value") -> Gradient:
        """Return the derivatives of each value, stacked, as ``Solution.gradient`` does for one.

        Parameters
        ----------
        of : {"value", "value_linear"}, default "value"
            What is differentiated.

        Returns
        -------
        Gradient
            ``a`` (B, n), ``b`` (B, m), ``M`` (B, n, m) and ``reg`` (B,).
        """
        if choice(of, "of", ("value", "value_linear")) == "value_linear":
            return self._derivatives.of_costs()
        return self._derivatives.of_value()

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
            ``a`` (B, n), ``b`` (B, m), ``M`` (B, n, m) and ``reg`` (B,).
        """
        given, shapes = (plan, *potentials), (self._shape, *(x.shape for x in self.potentials))
        bars = []
        for x, shape in zip(given, shapes, strict=True):
            name = "potentials" if len(shape) == 2 else "plan"
            bar = np.zeros(shape) if x is None else real_array(x, name, len(shape))
            if bar.shape != shape:
                raise ValueError(f"{name} must have shape {shape}: got {bar.shape}")
            bars.append(bar)
        return self._derivatives.pullback(*bars)

    @property
    def _shape(self) -> tuple[int, int, int]:
        f, g = self.potentials
        return (*f.shape, g.shape[1])

    @property
    def _derivatives(self) -> Derivatives:
        stack = self._stack
        stack.check_costs()
        data = stack.passes.costs(), *stack.sides, stack.reg
        return Derivatives(*data, *self._relative(), self._convention)

    def _relative(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return f - reg log a and g - reg log b, extended to where there is no mass."""
        stack = self._stack
        f, g = self.potentials
        a, b = stack.sides
        with np.errstate(divide="ignore", invalid="ignore"):
            phi, psi = f - stack.reg[:, None] * np.log(a), g - stack.reg[:, None] * np.log(b)
        bare = np.flatnonzero(~(np.isfinite(phi).all(axis=1) & np.isfinite(psi).all(axis=1)))
        for k in bare:
            phi[k], psi[k] = self[int(k)]._relative()
        return phi, psi

    def _density(self) -> NDArray[np.float64] | None:
        """Return the densities of the plans, if their costs have offsets that would hide them."""
        if self._stack.passes.offsets is None:
            return None
        each = ((one, one._density()) for one in map(self.__getitem__, range(len(self))))
        return np.stack([one._derivatives.E if E is None else E for one, E in each])

    @property
    def _convention(self) -> Convention:
        """What the problems asked of their marginals, and of their values."""
        return Convention(None, self._reg_type, self._stack.threads)

    @cached_property
    def plan(self) -> Any:
        """Dense plans, shape (B, n, m), computed at first access.

        On the device and in the precision of the costs, if these were there.
        """
        stack = self._stack
        stack.check_costs()
        P = stack.passes.plans(stack.f, stack.g, stack.mass)
        return frozen(P) if isinstance(P, np.ndarray) else P
