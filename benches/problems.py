"""The problems that solvers are compared on: the three cases of the SNS paper, and a stack."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

REG = 1 / 1200  # the paper's eta = 1200, at a largest cost of 1
TOL = 1e-9  # 1-norm of the violation of both marginals
SIDE = 28  # pixels


class Problem(NamedTuple):
    """A cost, the masses of its rows and of its columns, and what to call it."""

    name: str
    M: np.ndarray
    a: np.ndarray
    b: np.ndarray


def assignment(n: int = 500) -> Problem:
    """Return an assignment problem: uniform costs, seed 0, equal masses."""
    M = np.random.default_rng(0).random((n, n))
    masses = np.full(n, 1 / n)
    return Problem(f"assignment {n}", M / M.max(), masses, masses)


def digits_squared() -> Problem:
    """Return a pair of digits under the squared Euclidean distance of pixels."""
    return _digits("squared", lambda x: (x**2).sum(axis=-1))


def digits_l1() -> Problem:
    """Return a pair of digits under the 1-norm of pixel differences: a cost with many ties."""
    return _digits("L1", lambda x: np.abs(x).sum(axis=-1))


def stack(B: int = 1000, n: int = 64) -> np.ndarray:
    """Return costs of many problems, seed 0: half uniform, half squared distances in a square."""
    rng = np.random.default_rng(0)
    points = rng.random((B - B // 2, n, 1, 2)) - rng.random((B - B // 2, 1, n, 2))
    M = np.concatenate([rng.random((B // 2, n, n)), (points**2).sum(axis=-1)])
    return M / M.max(axis=(1, 2), keepdims=True)


def _digits(kind: str, norm: Callable[[np.ndarray], np.ndarray]) -> Problem:
    source, images = _images()
    (rows, a), (columns, b) = (_ink(image) for image in images)
    M = norm(rows[:, None] - columns[None])
    return Problem(f"{source} {kind}", M / M.max(), a, b)


def _ink(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the pixels with ink and their shares of it."""
    mass = image[image > 0].astype(np.float64)
    return np.argwhere(image > 0).astype(np.float64), mass / mass.sum()


def _images() -> tuple[str, np.ndarray]:
    """Return the first two MNIST test digits if SPARSENUM_DATA has them, else two smaller ones."""
    path = Path(os.environ.get("SPARSENUM_DATA", ""), "ot", "mnist_test2000.npz")
    if path.is_file():
        return "MNIST", np.load(path)["images"][:2]
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    small = load_digits().images[:2]
    return "digits", zoom(small, (1, SIDE / 8, SIDE / 8), order=1)


PROBLEMS = (assignment, digits_squared, digits_l1)
