"""Tensors in, tensors out: arrays of other libraries pass through POT's backend layer.

Nothing here is imported by name before such an array arrives.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparsenum._device import lives_on_cuda, on_cuda
from sparsenum.ot.problems.clouds.points import PointProblem, costs
from sparsenum.ot.solutions.gradient import Gradient
from sparsenum.ot.solutions.solution import Solution

Grad = Literal["autodiff", "envelope", "last_step", "detach"]
GRADS = ("autodiff", "envelope", "last_step", "detach")
LIBRARIES = ("torch", "jax", "jaxlib", "cupy", "tensorflow")


class NumbaArrays:
    """What is needed of POT's backends, for numba's own arrays on a device, which POT has none for.

    Numbers come back as floats, and nothing is differentiable.
    """

    __name__ = "numba"

    def detach(self, x: Any) -> Any:
        """Return the array."""
        return x

    def to_numpy(self, x: Any) -> Any:
        """Return the array on the host."""
        return x.copy_to_host()

    def from_numpy(self, x: NDArray[Any], type_as: Any) -> Any:
        """Return an array of the host on the device, in the precision of another."""
        from sparsenum._cuda import to_device

        return to_device(x.astype(type_as.dtype)) if x.ndim else x.item()


def backend_of(*arrays: Any) -> Any:
    """Return POT's backend for tensors of another library than numpy, None if there are none."""
    tensors = [x for x in arrays if is_tensor(x)]
    if not tensors:
        return None
    if any(is_numba(x) for x in tensors):
        return NumbaArrays()
    from ot.backend import get_backend

    return get_backend(*tensors)


def numpy_backend() -> Any:
    """Return POT's backend for numpy."""
    from ot.backend import NumpyBackend

    return NumpyBackend()


def is_tensor(x: Any) -> bool:
    """Return whether an object belongs to one of the other libraries."""
    return type(x).__module__.partition(".")[0] in LIBRARIES or is_numba(x)


def is_numba(x: Any) -> bool:
    """Return whether an object is one of numba's arrays on a device."""
    return hasattr(x, "__cuda_ndarray__")


def to_numpy(x: Any) -> Any:
    """Return a tensor as a numpy array, detached and on the host; anything else as it is."""
    if not is_tensor(x):
        return x
    nx = backend_of(x)
    return nx.to_numpy(nx.detach(x))


def where_it_is(x: Any, device: str) -> Any:
    """Return a tensor, detached: on the device if it is there and wanted there, else in numpy."""
    if not (on_cuda(device) and lives_on_cuda(x)):
        return to_numpy(x)
    return backend_of(x).detach(x) if is_tensor(x) else x


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


def plan_like(solution: Any, like: Any) -> Any:
    """Return the dense plan of a solution beside a tensor: made on its device, if solved there."""
    problem: Any = getattr(solution, "_problem", None)
    if hasattr(problem, "device_plan") and lives_on_cuda(like) and solution._support.is_whole:
        P = problem.device_plan(*solution._reduced(), solution._support.mass)
    else:
        P = solution.plan
    nx: Any = backend_of(like)
    if not is_numba(P):
        return nx.from_numpy(P, type_as=like)
    if isinstance(nx, NumbaArrays):
        return P
    library = importlib.import_module(type(like).__module__.partition(".")[0])
    return library.asarray(P)  # torch and cupy share its memory


def tensor_costs(X: Any, Y: Any, metric: Any) -> Any:
    """Return the cost matrix of two samples of tensors, differentiable where the library can."""
    from ot import dist

    return dist(X, Y, metric)


def lazy_plan(solution: Solution) -> Any:
    """Return the plan of a lazy solve as POT's LazyTensor, whose blocks are computed on demand."""
    from ot.utils import LazyTensor

    problem, support = solution._problem, solution._support
    assert isinstance(problem, PointProblem)
    places = []
    for index, size in zip(support.sides, support.shape, strict=True):
        place = np.full(size, -1)
        place[index] = np.arange(index.size)
        places.append(place)
    f, g = solution.potentials

    def block(i: Any, j: Any) -> Any:
        rows, columns = np.atleast_1d(places[0][i]), np.atleast_1d(places[1][j])
        M = costs(problem.X[rows], problem.Y[columns], problem.metric)
        P = np.exp((np.atleast_1d(f[i])[:, None] + np.atleast_1d(g[j]) - M) / problem.reg)
        kept = [k for k, index in enumerate((i, j)) if not isinstance(index, int | np.integer)]
        return P if len(kept) == 2 else P.squeeze(axis=tuple({0, 1} - set(kept)))

    return LazyTensor(support.shape, block)
