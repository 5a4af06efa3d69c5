"""Plan and potentials as functions that torch differentiates, backwards by one linear solve."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sparsenum.ot.gradient import Gradient
from sparsenum.ot.solution import Solution


class Plan(torch.autograd.Function):
    """The dense plan of a solution, as a function of cost and masses."""

    @staticmethod
    def forward(ctx: Any, solution: Solution, *inputs: Any) -> Any:
        """Return the plan."""
        ctx.solution, ctx.inputs = solution, inputs
        return _like(solution.plan, inputs).clone()  # the caller may write to it

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, plan_bar: Any) -> Any:
        """Return the derivatives with respect to (solution, M, a, b)."""
        return None, *_slopes(ctx, ctx.solution.pullback(_numpy(plan_bar)))


class Potentials(torch.autograd.Function):
    """The potentials of a solution, as functions of cost and masses."""

    @staticmethod
    def forward(ctx: Any, solution: Solution, *inputs: Any) -> Any:
        """Return f and g."""
        ctx.solution, ctx.inputs = solution, inputs
        f, g = solution.potentials
        return _like(f, inputs), _like(g, inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, f_bar: Any, g_bar: Any) -> Any:
        """Return the derivatives with respect to (solution, M, a, b)."""
        bars = _numpy(f_bar), _numpy(g_bar)
        return None, *_slopes(ctx, ctx.solution.pullback(potentials=bars))


def _like(x: Any, inputs: tuple[Any, ...]) -> Any:
    tensor = next(t for t in inputs if isinstance(t, torch.Tensor))
    return torch.as_tensor(x, dtype=tensor.dtype, device=tensor.device)


def _numpy(x: Any) -> Any:
    return x.detach().cpu().double().numpy()


def _slopes(ctx: Any, gradient: Gradient) -> tuple[Any, ...]:
    """Return what each input is due, None where it asks for nothing."""
    slopes = (gradient.M, gradient.a, gradient.b)
    wanted = ctx.needs_input_grad[1:]
    return tuple(
        _like(slope, ctx.inputs) if want else None
        for slope, want in zip(slopes, wanted, strict=True)
    )
