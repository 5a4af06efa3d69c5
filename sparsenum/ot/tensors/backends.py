"""Which library an array belongs to: through POT's backend layer, and to numpy and back.

Nothing here is imported by name before such an array arrives.
"""

import importlib
from typing import Any

from numpy.typing import NDArray

from sparsenum._device import lives_on_cuda, on_cuda

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


def plan_like(solution: Any, like: Any) -> Any:
    """Return the dense plan of a solution beside a tensor: made on its device, if solved there."""
    optimum: Any = getattr(solution, "_optimum", None)
    problem: Any = getattr(optimum, "problem", None)
    if hasattr(problem, "device_plan") and lives_on_cuda(like) and optimum.reduction.is_whole:
        P = problem.device_plan(*optimum.reduced(), optimum.reduction.mass)
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
