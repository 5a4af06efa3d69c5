"""Tensors in, tensors out: a result in the arrays of the caller's library, with derivatives."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sparsenum.ot.solutions.gradient import Gradient
from sparsenum.ot.solutions.implicit import Convention
from sparsenum.ot.tensors.backends import (
    backend_of,
    cast,
    float_like,
    is_differentiated,
    is_tensor,
    library_of,
    like_tensor,
    plan_like,
    to_numpy,
)
from sparsenum.ot.tensors.terms import Find, Terms

Grad = Literal["autodiff", "envelope", "last_step", "detach"]
GRADS = ("autodiff", "envelope", "last_step", "detach")
Inputs = tuple[Any, Any, Any, Any]  # M, a, b, reg


def as_tensors(solution: Any, inputs: Inputs, grad: Grad) -> Any:
    """Return a solution in the arrays of its inputs: itself, where these are numpy's."""
    given = _tensors(inputs)
    if not given:
        return solution
    like, terms = float_like(*given), None
    wanted = grad != "detach" and any(map(is_differentiated, given))
    if wanted and library_of(like) in ("torch", "jax"):
        terms = terms_of(lambda *_: _found(solution), inputs, solution._convention)
    followed = inputs[:3] if library_of(like) == "tensorflow" else None
    return TensorSolution(solution, grad, like, terms, followed)


def traced(
    attempt: Callable[..., Any], inputs: Inputs, convention: Convention, grad: Grad
) -> "TensorSolution":
    """Return the solution of a problem that has no numbers yet, and is solved when it has."""

    def find(*data: Any) -> Any:
        M, a, b, reg = map(to_numpy, data)
        if convention.relative:
            M = M - reg[..., None, None] * np.log(a[..., :, None] * b[..., None, :])
        solution = attempt(M, a, b, reg if reg.ndim else float(reg))
        return _found(solution)

    like = float_like(*_tensors(inputs))
    terms = terms_of(find, inputs, convention)
    return TensorSolution(Untold(), grad, like, terms.constant() if grad == "detach" else terms)


def terms_of(find: Find, inputs: Inputs, convention: Convention) -> Terms:
    """Return a solved problem as functions of its inputs, in the library of these."""
    n, m = inputs[0].shape[-2:]
    M, a, b, reg = inputs
    a, b = (
        np.full(k, 1.0 / k) if x is None or 0 in np.shape(x) else x for x, k in ((a, n), (b, m))
    )
    if any(library_of(x) == "torch" for x in inputs):
        from sparsenum.ot.tensors import _torch

        return _torch.terms(find, (M, a, b, reg), convention)
    from sparsenum.ot.tensors import _jax

    return _jax.terms(find, (M, a, b, reg), convention)


class Untold:
    """What of a result is not known under vmap, or where jax compiles."""

    def __getattr__(self, name: str) -> Any:
        """Refuse."""
        raise NotImplementedError(
            f"{name} is not known under vmap or jit, where only value, value_linear, plan, "
            "potentials and marginals are; solve once outside to ask for it"
        )


@dataclass(frozen=True)
class TensorSolution:
    """A `Solution` in the arrays of the caller's library, type and device, with derivatives.

    What is no array is that of the same solution in numpy.

    Attributes
    ----------
    solution : Solution or BatchSolution
        That solution.
    grad : {"autodiff", "envelope", "last_step", "detach"}
        What is differentiable.
    """

    solution: Any
    grad: Grad
    _like: Any
    _terms: Terms | None
    _followed: tuple[Any, Any, Any] | None = None  # cost and masses of tensorflow

    def __len__(self) -> int:
        return len(self.solution)

    def __getitem__(self, k: int) -> "TensorSolution":
        """Return the solution of one problem of a stack."""
        terms = None if self._terms is None else self._terms[k]
        return replace(self, solution=self.solution[k], _terms=terms, _followed=None)

    @property
    def value(self) -> Any:
        """Value, differentiable with respect to cost, masses and reg unless detached."""
        if self._terms is not None:
            return self._cast(self._terms.value)
        return self._follow(self.solution.value, "value")

    @property
    def value_linear(self) -> Any:
        """Transport cost ``<P, M>``, differentiable with grad="autodiff" or "last_step"."""
        if self._implicit is not None:
            return self._cast(self._implicit.value_linear())
        return self._follow(self.solution.value_linear, "value_linear")

    @property
    def plan(self) -> Any:
        """Dense plan, differentiable with grad="autodiff" or "last_step"."""
        if self._implicit is not None:
            return self._cast(self._implicit.plan())
        return plan_like(self.solution, self._like)

    @property
    def potentials(self) -> tuple[Any, Any]:
        """Potentials (f, g), differentiable with grad="autodiff" or "last_step"."""
        if self._implicit is not None:
            f, g = self._implicit.potentials()
            return self._cast(f), self._cast(g)
        f, g = self.solution.potentials
        return self._array(f), self._array(g)

    @property
    def potential_a(self) -> Any:
        """First potential, f."""
        return self.potentials[0]

    @property
    def potential_b(self) -> Any:
        """Second potential, g."""
        return self.potentials[1]

    @property
    def marginals(self) -> tuple[Any, Any]:
        """Row and column sums of the plan, differentiable as this is."""
        if self._implicit is not None:
            a, b = self._implicit.marginals()
            return self._cast(a), self._cast(b)
        a, b = self.solution.marginals
        return self._array(a), self._array(b)

    @property
    def marginal_a(self) -> Any:
        """Row sums of the plan."""
        return self.marginals[0]

    @property
    def marginal_b(self) -> Any:
        """Column sums of the plan."""
        return self.marginals[1]

    @property
    def marginal_error(self) -> Any:
        """Violation of the marginals, relative to the total mass."""
        return self.solution.marginal_error

    @property
    def converged(self) -> Any:
        """Whether the marginal error is at most the tolerance."""
        return self.solution.converged

    @property
    def status(self) -> Any:
        """How the solve ended."""
        return self.solution.status

    @property
    def n_iter(self) -> Any:
        """Iterations."""
        return self.solution.n_iter

    @property
    def log(self) -> dict[str, Any]:
        """What happened on the way."""
        log: dict[str, Any] = self.solution.log
        return log

    @property
    def sparse_plan(self) -> Any:
        """Plan as a scipy CSR array, without derivatives."""
        return self.solution.sparse_plan

    @property
    def lazy_plan(self) -> Any:
        """Plan as POT's ``LazyTensor`` of numpy if it was solved without a cost matrix."""
        return self.solution.lazy_plan

    @property
    def value_quad(self) -> None:
        """None: the cost has no quadratic part."""

    @property
    def citation(self) -> str:
        """The paper to cite for this result."""
        citation: str = self.solution.citation
        return citation

    def gradient(self, of: Literal["value", "value_linear"] = "value") -> Gradient:
        """Return the derivatives of the value, in numpy, as ``Solution.gradient`` does."""
        gradient: Gradient = self.solution.gradient(of)
        return gradient

    def pullback(self, plan: Any = None, potentials: Any = (None, None)) -> Gradient:
        """Return the derivatives of a number, in numpy, as ``Solution.pullback`` does."""
        potentials = tuple(map(to_numpy, potentials))
        gradient: Gradient = self.solution.pullback(to_numpy(plan), potentials)
        return gradient

    @property
    def _backend(self) -> Any:
        """POT's backend of these arrays."""
        return backend_of(self._like)

    @property
    def _implicit(self) -> Terms | None:
        """What has derivatives by the optimality conditions."""
        if self.grad != "envelope" or self._terms is None:
            return self._terms
        return self._terms.constant()

    def _cast(self, x: Any) -> Any:
        return cast(x, self._like)

    def _array(self, x: Any) -> Any:
        return like_tensor(x, self._like)

    def _follow(self, number: Any, of: Literal["value", "value_linear"]) -> Any:
        """Return a number that moves with tensors of tensorflow by its gradient."""
        out, inputs = self._array(np.asarray(number)), self._followed
        if inputs is None or self.grad == "detach" or np.ndim(number):
            return out
        if of == "value_linear" and self.grad == "envelope":
            return out
        nx, slopes = self._backend, self.solution.gradient(of)
        for t, slope in zip(inputs, (slopes.M, slopes.a, slopes.b), strict=True):
            if is_tensor(t):
                finite = nx.where(nx.isinf(t), nx.zeros(t.shape, type_as=self._like), t)
                linear = nx.sum(finite * self._array(slope))
                out = out + (linear - nx.detach(linear))
        return out


def _found(solution: Any) -> Any:
    """Return phi, psi, the value, and the density of the plan if its cost has offsets."""
    found = *solution._relative(), np.asarray(solution.value)
    density = solution._density()
    return found if density is None else (*found, density)


def _tensors(inputs: Inputs) -> list[Any]:
    """Return the tensors among the inputs; reg decides on a library only if it is learnt."""
    *arrays, reg = inputs
    return [x for x in (*arrays, reg if is_differentiated(reg) else None) if is_tensor(x)]
