"""Dense passes in blocks of rows, on as many threads as the caller allows.

Kernels release the interpreter's lock, so plain threads will do. The blocks depend on the shape
alone and their results are put together in order: a result never depends on the number of threads.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

BLOCK = 2**20  # entries of a block, about a millisecond of work: less is not worth a thread


def by_rows(work: Callable[[slice], T], shape: tuple[int, int], n_threads: int) -> list[T]:
    """Return the results of `work` on each block of rows of a matrix, in order."""
    n, m = shape
    if n * m <= BLOCK:
        return [work(slice(0, n))]
    size = max(1, BLOCK // m)
    blocks = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    if n_threads == 1:
        return [work(block) for block in blocks]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(work, blocks))
