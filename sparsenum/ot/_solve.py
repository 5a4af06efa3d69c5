"""The function `solve`: check a problem, solve it and report the accuracy reached."""

import warnings
from typing import Any, Literal, cast

from numpy.typing import ArrayLike

from sparsenum._check import choice, flag, function
from sparsenum._device import Device, device_name
from sparsenum.errors import ConvergenceWarning
from sparsenum.ot.problems.checks import RegType, value_type
from sparsenum.ot.solutions.attempt import Method, attempt
from sparsenum.ot.solutions.certify import shortfall
from sparsenum.ot.solutions.implicit import Convention
from sparsenum.ot.solutions.solution import Solution
from sparsenum.ot.solutions.unbalanced import penalties
from sparsenum.ot.solvers.monitor import Callback, printing
from sparsenum.ot.tensors.backends import is_differentiated, is_traced, to_numpy, where_it_is
from sparsenum.ot.tensors.results import GRADS, Grad, as_tensors, traced


def solve(
    M: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    reg: float | None = None,
    c: None = None,
    *,
    reg_type: RegType = "KL",
    tol: float | None = None,
    max_iter: int | None = None,
    method: Method | None = None,
    potentials_init: tuple[ArrayLike, ArrayLike] | None = None,
    plan_init: ArrayLike | None = None,
    n_threads: int | None = None,
    deterministic: bool = True,
    device: Device = "cpu",
    verbose: bool = False,
    callback: Callback | None = None,
    time_limit: float | None = None,
    unbalanced: float | tuple[float, float] | None = None,
    unbalanced_type: Literal["KL"] = "KL",
    grad: Grad = "autodiff",
) -> Solution:
    r"""Solve the entropic optimal transport problem between two histograms.

    .. math:: \min_{P \ge 0} \langle P, M \rangle + reg \, KL(P \,|\, a b^T)
              \quad \text{s.t.} \quad P 1 = a, \; P^T 1 = b

    The plan is :math:`P_{ij} = \exp((f_i + g_j - M_{ij}) / reg)`. Rows and columns of zero mass
    are left out of the computation; an infinite cost forbids a pair.

    With `unbalanced` the marginals need not be met, and the totals may differ [3]_:

    .. math:: \min_{P \ge 0} \langle P, M \rangle + reg \, KL(P \,|\, a b^T)
              + \rho_1 KL(P 1 \,|\, a) + \rho_2 KL(P^T 1 \,|\, b)

    where :math:`KL(p | q) = \sum p \log(p / q) - p + q`.

    Parameters
    ----------
    M : array_like, shape (n, m)
        Cost of moving one unit of mass, in any unit; ``inf`` forbids a pair, and so does what is
        above 1e30 and 1e18 times `reg`. A C-contiguous
        matrix of float64 or float32, on disk or not, is read in place; the arithmetic is float64.
        Constants on all costs, on rows or on columns, so large that they would take digits off the
        potentials, are taken off a copy.
        Arrays of torch, jax, cupy or tensorflow are solved where `device` says and give a result
        of their own type, precision and device.
    a : array_like, shape (n,), optional
        Masses of the rows, not negative; uniform (sum 1) by default. Less than 1e-200 of the total
        has a potential, and no entries in the plan.
    b : array_like, shape (m,), optional
        Masses of the columns, with the same total as `a` up to a relative 1e-6, or what rounding
        to float32 makes of many masses.
    reg : float
        Strength of the entropy, in the unit of `M`; positive.
    c : None
        POT's fifth argument, another reference than `a b'` for the entropy: not part of this
        version.
    reg_type : {"KL", "entropy"}, default "KL"
        Whether ``value`` counts the entropy as reg KL(P | a b') or as reg sum P log P. The plan is
        the same.
    tol : float, default 1e-9
        Largest 1-norm of the violation of both marginals, relative to the total mass.
    max_iter : int, optional
        Cap on the iterations; 100,000 for "sinkhorn" and 1,000 for the others by default.
    method : {"auto", "sns", "sns-paper", "sinkhorn"}, default "auto"
        "auto" (or "sns"): easy problems by Sinkhorn's method, all others by annealing `reg` with
        Newton steps on certified sparse supports; robust down to reg = 3e-5 of the spread of M.
        "sns-paper": Sinkhorn-Newton-Sparse at one `reg` [1]_, for comparison.
        "sinkhorn": fixed-point scaling [2]_, cheap iterations, many of them at small `reg`.
    potentials_init : tuple of array_like, optional
        Start (f, g) in cost units, as in ``Solution.potentials``; zeros by default.
    plan_init : array_like, optional
        Taken and not used, as in POT: the plan is unique, and a start comes from potentials.
    n_threads : int, optional
        Threads for passes over more than a million costs, those that gather a sparse support
        among them; 1 by default. The result does not depend on it. Small products and everything
        on sparse supports stay on one thread.
    deterministic : bool, default True
        Results are equal to the last bit for any number of threads, whatever is asked for here.
    device : {"cpu", "cuda"}, default "cpu"
        Where to run. With "cuda" everything between the arguments and the result happens on the
        GPU, in float64, and "auto" anneals on dense passes over `M`; a cost that is there already
        (cupy, torch, numba) is read in place, contiguous and of float64 or float32, and the plan
        stays there. Derivatives, and problems with infinite costs, take the cost to the host. What
        torch and jax call their devices ("cuda:0", ``M.device``) is taken, too.
    verbose : bool, default False
        Write iterations and errors to standard output.
    callback : callable, optional
        Called as ``callback(step)`` at the start and after each iteration with the number of
        iterations, the marginal error (at the `reg` of the moment, while that is annealed) and
        the seconds passed; a true return value stops the solve.
    time_limit : float, optional
        Seconds that the solve may take, the final check included: an iteration that is likely to
        end later is not begun.
    unbalanced : float or tuple of float, optional
        Strengths (rho_1, rho_2) of the penalties on the marginals, one number for both; ``inf``
        keeps that marginal exact. By default both are exact.
    unbalanced_type : {"KL"}, default "KL"
        Divergence of the penalties; POT has others.
    grad : {"autodiff", "envelope", "last_step", "detach"}, default "autodiff"
        For tensors, what of the result has derivatives: "autodiff" everything, by implicit
        differentiation, which keeps no iterate; "envelope" the value alone; "detach" nothing.
        "last_step" is a word of POT for an approximation of the first and means the same here.
        With torch and jax derivatives have derivatives, with respect to `reg`, too; with
        tensorflow values have first ones. For numpy arrays ask the result:
        ``Solution.gradient`` and ``Solution.pullback``.

    Returns
    -------
    Solution
        Potentials, value, status, errors, and the plan on access. "auto" reads `M` some 5 to 20
        times and holds, beside it, half its size at first and then the sparse support; "sns-paper"
        costs O(n m) for each iteration; "sinkhorn" too, and holds another n m numbers.

    Raises
    ------
    ValueError
        If an argument is NaN, negative, of the wrong shape or out of range; if the totals of `a`
        and `b` differ or are zero; if infinite costs leave no plan with these marginals.
    TypeError
        If an argument is not numeric.
    NotImplementedError
        For another `reg_type`; for a `c`; for `unbalanced` with `device="cuda"`.
    DeviceError
        If `device` is "cuda" and there is none, or no numba-cuda: the message says what to do.

    Warns
    -----
    ConvergenceWarning
        If the tolerance was not met; the result carries the error that was.

    See Also
    --------
    sparsenum.ot.solve_sample : the cost made from two sets of points, never held where it is large.
    sparsenum.ot.solve_batch : many problems of one shape at once.
    sparsenum.ot.sinkhorn : the same under POT's name and arguments.
    sparsenum.ot.barycenter : the mean of several histograms.

    Notes
    -----
    The error of the result is recomputed in float64 from the potentials before it is called
    converged. float64 cannot represent plans to better than about ``1e-16 max(M) / reg``, M less
    constants of rows and columns; where `tol` asks for more the status is "precision".

    Unbalanced, rows should sum to ``a exp(-phi / rho_1)`` with ``phi = f - reg log a``, columns
    likewise, and `tol` bounds the violation of that relative to the mass of the plan. The plan is
    that of POT's ``ot.solve(M, a, b, reg, unbalanced=...)``, and depends on `reg_type`, whose
    entropy is ``sum P log P - P`` then. POT's value for KL lacks the masses, without which it is
    zero at every optimum; ours is the minimum above.

    References
    ----------
    .. [1] Tang et al., "Accelerating Sinkhorn Algorithm with Sparse Newton Iterations", ICLR 2024.
    .. [2] Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", NeurIPS 2013.
    .. [3] Chizat, Peyre, Schmitzer, Vialard, "Scaling Algorithms for Unbalanced Optimal Transport
       Problems", Mathematics of Computation 2018.

    Examples
    --------
    >>> from sparsenum import ot
    >>> result = ot.solve([[0.0, 1.0], [1.0, 0.0]], reg=0.5)
    >>> result.plan.round(3).tolist()
    [[0.44, 0.06], [0.06, 0.44]]
    >>> result.converged
    True
    """
    return answered(
        M,
        a,
        b,
        reg,
        c,
        stacklevel=3,
        reg_type=reg_type,
        tol=tol,
        max_iter=max_iter,
        method=method,
        potentials_init=potentials_init,
        n_threads=n_threads,
        device=device,
        verbose=verbose,
        callback=callback,
        time_limit=time_limit,
        unbalanced=unbalanced,
        unbalanced_type=unbalanced_type,
        grad=grad,
    )


def answered(
    M: ArrayLike,
    a: ArrayLike | None,
    b: ArrayLike | None,
    reg: float | None,
    c: None = None,
    *,
    stacklevel: int,
    device: Device = "cpu",
    verbose: bool = False,
    callback: Callback | None = None,
    grad: Grad = "autodiff",
    max_iter: int | None = None,
    potentials_init: tuple[ArrayLike, ArrayLike] | None = None,
    unbalanced: float | tuple[float, float] | None = None,
    unbalanced_type: str = "KL",
    reg_type: str = "KL",
    plan_init: ArrayLike | None = None,
    deterministic: bool = True,
    **options: Any,
) -> Solution:
    """Do what `solve` does, with its warning `stacklevel` calls up from here."""
    choice(grad, "grad", GRADS)
    if c is not None:
        raise NotImplementedError("c must be None: the reference of the entropy is a b' here")
    if grad == "last_step" and max_iter == 0:
        raise ValueError("max_iter must be positive with grad='last_step': got 0")
    device, callback = device_name(device), function(callback, "callback")
    verbose = flag(verbose, "verbose")
    rhos: Any = unbalanced if isinstance(unbalanced, tuple | list) else (unbalanced,)
    if any(map(is_differentiated, rhos)):
        raise NotImplementedError("unbalanced has no derivatives in this version: detach it")
    if isinstance(potentials_init, tuple | list):
        potentials_init = tuple(map(to_numpy, potentials_init))  # type: ignore[assignment]

    def solved(M: Any, a: Any, b: Any, reg: Any) -> Solution:
        solution = attempt(
            M,
            a,
            b,
            reg,
            reg_type=reg_type,
            max_iter=max_iter,
            potentials_init=potentials_init,
            device=device,
            callback=printing(callback) if verbose else callback,
            unbalanced=unbalanced,
            unbalanced_type=unbalanced_type,
            **options,
        )
        if not solution.converged:
            warnings.warn(shortfall(solution), ConvergenceWarning, stacklevel=stacklevel + 1)
        return solution

    inputs = M, a, b, reg
    if is_traced(*inputs):
        rho = None if unbalanced is None else penalties(unbalanced, unbalanced_type)
        return cast(Solution, traced(solved, inputs, Convention(rho, value_type(reg_type)), grad))
    solution = solved(where_it_is(M, device), to_numpy(a), to_numpy(b), to_numpy(reg))
    return cast(Solution, as_tensors(solution, inputs, grad))
