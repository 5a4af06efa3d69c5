"""Tensors in, tensors out: a result in the arrays of the caller's library, with derivatives."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparsenum.ot.solutions.gradient import Gradient
from sparsenum.ot.tensors.backends import NumbaArrays, backend_of, is_tensor, plan_like

Grad = Literal["autodiff", "envelope", "last_step", "detach"]
GRADS = ("autodiff", "envelope", "last_step", "detach")


def as_tensors(solution: Any, inputs: tuple[Any, Any, Any], grad: Grad) -> Any:
    """Return a solution in the arrays of its inputs: itself, where these are numpy's."""
    nx = backend_of(*inputs)
    return solution if nx is None else TensorSolution(solution, inputs, grad, nx)


@dataclass(frozen=True)
class TensorSolution:
    """A `Solution` in the arrays of the caller's library, type and device, with derivatives.

    Attributes
    ----------
    solution : Solution or BatchSolution
        The same in numpy; what is not listed here is looked up there.
    inputs : tuple
        The caller's cost and masses.
    grad : {"autodiff", "envelope", "last_step", "detach"}
        What is differentiable.
    """

    solution: Any
    inputs: tuple[Any, Any, Any]
    grad: Grad
    _backend: Any

    def __getattr__(self, name: str) -> Any:
        """Look up what is the same in every library."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.solution, name)

    @cached_property
    def value(self) -> Any:
        """Value, differentiable with respect to masses and cost unless detached."""
        if self.grad != "detach" and self._backend.__name__ == "torch":
            from sparsenum.ot.tensors._torch import Value

            return Value.apply(self.solution, *self.inputs)
        return self._number(self.solution.value, lambda: self.solution.gradient())

    @cached_property
    def value_linear(self) -> Any:
        """Transport cost ``<P, M>``, differentiable with grad="autodiff" or "last_step"."""
        if self._in_torch:
            M = self.inputs[0]
            return (M.masked_fill(M.isinf(), 0.0) * self.plan).sum((-2, -1))
        if not self._implicit:
            return self._array(np.asarray(self.solution.value_linear))
        return self._number(
            self.solution.value_linear, lambda: self.solution.gradient("value_linear")
        )

    @cached_property
    def plan(self) -> Any:
        """Dense plan; in torch differentiable with grad="autodiff" or "last_step"."""
        if self._in_torch:
            from sparsenum.ot.tensors._torch import Plan

            return Plan.apply(self.solution, *self.inputs)
        return plan_like(self.solution, self._like)

    @cached_property
    def potentials(self) -> tuple[Any, Any]:
        """Potentials (f, g); in torch differentiable with grad="autodiff" or "last_step"."""
        if self._in_torch:
            from sparsenum.ot.tensors._torch import Potentials

            pair: tuple[Any, Any] = Potentials.apply(self.solution, *self.inputs)
            return pair
        f, g = self.solution.potentials
        return self._array(f), self._array(g)

    @property
    def potential_a(self) -> Any:
        """First potential, f."""
        return self.potentials[0]

    @property
    def potential_b(self) -> Any:
        """Second potential, g."""
        return self.potentials[1]

    @cached_property
    def marginals(self) -> tuple[Any, Any]:
        """Row and column sums of the plan, without derivatives."""
        a, b = self.solution.marginals
        return self._array(a), self._array(b)

    @property
    def marginal_a(self) -> Any:
        """Row sums of the plan."""
        return self.marginals[0]

    @property
    def marginal_b(self) -> Any:
        """Column sums of the plan."""
        return self.marginals[1]

    @property
    def _implicit(self) -> bool:
        return self.grad in ("autodiff", "last_step")

    @property
    def _in_torch(self) -> bool:
        return self._implicit and self._backend.__name__ == "torch"

    @property
    def _like(self) -> Any:
        return self._backend.detach(next(x for x in self.inputs if is_tensor(x)))

    def _array(self, x: NDArray[Any]) -> Any:
        return self._backend.from_numpy(x, type_as=self._like)

    def _number(self, x: float, gradient: Callable[[], Gradient]) -> Any:
        """Return a number that moves with the inputs by its gradient, in any library."""
        number, nx = self._array(np.asarray(x)), self._backend
        if self.grad == "detach" or isinstance(nx, NumbaArrays) or number.ndim:
            return number
        slopes = gradient()
        for t, slope in zip(self.inputs, (slopes.M, slopes.a, slopes.b), strict=True):
            if is_tensor(t):
                finite = nx.where(nx.isinf(t), nx.zeros(t.shape, type_as=self._like), t)
                linear = nx.sum(finite * self._array(slope))
                number = number + (linear - nx.detach(linear))
        return number
