"""Which library an array belongs to: to numpy and back, by POT's backend layer for most.

Nothing here is imported by name before such an array arrives.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum._device import lives_on_cuda, on_cuda


class NumbaArrays:
    """The part of a POT backend that is needed here, for numba's own device arrays.

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


def library_of(x: Any) -> str:
    """Return the library that an array belongs to; empty, if it is none of the other libraries."""
    if is_numba(x):
        return "numba"
    for library, kind in (("torch", "Tensor"), ("jax", "Array")):  # subclasses live anywhere
        if library in sys.modules and isinstance(x, getattr(sys.modules[library], kind)):
            return library
    name = type(x).__module__.partition(".")[0]
    return name if name in ("cupy", "tensorflow") else ""


def library_of_all(*arrays: Any) -> str:
    """Return the one library that the tensors among some arrays belong to; empty without any.

    Raises
    ------
    TypeError
        If they belong to several, between which derivatives would be lost.
    """
    libraries = sorted({library_of(x) for x in arrays} - {""})
    if len(libraries) > 1:
        raise TypeError(
            "cost, masses, points and reg must be arrays of one library, or numpy's: got some of "
            f"{' and '.join(libraries)}; convert them to one"
        )
    return libraries[0] if libraries else ""


def backend_of(*arrays: Any) -> Any:
    """Return POT's backend for tensors of another library than numpy, None if there are none."""
    library = library_of_all(*arrays)
    if library in ("", "numba"):
        return NumbaArrays() if library else None
    from ot.backend import get_backend

    return get_backend(*(x for x in arrays if is_tensor(x)))


def is_tensor(x: Any) -> bool:
    """Return whether an object belongs to one of the other libraries."""
    return library_of(x) != ""


def is_numba(x: Any) -> bool:
    """Return whether an object is one of numba's arrays on a device."""
    return hasattr(x, "__cuda_ndarray__")


def is_traced(*arrays: Any) -> bool:
    """Return whether an array has no numbers yet: under vmap, or where jax compiles."""
    for x in map(concrete, arrays):
        library = library_of(x)
        if library == "jax" and isinstance(x, sys.modules["jax"].core.Tracer):
            return True
        if library == "torch" and sys.modules["torch"]._C._functorch.is_batchedtensor(x):
            return True
    return False


def is_differentiated(x: Any) -> bool:
    """Return whether derivatives with respect to an array may be asked for."""
    library = library_of(x)
    if library == "jax":
        return isinstance(x, sys.modules["jax"].core.Tracer)
    if library != "torch":
        return False
    torch = sys.modules["torch"]
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        return True
    forward = torch.autograd.forward_ad
    dual = forward._current_level >= 0 and forward.unpack_dual(x).tangent is not None
    return dual or (x.requires_grad and torch.is_grad_enabled())


def concrete(x: Any) -> Any:
    """Return a tensor without its derivatives; anything else as it is."""
    library = library_of(x)
    if library == "jax":
        return sys.modules["jax"].lax.stop_gradient(x)
    if library == "torch":
        C = sys.modules["torch"]._C
        while C._functorch.is_gradtrackingtensor(x):
            x = C._functorch.get_unwrapped(x)
        if C._functorch.is_functorch_wrapped_tensor(x):
            return x
        with C._DisableFuncTorch():  # else what comes out would be wrapped again
            return x.detach()
    return backend_of(x).detach(x) if library else x


def to_numpy(x: Any) -> Any:
    """Return a tensor as a numpy array, detached and on the host; anything else as it is."""
    library, x = library_of(x), concrete(x)
    if library == "torch":
        torch = sys.modules["torch"]
        if x.layout != torch.strided:
            raise TypeError(f"tensors must be dense: got {x.layout}; call its to_dense() first")
        with torch._C._DisableFuncTorch():
            x = x.float() if x.dtype == torch.bfloat16 else x  # which numpy does not know
            return x.cpu().numpy()
    if library == "jax":
        array = np.asarray(x)
        return array if array.dtype.kind in "biufc" else array.astype(np.float32)
    return backend_of(x).to_numpy(x) if library else x


def where_it_is(x: Any, device: str) -> Any:
    """Return a tensor, detached: on the device if it is there and wanted there, else in numpy."""
    if not (on_cuda(device) and lives_on_cuda(x)):
        return to_numpy(x)
    return concrete(x)


def as_floats(x: Any, like: Any) -> Any:
    """Return an array, of numpy's too, in the library and place of a tensor, as floats."""
    library = library_of(x)
    if library not in ("torch", "jax"):
        return x if library else like_tensor(np.asarray(x), like)
    if library == "jax":
        return x.astype(like.dtype)
    return x if x.dtype.is_floating_point else x.to(like.dtype)


def cast(x: Any, like: Any) -> Any:
    """Return a tensor of torch or jax in the type of another."""
    return x.to(like.dtype) if library_of(x) == "torch" else x.astype(like.dtype)


def float_like(*arrays: Any) -> Any:
    """Return an empty tensor of the library, place and type of results.

    The type is that of the first tensor of floats; the default of the library where all are whole
    numbers.
    """
    library = library_of_all(*arrays)
    tensors = [x for x in arrays if is_tensor(x)]
    first = concrete(tensors[0])
    if library == "torch":
        torch = sys.modules["torch"]
        types = (x.dtype for x in tensors if x.dtype.is_floating_point)
        return first.new_empty(0, dtype=next(types, torch.get_default_dtype()))
    if library == "jax":
        numpy = sys.modules["jax"].numpy
        types = (x.dtype for x in tensors if numpy.issubdtype(x.dtype, numpy.floating))
        return numpy.empty(0, next(types, numpy.result_type(float)))
    return first


def like_tensor(x: Any, like: Any) -> Any:
    """Return a copy of an array of numpy in the library, place and type of a tensor."""
    library = library_of(like)
    if library == "torch":
        return sys.modules["torch"].tensor(x, dtype=like.dtype, device=like.device)
    if library == "jax":
        return sys.modules["jax"].numpy.array(x, like.dtype)
    return backend_of(like).from_numpy(np.array(x), type_as=like)


def tensor_like(x: Any, *given: Any) -> Any:
    """Return an array of numpy in the library and type of what was given: itself for numpy's."""
    tensors = [t for t in given if is_tensor(t)]
    return like_tensor(x, float_like(*tensors)) if tensors else x


def plan_like(solution: Any, like: Any) -> Any:
    """Return the dense plan of a solution beside a tensor: made on its device, if solved there."""
    optimum: Any = getattr(solution, "_optimum", None)
    problem: Any = getattr(optimum, "problem", None)
    if hasattr(problem, "device_plan") and lives_on_cuda(like) and optimum.reduction.is_whole:
        P = problem.device_plan(*optimum.reduced(), optimum.reduction.mass)
    else:
        P = solution.plan
    if not is_numba(P):
        return like_tensor(P, like)
    if is_numba(like):
        return P
    return sys.modules[library_of(like)].asarray(P)  # torch and cupy share its memory
