"""Transport as functions that jax differentiates, maps and compiles.

One rule says how a solution moves; jax makes all derivatives of it, backwards too, since what is
solved in it is linear. The numbers come from the host, by a callback where they are traced.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sparsenum.ot.solutions import implicit
from sparsenum.ot.solutions.implicit import Convention, Data
from sparsenum.ot.solutions.systems import solve_two_sided
from sparsenum.ot.tensors.terms import Find, Library, Terms

Arrays = Any  # tuples of arrays


def terms(find: Find, inputs: Arrays, convention: Convention) -> Terms:
    """Return what a result is made of, as differentiable functions of cost, masses and reg."""
    dtype = jnp.result_type(float)  # float32, unless jax is told to know float64
    M, a, b, reg = (jnp.asarray(x, dtype) for x in inputs)
    a, b = jnp.broadcast_to(a, M.shape[:-1]), jnp.broadcast_to(b, (*M.shape[:-2], M.shape[-1]))
    return Terms.of(LIBRARY, find, (M, a, b, jnp.broadcast_to(reg, M.shape[:-2])), convention)


def solve(find: Find, rho: tuple[float, float], *inputs: Any) -> Arrays:
    """Return relative potentials, density and value of a problem."""
    M, a, b, reg = inputs
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, M.dtype) for x in (a, b, M, reg))

    def on_host(*arrays: Any) -> Arrays:
        M, a, b, reg = (np.asarray(x, np.float64) for x in arrays)
        phi, psi, value, *given = find(M, a, b, reg)
        with np.errstate(invalid="ignore"):  # of infinite costs, which have no density
            E = given[0] if given else implicit.density(M, phi, psi, reg, np)
        return tuple(
            np.asarray(x, s.dtype) for x, s in zip((phi, psi, E, value), shapes, strict=True)
        )

    @jax.custom_jvp
    def found(*inputs: Any) -> Any:
        return jax.pure_callback(on_host, shapes, *inputs, vmap_method="sequential")

    @found.defjvp
    def found_moves(primals: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        *at, value = found(*primals)
        _, a, b, reg = primals
        data = Data(a, b, reg, rho, jnp, system)
        return (*at, value), (*implicit.moved(data, *at, *tangents), jnp.zeros_like(value))

    return found(*inputs)


def system(P: Any, e1: Any, e2: Any, y1: Any, y2: Any) -> Any:
    """Return the solution of a two-sided system."""
    shapes = tuple(jax.ShapeDtypeStruct(y.shape, y.dtype) for y in (y1, y2))

    def on_host(*arrays: Any) -> Arrays:
        P, e1, e2, y1, y2 = map(np.asarray, arrays)
        z = solve_two_sided(P, e1, e2, y1, y2)
        return tuple(x.astype(s.dtype) for x, s in zip(z, shapes, strict=True))

    def solution(_: Any, y: Arrays) -> Any:
        return jax.pure_callback(on_host, shapes, P, e1, e2, *y, vmap_method="broadcast_all")

    def product(z: Arrays) -> Arrays:
        z1, z2 = z
        return implicit.residual(P, e1, e2, z1, z2, jnp)

    return jax.lax.custom_linear_solve(product, (y1, y2), solution, symmetric=True)


def envelope(rho: tuple[float, float], value: Any, *rest: Any) -> Any:
    """Return the value as a function of its data: what was found does not move it."""

    @jax.custom_jvp
    def number(value: Any, M: Any, *rest: Any) -> Any:
        return value

    @number.defjvp
    def number_moves(primals: Arrays, tangents: Arrays) -> tuple[Any, Any]:
        _, _, a, b, reg, *found = primals
        slopes = implicit.envelope(Data(a, b, reg, rho, jnp, system), *found)
        return number(*primals), implicit.along(slopes, tangents[1:5])

    return number(value, *rest)


LIBRARY = Library(jnp, solve, system, envelope, jax.lax.stop_gradient)
