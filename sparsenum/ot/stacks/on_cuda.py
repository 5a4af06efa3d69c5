"""Stacks of small problems on a CUDA device: the costs stay there, one block solves a problem."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum import _cuda as device
from sparsenum._check import real_array
from sparsenum._device import host, lives_on_cuda, operand
from sparsenum.ot.problems.dense import Vector
from sparsenum.ot.problems.offsets import Offsets
from sparsenum.ot.problems.reduction import BEYOND, SENTINEL
from sparsenum.ot.solutions.on_cuda import TYPES
from sparsenum.ot.solvers.monitor import GOAL
from sparsenum.ot.stacks import _cuda, _cuda_passes
from sparsenum.ot.tensors.backends import backend_of, is_tensor, to_numpy

Array = Any  # on the device


def device_costs(M: Any) -> Any:
    """Return a stack of costs where it is: on the device, or else as one of float64 on the host."""
    M = backend_of(M).detach(M) if is_tensor(M) else M
    return operand(M, "M", 3, *TYPES) if lives_on_cuda(M) else real_array(to_numpy(M), "M", 3)


def to_host(x: Any) -> Any:
    """Return an array on the host, wherever it is."""
    return host(to_numpy(x))


class DevicePasses:
    """Passes over all problems of a stack at once, on the device.

    Attributes
    ----------
    M : device array, shape (B, n, m)
        Costs.
    in_kind : bool
        Whether they were there before, and plans are to stay there.
    """

    def __init__(self, M: Any, a: Vector, b: Vector, reg: Vector) -> None:
        self.in_kind = lives_on_cuda(M)
        self.offsets: Offsets | None = None
        self.M = device.to_device(M)
        self._sides = device.to_device(a), device.to_device(b)
        self._reg = device.to_device(reg)
        self._forbidden = device.to_device(np.maximum(SENTINEL, BEYOND * reg))
        self._blocks = min(len(reg), _blocks_at_once()), device.THREADS

    def cost(self, k: int) -> NDArray[Any]:
        """Return one cost on the host."""
        cost: NDArray[Any] = self.M[k].copy_to_host()
        return cost

    def costs(self) -> NDArray[Any]:
        """Return all costs on the host."""
        costs: NDArray[Any] = self.M.copy_to_host()
        return costs

    def sound(self) -> NDArray[np.bool_]:
        """Return which costs hold numbers, and one that is not forbidden for each mass."""
        sound = device.empty(len(self.M))
        _cuda_passes.find_sound[self._blocks](self.M, *self._sides, self._forbidden, sound)
        found: NDArray[np.bool_] = sound.copy_to_host() > 0.0
        return found

    def level(self) -> None:
        """Leave costs on the device as they are."""

    def solve(
        self, tol: float, most: int, f: Vector, g: Vector, sweeps: Vector, steps: Vector
    ) -> None:
        """Solve all problems, in one launch; write potentials and counts."""
        found = [device.empty(x.shape) for x in (f, g)]
        counts = device.empty((len(f), 2), np.int64)
        limits = self._forbidden, GOAL * tol, most
        problems = self.M, *self._sides, self._reg, *limits
        _cuda.solve_stack[self._blocks](*problems, *found, counts, *self._room())
        f[:], g[:] = (x.copy_to_host() for x in found)
        sweeps[:], steps[:] = counts.copy_to_host().T

    def assess(self, b: Vector, f: Vector, g: Vector, sums: NDArray[np.float64]) -> None:
        """Write the errors and values that follow from the sums of each plan."""
        out = device.empty(sums.shape)
        sides = self._sides[0], device.to_device(b)
        potentials = device.to_device(f), device.to_device(g)
        _cuda_passes.assess[self._blocks](self.M, *sides, self._reg, *potentials, out)
        sums[:] = out.copy_to_host()

    def plans(self, f: Vector, g: Vector, mass: Vector) -> Any:
        """Return the plans, each times its mass: on the device, if the costs came from there."""
        B, n, _ = self.M.shape
        P = device.empty(self.M.shape, self.M.dtype)
        vectors = [device.to_device(x) for x in (f, g, self._reg, mass)]
        _cuda_passes.plans[device.per_row(B * n)](self.M, *vectors, P)
        return P if self.in_kind else P.copy_to_host()

    def _room(self) -> tuple[Array, ...]:
        """Return the workspace of the resident blocks, as `solve_stack` takes it."""
        blocks, (n, m) = self._blocks[0], self.M.shape[1:]
        N, K = max(n, m), min(n, m)
        rows, columns = K + _cuda.GROUP - 1, K + 2
        shapes = (3, N, K), (rows, columns), (4, N)
        return (
            *(device.empty((blocks, *shape)) for shape in shapes),
            device.empty((blocks, 2, N), np.int64),
        )


def _blocks_at_once() -> int:
    """Return how many blocks the device holds at once; more would only need more memory."""
    return int(device.MOST_BLOCKS if device.SIMULATED else device.in_step(_cuda.solve_stack)[0])
