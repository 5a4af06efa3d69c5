"""What every record carries: the machine and the versions it was measured with."""

import pytest

from sparsenum.doctor import report

MACHINE = ("cpu", "cpu_target", "python", "numpy", "numba", "llvmlite", "POT", "sparsenum")


@pytest.fixture(autouse=True)
def machine(request: pytest.FixtureRequest) -> None:
    """Write the machine into the record of a benchmark."""
    if "benchmark" in request.fixturenames:
        facts = report()
        record = request.getfixturevalue("benchmark")
        record.extra_info |= {name: facts[name] for name in MACHINE}
        record.extra_info["threads"] = facts["cpu_usable"]  # the most; a benchmark may say less


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run take all problems, not only those of the README."""
    parser.addoption("--full", action="store_true", help="benchmark on all problems")
