"""What every record carries: the machine, the versions, and whatever the benchmark adds."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from benches.memory import Peak
from sparsenum.doctor import report

MACHINE = ("cpu", "cpu_target", "python", "numpy", "scipy", "numba", "llvmlite", "POT", "polars")
MACHINE += ("sparsenum",)
PEERS = ("implicit", "cornac", "torch", "regot", "ott-jax", "jax", "mdot-tnt", "geomloss")


@cache
def facts() -> dict[str, Any]:
    """Return the machine, and the versions of ours and of the peers that are installed."""
    found = report()
    known = {name: found[name] for name in MACHINE}
    for peer in PEERS:
        try:
            known[peer] = version(peer)
        except PackageNotFoundError:
            continue
    return known | {"threads": found["cpu_usable"]}  # the most; a benchmark may say less


@pytest.fixture(autouse=True)
def machine(request: pytest.FixtureRequest) -> None:
    """Write the machine into the record of a benchmark."""
    if "benchmark" in request.fixturenames:
        request.getfixturevalue("benchmark").extra_info |= facts()


@pytest.fixture
def peak() -> Peak:
    """Return what watches the memory of a call."""
    return Peak()


def pytest_benchmark_update_json(config: Any, benchmarks: Any, output_json: Any) -> None:
    """Say by which clock, and leave out what nobody reads: arrays in words, every single time."""
    for record in output_json["benchmarks"]:
        record["extra_info"].setdefault("clock", record["options"]["timer"])
        for noise in ("params", "param"):
            record.pop(noise, None)
        record["stats"].pop("data", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run take all problems, not only those of the README."""
    parser.addoption("--full", action="store_true", help="benchmark on all problems")
