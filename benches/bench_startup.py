"""How long a fresh process takes to import, and to its first plan: what a script's user waits for.

Times are those of the wall, of whole processes with the interpreter's own start, the floor. The
kernels are compiled at the first call ever and read from disk later. POT brings along each array
library that is installed; what it takes without them is a row of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benches.reporting.records import FLOOR

ROUNDS = 3
ALONE = {f"POT_BACKEND_DISABLE_{name}": "1" for name in ("PYTORCH", "JAX", "CUPY", "TENSORFLOW")}
IMPORTS = {
    f"{FLOOR}, python alone": ("import sys", {}),
    "scipy.sparse": ("import scipy.sparse", {}),
    "sparsenum": ("import sparsenum", {}),
    "sparsenum.ot": ("import sparsenum.ot", {}),
    "recsys": ("import recsys", {}),
    "POT": ("import ot", {}),
    "POT without other libraries": ("import ot", ALONE),
}
N, REG, TOL = 100, 1e-2, 1e-9
PROBLEM = f"M = np.random.default_rng(0).random(({N}, {N}))\na = np.full({N}, 1 / {N})\n"
OURS = f"import numpy as np\nfrom sparsenum import ot\n{PROBLEM}P = ot.solve(M, reg={REG}).plan\n"
POT = f"import numpy as np, ot\n{PROBLEM}P = ot.sinkhorn(a, a, M, {REG}, stopThr={TOL / N})\n"
ERROR = "error = abs(P.sum(0) - a).sum() + abs(P.sum(1) - a).sum()\n"
FACTS = """
import json, pathlib
facts = {"error": error} if "error" in globals() else {}
status = pathlib.Path("/proc/self/status")
if status.is_file():  # ru_maxrss would count the process that started this one
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    facts |= {"peak_bytes": 1024 * int(line.split()[1]), "peak_by": "resident set of the process"}
print(json.dumps(facts))
"""


def process(code: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run code in a fresh interpreter and return what it says about itself."""
    done = subprocess.run(
        [sys.executable, "-c", code + FACTS],
        env=os.environ | environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


def judge(benchmark: Any, solver: str, code: str, environment: dict[str, str], rounds: int) -> None:
    facts = benchmark.pedantic(process, args=(code, environment), rounds=rounds)
    benchmark.extra_info |= {"solver": solver, "threads": 1, **facts}
    if "error" in facts:
        benchmark.extra_info["tol"] = TOL


@pytest.mark.parametrize("name", IMPORTS)
def test_import(benchmark, name: str) -> None:
    benchmark.group = "startup/import in a fresh process"
    rounds = 1 if name.startswith("POT") else ROUNDS  # it takes seconds
    judge(benchmark, name, *IMPORTS[name], rounds)


FIRST = f"startup/first plan of a fresh process, {N} x {N}, reg 1/{1 / REG:.0f}"


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment with a folder for machine code, empty at first."""
    return {"NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("kernels"))}


def test_first_plan_compiled(benchmark, kernels: dict[str, str]) -> None:
    benchmark.group = FIRST
    judge(benchmark, "ours, kernels to compile", OURS + ERROR, kernels, 1)


def test_first_plan(benchmark, kernels: dict[str, str]) -> None:
    benchmark.group = FIRST
    process(OURS, kernels)  # fills the folder, if this runs alone
    judge(benchmark, "ours, kernels on disk", OURS + ERROR, kernels, ROUNDS)


def test_first_plan_of_pot(benchmark) -> None:
    benchmark.group = FIRST
    judge(benchmark, "POT ot.sinkhorn", POT + ERROR, {}, 1)
