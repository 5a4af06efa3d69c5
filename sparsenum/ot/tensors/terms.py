"""What a result is made of, in any library: functions of cost, masses and reg."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sparsenum.ot.solutions import implicit
from sparsenum.ot.solutions.implicit import EXACT, Convention, Data

Find = Callable[..., Any]  # of M, a, b, reg; returns phi, psi, value, and maybe the density


@dataclass(frozen=True)
class Library:
    """What differentiates in a library.

    Attributes
    ----------
    xp : module
        Its numpy.
    solve : callable
        ``solve(find, rho, M, a, b, reg)`` returns phi, psi, the density E and the value.
    system : callable
        Solves a two-sided system, as ``implicit.Data`` has it.
    envelope : callable
        ``envelope(rho, value, M, a, b, reg, phi, psi, E)`` returns the value with its derivatives.
    constant : callable
        Returns an array without its derivatives.
    """

    xp: Any
    solve: Callable[..., Any]
    system: Callable[..., Any]
    envelope: Callable[..., Any]
    constant: Callable[[Any], Any]


@dataclass(frozen=True)
class Terms:
    """A solved problem in terms of arrays that know where they come from.

    The cost itself is not among them, so that it may be written to.
    """

    data: Data
    phi: Any
    psi: Any
    E: Any
    value: Any
    relative: bool
    library: "Library"

    @classmethod
    def of(
        cls,
        library: Library,
        find: Find,
        inputs: tuple[Any, Any, Any, Any],
        convention: Convention,
    ) -> "Terms":
        """Return a solved problem, given what finds its solution."""
        M, a, b, reg = inputs
        xp, constant, rho = library.xp, library.constant, convention.rho
        correction = xp.zeros_like(reg)
        if rho is None:
            a, b = implicit.same_totals(a, b, xp, constant)
        if convention.reg_type == "entropy":
            if rho is None:
                correction = reg * (implicit.entropy(a, xp) + implicit.entropy(b, xp))
            else:
                M = implicit.reference(M, a, b, reg, xp)
                correction = -reg * a.sum(-1) * b.sum(-1)
        penalties = EXACT if rho is None else rho
        phi, psi, E, value = library.solve(find, penalties, M, a, b, reg)
        value = library.envelope(penalties, value, M, a, b, reg, phi, psi, E)
        value = value + (correction - constant(correction))
        data = Data(a, b, reg, penalties, xp, library.system)
        return cls(data, phi, psi, E, value, convention.relative, library)

    def __getitem__(self, k: int) -> "Terms":
        """Return the terms of one problem of a stack."""
        return self._each(lambda x: x[k])

    def constant(self) -> "Terms":
        """Return the same without derivatives."""
        return self._each(self.library.constant)

    def _each(self, change: Callable[[Any], Any]) -> "Terms":
        data = self.data
        data = replace(data, a=change(data.a), b=change(data.b), reg=change(data.reg))
        phi, psi, E, value = (change(x) for x in (self.phi, self.psi, self.E, self.value))
        return Terms(data, phi, psi, E, value, self.relative, self.library)

    def plan(self) -> Any:
        """Return the plan."""
        return implicit.plan(self.data, self.E)

    def value_linear(self) -> Any:
        """Return the transport cost."""
        return implicit.transport_cost(self.data, self.phi, self.psi, self.E, self.relative)

    def potentials(self) -> tuple[Any, Any]:
        """Return f and g."""
        return implicit.potentials(self.data, self.phi, self.psi, self.relative)

    def marginals(self) -> tuple[Any, Any]:
        """Return the sums of the plan."""
        P = self.plan()
        return P.sum(-1), P.sum(-2)
