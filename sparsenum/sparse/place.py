"""Where arrays are: what doors with `device=` ask of their operands, and how these are moved."""

from typing import Any

import numpy as np

from sparsenum._check import real_array
from sparsenum._device import lives_on_cuda, on_cuda
from sparsenum.errors import DeviceError


def on_cuda_with(device: str, **operands: Any) -> bool:
    """Return whether to compute on a CUDA device; raise where the CPU cannot reach an operand."""
    if on_cuda(device):
        return True
    for name, operand in operands.items():
        # A sparse matrix is where its indices are.
        if lives_on_cuda(getattr(operand, "indices", operand)):
            raise DeviceError(
                f"{name} is in the memory of a CUDA device, out of reach of device='cpu': pass "
                "device='cuda', or bring it back first (`.to('cpu')` of a sparse matrix)"
            )
    return False


def moved(device: str, *arrays: Any) -> tuple[Any, ...]:
    """Return arrays in the memory of a device: those that are there already as they are."""
    if not on_cuda(device):
        return tuple(map(host, arrays))
    return tuple(map(_sent, arrays))


def _sent(x: Any) -> Any:
    from sparsenum import _cuda
    from sparsenum.sparse.on_cuda import vector

    return vector(0, x.dtype) if x.shape == (0,) else _cuda.to_device(x)


def host(x: Any) -> Any:
    """Return an array in the memory of the host: where it is, if it is there already."""
    if not lives_on_cuda(x):
        return x
    from sparsenum import _cuda

    return _cuda.to_device(x).copy_to_host()


def operand(x: Any, name: str, ndim: int, dtype: Any) -> Any:
    """Return an array of `dtype` on the device; what is there already must be one."""
    from sparsenum import _cuda

    if not lives_on_cuda(x):
        return _sent(real_array(x, name, ndim, dtype))
    array = _cuda.to_device(x)
    if array.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} dimension{'s' * (ndim > 1)}: got shape {array.shape}"
        )
    if array.dtype != dtype or not array.is_c_contiguous():
        raise TypeError(
            f"{name} on the device must be a contiguous array of {np.dtype(dtype)}: got "
            f"{array.dtype}{' with strides' * (not array.is_c_contiguous())}; convert it first"
        )
    return array


def in_kind(result: Any, like: Any) -> Any:
    """Return what was computed on the device where `like` is: there, or on the host."""
    return result if lives_on_cuda(like) else result.copy_to_host()
