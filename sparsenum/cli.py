"""The command line: `sparsenum solve`, `sparsenum doctor` and `sparsenum warmup`."""

import argparse
import contextlib
import importlib.metadata
import io
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsenum._device import DEVICES
from sparsenum._system import replacing

if TYPE_CHECKING:
    import numpy as np

    from sparsenum.ot import Solution, Step

SUCCESS, NOT_CONVERGED, FAILURE, INTERRUPTED = 0, 1, 2, 130
EXIT_CODES = "Exit codes: 0 done, 1 not converged, 2 error, 130 interrupted."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        0 done, 1 not converged (results are written all the same), 2 error, 130 interrupted.
    """
    options = _parser().parse_args(argv)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has left: let Python's last flush succeed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS
    except (OSError, ValueError, TypeError, MemoryError) as error:
        _say(f"error: {str(error) or type(error).__name__}")
        return FAILURE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sparsenum", description="Entropic optimal transport.", epilog=EXIT_CODES
    )
    version = importlib.metadata.version("sparsenum")
    parser.add_argument("--version", action="version", version=f"sparsenum {version}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_solve(commands)
    _add_doctor(commands)
    _add_warmup(commands)
    return parser


def _add_solve(commands: Any) -> None:
    about = "transport one histogram onto another"
    parser = commands.add_parser(
        "solve", help=about, description=f"{about.capitalize()}.", epilog=EXIT_CODES
    )
    parser.add_argument(
        "cost",
        nargs="?",
        type=Path,
        metavar="COST.npy",
        help="cost matrix, shape (n, m): .npy, .csv without a header, or - for stdin",
    )
    parser.add_argument(
        "--points",
        nargs=2,
        type=Path,
        metavar=("X.npy", "Y.npy"),
        help="in place of a cost: points, shapes (n, d) and (m, d), .npy or .csv",
    )
    parser.add_argument("--metric", default="sqeuclidean", help="cost between points (%(default)s)")
    parser.add_argument("--lazy", action="store_true", help="points: never hold the cost matrix")
    parser.add_argument(
        "--reg", type=float, required=True, help="strength of the entropy, in the unit of the cost"
    )
    parser.add_argument("--a", type=Path, metavar="A.npy", help="masses of the rows (uniform)")
    parser.add_argument("--b", type=Path, metavar="B.npy", help="masses of the columns (uniform)")
    parser.add_argument(
        "--tol", type=float, default=1e-9, help="1-norm of the marginal error (%(default)s)"
    )
    parser.add_argument("--max-iter", type=int, metavar="N", help="cap on the iterations")
    parser.add_argument(
        "--method", choices=("auto", "sns", "sns-paper", "sinkhorn"), default="auto"
    )
    parser.add_argument(
        "--unbalanced", type=float, metavar="RHO", help="penalise marginals instead of meeting them"
    )
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="%(default)s by default")
    parser.add_argument("--threads", type=int, metavar="N", help="threads; all by default")
    parser.add_argument("--time-limit", type=float, metavar="S", help="seconds after which to stop")
    parser.add_argument(
        "--out", type=Path, metavar="PLAN.npz", help="write the sparse plan, for scipy's load_npz"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_solve)


def _add_doctor(commands: Any) -> None:
    about = "show versions, processor, kernel cache and CUDA state"
    parser = commands.add_parser("doctor", help=about, description=f"{about.capitalize()}.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_doctor)


def _add_warmup(commands: Any) -> None:
    about = "compile once what solvers need, as for a container"
    parser = commands.add_parser("warmup", help=about, description=f"{about.capitalize()}.")
    parser.set_defaults(run=_warmup)


def _solve(options: argparse.Namespace) -> int:
    if (options.cost is None) == (options.points is None):
        raise ValueError("one of COST.npy and --points must be given: got both or none")
    a = options.a and _load(options.a, "--a")
    b = options.b and _load(options.b, "--b")
    # A row or a column of text are masses alike.
    a, b = (x.ravel() if x is not None and 1 in x.shape[:-1] + x.shape[1:] else x for x in (a, b))
    destination = replacing(options.out, "--out") if options.out else contextlib.nullcontext()
    with destination as temporary:
        solution = _run_solver(a, b, options)
        if temporary is not None:
            import scipy.sparse

            with open(temporary, "wb") as file:
                scipy.sparse.save_npz(file, solution.sparse_plan)
    _show(_summary(solution, options.reg), options.json)
    return SUCCESS if solution.converged else NOT_CONVERGED


def _doctor(options: argparse.Namespace) -> int:
    from sparsenum.doctor import report

    _show(report(), options.json)
    return SUCCESS


def _run_solver(a: Any, b: Any, options: argparse.Namespace) -> "Solution":
    """Solve with progress on stderr, and pass warnings on as one line each."""
    from sparsenum.progress import Progress

    solver = _solver(a, b, options)
    _tell_if_cold()
    with warnings.catch_warnings(record=True) as caught, Progress("solve") as progress:
        warnings.simplefilter("always")

        def follow(step: "Step") -> None:
            progress.update(step.n_iter, f"error {step.marginal_error:.1e}")

        solution = solver(
            reg=options.reg,
            tol=options.tol,
            max_iter=options.max_iter,
            n_threads=options.threads,
            time_limit=options.time_limit,
            callback=follow,
        )
    for warning in caught:
        _say(f"warning: {warning.message}")
    return solution


def _solver(a: Any, b: Any, options: argparse.Namespace) -> "Callable[..., Solution]":
    """Return the function that solves between costs or between points."""
    from sparsenum import ot

    # Points without their costs in memory have one method, on the CPU.
    said = {"method": options.method, "device": options.device, "unbalanced": options.unbalanced}
    more = {name: value for name, value in said.items() if value not in (None, "auto", "cpu")}
    if options.points is None:
        if options.lazy:
            raise ValueError("--lazy must go with --points: got a cost matrix")
        return partial(ot.solve, _load(options.cost, "COST.npy"), a, b, **more)
    X, Y = (_load(path, "--points") for path in options.points)
    return partial(ot.solve_sample, X, Y, a, b, options.metric, lazy=options.lazy, **more)


def _tell_if_cold() -> None:
    """Say that the first run compiles, where nothing has been compiled yet."""
    from sparsenum.doctor import is_compiled
    from sparsenum.ot.problems import _cpu

    if not is_compiled(_cpu.plan):
        _say("compiling for this machine, once: some seconds (`sparsenum warmup` does it before)")


def _warmup(options: argparse.Namespace) -> int:
    """Solve a small problem of each kind, so that what they need is compiled and kept."""
    import numpy as np

    from sparsenum import ot

    rng = np.random.default_rng(0)
    X, Y = rng.random((300, 2)), rng.random((300, 2))
    M = ((X[:, None] - Y) ** 2).sum(-1)
    solvers: dict[str, Callable[[], object]] = {
        "solve": lambda: ot.solve(M, reg=0.01),
        "sinkhorn": lambda: ot.solve(M, reg=0.1, method="sinkhorn"),
        "unbalanced": lambda: ot.solve(M, reg=0.1, unbalanced=1.0),
        "points": lambda: ot.solve_sample(X, Y, reg=0.01),
        "lazy": lambda: ot.solve_sample(X, Y, reg=0.01, lazy=True),
        "batch": lambda: ot.solve_batch(np.stack([M[:8, :8]] * 2), reg=0.1),
    }
    for name, solve in solvers.items():
        start = time.perf_counter()
        solve()
        sys.stdout.write(f"{name:12s} {time.perf_counter() - start:.1f} s\n")
    return SUCCESS


def _load(path: Path, name: str) -> "np.ndarray[Any, Any]":
    """Map an .npy file, copying on write: a read-only array would need kernels of its own."""
    from numpy.lib.format import open_memmap

    if str(path) == "-" or path.suffix.lower() == ".csv":
        return _load_text(path, name)
    try:
        return open_memmap(path, mode="c")  # reads .npy only: no archives, no pickles
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} must be an existing file: got '{path}'") from None
    except ValueError:
        raise ValueError(
            f"{name} must be an .npy file of numbers: '{path}' is of another kind, empty, cut "
            "short or holds Python objects; write it with numpy.save"
        ) from None


def _load_text(path: Path, name: str) -> "np.ndarray[Any, Any]":
    """Read numbers with commas between, from a file or from stdin, where they may be .npy, too."""
    import numpy as np

    try:
        if str(path) != "-":
            return np.loadtxt(path, delimiter=",", ndmin=2)
        data = sys.stdin.buffer.read()
        if data.startswith(b"\x93NUMPY"):
            array: np.ndarray[Any, Any] = np.load(io.BytesIO(data), allow_pickle=False)
            return array
        return np.loadtxt(io.BytesIO(data), delimiter=",", ndmin=2)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} must be an existing file: got '{path}'") from None
    except ValueError as error:
        raise ValueError(
            f"{name} must hold numbers with commas between and no header: '{path}' does not "
            f"({str(error)[:200]})"
        ) from None


def _summary(solution: "Solution", reg: float) -> dict[str, Any]:
    n, m = solution.marginal_a.size, solution.marginal_b.size
    return {
        "shape": [n, m],
        "reg": reg,
        "method": solution.log["method"],
        "iterations": solution.n_iter,
        "status": solution.status,
        "tolerance": solution.log["tol"],
        "marginal_error": solution.marginal_error,
        "value": solution.value,
        "linear_value": solution.value_linear,
        "seconds": solution.log["seconds"][-1],
    }


def _show(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        plain = {key: _json_number(value) for key, value in facts.items()}
        sys.stdout.write(json.dumps(plain, allow_nan=False) + "\n")
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        sys.stdout.write(f"{key.replace('_', ' '):{width}}  {_text(value)}\n")


def _json_number(value: Any) -> Any:
    """JSON has no NaN and no infinity: null says that there is no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        value = (" x " if all(isinstance(x, int) for x in value) else ", ").join(map(str, value))
    return "-" if value in (None, "") else str(value)


def _say(message: str) -> None:
    """Write one line to stderr, whatever line breaks the message has."""
    sys.stderr.write(f"sparsenum: {' '.join(message.split())}\n")


if __name__ == "__main__":
    sys.exit(main())
