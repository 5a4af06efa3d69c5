"""Where to compute: `device="cpu"` or `device="cuda"`, what is missing, and where arrays are."""

import ctypes
import importlib.metadata
import importlib.util
import sys
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from sparsenum._check import choice, real_array
from sparsenum.errors import DeviceError

Device = Literal["cpu", "cuda"]
DEVICES = ("cpu", "cuda")
PACKAGE = "numba-cuda"


class Facts(NamedTuple):
    """The CUDA installation of this machine.

    Attributes
    ----------
    package, driver : str or None
        Versions of numba-cuda and of CUDA as the driver knows it.
    devices : list of str
        Names of the devices that are visible.
    """

    package: str | None
    driver: str | None
    devices: list[str]

    @property
    def missing(self) -> str:
        """The missing parts and how to install them; empty where CUDA is ready."""
        extra = "cuda12" if self.driver is not None and self.driver.startswith("12.") else "cuda13"
        install = f'pip install "sparsenum[{extra}]"'
        if self.driver is None:
            return f"no NVIDIA driver found; install one{f', then {install}' * (not self.package)}"
        if not self.devices:
            return "a driver, but no device is visible; check CUDA_VISIBLE_DEVICES"
        if self.package is None:
            return f"a device, but {PACKAGE} is not installed; {install}"
        return ""


def facts() -> Facts:
    """Return the facts, without importing numba-cuda or waking a device."""
    try:
        package = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        package = None
    return Facts(package, *_driver())


def _driver() -> tuple[str | None, list[str]]:
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    version, count = ctypes.c_int(), ctypes.c_int()
    try:
        cuda = ctypes.CDLL(library)
        cuda.cuDriverGetVersion(ctypes.byref(version))
        if cuda.cuInit(0) == 0:
            cuda.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return None, []
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode(errors="replace"))
    return f"{version.value // 1000}.{version.value % 1000 // 10}", names


def device_name(device: Any) -> Any:
    """Return "cpu" or "cuda" for what other libraries call a place, such as "cuda:0".

    Anything else is returned as it is, and refused by whoever checks it.
    """
    text = str(getattr(device, "platform", device))  # a device of jax has a platform
    return {"cpu:0": "cpu", "cuda:0": "cuda", "gpu": "cuda"}.get(text, text)


def on_cuda(device: str) -> bool:
    """Return whether `device` asks for CUDA, and raise if that cannot be had."""
    if choice(device, "device", DEVICES) == "cpu":
        return False
    _require_cuda()
    return True


@cache
def _require_cuda() -> None:
    from numba import config

    machine = facts()
    simulated = bool(vars(config)["ENABLE_CUDASIM"])
    if machine.missing and not (simulated and machine.package):
        raise DeviceError(
            f"device='cuda' cannot be used here: {machine.missing}, or use device='cpu'; "
            "`sparsenum doctor` tells more"
        )


def lives_on_cuda(x: Any) -> bool:
    """Return whether an array is in the memory of a CUDA device."""
    # The second is what numba's arrays have, simulated ones too.
    return hasattr(x, "__cuda_array_interface__") or hasattr(x, "__cuda_ndarray__")


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
    from sparsenum._cuda import to_device

    return tuple(map(to_device, arrays))


def host(x: Any) -> Any:
    """Return an array in the memory of the host, without a copy if it is there already."""
    if not lives_on_cuda(x):
        return x
    from sparsenum._cuda import to_device

    return to_device(x).copy_to_host()


def operand(x: Any, name: str, ndim: int, *dtypes: Any) -> Any:
    """Return an array on the device, of one of the types; what is there already must be one.

    What is on the host is read as the first type, unless it is of another one allowed.
    """
    from sparsenum._cuda import to_device

    if not lives_on_cuda(x):
        held = getattr(x, "dtype", None)
        return to_device(real_array(x, name, ndim, held if held in dtypes else dtypes[0]))
    array = to_device(x)
    if array.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} dimension{'s' * (ndim > 1)}: got shape {array.shape}"
        )
    if array.dtype not in dtypes or not array.is_c_contiguous():
        raise TypeError(
            f"{name} on the device must be a contiguous array of "
            f"{' or '.join(str(np.dtype(dtype)) for dtype in dtypes)}: got {array.dtype}"
            f"{' with strides' * (not array.is_c_contiguous())}; convert it first"
        )
    return array


def in_kind(result: Any, like: Any) -> Any:
    """Return a device array in the memory that `like` is in: on the device, or on the host."""
    return result if lives_on_cuda(like) else result.copy_to_host()
