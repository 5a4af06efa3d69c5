"""Scores of the autoencoder: unit rows, times a power of the number of users of the target."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.autoencoder.gradient import Unit
from recsys.evaluation.hold_out import cut
from recsys.evaluation.metrics import ranking_metrics, without
from recsys.scores.history_scores import Factors, HistoryScores, ItemTables
from sparsenum.sparse import CSR

VALIDATION = 0.1  # share of the pairs that is held back to choose by
POWERS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
POWER = 0.2  # where there is nothing to choose by
K = 20  # length of the lists that are judged


def tables_of(table: CSR, counts: NDArray[Any], power: float) -> ItemTables:
    """Return what scores are made of: the rows at length one, and counts ** power."""
    unit = Unit.of(table).table
    ones = np.ones(table.shape[0], np.float32)
    scale = np.maximum(counts, 1).astype(np.float32) ** np.float32(power)
    return ItemTables(None, Factors(unit, ones, scale, np.eye(table.shape[1], dtype=np.float32)))


def best_power(
    matrix: CSR, held: CSR | None, learn: Callable[[CSR], CSR], rng: np.random.Generator
) -> float:
    """Return the power by which a model of the rest ranks what is held back best."""
    if held is None:
        base, held = cut(matrix, VALIDATION, rng)
    else:
        base = without(matrix, held)
    if not held.nnz or not base.nnz:
        return POWER
    table, k = learn(base), min(K, matrix.shape[1])

    def quality(power: float) -> float:
        scores = HistoryScores(base, tables_of(table, base.column_counts, power))
        return float(ranking_metrics(scores, held, base, k)[f"ndcg@{k}"])

    return max(POWERS, key=quality)
