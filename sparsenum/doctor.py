"""A report on this machine: versions, processor, threads, kernel cache and CUDA."""

import importlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from sparsenum._system import processors

Fact = str | int | bool | list[str] | None

PACKAGES = ("sparsenum", "numpy", "scipy", "numba", "llvmlite", "POT", "polars")
LAYERS = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}


def report() -> dict[str, Fact]:
    """Return the facts that help with a question about speed or installation.

    Returns
    -------
    dict
        Names and facts, ready for JSON; None where something is absent. Nothing here raises,
        starts threads or takes GPU memory.

    Examples
    --------
    >>> from sparsenum.doctor import report
    >>> report()["python"].startswith("3.")
    True
    """
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        **_processor(),
        **_cache(),
        **_cuda(),
    }


def is_compiled(kernel: Any) -> bool:
    """Return whether machine code of a kernel is kept from an earlier run."""
    stats = getattr(kernel, "stats", None)  # absent under NUMBA_DISABLE_JIT=1
    if stats is None or stats.cache_path is None:
        return True
    return any(Path(stats.cache_path).glob(f"*{kernel.__name__}-*.nbi"))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> dict[str, Fact]:
    import numba

    return {
        "cpu": _cpu_name(),
        "cpu_target": importlib.import_module("llvmlite.binding").get_host_cpu_name(),
        "cpu_count": os.cpu_count(),
        "cpu_usable": processors(),
        "numba_threads": vars(numba.config)["NUMBA_NUM_THREADS"],
        "threading_layers": [layer for layer, module in LAYERS.items() if _has_layer(module)],
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _has_layer(module: str) -> bool:
    """Return whether a threading layer of numba loads: the only way to know its library is here."""
    try:
        importlib.import_module(f"numba.np.ufunc.{module}")
    except ImportError:
        return False
    return True


def _cache() -> dict[str, Fact]:
    """Ask a kernel where its machine code is kept, since numba chooses a folder for each file."""
    from sparsenum.ot.problems import _cpu

    stats = getattr(_cpu.plan, "stats", None)  # absent under NUMBA_DISABLE_JIT=1
    folder = stats.cache_path if stats else None
    return {
        "cache": folder is not None,
        "cache_folder": folder,
        "cache_writable": folder is not None and os.access(folder, os.W_OK),
    }


def _cuda() -> dict[str, Fact]:
    from sparsenum import _device

    package, driver, devices = found = _device.facts()
    missing = found.missing
    return {
        "cuda_package": package,
        "cuda_driver": driver,
        "cuda_devices": devices,
        "cuda": f"not usable: {missing}" if missing else "ready: ask for it by device='cuda'",
    }
