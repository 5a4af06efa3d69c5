"""What a solver found: the potentials of a problem, and how it relates to the caller's."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from sparsenum.ot.problems import _cpu_support
from sparsenum.ot.problems.checks import RegType
from sparsenum.ot.problems.clouds.points import PointProblem
from sparsenum.ot.problems.dense import Matrix, Problem, Vector
from sparsenum.ot.problems.reduction import Reduction
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
    marginals : tuple of ndarray
        Row and column sums of the caller's plan.
    reg_type : {"KL", "entropy"}
        What the value counts as the entropy.
    rho : tuple of float, optional
        Strengths of the penalties on the marginals; None where these are exact.
    """

    problem: "Problem | PointProblem | DeviceProblem"
    reduction: Reduction
    potentials: tuple[Vector, Vector]
    marginals: tuple[Vector, Vector]
    reg_type: RegType = "KL"
    rho: tuple[float, float] | None = None

    @property
    def reg(self) -> float:
        """Strength of the entropy."""
        return self.problem.reg

    @property
    def masses(self) -> tuple[Vector, Vector]:
        """The caller's masses of the rows and columns that have any."""
        return self.reduction.mass * self.problem.a, self.reduction.mass * self.problem.b

    @property
    def cost(self) -> Matrix:
        """The caller's cost, on the host."""
        M = self.reduction.M
        if M is None:
            raise ValueError("derivatives need the cost matrix: solve with lazy=False")
        return cast(Matrix, np.asarray(M))  # from a device, if it is there

    def reduced(self) -> tuple[Vector, Vector]:
        """Return the potentials of the problem between rows and columns with mass."""
        rows, columns = self.reduction.sides
        f, g = self.potentials[0][rows], self.potentials[1][columns]
        return f - self.reg * np.log(self.reduction.mass), g

    def plan(self) -> Matrix:
        """Return the caller's dense plan, in the precision of the cost."""
        P = self.problem.plan(*self.reduced())
        P *= self.reduction.mass
        return self.reduction.outer(P)

    def entries(self, left_out: float) -> tuple[CSR, Vector]:
        """Return costs and masses of the plan's entries, but for a share of the mass."""
        f, g = self.reduced()
        width = -self.reg * np.log(left_out / (f.size * g.size))
        near = self.problem.within(f, g, width)
        P = np.empty(near.nnz)
        costs = near if isinstance(near, CSR) else near.costs(np.empty_like(P))
        _cpu_support.support_plan(*costs.arrays, f, g, self.reg, P)
        return costs, P
