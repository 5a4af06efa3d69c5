"""Compile every CUDA kernel for real chips, without one, and read what the assembler says of it.

``python tests/compile_cuda.py`` prints a line for each kernel and types of arguments, and fails if
any needs more registers than it may have and spills them to memory. It needs numba-cuda with its
CUDA 13 libraries, but no driver and no device.
"""

import importlib
import re
import sys
from pathlib import Path
from typing import NamedTuple

from cuda.bindings import nvjitlink
from numba import cuda
from numba.cuda import dispatcher

from sparsenum._cuda import Kernel

ROOT, PACKAGES = Path(__file__).parents[1], ("sparsenum", "recsys")
BARRIER = b"cudaCGGetIntrinsicHandle"  # that of a whole grid: a call into a library
GRID_BARRIER = 16  # bytes of stack of that call
TARGETS = ((8, 0), (9, 0), (10, 0))  # A100, H100 and H200, B200
FACTS = re.compile(
    r"(?P<registers>\d+) registers.*?(?P<stack>\d+) stack.*?(?P<shared>\d+) bytes smem"
)


class Device(NamedTuple):
    """What numba asks of the present device while it compiles functions for it: its target."""

    compute_capability: tuple[int, int]


class Report(NamedTuple):
    """What a kernel takes on one target.

    Spilled is what its stack has beyond the local memory that the code asks for: the assembler
    names no spills where it links, but that is where it puts them.
    """

    registers: int
    stack: int
    shared: int
    spilled: int


def kernels():
    """Return all kernels of the project by name."""
    found = {}
    for path in sorted(p for package in PACKAGES for p in ROOT.glob(f"{package}/**/_cuda*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module = importlib.import_module(name)
        for kernel in vars(module).values():
            if isinstance(kernel, Kernel) and kernel.function.__module__ == name:
                found[f"{name}.{kernel.__name__}"] = kernel
    return found


def compile_for(kernel, signature, target, bounds=None) -> Report:
    """Compile a kernel for one type of arguments to machine code."""
    dispatcher.get_current_device = lambda: Device(target)  # there is none, and none is needed
    types, name = kernel.types(signature), kernel.__name__
    ptx, _ = cuda.compile_ptx(
        kernel.function, types, cc=target, launch_bounds=bounds or kernel.bounds
    )
    code = ptx.encode() if isinstance(ptx, str) else ptx
    registers, stack, shared = assemble(code, name, target)
    wanted = sum(int(size) for size in re.findall(rb"__local_depot\d+\[(\d+)\]", code))
    wanted += GRID_BARRIER if BARRIER in code else 0
    return Report(registers, stack, shared, max(stack - wanted, 0))


def assemble(code, name, target) -> tuple[int, int, int]:
    """Return the registers, the bytes of stack and those of shared memory that code comes to."""
    options = [f"-arch=sm_{target[0]}{target[1]}", "-verbose"]
    handle = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, code, len(code), "kernel")
        if BARRIER in code:
            nvjitlink.add_file(handle, nvjitlink.InputType.LIBRARY, runtime())
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    lines = log.decode().splitlines()
    own = [i for i, line in enumerate(lines) if "Function properties" in line and name in line]
    match = FACTS.search(lines[own[-1] + 1])  # of what is linked to it, too, there are some
    return int(match["registers"]), int(match["stack"]), int(match["shared"])


def runtime() -> str:
    """Return the library that kernels link for barriers of a grid."""
    import nvidia

    folders = [Path(folder) for folder in nvidia.__path__]
    return str(next(f for folder in folders for f in folder.rglob("libcudadevrt.a")))


def too_few_registers() -> Report:
    """Compile a large kernel with fewer registers than it can do with."""
    kernel = kernels()["sparsenum.sparse._cuda.schur_cg"]
    return compile_for(kernel, kernel.signatures[0], TARGETS[1], bounds=(256, 8))


def say(line: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{line}\n")


def main() -> int:
    heads = " / ".join(f"sm_{a}{b}" for a, b in TARGETS)
    say(f"| kernel | registers on {heads} | stack | shared bytes | spilled bytes |")
    say("| :-- | --: | --: | --: | --: |")
    failures, count = [], 0
    assert too_few_registers().spilled, "this check does not see what kernels spill"
    for name, kernel in kernels().items():
        for signature in kernel.signatures:
            reports = [compile_for(kernel, signature, target) for target in TARGETS]
            registers = " / ".join(str(r.registers) for r in reports)
            stack, shared, spilled = (max(r[k] for r in reports) for k in (1, 2, 3))
            say(f"| {name}({signature}) | {registers} | {stack} | {shared} | {spilled} |")
            count += 1
            if spilled:
                failures.append(name)
    say(
        f"\n{count} kernels for {len(TARGETS)} targets; too many registers in: {failures or 'none'}"
    )
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
