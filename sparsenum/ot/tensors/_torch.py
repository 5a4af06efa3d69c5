"""Value, plan and potentials as functions that torch differentiates, backwards by one solve."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sparsenum.ot.tensors.backends import plan_like


class Value(torch.autograd.Function):
    """The value of a solution, or one for each of a batch, as a function of cost and masses."""

    @staticmethod
    def forward(ctx: Any, solution: Any, *inputs: Any) -> Any:
        """Return the value."""
        ctx.solution, ctx.inputs = solution, inputs
        return _like(solution.value, inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, value_bar: Any) -> Any:
        """Return the derivatives with respect to (solution, M, a, b)."""
        bar, gradient = _numpy(value_bar), ctx.solution.gradient()
        masses = gradient.a * bar[..., None], gradient.b * bar[..., None]
        return None, *_slopes(ctx, gradient.M * bar[..., None, None], *masses)


class Plan(torch.autograd.Function):
    """The dense plan of a solution, as a function of cost and masses."""

    @staticmethod
    def forward(ctx: Any, solution: Any, *inputs: Any) -> Any:
        """Return the plan."""
        ctx.solution, ctx.inputs = solution, inputs
        return plan_like(solution, _tensor(inputs)).clone()  # the caller may write to it

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, plan_bar: Any) -> Any:
        """Return the derivatives with respect to (solution, M, a, b)."""
        gradient = ctx.solution.pullback(_numpy(plan_bar))
        return None, *_slopes(ctx, gradient.M, gradient.a, gradient.b)


class Potentials(torch.autograd.Function):
    """The potentials of a solution, as functions of cost and masses."""

    @staticmethod
    def forward(ctx: Any, solution: Any, *inputs: Any) -> Any:
        """Return f and g."""
        ctx.solution, ctx.inputs = solution, inputs
        f, g = solution.potentials
        return _like(f, inputs), _like(g, inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, f_bar: Any, g_bar: Any) -> Any:
        """Return the derivatives with respect to (solution, M, a, b)."""
        gradient = ctx.solution.pullback(potentials=(_numpy(f_bar), _numpy(g_bar)))
        return None, *_slopes(ctx, gradient.M, gradient.a, gradient.b)


def _like(x: Any, inputs: tuple[Any, ...]) -> Any:
    tensor = _tensor(inputs)
    return torch.as_tensor(x, dtype=tensor.dtype, device=tensor.device)


def _tensor(inputs: tuple[Any, ...]) -> Any:
    return next(t for t in inputs if isinstance(t, torch.Tensor))


def _numpy(x: Any) -> Any:
    return x.detach().cpu().double().numpy()


def _slopes(ctx: Any, *slopes: Any) -> tuple[Any, ...]:
    """Return what each input is due, None where it asks for nothing."""
    due: list[Any] = []
    for slope, x, wanted in zip(slopes, ctx.inputs, ctx.needs_input_grad[1:], strict=True):
        if not wanted:
            due.append(None)
        elif x.ndim < slope.ndim:  # masses that all problems of a batch share
            due.append(_like(slope.sum(axis=0), ctx.inputs))
        else:
            due.append(_like(slope, ctx.inputs))
    return tuple(due)
