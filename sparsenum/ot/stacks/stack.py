"""A stack of problems while it is solved: small ones by one kernel, what is left one by one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum._device import Device
from sparsenum._threads import by_rows
from sparsenum.ot.problems.checks import MASS_MISMATCH
from sparsenum.ot.problems.dense import Vector
from sparsenum.ot.solutions.attempt import attempt
from sparsenum.ot.stacks.passes import PASSES, passes_over

SMALL = 128 * 128  # costs up to which a kernel with dense Hessians beats the method of `solve`
SUMS = ("error", "total", "linear", "entropy", "reference")  # what is recomputed of each plan


class Stack:
    """Problems of one shape and, once solved, their potentials at mass one."""

    def __init__(
        self,
        M: Any,
        a: Vector,
        b: Vector,
        reg: Vector,
        tol: float,
        limit: int,
        device: Device,
        threads: int,
    ) -> None:
        B, n, m = M.shape
        self.a, self.b, self.reg, self.tol, self.limit = a, b, reg, tol, limit
        self.device, self.threads = device, threads if device == "cpu" else 1
        self.mass = a.sum(axis=1)
        with np.errstate(all="ignore"):  # what is not sound is refused before it is used
            shares = a / self.mass[:, None], b / b.sum(axis=1)[:, None]
        self.passes = passes_over(M, *shares, reg, device, threads)
        self.f, self.g = np.empty((B, n)), np.empty((B, m))
        self.sums = np.empty((B, len(SUMS)))
        self.sweeps, self.newton = np.zeros(B, np.int64), np.zeros(B, np.int64)
        self.status = np.full(B, "converged", "<U10")
        self.single = np.zeros(B, np.bool_)

    def refuse_the_unsound(self) -> None:
        """Raise for the first problem that `solve` would refuse, with what it says."""
        totals = self.mass, self.b.sum(axis=1)
        with np.errstate(all="ignore"):
            sound = self.passes.sound() & (self.reg > 0) & np.isfinite(self.reg)
            for x, total in zip((self.a, self.b), totals, strict=True):
                sound &= (x >= 0).all(axis=1) & (total > 0) & np.isfinite(total)
            sound &= abs(totals[0] - totals[1]) <= MASS_MISMATCH * np.maximum(*totals)
        for k in np.flatnonzero(~sound):
            self.solve_single(int(k))

    def solve(self) -> None:
        """Solve all problems: small ones by one kernel, what is left one by one."""
        potentials = self.f, self.g
        left = np.arange(len(self.f))
        if self.f.shape[1] * self.g.shape[1] <= SMALL:
            self.passes.solve(self.tol, self.limit, *potentials, self.sweeps, self.newton)
            self.passes.assess(*potentials, self.sums)
            left = np.flatnonzero(~(self.sums[:, 0] <= self.tol))
        if left.size:

            def singly(block: slice) -> None:
                for k in left[block]:
                    self.solve_single(int(k))

            by_rows(singly, (left.size, PASSES * self.passes.M[0].size), self.threads)
            self.passes.assess(*potentials, self.sums)

    def solve_single(self, k: int) -> None:
        """Solve one problem as `solve` does."""
        problem = self.passes.M[k], self.a[k], self.b[k], float(self.reg[k])
        options: dict[str, Any] = {"tol": self.tol, "max_iter": self.limit, "device": self.device}
        try:
            found = attempt(*problem, **options)
        except ValueError as error:
            raise ValueError(f"problem {k}: {error}") from None
        half = self.reg[k] * np.log(self.mass[k]) / 2
        self.f[k], self.g[k] = found.potentials[0] - half, found.potentials[1] - half
        self.newton[k] = found.log.get("newton", 0) + found.log.get("refused", 0)
        self.sweeps[k] = found.n_iter - self.newton[k]
        self.status[k] = found.status
        self.single[k] = True

    def in_gauge(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the caller's potentials, whose means are equal where there is mass."""
        f, g = (x + (self.reg * np.log(self.mass) / 2)[:, None] for x in (self.f, self.g))
        means = (np.mean(x, axis=1, where=np.isfinite(x), keepdims=True) for x in (f, g))
        shift = (next(means) - next(means)) / 2
        return f - shift, g + shift
