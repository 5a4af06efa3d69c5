"""A sparse graph of items: each item is predicted from a few others that its users took too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.blend import _cpu_graph
from recsys.blend.incidence import Incidence
from sparsenum._threads import BLOCK, by_rows
from sparsenum.sparse import CSR, transpose
from sparsenum.sparse.formats import index_type, row_starts
from sparsenum.topology import allocate

FLOOR = 2  # sources of a target, where the budget and the data allow them
# A row of k sources costs k cubed and k squared places: none is wider than this, or than this many
# times the mean, unless the others are full.
WIDEST, TIMES_MEAN = 1024, 8
# What is read for one target: items of its users in all, items of one user, and users of the pool
# of its sources, those of each item counted. Beyond that, samples say nearly as much.
MOST_ITEMS, LONGEST, MOST_USERS = 2**20, 512, 2**17
READ_OF_A_USER = 5  # what it costs to read a user of a pool and add up what they share
WITHOUT_END = 2**62
PARTS = 256  # parts of the targets: enough to share among threads, few enough to clear scratch for


@dataclass(frozen=True, slots=True)
class GraphRule:
    """The rule by which sources are chosen and weighed; d counts users of an item, items of a user.

    Attributes
    ----------
    select_power : float, default 0.25
        The sources of a target are those with the largest sum over shared users of
        ``d_user^-user_power``, times ``d_source^-select_power``.
    user_power : float, default 0.5
        How much less a user with many items says.
    source_power : float, default 0.3
        Items are scaled by ``d_item^-source_power`` in the ridge regression on the sources, and
        the weights with them.
    target_power : float, default 0.4
        The weights of a target are multiplied by ``d_target^target_power``.
    ridge : float, default 40.0
        Ridge, in units of the mean of ``d_user^-user_power`` over pairs; as it grows the weights
        become those of plain counting.
    row_power : float, default 0.5
        The number of sources of a target goes with ``d_target^row_power``.
    explore : float, default 0.0
        Sources are picked one by one, by exact gradients, from ``1 + explore`` times as many of
        the best in selection. It pays where histories are long, above a hundred items or so.

    See Also
    --------
    recsys.blend.Plan : what it is a part of.

    Examples
    --------
    >>> import recsys
    >>> rule = recsys.blend.GraphRule(ridge=10.0)
    >>> rule.ridge, rule.user_power
    (10.0, 0.5)
    """

    select_power: float = 0.25
    user_power: float = 0.5
    source_power: float = 0.3
    target_power: float = 0.4
    ridge: float = 40.0
    row_power: float = 0.5
    explore: float = 0.0


def learn_graph(
    matrix: CSR | Incidence,
    weights: int,
    rule: GraphRule,
    *,
    targets: NDArray[np.bool_] | None = None,
    n_threads: int = 1,
    on_block: Callable[[float], None] | None = None,
) -> CSR:
    """Learn a graph of exactly `weights` edges from who took what.

    With X the pattern of `matrix` by users and items, scaled to
    ``x_ui = d_u^(-user_power / 2) d_i^(-source_power)``, the sources S of a target j are weighed
    by ``w = (X_S' X_S + ridge)^-1 X_S' x_j`` [1]_. Sources are added one by one, where the
    gradient of the error over what is left of the column says that the error falls most; they are
    in fact pivots of the Cholesky factor that gives the weights, so that without exploring this
    is the ridge regression on all of S. Growing in `sparsenum.topology` compares scores of
    a whole table; here each target has its own, in scratch, and is done with at once.

    Histories of more than `LONGEST` items are read by systematic samples, another for each
    target, and so are the users of targets and pools that have very many. The samples are
    functions of the row numbers: the same data give the same graph, for any number of threads.

    Parameters
    ----------
    matrix : CSR, shape (n_users, n_items), or Incidence
        What users took; only the pattern counts. Where it serves several times, its sides do.
    weights : int
        Edges in all. If fewer pairs of items share a user, all of these are edges.
    rule : GraphRule
        Exponents and choices.
    targets : ndarray of bool, shape (n_items,), optional
        The targets to learn, as a sample of what the others would get: the edges of these
        alone, about as many as they have among `weights` edges of all.
    n_threads : int, default 1
        Threads that share the targets; the result does not depend on it.
    on_block : callable, optional
        Receives the share of the targets that is done, from time to time, from any thread.

    Returns
    -------
    CSR, shape (n_items, n_items)
        ``W[i, j]`` is what having taken i adds to the score of j, float32. Each target gets in
        proportion to ``d_j^row_power`` sources, 2 at least if there are weights for that; what a
        target with few neighbours leaves goes to the others. Cost of a target: the items of
        all of its users, and for p candidates of k sources their users, the squares of how many
        of the p each took, and p k^2. Memory: 4 bytes for each entry of `matrix`, 12 for each
        edge, and for each thread O(n_users + n_items + p^2).

    References
    ----------
    .. [1] Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019; Ning, Karypis,
       "SLIM: Sparse linear methods for top-N recommender systems", ICDM 2011.
    """
    sides = Incidence.of(matrix) if isinstance(matrix, CSR) else matrix
    # Samples of long histories may hide pairs, which only matters if all pairs are wanted.
    for limits in ((MOST_ITEMS, LONGEST), (WITHOUT_END, WITHOUT_END)):
        learner = _Learner.of(sides, rule, limits, n_threads, on_block)
        quota = learner.quota(weights)
        if targets is not None:
            return learner.graph(learner.refilled(learner.learned(quota * targets, targets), 0))
        edges = learner.refilled(learner.learned(quota), weights)
        if edges.sources.size == weights or not learner.samples:
            break
    return learner.graph(edges)


def work_of_graph(sides: Incidence, weights: int) -> float:
    """Return about how many items and users are read to learn a graph, in reads of items."""
    counts = sides.counts.astype(np.float64)
    typical = float(counts @ counts) / max(float(counts.sum()), 1.0)  # users of an item taken
    pools = min(weights * typical, counts.size * float(MOST_USERS))
    return float(np.minimum(sides.reach, MOST_ITEMS).sum()) + READ_OF_A_USER * pools


@dataclass(frozen=True, slots=True)
class _Edges:
    """The edges by target: sources and values from starts[j], and how many items each has met."""

    starts: NDArray[np.int64]
    sources: NDArray[np.unsignedinteger[Any]]
    values: NDArray[np.float32]
    met: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Learner:
    """The state that all targets share while a graph is learned."""

    rule: GraphRule
    counts: NDArray[np.int64]
    reach: NDArray[np.uint64]
    samples: bool
    pattern: tuple[Any, ...]
    constants: tuple[Any, ...]
    n_threads: int
    on_block: Callable[[float], None] | None

    @classmethod
    def of(
        cls,
        sides: Incidence,
        rule: GraphRule,
        limits: tuple[int, int],
        n_threads: int,
        on_block: Callable[[float], None] | None,
    ) -> "_Learner":
        counts, reach = sides.counts, sides.reach
        lengths = np.maximum(sides.lengths, 1)
        weight = (lengths**-rule.user_power).astype(np.float32)
        mean = float(sides.lengths @ weight) / max(int(counts.sum()), 1)
        users = np.maximum(counts, 1)
        scales = (users**-rule.select_power).astype(np.float32), users**-rule.source_power
        pattern = sides.users, sides.items, weight, scales, reach
        most_items, longest = limits
        constants = (
            (np.uint64(most_items), np.uint64(longest)),
            float(MOST_USERS),
            rule.ridge * mean,
            1.0 + rule.explore,
        )
        samples = bool((reach >= most_items).any() or (lengths > longest).any())
        return cls(rule, counts, reach, samples, pattern, constants, n_threads, on_block)

    def quota(self, weights: int) -> NDArray[np.int64]:
        """Return how many sources each target is to get, as far as can be told beforehand."""
        n_items = self.counts.size
        widest = max(WIDEST, TIMES_MEAN * weights // max(n_items, 1))
        most = np.minimum(self.reach, min(widest, max(n_items - 1, 0))).astype(np.int64)
        least = np.minimum(most, min(FLOOR, weights // max(n_items, 1)))
        total = min(weights, int(most.sum()))
        return allocate(total, self.counts**self.rule.row_power, lower=least, upper=most)

    def learned(self, quota: NDArray[np.int64], only: NDArray[np.bool_] | None = None) -> _Edges:
        """Learn the sources of all targets, or of some; less than the quota where few were met."""
        n_items = quota.size
        starts = row_starts(quota).view(np.int64)
        sources = np.zeros(starts[-1], index_type(n_items))
        edges = _Edges(
            starts, sources, np.zeros(sources.size, np.float32), np.zeros(n_items, np.int64)
        )
        # Dealt out like cards: neighbouring items are often equally popular.
        targets = np.argsort(np.arange(n_items) % PARTS, kind="stable").astype(np.uint32)
        targets = targets if only is None else targets[only[targets]]
        done: list[int] = []

        def learn(part: slice) -> None:
            _cpu_graph.learn_targets(
                targets[part], quota, starts, *self.pattern, self.constants,
                sources, edges.values, edges.met,
            )  # fmt: skip
            done.append(part.stop - part.start)
            if self.on_block is not None and only is None:
                self.on_block(sum(done) / targets.size)

        if targets.size:
            size = -(-targets.size // PARTS)
            by_rows(learn, (targets.size, BLOCK // size), self.n_threads)
        return edges

    def refilled(self, edges: _Edges, weights: int) -> _Edges:
        """Return the edges after targets that found too few sources gave their quota to others."""
        quota = np.diff(edges.starts)
        found = np.minimum(quota, edges.met)
        room = edges.met - found
        rest = min(max(weights - int(found.sum()), 0), int(room.sum()))
        extra = allocate(rest, self.counts**self.rule.row_power, upper=room)
        same = extra == 0
        if same.all() and (found == quota).all():
            return edges
        fuller = self.learned(found + extra, ~same)
        place = np.arange(edges.sources.size) - np.repeat(edges.starts[:-1], quota)
        stays = np.repeat(same, quota) & (place < np.repeat(found, quota))
        taken = np.repeat(same, found + extra)
        fuller.sources[taken] = edges.sources[stays]
        fuller.values[taken] = edges.values[stays]
        return fuller

    def graph(self, edges: _Edges) -> CSR:
        """Return the edges by source, scaled by the popularity of the target."""
        popularity = (self.counts**self.rule.target_power).astype(np.float32)
        values = edges.values * np.repeat(popularity, np.diff(edges.starts))
        n_items = self.counts.size
        return transpose(
            CSR(edges.starts.astype(np.uint64), edges.sources, values, (n_items, n_items))
        )
