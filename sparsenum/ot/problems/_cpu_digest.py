"""Kernels that tell whether an array still holds what it held."""

import numpy as np

from sparsenum._numba import kernel

__all__ = ["digest"]

LANES = 8
PRIME = np.uint64(0x9E3779B185EBCA87)
LEFT, RIGHT = np.uint64(29), np.uint64(35)


@kernel
def digest(words):
    """Return a number that tells an array of words from others, at the speed of memory.

    Each step can be undone, so a change of one word is never missed, and another one with a
    chance of 2^-64. The lanes do not wait for one another.
    """
    lanes = np.zeros(LANES, np.uint64)
    whole = words.size // LANES * LANES
    for start in range(0, whole, LANES):
        for k in range(LANES):
            h = lanes[k] ^ np.uint64(words[start + k])
            lanes[k] = ((h << LEFT) | (h >> RIGHT)) * PRIME
    total = np.uint64(words.size)
    for i in range(whole, words.size):
        h = total ^ np.uint64(words[i])
        total = ((h << LEFT) | (h >> RIGHT)) * PRIME
    for k in range(LANES):
        h = total ^ lanes[k]
        total = ((h << LEFT) | (h >> RIGHT)) * PRIME
    return total
