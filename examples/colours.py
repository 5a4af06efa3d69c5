"""Give one photograph the colours of another, by transport between their palettes.

Run as ``python examples/colours.py --out demo-output``, or on two pictures of your own with
``--picture ONE --colours OTHER``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from sparsenum import ot

PALETTE = 400  # colours that stand for all pixels of a picture
SAMPLE = 20_000  # pixels from which a palette is found
REG = 2e-3  # squared distance of colours between 0 and 1: small, so that colours stay vivid
NEAREST = 8  # colours of the palette that a pixel follows, so that no edges appear between them
SEED = 0

Image = np.ndarray  # height x width x 3, from 0 to 1


def photographs() -> tuple[Image, Image]:
    """Return a summer palace and a flower, or two gradients where they are not installed."""
    try:
        from sklearn.datasets import load_sample_image

        return tuple(load_sample_image(name) / 255.0 for name in ("china.jpg", "flower.jpg"))
    except ImportError:  # scikit-learn, or pillow that reads its pictures
        return gradient((0.1, 0.2, 0.5), (0.8, 0.9, 1.0)), gradient(
            (0.5, 0.1, 0.0), (1.0, 0.8, 0.2)
        )


def gradient(dark: tuple[float, ...], bright: tuple[float, ...]) -> Image:
    """Return waves between two colours."""
    y, x = np.mgrid[0:1:120j, 0:1:180j]
    share = 0.5 + 0.5 * np.sin(9 * x + 5 * y**2)[..., None]
    return (1 - share) * np.array(dark) + share * np.array(bright)


def read(path: Path) -> Image:
    """Return a picture file as an image."""
    pixels = imread(path)
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    return np.atleast_3d(pixels)[..., :3] / scale * np.ones(3)


def palette(image: Image, colours: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours that stand for a picture, and the share of its pixels that each has."""
    rng = np.random.default_rng(SEED)
    pixels = image.reshape(-1, 3)
    sample = rng.choice(pixels, min(SAMPLE, len(pixels)), replace=False)
    centres, _ = kmeans2(sample, colours, minit="++", seed=rng, missing="raise")
    nearest = cKDTree(centres).query(pixels)[1]
    return centres, np.bincount(nearest, minlength=colours) / len(pixels)


def recoloured(image: Image, colours: np.ndarray, moved: np.ndarray) -> Image:
    """Shift each pixel as the colours of the palette next to it are shifted."""
    distance, nearest = cKDTree(colours).query(image.reshape(-1, 3), k=min(NEAREST, len(colours)))
    weight = 1.0 / (distance + 1e-3) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    shift = np.einsum("pk,pkc->pc", weight, (moved - colours)[nearest])
    return np.clip(image + shift.reshape(image.shape), 0.0, 1.0)


def draw(path: Path, pictures: dict[str, Image]) -> None:
    """Write pictures side by side."""
    figure = Figure(figsize=(5 * len(pictures), 4), layout="constrained")
    for axes, (title, image) in zip(
        figure.subplots(1, len(pictures)), pictures.items(), strict=True
    ):
        axes.imshow(image)
        axes.set_title(title, loc="left")
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for pictures")
    parser.add_argument("--picture", type=Path, help="picture to give other colours")
    parser.add_argument("--colours", type=Path, help="picture whose colours to take")
    parser.add_argument("--palette", type=int, default=PALETTE, help="colours in each palette")
    options = parser.parse_args()
    if (options.picture is None) != (options.colours is None):
        parser.error("--picture and --colours must be given together")
    options.out.mkdir(parents=True, exist_ok=True)

    pair = (options.picture, options.colours)
    picture, other = photographs() if pair[0] is None else map(read, pair)
    (X, a), (Y, b) = (palette(image, options.palette) for image in (picture, other))
    start = time.perf_counter()
    solution = ot.solve_sample(X, Y, a, b, reg=REG)
    plan = solution.sparse_plan
    seconds = time.perf_counter() - start
    occupied = a > 0
    moved = X.copy()
    moved[occupied] = (plan @ Y)[occupied] / a[occupied, None]
    result = recoloured(picture, X, moved)

    before, after = (ot.sinkhorn_divergence(Z, Y, a, b, reg=REG).value for Z in (X, moved))
    print(f"{len(X)} colours onto {len(Y)}: {1e3 * seconds:.0f} ms, {solution.n_iter} iterations,")
    kept = f"{plan.nnz:,} of {X.shape[0] * Y.shape[0]:,} pairs carry mass"
    print(f"marginals to {solution.marginal_error:.0e}, {kept}")
    print(f"Sinkhorn divergence of the palettes: {before:.4f} before, {after:.4f} after")
    draw(options.out / "colours.png", {"Picture": picture, "Colours": other, "Result": result})
    print(f"Picture: {options.out / 'colours.png'}")


if __name__ == "__main__":
    main()
