"""Where the CUDA kernels run, and hypothesis without deadlines.

`pytest` runs them in numba's simulator, `pytest --gpu` on the device of this machine, and fails if
there is none. Hypothesis has no deadlines because the first call of a kernel compiles it.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("local", deadline=None, max_examples=60)
settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run use a real device."""
    parser.addoption(
        "--gpu", action="store_true", help="run CUDA kernels on a device, not simulated"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the simulator before anything imports numba, which asks for it only then."""
    if not config.getoption("--gpu"):
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"


@pytest.fixture(scope="session")
def cuda(request: pytest.FixtureRequest) -> None:
    """Make sure that device="cuda" means what the run is for."""
    if request.config.getoption("--gpu"):
        from sparsenum._device import on_cuda

        assert on_cuda("cuda")  # or a DeviceError that says what is missing
        return
    import simulator

    simulator.install()
