"""The settings of peers on each set, and how they are found: by what our models choose by, too.

``python -m benches.recommending.tuning gowalla "GF-CF"`` tries the grid of a peer on a set, by
default of all peers, on what is left of the training pairs without those that the blend chooses
by, and prints ndcg@20 on these: of a seeded sample of users, the same for all.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from benches.recommending.peers import als, cornac_bpr, gf_cf, implicit_bpr, missing, svd
from benches.recommending.public_sets import Learner, Outcome, Problem, problem
from recsys.data.interactions import read_pairs
from recsys.evaluation.hold_out import cut
from recsys.evaluation.metrics import ranking_metrics, without

WIDE = 256  # columns of the widest peers
JUDGES = 3000  # users that settings are compared on, at most
K = 20
DECLINE = 0.97  # of the best of a course, below which the values that follow are not tried
SHARE = 0.1  # of the pairs, held back where a set names none to choose by

Setting = tuple[float, ...]


class Peer(NamedTuple):
    """A peer and its grid: what is fixed in each trial, and the values of its last setting."""

    learn: Callable[..., Iterator[Outcome]]
    fixed: tuple[Setting, ...]
    last: Setting


REGS = ((5.0,), (20.0,), (50.0,), (200.0,))
ALPHAS = (5.0, 10.0, 40.0)
LOW = tuple((rate, reg) for rate in (0.02, 0.1) for reg in (0.001, 0.01))
HIGH = tuple((rate, reg) for rate in (0.1, 0.3) for reg in (0.001, 0.01))
PASSES = (5, 15, 50, 150)
PEERS = {
    "implicit ALS, 64 columns": Peer(als, REGS, ALPHAS),
    f"implicit ALS, {WIDE} columns": Peer(partial(als, columns=WIDE), REGS, ALPHAS),
    "implicit BPR, 64 columns": Peer(implicit_bpr, LOW, PASSES),
    "Cornac BPR, 64 columns": Peer(cornac_bpr, HIGH, PASSES),
    f"SVD, {WIDE} columns": Peer(svd, ((),), (32, 64, 128, WIDE)),
    "GF-CF": Peer(gf_cf, ((),), (0.0, 0.1, 0.3, 1.0, 3.0)),  # share of the low pass
}


def validation(some: Problem) -> Problem:
    """Return what to choose settings by: the rest of the training pairs, judged on those held."""
    train = some.train
    rng = np.random.default_rng(0)
    if some.valid is None:
        base, held = cut(train.matrix, SHARE, rng)
    else:
        columns = {"user": str(train.columns["user"]), "item": str(train.columns["item"])}
        held = read_pairs(some.valid, **columns, users=train.users, items=train.items)[0]
        base = without(train.matrix, held)
    judges = rng.permutation(np.flatnonzero(held.row_counts))[:JUDGES]
    rows = np.repeat(np.arange(held.shape[0]), held.row_counts)
    return some._replace(
        train=replace(train, matrix=base), held=held.only(np.isin(rows, judges)), valid=None
    )


def trials(peer: Peer, some: Problem) -> Iterator[tuple[Setting, float]]:
    """Yield settings and the quality that they reach; a course ends where that declines."""
    chosen_by = validation(some)
    for fixed in peer.fixed:
        best = 0.0
        outcomes = peer.learn(chosen_by, *fixed, *peer.last)
        for last, outcome in zip(peer.last, outcomes, strict=False):
            found = quality(outcome, chosen_by)
            yield (*fixed, last), found
            if found < DECLINE * best:
                break
            best = max(best, found)


def quality(outcome: Outcome, some: Problem) -> float:
    """Return ndcg@20 on what is held out."""
    return ranking_metrics(outcome.scores, some.held, some.train.matrix, K)[f"ndcg@{K}"]


def tuned(peer: str, name: str) -> Learner:
    """Return a peer with its settings on a set, as a learner of one outcome."""
    return lambda some: next(PEERS[peer].learn(some, *BEST[peer][name]))


def main(name: str, *peers: str) -> None:
    """Say what the settings of some peers are worth on a set, and which is the best."""
    for peer in peers or PEERS:
        if missing(peer) is not None:
            say(name, peer, f"not installed: pip install {missing(peer)}")
            continue
        found = {}
        for setting, worth in trials(PEERS[peer], problem(name)):
            found[setting] = worth
            say(name, peer, f"{setting}: {worth:.4f}")
        say(name, peer, f"best: {max(found, key=lambda setting: found[setting])}")


def say(name: str, peer: str, what: str) -> None:
    sys.stdout.write(f"{name} | {peer} | {what}\n")
    sys.stdout.flush()


# What is missing here has not been tuned on a set, and does not run there. The wide ALS takes what
# is best at 64 columns, and the SVD has as many columns as its name says.
ALS: dict[str, Setting] = {
    "shop": (200.0, 40.0),
    "ml1m_ultragcn": (50.0, 5.0),
    "gowalla": (20.0, 40.0),
    "yelp2018": (20.0, 40.0),
    "amazon_sports": (50.0, 40.0),
    "amazon_book_kgat": (20.0, 40.0),
}
BEST: dict[str, dict[str, Setting]] = {
    "implicit ALS, 64 columns": ALS,
    f"implicit ALS, {WIDE} columns": ALS,
    f"SVD, {WIDE} columns": dict.fromkeys(ALS, (WIDE,)),
    "GF-CF": {  # as published where its authors ran it
        "shop": (0.3,),
        "ml1m_ultragcn": (0.3,),
        "gowalla": (0.3,),
        "yelp2018": (0.3,),
        "amazon_sports": (1.0,),
        "amazon_book_kgat": (0.1,),
    },
}

if __name__ == "__main__":
    main(*sys.argv[1:])
