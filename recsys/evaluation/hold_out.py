"""Interactions held back from training, to stop or to choose by."""

import numpy as np

from recsys.data.interactions import Interactions
from recsys.data.table import Source
from sparsenum._check import positive
from sparsenum.sparse import CSR


def hold_out(
    train: Interactions,
    valid: Source | None,
    validation: float | None,
    patience: int | None,
    rng: np.random.Generator,
) -> tuple[CSR, CSR | None]:
    """Return the interactions to learn from and those to look at, if any."""
    if valid is not None and validation is not None:
        raise ValueError("validation must be left out where valid is given: got both; choose one")
    if valid is not None:
        return train.matrix, train.read_held(valid).matrix
    if validation is not None:
        remedy = "0.1 holds back a tenth of the interactions"
        share = positive(validation, "validation", remedy)
        if share >= 1:
            raise ValueError(f"validation must be below 1: got {validation!r}; {remedy}")
        return cut(train.matrix, share, rng)
    if patience is not None:
        raise ValueError(
            f"patience must have something to look at: got patience={patience} without valid; give "
            "fit a table valid=... or hold back a part with validation=0.1"
        )
    return train.matrix, None


def cut(matrix: CSR, share: float, rng: np.random.Generator) -> tuple[CSR, CSR]:
    """Return the rest and a random share of the interactions; each user's first stays."""
    held = rng.random(matrix.nnz) < share
    held[matrix.indptr[:-1][matrix.row_counts > 0]] = False
    return matrix.only(~held), matrix.only(held)
