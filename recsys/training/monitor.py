"""Looking at held-out interactions while training: the history, and when to stop."""

from collections.abc import Callable
from typing import Any

import numpy as np

from recsys.evaluation.metrics import ranking_metrics
from recsys.scores.toplists import Scores
from sparsenum.sparse import CSR

LOOKS = 10  # evaluations on the held-out interactions during training, about
K = 20  # length of the lists it looks at


Weights = tuple[CSR, ...]  # of each table that is trained


class Monitor:
    """Keeps the history of a training, and the best tables where it is to stop early.

    Parameters
    ----------
    held : CSR, optional
        Held-out interactions to look at about ten times.
    seen : CSR
        What is learned from, which is not recommended.
    epochs : int
        How many there are to be.
    patience : int, optional
        Looks without a better NDCG after which to stop; by default never.
    on_epoch : callable, optional
        Called with each new entry of the history.
    budget : int
        Weights that kept tables may have: pruning begins with more, and what it has then is shown
        but neither kept nor a reason to stop.
    """

    def __init__(
        self,
        held: CSR | None,
        seen: CSR,
        epochs: int,
        patience: int | None,
        on_epoch: Callable[[dict[str, Any]], None] | None,
        budget: int,
    ) -> None:
        self.budget = budget
        self.held, self.seen, self.epochs = held, seen, epochs
        self.patience, self.on_epoch = patience, on_epoch
        self.history: list[dict[str, Any]] = []
        self.best: Weights | None = None
        self.best_quality, self.looks_since_best = -np.inf, 0

    def see(self, entry: dict[str, Any], tables: Weights, scores: Callable[..., Scores]) -> bool:
        """Note an epoch, look where it is time, and return whether to stop."""
        if not np.isfinite(entry["loss"]):
            raise ValueError(
                "learning_rate must let the training converge: got one which led to a loss of "
                f"{entry['loss']} in epoch {entry['epoch']}; divide it by ten"
            )
        k = min(K, self.seen.shape[1])
        epoch = entry["epoch"]
        look = epoch % max(1, self.epochs // LOOKS) == 0 or epoch == self.epochs
        if self.held is not None and look:
            entry |= ranking_metrics(scores(*tables), self.held, self.seen, k)
            if entry["weights"] <= self.budget:
                self._compare(entry[f"ndcg@{k}"], tables)
        self.history.append(entry)
        if self.on_epoch is not None:
            self.on_epoch(entry)
        return self.is_over

    @property
    def is_over(self) -> bool:
        """True if quality has not risen for `patience` looks."""
        return self.patience is not None and self.looks_since_best >= self.patience

    def _compare(self, quality: float | None, tables: Weights) -> None:
        if self.patience is None or quality is None:
            return
        self.looks_since_best += 1
        if quality > self.best_quality:
            self.best_quality, self.looks_since_best = quality, 0
            # A new pattern is a new array, but weights go on moving where they are.
            self.best = tuple(table.with_data(table.data.copy()) for table in tables)
