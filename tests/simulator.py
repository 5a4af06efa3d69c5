"""numba's CUDA simulator with its threads taking turns, as a test wants it: quick, and repeatable.

Its own threads run side by side and are polled, which takes a millisecond for each barrier, and
they may create one shared array twice. Here one thread runs until its next barrier, then the next.
What neither finds: races between threads or blocks, and whatever depends on a real chip.
"""

import threading

import numpy as np
from numba.cuda.simulator import kernel


class TurnThread(kernel.BlockThread):
    """A simulated thread that runs when it is its turn."""

    def __init__(self, *args):
        super().__init__(*args)
        self.turn, self.back = threading.Semaphore(0), threading.Semaphore(0)
        self.is_done = False

    def run(self):
        self.turn.acquire()
        super().run()
        self.is_done = True
        self.back.release()

    def syncthreads(self):
        self.back.release()
        self.turn.acquire()
        if self.abort:
            raise RuntimeError("another thread failed")

    def proceed(self):
        """Let the thread run to its next barrier or its end."""
        self.turn.release()
        self.back.acquire()


def run_block(self, grid_point, *args):
    """Run a block: in place of BlockManager.run."""
    threads = [
        TurnThread(lambda: self._f(*args), self, grid_point, point, self._debug)
        for point in np.ndindex(*self._block_dim)
    ]
    for thread in threads:
        thread.start()
    waiting = threads
    while waiting:
        for thread in waiting:
            thread.proceed()
        failed = next((t for t in threads if t.exception), None)
        if failed is not None:
            for thread in (t for t in threads if not t.is_done):
                thread.abort = True
                thread.proceed()
            raise failed.exception[0].with_traceback(failed.exception[1])
        waiting = [t for t in waiting if not t.is_done]


def install():
    """Put it in place of numba's own."""
    kernel.BlockManager.run = run_block
