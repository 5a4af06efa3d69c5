"""The only options of the CUDA kernels, and what they share. Nothing imports this at the start.

A kernel is a small function of arrays on the device, without checks. It says for which types it is
compiled, so that it can be compiled, and looked at, where there is no device. Rows are gone through
by `LANES` threads that run in step (a warp), and what these must tell one another goes through
`lane_sum` and its like; sums over a block go through `block_sum`. All sums are taken in an order
that depends on shapes and the device alone: results repeat bit for bit.

Under NUMBA_ENABLE_CUDASIM=1 the same kernels run in numba's simulator, a row to a thread, in blocks
so small that small tests have several.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import config, cuda, float64, typeof

SIMULATED = bool(config.ENABLE_CUDASIM)
LANES = 1 if SIMULATED else 32
THREADS = 4 if SIMULATED else 256  # of a block
MOST_BLOCKS = 3 if SIMULATED else 4096  # of a grid; what is left over is gone through in strides
EVERYONE = 0xFFFFFFFF

Grid = tuple[Any, int]


def formula(function: Callable[..., Any]) -> Any:
    """Compile a device function that is inlined into the kernels that call it."""
    return cuda.jit(device=True, inline="always")(function)


def part(function: Callable[..., Any]) -> Any:
    """Compile a larger device function once, for all the kernels that call it.

    Where it is inlined is left to the last compiler: numba's own would take far longer.
    """
    return cuda.jit(device=True, inline="never")(function)


class Kernel:
    """A function to launch on a grid, and the types of arguments it is compiled for.

    Attributes
    ----------
    bounds : tuple of int
        Threads of a block, and blocks that a multiprocessor can hold at a time: the fewer, the
        more registers a thread may have.
    """

    def __init__(
        self, function: Callable[..., None], signatures: tuple[str, ...], per_processor: int
    ) -> None:
        self.function, self.signatures = function, signatures
        self.bounds = THREADS, per_processor
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        options = {} if SIMULATED else {"launch_bounds": self.bounds}
        self._compiled = cuda.jit(function, **options)  # at its first launch
        self._launches: dict[Grid, Callable[..., None]] = {}

    def __getitem__(self, grid: Grid) -> Callable[..., None]:
        """Return the kernel on a grid of (blocks, threads of a block)."""
        if SIMULATED:
            return self._checked(grid)
        if grid not in self._launches:
            with _small_grids():
                self._launches[grid] = self._compiled[grid]
        return self._launches[grid]

    def _checked(self, grid: Grid) -> Callable[..., None]:
        """Return a launch that refuses types the kernel is not compiled for."""

        def launch(*args: Any) -> None:
            each = [x for arg in args for x in (arg if isinstance(arg, tuple) else (arg,))]
            on_host = [x for x in each if isinstance(x, np.ndarray)]
            assert not on_host, f"{self.__name__} would copy what is on the host at each launch"
            types = ", ".join(str(_type_of(arg)) for arg in args)
            known = [", ".join(str(t) for t in self.types(s)) for s in self.signatures]
            assert types in known, f"{self.__name__} is not compiled for ({types})"
            self._compiled[grid](*args)

        return launch

    @staticmethod
    def types(signature: str) -> tuple[Any, ...]:
        """Return the types of the arguments that a signature names."""
        from numba.core.sigutils import normalize_signature

        types: tuple[Any, ...] = normalize_signature(f"void({signature})")[0]
        return types


@contextmanager
def _small_grids() -> Iterator[None]:
    """Silence the warning about small grids: some steps take one block only."""
    from numba.cuda.core import config as settings

    before, settings.CUDA_LOW_OCCUPANCY_WARNINGS = settings.CUDA_LOW_OCCUPANCY_WARNINGS, 0
    try:
        yield
    finally:
        settings.CUDA_LOW_OCCUPANCY_WARNINGS = before


def kernel(*signatures: str, per_processor: int = 2) -> Callable[[Callable[..., None]], Kernel]:
    """Make a kernel of a function, for arguments of these types; the first is the usual one."""
    return lambda function: Kernel(function, signatures, per_processor)


def _type_of(arg: Any) -> Any:
    return arg._numba_type_ if hasattr(arg, "_numba_type_") else typeof(arg)


# Grids


def per_item(n: int) -> Grid:
    """Return a grid with a thread for each of n items."""
    return max(1, min(-(-n // THREADS), MOST_BLOCKS)), THREADS


def per_row(n: int) -> Grid:
    """Return a grid with a warp for each of n rows."""
    return per_item(n * LANES)


ONE_BLOCK: Grid = (1, THREADS)


def in_step(kernel: Kernel) -> Grid:
    """Return the largest grid whose blocks are all resident, and can wait for one another."""
    if SIMULATED:
        return ONE_BLOCK
    threads, per_processor = kernel.bounds
    return per_processor * cuda.get_current_device().MULTIPROCESSOR_COUNT, threads


# Arrays


def to_device(x: Any, dtype: Any = None) -> Any:
    """Return an array on the device, without a copy if it is there already in this type."""
    if hasattr(x, "__cuda_ndarray__"):
        return x
    if hasattr(x, "__cuda_array_interface__"):
        return cuda.as_cuda_array(x)
    array = np.ascontiguousarray(x, dtype)
    if array.shape == (0,):
        return empty(0, array.dtype)
    if 0 in array.strides:  # an axis of length one, which would make a type of its own
        array = array.copy()
    return cuda.to_device(array)


def empty(shape: int | tuple[int, ...], dtype: Any = np.float64) -> Any:
    """Return an uninitialised array on the device, which may be empty.

    numpy takes the strides from an array that is created empty, and to a kernel one without is of
    another type.
    """
    return cuda.device_array(1, dtype)[:0] if shape == 0 else cuda.device_array(shape, dtype)


# What the threads of a warp, and those of a block, tell one another


if SIMULATED:

    @formula
    def lane_sum(x):
        """Return the sum of x over a warp of one."""
        return x

    @formula
    def lane_max(x):
        """Return the largest x of a warp of one."""
        return x

    @formula
    def lane_rank(flag, lane):
        """Return how many lanes before this one raise a flag, and how many do in all."""
        return 0, int(flag)

    @formula
    def sync_lanes():
        """Do nothing: a warp of one has nobody to wait for."""

else:

    @formula
    def lane_sum(x):
        """Return the sum of x over a warp, to all its lanes."""
        for k in (16, 8, 4, 2, 1):
            x += cuda.shfl_xor_sync(EVERYONE, x, k)
        return x

    @formula
    def lane_max(x):
        """Return the largest x of a warp, to all its lanes."""
        for k in (16, 8, 4, 2, 1):
            x = max(x, cuda.shfl_xor_sync(EVERYONE, x, k))
        return x

    @formula
    def lane_rank(flag, lane):
        """Return how many lanes before this one raise a flag, and how many do in all."""
        raised = cuda.ballot_sync(EVERYONE, flag)
        return cuda.popc(raised & ((1 << lane) - 1)), cuda.popc(raised)

    @formula
    def sync_lanes():
        """Wait until all lanes of the warp are here, and see what they have written."""
        cuda.syncwarp()


@formula
def block_sum(x):
    """Return the sum of x over a block, to all its threads."""
    parts = cuda.shared.array(THREADS, float64)
    t = cuda.threadIdx.x
    parts[t] = x
    cuda.syncthreads()
    step = THREADS // 2
    while step > 0:
        if t < step:
            parts[t] += parts[t + step]
        cuda.syncthreads()
        step //= 2
    total = parts[0]
    cuda.syncthreads()
    return total


@formula
def block_max(x):
    """Return the largest x of a block, to all its threads."""
    parts = cuda.shared.array(THREADS, float64)
    t = cuda.threadIdx.x
    parts[t] = x
    cuda.syncthreads()
    step = THREADS // 2
    while step > 0:
        if t < step:
            parts[t] = max(parts[t], parts[t + step])
        cuda.syncthreads()
        step //= 2
    largest = parts[0]
    cuda.syncthreads()
    return largest
