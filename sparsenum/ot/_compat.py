"""The POT-shaped doors: `sinkhorn` and `sinkhorn2`, argument by argument as POT has them."""

import warnings
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsenum._check import choice, flag, float_type, function, items, real_array, shape_of, whole
from sparsenum._device import device_name, lives_on_cuda
from sparsenum.errors import ConvergenceWarning
from sparsenum.ot.problems.checks import strength, tolerance
from sparsenum.ot.solutions.attempt import HASTENED, attempt
from sparsenum.ot.solutions.implicit import Convention
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solvers.monitor import printing
from sparsenum.ot.tensors.backends import is_tensor, is_traced, to_numpy, where_it_is
from sparsenum.ot.tensors.results import TensorSolution, as_tensors, traced

# POT's variants differ from its plain Sinkhorn in the arithmetic or in the order of the updates,
# not in what they solve; ours is always safe.
METHODS = {
    "sns": "sns",
    "sinkhorn": HASTENED,
    "sinkhorn_log": HASTENED,
    "sinkhorn_stabilized": HASTENED,
    "sinkhorn_epsilon_scaling": "sns",  # annealed in reg as well
    "greenkhorn": HASTENED,
}
PLAN_ONLY = ("sinkhorn_epsilon_scaling", "greenkhorn")  # which POT's sinkhorn2 refuses
# What tunes POT's variants, or is passed along by its Gromov-Wasserstein solvers: no need here.
TUNING = {"tau", "epsilon0", "numInnerItermax", "print_period", "tol_abs", "tol_rel"}
OPTIONS = {"n_threads": None, "device": "cpu", "callback": None, "time_limit": None}
WARNING = (
    "Sinkhorn did not converge. You might want to increase the number of iterations `numItermax` "
    "or the regularization parameter `reg`."
)


def sinkhorn(
    a: ArrayLike,
    b: ArrayLike,
    M: ArrayLike,
    reg: float,
    method: str = "sns",
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: tuple[ArrayLike, ArrayLike] | None = None,
    **kwargs: Any,
) -> Any:
    r"""Return the entropic transport plan, with the signature and conventions of POT.

    .. math:: \min_{P \ge 0} \langle P, M \rangle + reg \sum_{ij} P_{ij} \log P_{ij}
              \quad \text{s.t.} \quad P 1 = a, \; P^T 1 = b

    Change ``import ot`` to ``from sparsenum import ot`` and calls of ``ot.sinkhorn`` [1]_ go on
    working, faster and to a tighter meaning of `stopThr`.

    Parameters
    ----------
    a : array_like, shape (n,)
        Masses of the rows; uniform if empty. Arrays of torch, jax, cupy and tensorflow are taken
        as in `solve`: the result is of their type, and differentiable.
    b : array_like, shape (m,) or (m, k)
        Masses of the columns; uniform if empty. With k columns, k problems are solved and the
        vector of their costs ``<P, M>`` is returned, as in POT.
    M : array_like, shape (n, m)
        Cost; ``inf`` forbids a pair. A float32 cost gives a float32 plan, solved in float64.
    reg : float
        Strength of the entropy, in the unit of `M`; positive.
    method : {"sns", "sinkhorn", …}, default "sns"
        "sns" is what `solve` does by default, and "sinkhorn_epsilon_scaling" too; "sinkhorn",
        "sinkhorn_log", "sinkhorn_stabilized" and "greenkhorn" are one log-safe Sinkhorn, which
        goes over to Newton's method where its sweeps are slow.
    numItermax : int, default 1000
        Cap on the iterations, sweeps and Newton steps together.
    stopThr : float, default 1e-9
        Largest 1-norm of the violation of both marginals, relative to the total mass. It bounds
        the 2-norm of the column violation, which is what POT tests.
    verbose : bool, default False
        Write iterations and errors to standard output.
    log : bool, default False
        Return a dict beside the plan.
    warn : bool, default True
        Warn if the tolerance was not met.
    warmstart : tuple of array_like, optional
        Start ``(log_u, log_v)``: dimensionless log-scalings, as returned in the log.
    **kwargs
        `n_threads`, `device`, `callback` and `time_limit`, as in `solve`. What tunes POT's
        variants (`tau`, `epsilon0`, `numInnerItermax`, `print_period`) is taken and not needed;
        nothing else is.

    Returns
    -------
    plan : ndarray, shape (n, m)
        The plan (or the k costs).
    log : dict
        Only with ``log=True``: ``err`` (one for each iteration), ``niter`` and ``n_iter`` (their
        number; POT gives the last index), ``u``, ``v``, ``log_u``, ``log_v`` (and ``logu``,
        ``logv``), ``alpha``, ``beta`` (reg times those), ``warmstart``, ``status`` and
        ``marginal_error``.

    Raises
    ------
    ValueError
        As `solve`, and for an unknown method.
    TypeError
        For an unknown keyword.

    Warns
    -----
    ConvergenceWarning
        With POT's text (and a ``UserWarning`` as in POT), unless ``warn=False``.

    See Also
    --------
    sparsenum.ot.solve : the door without POT's history.

    References
    ----------
    .. [1] Flamary et al., "POT: Python Optimal Transport", JMLR 2021, function ``ot.sinkhorn``.

    Examples
    --------
    >>> from sparsenum import ot
    >>> ot.sinkhorn([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 1.0).round(3).tolist()
    [[0.366, 0.134], [0.134, 0.366]]
    """
    log = flag(log, "log")
    solver = _Solver(M, reg, method, numItermax, stopThr, verbose, warn, warmstart, kwargs)
    if len(shape_of(b, "b")) == 2:
        return solver.costs(a, b, log)
    result = solver.run(a, b)
    return (solver.plan(result), solver.log(result)) if log else solver.plan(result)


def sinkhorn2(
    a: ArrayLike,
    b: ArrayLike,
    M: ArrayLike,
    reg: float,
    method: str = "sns",
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = False,
    warmstart: tuple[ArrayLike, ArrayLike] | None = None,
    **kwargs: Any,
) -> Any:
    """Return the cost ``<P, M>`` of the entropic transport plan, without the entropy, as POT does.

    Parameters, exceptions and log as in `sinkhorn`; only `warn` is off by default, as in POT.
    Unlike in POT an infinite cost does not make the result NaN.

    Parameters
    ----------
    a, b, M, reg, method, numItermax, stopThr, verbose, log, warn, warmstart, **kwargs
        As in `sinkhorn`.

    Returns
    -------
    cost : float or ndarray, shape (k,)
        The cost; one for each column of a two-dimensional `b`.
    log : dict
        Only with ``log=True``, as in `sinkhorn`.

    Raises
    ------
    ValueError, TypeError
        As `sinkhorn`.

    See Also
    --------
    sparsenum.ot.sinkhorn : the plan instead of its cost.
    sparsenum.ot.solve : the plan, the cost and the potentials in one result.

    Examples
    --------
    >>> from sparsenum import ot
    >>> round(ot.sinkhorn2([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 1.0), 4)
    0.2689
    """
    if str(method).lower() in PLAN_ONLY:
        raise ValueError(f"Unknown method {method!r}: POT gives it to sinkhorn alone; use that")
    log = flag(log, "log")
    solver = _Solver(M, reg, method, numItermax, stopThr, verbose, warn, warmstart, kwargs)
    if len(shape_of(b, "b")) == 2:
        return solver.costs(a, b, log)
    result = solver.run(a, b)
    cost = result.value_linear
    return (cost, solver.log(result)) if log else cost


class _Solver:
    """POT's keywords, translated once for all problems of a call."""

    def __init__(
        self,
        M: ArrayLike,
        reg: float,
        method: str,
        numItermax: int,
        stopThr: float,
        verbose: bool,
        warn: bool,
        warmstart: tuple[ArrayLike, ArrayLike] | None,
        options: dict[str, Any],
    ) -> None:
        if unknown := options.keys() - OPTIONS.keys() - TUNING:
            raise TypeError(
                f"sinkhorn got an unexpected keyword {sorted(unknown)[0]!r}: beside POT's named "
                f"arguments only {', '.join(OPTIONS)} are known"
            )
        options = {key: value for key, value in options.items() if key in OPTIONS}
        options["device"] = device_name(options.get("device", "cpu"))
        callback = function(options.get("callback"), "callback")
        if flag(verbose, "verbose"):
            options["callback"] = printing(callback)
        self.given, self.reg = M, reg
        if not is_traced(M):
            cost = where_it_is(M, options["device"])
            self.dtype = float_type(cost)
            self.M = cost if lives_on_cuda(cost) else real_array(cost, "M", 2, self.dtype)
        self.warn = flag(warn, "warn")
        self.warmstart = warmstart
        self.keywords: dict[str, Any] = {
            "method": METHODS[choice(str(method).lower(), "method", METHODS)],
            "max_iter": whole(numItermax, "numItermax"),
            # POT takes zero for "as far as it goes".
            "tol": np.finfo(np.float64).tiny
            if shape_of(stopThr, "stopThr") == () and stopThr == 0
            else tolerance(stopThr, "stopThr"),
            **OPTIONS,
            **options,
        }

    def run(self, a: Any, b: Any, start: Any = None) -> Any:
        """Solve one problem from a pair of log-scalings, and warn in POT's words."""
        start = self.start(self.warmstart if start is None else start)
        inputs = self.given, a, b, self.reg
        if is_traced(*inputs):
            options = self.keywords | {"potentials_init": start}
            return traced(partial(attempt, **options), inputs, Convention(), "autodiff")
        data = self.M, to_numpy(a), to_numpy(b), to_numpy(self.reg)
        result = attempt(*data, potentials_init=start, **self.keywords)
        if self.warn and not result.converged:
            warnings.warn(WARNING, ConvergenceWarning, stacklevel=3)
        return as_tensors(result, inputs, "autodiff")

    def start(self, warmstart: Any) -> tuple[Any, Any] | None:
        """Return potentials of a pair of log-scalings."""
        if warmstart is None:
            return None
        both = items(warmstart, "warmstart", "be a pair (log_u, log_v)", 2)
        log_u, log_v = (real_array(to_numpy(x), "warmstart", 1) for x in both)
        shape = tuple(np.shape(self.given))
        if (log_u.size, log_v.size) != shape:
            raise ValueError(
                f"warmstart must have lengths {shape}: got ({log_u.size}, {log_v.size})"
            )
        reg = strength(to_numpy(self.reg))
        with np.errstate(over="ignore"):  # which no start can be made of
            return reg * log_u, reg * log_v

    def plan(self, result: Any) -> Any:
        """Return the plan in the caller's precision."""
        if not _is_numpy(result):
            return result.plan
        return result._optimum.plan().astype(self.dtype, copy=False)  # the caller may write to it

    def costs(self, a: Any, b: Any, log: bool) -> Any:
        """Solve one problem for each column of b."""
        targets = b.T if is_tensor(b) else np.ascontiguousarray(real_array(b, "b", 2).T)
        k = len(targets)
        starts: tuple[Any, ...] = (None,) * k
        if self.warmstart is not None:
            each = f"hold one pair for each of the {k} columns of b"
            starts = items(self.warmstart, "warmstart", each, k)
        results = [self.run(a, t, s) for t, s in zip(targets, starts, strict=True)]
        library = np if _is_numpy(results[0]) else results[0]._backend
        costs = library.stack([r.value_linear for r in results])
        costs = costs.astype(self.dtype, copy=False) if library is np else costs
        if not log:
            return costs
        logs = [self.log(r) for r in results]
        stacked = {key: library.stack([entry[key] for entry in logs], axis=1) for key in SCALINGS}
        kept = {key: [entry[key] for entry in logs] for key in logs[0] if key not in SCALINGS}
        return costs, {**stacked, **kept}

    def log(self, result: Any) -> dict[str, Any]:
        """Return the union of the keys that POT's Sinkhorn variants log."""
        f, g = result.potentials
        log_u, log_v = f / self.reg, g / self.reg
        exp = np.exp if _is_numpy(result) else result._backend.exp
        with np.errstate(over="ignore"):
            u, v = exp(log_u), exp(log_v)
        return {
            "err": result.log["err"],
            "niter": result.n_iter,
            "n_iter": result.n_iter,
            "u": u,
            "v": v,
            "log_u": log_u,
            "log_v": log_v,
            "logu": log_u,
            "logv": log_v,
            "alpha": self.reg * log_u,
            "beta": self.reg * log_v,
            "warmstart": (log_u, log_v),
            "status": result.status,
            "marginal_error": result.marginal_error,
        }


SCALINGS = ("u", "v", "log_u", "log_v", "logu", "logv", "alpha", "beta")


def _is_numpy(result: Solution | TensorSolution) -> bool:
    return isinstance(result, Solution)
