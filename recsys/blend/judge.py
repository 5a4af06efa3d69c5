"""Judging trials by the lists of some users and their held-out items, on one cut or several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.blend.parts import Parts
from recsys.blend.plan import Plan
from recsys.data.interactions import Interactions
from recsys.data.table import Source
from recsys.evaluation.hold_out import cut
from recsys.evaluation.metrics import rank, without
from recsys.scores.history_scores import HistoryScores, ItemTables
from recsys.scores.toplists import Scores
from sparsenum.sparse import CSR

K = 20  # length of the lists that are judged,
SHORT = 10  # or of a catalogue up to 10 times as long: lists of all items say nothing
SHORTEST = 2  # of a share of the items, in proportion, but not shorter
JUDGES = 5000  # users whose held-out items judge a trial, at most,
MOST_JUDGES = 20_000  # or more if of few items, but no more than these

VALIDATION = 0.1  # share of the pairs that is held back to choose by, where none are given,
MOST_CUTS = 3  # from one table after the other, at most so often: until there are JUDGES in all

Cut = tuple[CSR, CSR]  # what is learned from, and what is held back to judge by


def cuts_of(train: Interactions, valid: Source | None, rng: np.random.Generator) -> list[Cut]:
    """Return what to learn from while choosing, and what to choose by, once or several times."""
    if valid is not None:
        held = train.read_held(valid).matrix
        if not held.nnz:
            raise ValueError(
                "valid must hold pairs of users and items of train: got none that are known; leave "
                "it out, or choose nothing by trials=0"
            )
        return [(without(train.matrix, held), held)]
    cuts = [cut(train.matrix, VALIDATION, rng)]
    judges = max(int(np.count_nonzero(cuts[0][1].row_counts)), 1)
    while len(cuts) < min(MOST_CUTS, round(JUDGES / judges)) and cuts[0][1].nnz:
        cuts.append(cut(train.matrix, VALIDATION, rng))
    return cuts


@dataclass(frozen=True, slots=True)
class Trial:
    """One look at the held-out pairs.

    Attributes
    ----------
    part : str
        What was looked at: "graph", "factors", "walks", "mix", "shares", "budget", "popularity" or
        "recent popularity".
    plan : Plan
        What was tried.
    k : int
        Length of the lists.
    recall, ndcg : float
        How good they were.
    each : ndarray
        Mean of both metrics for each user of each cut.
    """

    part: str
    plan: Plan
    k: int
    recall: float
    ndcg: float
    each: NDArray[np.float64] = field(compare=False, repr=False)

    @property
    def worth(self) -> float:
        """Mean of both metrics."""
        return (self.recall + self.ndcg) / 2

    def metrics(self) -> dict[str, float]:
        """Return recall and NDCG by name."""
        return {f"recall@{self.k}": self.recall, f"ndcg@{self.k}": self.ndcg}

    def beats(self, other: "Trial", share: float = 0.0) -> bool:
        """Whether it is better than another of the same judges by more than chance explains.

        By more than the standard error of the mean gain, over users, and than a share of the other.
        """
        gains = self.each - other.each
        if gains.size < 2:
            return False
        error = float(gains.std(ddof=1)) / gains.size**0.5
        return bool(gains.mean() > max(error, share * other.worth))


class Judge:
    """Judges what is learned from `base` by the lists of some users and their held-out items.

    Where only a share of the items are targets, no other stands in a list, and lists are so much
    shorter: they hold about what longer ones of all items would hold of the targets.
    """

    def __init__(self, base: CSR, held: CSR, targets: NDArray[np.bool_]) -> None:
        self.base = base
        share = float(targets.mean())
        self.permitted = None if share == 1 else np.flatnonzero(targets)
        k = min(K, max(base.shape[1] // SHORT, 1))
        self.k = max(round(k * share), min(k, SHORTEST))
        held = held.only(targets[held.indices])
        with_held = np.flatnonzero(held.row_counts)
        most = min(round(JUDGES / share), MOST_JUDGES)
        few = with_held[
            np.linspace(0, with_held.size - 1, min(with_held.size, most)).astype(np.int64)
        ]
        is_judge = np.zeros(held.shape[0], np.bool_)
        is_judge[few] = True
        self.held = held.only(np.repeat(is_judge, held.row_counts))

    def metrics(self, scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return recall and NDCG of the list of each judge."""
        found = rank(scores, self.held, self.base, self.k, permitted=self.permitted).per_user
        return found["recall"], found["ndcg"]


class Jury:
    """The judges of all cuts, who look at what was learned from each."""

    def __init__(self, cuts: Sequence[Cut], targets: NDArray[np.bool_] | None = None) -> None:
        everything = np.ones(cuts[0][0].shape[1], np.bool_) if targets is None else targets
        self.judges = [Judge(base, held, everything) for base, held in cuts]

    def prefers(self, trial: Trial, before: Trial) -> bool:
        """Return whether a trial is better than one before; of a small table, beyond chance."""
        return trial.beats(before) if len(self.judges) > 1 else trial.worth > before.worth

    def look(self, part: str, plan: Plan, tables: Sequence[ItemTables]) -> Trial:
        """Return how good the lists are that are made by the tables of each cut."""
        scores = [
            HistoryScores(judge.base, of) for judge, of in zip(self.judges, tables, strict=True)
        ]
        return self._trial(part, plan, scores)

    def blended(self, part: str, plan: Plan, parts: Sequence[Parts]) -> Trial:
        """Return how good the lists are of what was learned from each cut, mixed as planned."""
        tables = [
            of.mixed(plan, judge.permitted) for judge, of in zip(self.judges, parts, strict=True)
        ]
        return self.look(part, plan, tables)

    def popular(self, part: str, plan: Plan, counts: Callable[[CSR], NDArray[Any]]) -> Trial:
        """Return how good the same list for all is, by counts of the items."""

        def same(judge: Judge) -> Scores:
            row = counts(judge.base).astype(np.float32)
            return lambda users: np.tile(row, (users.size, 1))

        return self._trial(part, plan, [same(judge) for judge in self.judges])

    def _trial(self, part: str, plan: Plan, scores: Sequence[Scores]) -> Trial:
        found = [judge.metrics(of) for judge, of in zip(self.judges, scores, strict=True)]
        recalls, ndcgs = (np.concatenate(each) for each in zip(*found, strict=True))
        recall, ndcg = (float(of.mean()) if of.size else 0.0 for of in (recalls, ndcgs))
        return Trial(part, plan, self.judges[0].k, recall, ndcg, (recalls + ndcgs) / 2)
