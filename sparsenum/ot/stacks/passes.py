"""Passes over all problems of a stack at once, on the host or on a device."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsenum._device import Device
from sparsenum._threads import by_rows
from sparsenum.ot.problems.dense import Vector
from sparsenum.ot.problems.offsets import EPS, LOST, Offsets, levelled
from sparsenum.ot.problems.reduction import forbidding
from sparsenum.ot.stacks import _cpu, _cpu_passes

PASSES = 16  # what a solve costs at least, in passes over its matrix: it sizes the blocks of work


class Passes(Protocol):
    """Passes over all problems of a stack at once, on the host or on a device."""

    M: Any
    offsets: Offsets | None  # what was taken off the rows and columns of the costs

    def cost(self, k: int) -> NDArray[Any]:
        """Return one cost on the host."""

    def costs(self) -> NDArray[Any]:
        """Return all costs on the host."""

    def sound(self) -> NDArray[np.bool_]:
        """Return a truth for each cost: whether `solve` would accept it."""

    def level(self) -> None:
        """Take offsets off the rows and columns of costs where potentials would lose digits."""

    def solve(
        self, tol: float, most: int, f: Vector, g: Vector, sweeps: Vector, steps: Vector
    ) -> None:
        """Solve all problems as far as kernels do; write potentials and counts."""

    def assess(self, b: Vector, f: Vector, g: Vector, sums: NDArray[np.float64]) -> None:
        """Write the errors and values that follow from the sums of each plan.

        Its columns should sum to b, of about the same total as the rows.
        """

    def plans(self, f: Vector, g: Vector, mass: Vector) -> Any:
        """Return the plans, each times its mass."""


class HostPasses:
    """Passes in parallel over blocks of problems, each problem with masses of sum one."""

    def __init__(
        self, M: NDArray[np.float64], a: Vector, b: Vector, reg: Vector, threads: int
    ) -> None:
        self.given = M
        self.M: NDArray[np.float64] = forbidding(M, reg[:, None, None])
        self.problems = self.M, a, b, reg
        self.threads = threads
        self.offsets: Offsets | None = None

    def cost(self, k: int) -> NDArray[Any]:
        """Return one cost, as it was given."""
        cost: NDArray[Any] = self.given[k]
        return cost

    def costs(self) -> NDArray[Any]:
        """Return all costs, as they were given."""
        return self.given

    def sound(self) -> NDArray[np.bool_]:
        """Return which costs hold numbers, and one that is not infinite for each mass."""
        _, a, b, _ = self.problems
        with np.errstate(all="ignore"):
            least = self.M.min(axis=2)
            sound: NDArray[np.bool_] = np.isfinite(least.min(axis=1))
            if self.M.max() == np.inf:
                rows = self.M.min(axis=2, where=(b > 0)[:, None, :], initial=np.inf)
                columns = self.M.min(axis=1, where=(a > 0)[:, :, None], initial=np.inf)
                sound &= ~((rows == np.inf) & (a > 0)).any(axis=1)
                sound &= ~((columns == np.inf) & (b > 0)).any(axis=1)
        return sound

    def level(self) -> None:
        """Take offsets off the rows and columns of costs where potentials would lose digits."""
        M, _, _, reg = self.problems
        low = M.min(axis=(1, 2))
        high = M.max(axis=(1, 2), where=np.inf > M, initial=-np.inf)
        large = np.flatnonzero(EPS * np.maximum(high, -low) > LOST * reg)
        found = {k: levelled(M[k], reg[k]) for k in large.tolist()}
        found = {k: pair for k, pair in found.items() if pair[1] is not None}
        if not found:
            return
        self.M, self.offsets = M.copy(), (np.zeros(M.shape[:2]), np.zeros(M.shape[::2]))
        for k, (cost, offsets) in found.items():
            self.M[k] = cost
            for out, x in zip(self.offsets, offsets or (), strict=True):
                out[k] = x
        self.problems = self.M, *self.problems[1:]

    def solve(
        self, tol: float, most: int, f: Vector, g: Vector, sweeps: Vector, steps: Vector
    ) -> None:
        """Solve all problems as far as the kernel does; write potentials and counts."""
        out = f, g, sweeps, steps

        def work(block: slice) -> None:
            problems = (x[block] for x in self.problems)
            _cpu.solve_stack(*problems, tol, most, *(x[block] for x in out))

        by_rows(work, (len(f), PASSES * self.M[0].size), self.threads)

    def assess(self, b: Vector, f: Vector, g: Vector, sums: NDArray[np.float64]) -> None:
        """Write the errors and values that follow from the sums of each plan."""
        M, a, _, reg = self.problems
        arrays = M, a, b, reg, f, g, sums

        def work(block: slice) -> None:
            _cpu_passes.assess(*(x[block] for x in arrays))

        by_rows(work, (len(f), self.M[0].size), self.threads)

    def plans(self, f: Vector, g: Vector, mass: Vector) -> NDArray[np.float64]:
        """Return the plans, each times its mass."""
        P = np.empty_like(self.M)
        arrays = self.M, f, g, self.problems[3], mass, P

        def work(block: slice) -> None:
            _cpu_passes.plans(*(x[block] for x in arrays))

        by_rows(work, (len(P), P[0].size), self.threads)
        return P


def passes_over(M: Any, a: Vector, b: Vector, reg: Vector, device: Device, threads: int) -> Passes:
    """Return the passes over costs for where they are to be computed."""
    if device == "cpu":
        return HostPasses(M, a, b, reg, threads)
    from sparsenum.ot.stacks.on_cuda import DevicePasses

    return DevicePasses(M, a, b, reg)
