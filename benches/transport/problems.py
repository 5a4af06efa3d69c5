"""The problems that transport solvers are compared on: seeded, of largest cost 1, without files.

With MNIST among the data (SPARSENUM_DATA) the paper's digits are its own; else they are
scikit-learn's, enlarged.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

REG = 1 / 1200  # the paper's eta = 1200, at a largest cost of 1
TOL = 1e-9  # 1-norm of the violation of both marginals
SIDE = 28  # pixels
BACKGROUND = 1e-6  # share of the mass that all pixels of a picture get, before it is scaled
FAINT = 1e-3  # of the brightest pixel: what a picture with zero masses leaves out

Norm = Callable[[np.ndarray], np.ndarray]


class Problem(NamedTuple):
    """A cost, the masses of its rows and of its columns, and what to call it and its like."""

    name: str
    family: str
    M: np.ndarray
    a: np.ndarray
    b: np.ndarray


def squared(x: np.ndarray) -> np.ndarray:
    return (x**2).sum(axis=-1)


def l1(x: np.ndarray) -> np.ndarray:
    return np.abs(x).sum(axis=-1)


NORMS: dict[str, Norm] = {"squared": squared, "L1": l1}


# The three cases of the SNS paper


def assignment(n: int = 500) -> Problem:
    """Return an assignment problem: uniform costs, seed 0, equal masses."""
    M = np.random.default_rng(0).random((n, n))
    masses = np.full(n, 1 / n)
    return Problem(f"assignment {n}", "assignment", M / M.max(), masses, masses)


def digits(norm: str) -> Problem:
    """Return a pair of digits, the ink alone; "L1" is a cost with many ties."""
    source, images = _images()
    (rows, a), (columns, b) = (_ink(image) for image in images)
    return _between(rows, columns, a, b, norm, f"{source} {norm}", f"ink of digits {norm}")


def _ink(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the pixels with ink and their shares of it."""
    mass = image[image > 0].astype(np.float64)
    return np.argwhere(image > 0).astype(np.float64), mass / mass.sum()


def _images() -> tuple[str, np.ndarray]:
    """Return the first two MNIST test digits if SPARSENUM_DATA has them, else two smaller ones."""
    path = Path(os.environ.get("SPARSENUM_DATA", ""), "ot", "mnist_test2000.npz")
    if path.is_file():
        return "MNIST", np.load(path)["images"][:2]
    return "digits", np.stack([_digit(SIDE, 0), _digit(SIDE, 1)])


# Pictures on a grid, all pixels


def pictures(kind: str, side: int, norm: str, *, zeros: bool = False) -> Problem:
    """Return two pictures of one kind on a grid; faint pixels keep a little mass, or none."""
    pixels = np.argwhere(np.ones((side, side))).astype(np.float64)
    masses = [_masses(PICTURES[kind](side, seed).ravel(), zeros) for seed in (0, 1)]
    family = f"{kind} {norm}" + ", zero masses" * zeros
    name = f"{kind} {side}x{side} {norm}" + ", zero masses" * zeros
    return _between(pixels, pixels, *masses, norm, name, family)


def _masses(picture: np.ndarray, zeros: bool) -> np.ndarray:
    if zeros:
        picture = np.where(picture < FAINT * picture.max(), 0.0, picture)
        return picture / picture.sum()
    mass = picture / picture.sum() + BACKGROUND
    return mass / mass.sum()


def _digit(side: int, seed: int) -> np.ndarray:
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    return np.maximum(zoom(load_digits().images[seed], side / 8, order=1), 0.0)


def _blobs(side: int, seed: int) -> np.ndarray:
    """Return a sum of six Gaussians."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    picture = np.zeros((side, side))
    for _ in range(6):
        (row, column), width = rng.random(2), 0.03 + 0.12 * rng.random()
        picture += rng.random() * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
    return picture


def _field(side: int, seed: int) -> np.ndarray:
    """Return the exponential of a smooth Gaussian field, as DOTmark's LogGRF."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(side) * side
    decay = (1.0 + frequency[:, None] ** 2 + frequency[None] ** 2) ** -1.5
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * decay).real
    return np.exp(2.0 * field / field.std())


PICTURES = {"digits": _digit, "blobs": _blobs, "log-fields": _field}


# Points


def mixtures(n: int, norm: str) -> Problem:
    """Return two mixtures of Gaussians on a line, each at the same n places."""
    x = np.linspace(0.0, 1.0, n)
    a = _mixture(x, ((0.5, 0.2, 0.05), (0.5, 0.6, 0.1)))
    b = _mixture(x, ((0.3, 0.35, 0.04), (0.4, 0.75, 0.06), (0.3, 0.9, 0.02)))
    name = f"1-D mixtures {norm}"
    return _between(x[:, None], x[:, None], a, b, norm, name, name)


def _mixture(x: np.ndarray, parts: tuple[tuple[float, float, float], ...]) -> np.ndarray:
    density = sum(w / s * np.exp(-0.5 * ((x - mean) / s) ** 2) for w, mean, s in parts)
    mass = density + 1e-3
    return mass / mass.sum()


def clouds(n: int, m: int, d: int, norm: str, *, dirichlet: bool = True) -> Problem:
    """Return two clouds of points, the second shifted and stretched, of random or equal masses."""
    rng = np.random.default_rng(n + m + d)
    X, Y = rng.standard_normal((n, d)), 1.3 * rng.standard_normal((m, d)) + 0.5
    a, b = (rng.dirichlet(np.ones(k)) if dirichlet else np.full(k, 1 / k) for k in (n, m))
    family = f"{d}-D clouds {norm}" + ", random masses" * dirichlet
    return _between(X, Y, a, b, norm, family, family)


def _between(
    X: np.ndarray, Y: np.ndarray, a: np.ndarray, b: np.ndarray, norm: str, name: str, family: str
) -> Problem:
    M = NORMS[norm](X[:, None] - Y[None])
    return Problem(name, family, M / M.max(), a, b)


def stack(B: int = 1000, n: int = 64) -> Problem:
    """Return many problems in one, seed 0: half uniform, half squared distances in a square."""
    rng = np.random.default_rng(0)
    points = rng.random((B - B // 2, n, 1, 2)) - rng.random((B - B // 2, 1, n, 2))
    M = np.concatenate([rng.random((B // 2, n, n)), squared(points)])
    masses = np.full(n, 1 / n)
    return Problem(f"{B} problems", "stack", M / M.max(axis=(1, 2), keepdims=True), masses, masses)


# Which of them, at which reg

PROBLEMS: dict[str, Callable[[], Problem]] = {
    "warm-up": partial(clouds, 40, 60, 2, "squared"),
    "warm-up, stack": partial(stack, 4, 16),
    "stack": stack,
    "assignment 500": assignment,
    "assignment 1000": partial(assignment, 1000),
    "assignment 2000": partial(assignment, 2000),
    "assignment 5000": partial(assignment, 5000),
    "ink squared": partial(digits, "squared"),
    "ink L1": partial(digits, "L1"),
    "digits 28 squared": partial(pictures, "digits", 28, "squared"),
    "digits 28 L1": partial(pictures, "digits", 28, "L1"),
    "blobs 28 L1": partial(pictures, "blobs", 28, "L1"),
    "blobs 28 squared, zero masses": partial(pictures, "blobs", 28, "squared", zeros=True),
    "blobs 32 squared": partial(pictures, "blobs", 32, "squared"),
    "blobs 32 L1": partial(pictures, "blobs", 32, "L1"),
    "fields 32 squared": partial(pictures, "log-fields", 32, "squared"),
    "fields 32 L1": partial(pictures, "log-fields", 32, "L1"),
    "fields 64 squared": partial(pictures, "log-fields", 64, "squared"),
    "blobs 64 L1": partial(pictures, "blobs", 64, "L1"),
    "mixtures squared": partial(mixtures, 600, "squared"),
    "mixtures L1": partial(mixtures, 600, "L1"),
    "clouds 2-D squared": partial(clouds, 500, 800, 2, "squared"),
    "clouds 2-D squared, 1000": partial(clouds, 1000, 1000, 2, "squared", dirichlet=False),
    "clouds 2-D L1": partial(clouds, 400, 600, 2, "L1"),
    "clouds 20-D squared": partial(clouds, 600, 600, 20, "squared"),
}

REGS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
PAPER_REGS = (1e-1, 1e-2, REG, 1e-4)  # eta = 10, 100, 1200, 10^4
TOLERANCES = (1e-3, 1e-6, 1e-9)

README = (
    "assignment 500",
    "ink squared",
    "ink L1",
    "assignment 2000",
    "blobs 32 squared",
    "blobs 32 L1",
    "mixtures squared",
    "clouds 2-D squared, 1000",
)
GRID: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(("assignment 500", "ink squared", "ink L1"), PAPER_REGS),
    **dict.fromkeys(("assignment 1000", "digits 28 squared", "blobs 28 L1"), REGS),
    **dict.fromkeys(("blobs 28 squared, zero masses", "fields 32 squared"), REGS),
    **dict.fromkeys(("mixtures squared", "mixtures L1"), REGS),
    **dict.fromkeys(("clouds 2-D squared", "clouds 2-D L1", "clouds 20-D squared"), REGS),
    "digits 28 L1": (1e-3, 1e-4),
    "assignment 2000": (1e-2, REG),
    **dict.fromkeys(("blobs 32 squared", "blobs 32 L1", "clouds 2-D squared, 1000"), (REG,)),
    **dict.fromkeys(("fields 32 L1", "fields 64 squared", "blobs 64 L1"), (1e-3,)),
    "assignment 5000": (1e-3,),
}
