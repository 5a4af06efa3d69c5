"""Transport as functions that torch differentiates: any number of times, mapped and forwards.

Each function has its derivatives in terms of tensors and of these functions again, so that they
have derivatives, too. None keeps the cost: it may be written to once a result is there.
"""

from functools import partial
from typing import Any

import torch

from sparsenum.ot.solutions import implicit
from sparsenum.ot.solutions.implicit import Convention, Data
from sparsenum.ot.solutions.systems import solve_two_sided
from sparsenum.ot.tensors.backends import to_numpy
from sparsenum.ot.tensors.terms import Find, Library, Terms

Tensors = Any  # tuples of tensors
DOUBLE = torch.float64
BLOCK = 2**20  # differences of coordinates at a time


def terms(find: Find, inputs: Tensors, convention: Convention) -> Terms:
    """Return what a result is made of, as differentiable functions of cost, masses and reg."""
    M, a, b, reg = inputs
    like = next(x for x in inputs if isinstance(x, torch.Tensor))
    M = M if isinstance(M, torch.Tensor) else torch.tensor(M, device=like.device)
    a, b, reg = (
        x.to(M.device, DOUBLE)
        if isinstance(x, torch.Tensor)
        else torch.tensor(x, dtype=DOUBLE, device=M.device)
        for x in (a, b, reg)
    )
    a, b = torch.broadcast_to(a, M.shape[:-1]), torch.broadcast_to(b, (*M.shape[:-2], M.shape[-1]))
    reg = torch.broadcast_to(reg, M.shape[:-2])
    system = partial(System.apply, convention.n_threads)
    library = Library(torch, partial(Solve.apply, system), system, Envelope.apply, torch.detach)
    return Terms.of(library, find, (M, a, b, reg), convention)


class Solve(torch.autograd.Function):
    """Relative potentials, density and value of a problem, as functions of its data."""

    @staticmethod
    def forward(system: Any, find: Any, rho: Any, M: Any, a: Any, b: Any, reg: Any) -> Tensors:
        """Return phi, psi, E and the value."""
        phi, psi, value, *E = (
            torch.tensor(x, dtype=DOUBLE, device=M.device) for x in find(M, a, b, reg)
        )
        return phi, psi, E[0] if E else implicit.density(M, phi, psi, reg, torch), value

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
        """Keep what derivatives need."""
        ctx.system, _, ctx.rho, M, *data = inputs
        *found, value = output
        ctx.dtype = M.dtype
        ctx.mark_non_differentiable(value)
        ctx.save_for_backward(*data, *found)
        ctx.save_for_forward(*data, *found)

    @staticmethod
    def backward(ctx: Any, phi_bar: Any, psi_bar: Any, E_bar: Any, _: Any) -> Tensors:
        """Return the derivatives with respect to all arguments."""
        a, b, reg, *found = ctx.saved_tensors
        data = Data(a, b, reg, ctx.rho, torch, ctx.system)
        phi, psi, E = found
        M_bar, *bars = implicit.pulled(data, phi, psi, E, phi_bar, psi_bar, E_bar)
        return None, None, None, M_bar.to(ctx.dtype), *bars

    @staticmethod
    def jvp(ctx: Any, _system: Any, _find: Any, _rho: Any, *moves: Any) -> Tensors:
        """Return how the results move."""
        a, b, reg, *found = ctx.saved_tensors
        data = Data(a, b, reg, ctx.rho, torch, ctx.system)
        given = zip(moves, (found[2], a, b, reg), strict=True)
        moves = tuple(torch.zeros_like(x) if move is None else move for move, x in given)
        return *implicit.moved(data, *found, *moves), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[Tensors, Any]:
        """Solve the problems one by one."""
        data = _in_front(info, in_dims[3:], arguments[3:])
        each = [Solve.apply(*arguments[:3], *(x[k] for x in data)) for k in range(info.batch_size)]
        return tuple(map(torch.stack, zip(*each, strict=True))), (0, 0, 0, 0)


class System(torch.autograd.Function):
    """The solution of a two-sided system, as a function of matrix and right-hand side."""

    @staticmethod
    def forward(n_threads: int, *arrays: Any) -> Tensors:
        """Return z1 and z2."""
        device = arrays[0].device
        P, e1, e2, y1, y2 = map(to_numpy, arrays)
        z = solve_two_sided(P, e1, e2, y1, y2, n_threads)
        return tuple(torch.as_tensor(x, device=device) for x in z)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
        """Keep what derivatives need."""
        ctx.n_threads, *arrays, _, _ = inputs
        ctx.save_for_backward(*arrays, *output)
        ctx.save_for_forward(*arrays, *output)

    @staticmethod
    def backward(ctx: Any, z1_bar: Any, z2_bar: Any) -> Tensors:
        """Return the derivatives with respect to all arguments: the matrix is symmetric."""
        P, e1, e2, z1, z2 = ctx.saved_tensors
        w1, w2 = System.apply(ctx.n_threads, P, e1, e2, z1_bar, z2_bar)
        P_bar = -(w1[..., :, None] + w2[..., None, :]) * (z1[..., :, None] + z2[..., None, :])
        return None, P_bar, -w1 * z1, -w2 * z2, w1, w2

    @staticmethod
    def jvp(ctx: Any, _: Any, dP: Any, de1: Any, de2: Any, dy1: Any, dy2: Any) -> Tensors:
        """Return how the solution moves."""
        P, e1, e2, z1, z2 = ctx.saved_tensors
        moves = (dP, P), (de1, e1), (de2, e2), (dy1, z1), (dy2, z2)
        dP, de1, de2, dy1, dy2 = (
            torch.zeros_like(x) if move is None else move for move, x in moves
        )
        r1, r2 = implicit.residual(dP, de1, de2, z1, z2, torch)
        return System.apply(ctx.n_threads, P, e1, e2, dy1 - r1, dy2 - r2)

    @staticmethod
    def vmap(info: Any, in_dims: Any, n_threads: int, *arrays: Any) -> tuple[Tensors, Any]:
        """Solve all systems as one stack."""
        return System.apply(n_threads, *_in_front(info, in_dims[1:], arrays)), (0, 0)


class Envelope(torch.autograd.Function):
    """The value of a problem as a function of its data: what was found does not move it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rho: Any, value: Any, M: Any, *rest: Any) -> Any:
        """Return the value."""
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Any) -> None:
        """Keep what derivatives need."""
        ctx.rho, _, M, *rest = inputs
        ctx.dtype = M.dtype
        ctx.save_for_backward(*rest)
        ctx.save_for_forward(*rest)

    @staticmethod
    def backward(ctx: Any, bar: Any) -> Tensors:
        """Return the derivatives with respect to all arguments."""
        a, b, reg, *found = ctx.saved_tensors
        data = Data(a, b, reg, ctx.rho, torch, System.apply)
        of_M, of_a, of_b, of_reg = implicit.envelope(data, *found)
        slopes = (bar[..., None, None] * of_M).to(ctx.dtype), bar[..., None] * of_a
        return None, None, *slopes, bar[..., None] * of_b, bar * of_reg, None, None, None

    @staticmethod
    def jvp(ctx: Any, _rho: Any, _value: Any, *moves: Any) -> Any:
        """Return how the value moves."""
        a, b, reg, *found = ctx.saved_tensors
        slopes = implicit.envelope(Data(a, b, reg, ctx.rho, torch, System.apply), *found)
        given = zip(moves, slopes, strict=False)  # what was found moves, too, but not the value
        return implicit.along(
            slopes, tuple(torch.zeros_like(x) if move is None else move for move, x in given)
        )


def _in_front(info: Any, in_dims: Tensors, arrays: Tensors) -> Tensors:
    """Return arrays with the axis that is mapped in front, whether they have it or not."""
    return tuple(
        x.expand(info.batch_size, *x.shape) if axis is None else x.movedim(axis, 0)
        for x, axis in zip(arrays, in_dims, strict=True)
    )


class SquaredDistances(torch.autograd.Function):
    """Squared distances between points, from their differences, in memory for the matrix alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(X: Any, Y: Any) -> Any:
        """Return the squared distances, shape (n, m)."""
        rows = max(1, BLOCK // max(1, Y.numel()))
        return torch.cat([(x[:, None] - Y).square().sum(-1) for x in X.split(rows)])

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Any) -> None:
        """Keep what derivatives need."""
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, bar: Any) -> Tensors:
        """Return the derivatives with respect to both samples, seen from their middle."""
        X, Y = ctx.saved_tensors
        middle = X.mean(0)
        X, Y = X - middle, Y - middle
        return (
            2 * (bar.sum(1)[:, None] * X - bar @ Y),
            2 * (bar.sum(0)[:, None] * Y - bar.transpose(0, 1) @ X),
        )

    @staticmethod
    def jvp(ctx: Any, dX: Any, dY: Any) -> Any:
        """Return how the squared distances move."""
        X, Y = ctx.saved_tensors
        dX, dY = (torch.zeros_like(x) if d is None else d for d, x in ((dX, X), (dY, Y)))
        middle = X.mean(0)
        X, Y = X - middle, Y - middle
        of_x, of_y = (X * dX).sum(1), (Y * dY).sum(1)
        return 2 * (of_x[:, None] + of_y - X @ dY.T - dX @ Y.T)
