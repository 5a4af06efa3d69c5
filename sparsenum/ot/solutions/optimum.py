"""What a solver found: the potentials of a problem, and how it relates to the caller's."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sparsenum.ot.problems import _cpu_support
from sparsenum.ot.problems.checks import RegType
from sparsenum.ot.problems.clouds.points import PointProblem
from sparsenum.ot.problems.dense import Matrix, Problem, Vector
from sparsenum.ot.problems.reduction import Reduction
from sparsenum.ot.problems.seal import Seal
from sparsenum.sparse import CSR

if TYPE_CHECKING:
    from sparsenum.ot.solvers.on_cuda import DeviceProblem


@dataclass(frozen=True)
class Optimum:
    """Potentials at which a problem is solved.

    Attributes
    ----------
    problem : Problem, PointProblem or DeviceProblem
        The problem between rows and columns with mass, all of it scaled to one; unbalanced, not
        scaled.
    reduction : Reduction
        How the caller's problem relates to it.
    potentials : tuple of ndarray
        f and g of the caller's problem; minus infinity where a mass is zero.
    inner : tuple of ndarray
        f and g of `problem`, which differ from these by constants and offsets.
    marginals : tuple of ndarray
        Row and column sums of the caller's plan.
    reg_type : {"KL", "entropy"}
        What the value counts as the entropy.
    rho : tuple of float, optional
        Strengths of the penalties on the marginals; None where these are exact.
    seal : Seal, optional
        On the cost, where it is the caller's.
    """

    problem: "Problem | PointProblem | DeviceProblem"
    reduction: Reduction
    potentials: tuple[Vector, Vector]
    inner: tuple[Vector, Vector]
    marginals: tuple[Vector, Vector]
    reg_type: RegType = "KL"
    rho: tuple[float, float] | None = None
    seal: Seal | None = None

    def __post_init__(self) -> None:
        for x in (*self.potentials, *self.marginals):
            frozen(x)

    @property
    def reg(self) -> float:
        """Strength of the entropy."""
        return self.problem.reg

    @property
    def masses(self) -> tuple[Vector, Vector]:
        """The caller's masses of the rows and columns that have any."""
        return self.reduction.masses

    @property
    def cost(self) -> Matrix:
        """The caller's cost, on the host."""
        M = self.reduction.M
        if M is None:
            raise ValueError("derivatives need the cost matrix: solve with lazy=False")
        self._check_cost()
        return cast(Matrix, np.asarray(M))  # from a device, if it is there

    def reduced(self) -> tuple[Vector, Vector]:
        """Return the potentials of the problem between rows and columns with mass."""
        return self.inner

    def plan(self) -> Matrix:
        """Return the caller's dense plan, in the precision of the cost."""
        self._check_cost()
        f, g = self.inner
        M = self.reduction.M
        widened = self.reduction.offsets is not None  # the cost, where offsets were taken off it
        out = np.empty((f.size, g.size), M.dtype) if M is not None and widened else None
        P = self.problem.plan(f, g, out)
        P *= self.reduction.mass
        return self.reduction.outer(P)

    def linear_value(self, left_out: float) -> float:
        """Return the transport cost of the plan, but for a share of the mass."""
        costs, P = self.entries(left_out)
        value = self.reduction.mass * float(P @ costs.data)
        if self.reduction.offsets is not None:
            parts = zip(self.marginals, self.reduction.sides, self.reduction.offsets, strict=True)
            value += sum(float(sums[side] @ offsets) for sums, side, offsets in parts)
        return value

    def entries(self, left_out: float) -> tuple[CSR, Vector]:
        """Return costs and masses of the plan's entries, but for a share of the mass."""
        self._check_cost()
        f, g = self.reduced()
        width = -self.reg * np.log(left_out / (f.size * g.size))
        near = self.problem.within(f, g, width)
        P = np.empty(near.nnz)
        costs = near if isinstance(near, CSR) else near.costs(np.empty_like(P))
        _cpu_support.support_plan(*costs.arrays, f, g, self.reg, P)
        return costs, P

    def _check_cost(self) -> None:
        if self.seal is not None:
            self.seal.check()


def frozen(x: Any) -> Any:
    """Return an array that can no longer be written to: results are values."""
    x.setflags(write=False)
    return x
