"""A stack of problems while it is solved: small ones by one kernel, what is left one by one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsenum._check import LARGEST, SMALLEST
from sparsenum._device import Device
from sparsenum._threads import by_rows
from sparsenum.ot.problems.checks import MASS_MISMATCH
from sparsenum.ot.problems.dense import Problem, Vector
from sparsenum.ot.problems.offsets import EPS
from sparsenum.ot.problems.reduction import LEAST, Reduction, completed
from sparsenum.ot.problems.seal import Seal
from sparsenum.ot.solutions.attempt import attempt
from sparsenum.ot.stacks.passes import PASSES, passes_over

SMALL = 128 * 128  # costs up to which a kernel with dense Hessians beats the method of `solve`
NEGLIGIBLE = 1e-3  # share of an error up to which it does not matter what part of it it is
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
        seal: Seal | None = None,
    ) -> None:
        B, n, m = M.shape
        self.a, self.b, self.reg, self.tol, self.limit = a, b, reg, tol, limit
        self.device, self.threads = device, threads if device == "cpu" else 1
        self.seal = seal
        with np.errstate(all="ignore"):  # what is not sound is refused before it is used
            self.mass = a.sum(axis=1)
            x, y = a / self.mass[:, None], b / b.sum(axis=1)[:, None]
            self.shares = np.where(x >= LEAST, x, 0.0), np.where(y >= LEAST, y, 0.0)
            # A relative difference of totals is an error that no plan is without.
            self.unavoidable = np.abs(1.0 - b.sum(axis=1) / self.mass)
        self.passes = passes_over(M, *self.shares, reg, device, threads)
        self.f, self.g = np.empty((B, n)), np.empty((B, m))
        self.sums = np.empty((B, len(SUMS)))
        self.sweeps, self.newton = np.zeros(B, np.int64), np.zeros(B, np.int64)
        self.status = np.full(B, "converged", "<U10")
        self.single = np.zeros(B, np.bool_)

    def check_costs(self) -> None:
        """Raise if the caller wrote to the costs."""
        if self.seal is not None:
            self.seal.check()

    @property
    def sides(self) -> tuple[Vector, Vector]:
        """Masses as they are solved: those of the columns have the totals of the rows."""
        return self.a, self.b * (self.mass / self.b.sum(axis=1))[:, None]

    def refuse_the_unsound(self) -> None:
        """Raise the error of `solve` for the first problem that `solve` would refuse."""
        with np.errstate(all="ignore"):
            totals = self.mass, self.b.sum(axis=1)
            sound = self.passes.sound() & (self.reg >= SMALLEST) & (self.reg <= LARGEST)
            for x, total in zip((self.a, self.b), totals, strict=True):
                sound &= (x >= 0).all(axis=1) & (total > 0) & np.isfinite(total)
            sound &= abs(totals[0] - totals[1]) <= MASS_MISMATCH * np.maximum(*totals)
        for k in np.flatnonzero(~sound):
            self.solve_single(int(k))

    def solve(self) -> None:
        """Solve all problems: small ones by one kernel, the others one by one."""
        self.passes.level()
        potentials = self.f, self.g
        left = np.arange(len(self.f))
        if self.f.shape[1] * self.g.shape[1] <= SMALL:
            self.passes.solve(self.tol, self.limit, *potentials, self.sweeps, self.newton)
            self.passes.assess(self.shares[1], *potentials, self.sums)
            left = np.flatnonzero(~(self.sums[:, 0] <= self.tol))
        if left.size:

            def singly(block: slice) -> None:
                for k in left[block]:
                    self.solve_single(int(k))

            by_rows(singly, (left.size, PASSES * self.passes.M[0].size), self.threads)
            self.passes.assess(self.shares[1], *potentials, self.sums)

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

    def errors(self) -> Vector:
        """Return the violations of the masses as they were given, whose totals may differ."""
        error = self.sums[:, 0]
        if (self.unavoidable <= np.maximum(NEGLIGIBLE * error, 4 * EPS)).all():
            total: Vector = error + self.unavoidable
            return total
        sums = np.empty_like(self.sums)
        self.passes.assess(self.b / self.mass[:, None], self.f, self.g, sums)
        return sums[:, 0]

    def canonical(self, k: int) -> tuple[Reduction, Problem, Vector, Vector]:
        """Return one problem as `solve` has it, and its potentials."""
        reg = float(self.reg[k])
        reduction, cost = Reduction.of(self.passes.cost(k), self.a[k], self.b[k], reg)
        problem = Problem(cost, *reduction.shares, reg)
        return reduction, problem, *self.inner(k, reduction)

    def potentials(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the caller's potentials, whose means are equal where there is mass."""
        half = (self.reg * np.log(self.mass) / 2)[:, None]
        offsets = self.passes.offsets or (0.0, 0.0)
        f, g = (x + half + y for x, y in zip((self.f, self.g), offsets, strict=True))
        means = (
            np.mean(x, axis=1, where=share > 0, keepdims=True)
            for x, share in zip((f, g), self.shares, strict=True)
        )
        shift = (next(means) - next(means)) / 2
        f, g = f - shift, g + shift
        little = [
            ((x > 0) & (share == 0)).any(axis=1)
            for x, share in zip((self.a, self.b), self.shares, strict=True)
        ]
        for k in np.flatnonzero(little[0] | little[1]).tolist():
            reduction = Reduction.between(self.a[k], self.b[k], self.passes.cost(k))
            x, y = (z[k][side] for z, side in zip((f, g), reduction.sides, strict=True))
            f[k], g[k] = completed(reduction, x, y, float(self.reg[k]), reduction.costs)
        return f, g

    def inner(self, k: int, reduction: Reduction) -> tuple[Vector, Vector]:
        """Return the potentials of one problem after a reduction of the caller's."""
        pair = []
        for axis, x in enumerate((self.f, self.g)):
            ours, theirs = self.passes.offsets, reduction.offsets
            side = reduction.sides[axis]
            ahead = ours[axis][k][side] if ours else np.zeros(side.size)
            pair.append(x[k][side] + (ahead - theirs[axis] if theirs else ahead))
        return pair[0], pair[1]
