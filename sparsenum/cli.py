"""The command line: `sparsenum solve` and `sparsenum doctor`."""

import argparse
import contextlib
import json
import math
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_solve(commands)
    _add_doctor(commands)
    return parser


def _add_solve(commands: Any) -> None:
    about = "transport one histogram onto another"
    parser = commands.add_parser(
        "solve", help=about, description=f"{about.capitalize()}.", epilog=EXIT_CODES
    )
    parser.add_argument("cost", type=Path, metavar="COST.npy", help="cost matrix, shape (n, m)")
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
        "--out", type=Path, metavar="PLAN.npz", help="write the sparse plan, for scipy's load_npz"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_solve)


def _add_doctor(commands: Any) -> None:
    about = "show versions, processor, kernel cache and CUDA state"
    parser = commands.add_parser("doctor", help=about, description=f"{about.capitalize()}.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_doctor)


def _solve(options: argparse.Namespace) -> int:
    M = _load(options.cost, "COST.npy")
    a = options.a and _load(options.a, "--a")
    b = options.b and _load(options.b, "--b")
    destination = replacing(options.out, "--out") if options.out else contextlib.nullcontext()
    with destination as temporary:
        solution = _run_solver(M, a, b, options)
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


def _run_solver(M: Any, a: Any, b: Any, options: argparse.Namespace) -> "Solution":
    """Solve with progress on stderr, and pass warnings on as one line each."""
    from sparsenum import ot
    from sparsenum.progress import Progress

    with warnings.catch_warnings(record=True) as caught, Progress("solve") as progress:
        warnings.simplefilter("always")

        def follow(step: "Step") -> None:
            progress.update(step.n_iter, f"error {step.marginal_error:.1e}")

        solution = ot.solve(
            M,
            a,
            b,
            options.reg,
            tol=options.tol,
            max_iter=options.max_iter,
            method=options.method,
            callback=follow,
        )
    for warning in caught:
        _say(f"warning: {warning.message}")
    return solution


def _load(path: Path, name: str) -> "np.ndarray[Any, Any]":
    """Map an .npy file, copying on write: kernels would be compiled anew for a read-only array."""
    from numpy.lib.format import open_memmap

    try:
        return open_memmap(path, mode="c")  # reads .npy only: no archives, no pickles
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} must be an existing file: got '{path}'") from None
    except ValueError:
        raise ValueError(
            f"{name} must be an .npy file of numbers: '{path}' is of another kind, empty, cut "
            "short or holds Python objects; write it with numpy.save"
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
