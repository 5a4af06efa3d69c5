"""The budget of a blend: what it buys, what walks leave of it, and how it grows by itself."""

from collections.abc import Generator, Sequence
from dataclasses import replace

from recsys.blend.judge import Cut, Jury, Trial
from recsys.blend.parts import learn_parts
from recsys.blend.plan import Plan
from recsys.blend.shares import BEGIN
from recsys.blend.walk import MOST_READS, reads_of_a_user
from recsys.storage.budget import read_budget
from recsys.storage.packing import Values, bytes_of_pattern, row_bytes, weight_bytes
from sparsenum._system import memory
from sparsenum.sparse import CSR

COUNT_BYTES = 4  # for each item, to say how many users it has
YARDSTICK = 64  # columns of the dense tables of users and items that a share is a share of
# Of the budget, what walks must leave to graph and factors. Where pairs are so many, as on all of
# Gowalla at 25 %, choosing their shares takes minutes, and walks are not what is lacking.
LEAST_LEFT = 0.4
LEAST_GAIN = 0.005  # by which twice the weights must make lists better
LEARNING_BYTES = 64  # for each weight, while a blend is learned, about


def dense_weights(matrix: CSR) -> int:
    """Return the weights of the dense tables of users and items that a share is a share of."""
    return YARDSTICK * sum(matrix.shape)


def weights_of(budget: int | str, values: Values, matrix: CSR, plan: Plan) -> int:
    """Return the weights that a budget buys, if any; what walks read is among them."""
    weights, n_items = _priced(budget, values, matrix, plan), matrix.shape[1]
    if weights < 1:
        raise ValueError(
            f"budget must buy a weight at least: got {budget!r}; "
            f"{n_items:,} items are well served by {20 * n_items:,} and more"
        )
    return weights


def _priced(budget: int | str, values: Values, matrix: CSR, plan: Plan) -> int:
    """Return the weights that a budget buys, which may be none."""
    n_items = matrix.shape[1]
    parts = ((n_items, plan.graph_share), (plan.factors.dim, 1 - plan.graph_share))
    each = sum(part * weight_bytes(n, values) for n, part in parts)
    rows = n_items * (COUNT_BYTES + sum(row_bytes(n, values) for n, _ in parts))
    pairs = matrix.nnz if plan.walk_share else 0
    paid = bytes_of_pattern(matrix).total if plan.walk_share else 0

    def bought(size: int) -> int:
        return int(pairs * (size > paid) + max(size - rows - paid, 0) / each)

    return read_budget(budget, dense_weights(matrix), bought)


def left_by_walks(budget: int | str, values: Values, matrix: CSR, plan: Plan) -> int:
    """Return what walks leave of a budget; 0 if that is little, or if they read too much."""
    weights = weights_of(budget, values, matrix, replace(plan, walk_share=0.0))
    left = _priced(budget, values, matrix, replace(plan, walk_share=BEGIN)) - matrix.nnz
    too_long = reads_of_a_user(matrix) > MOST_READS
    return 0 if too_long or left < LEAST_LEFT * weights else left


def grow(
    cuts: Sequence[Cut], plan: Plan, weights: int, most: int, n_threads: int = 1
) -> Generator[Trial, None, int]:
    """Yield a trial of each budget, and return the last that made lists better.

    Parameters
    ----------
    cuts : sequence of (CSR, CSR)
        What to learn from, and what to judge by.
    plan : Plan
        How to learn, with each budget.
    weights : int
        The budget to begin with.
    most : int
        The largest budget: it is doubled up to there, and as far as the memory of the machine
        reaches.
    n_threads : int, default 1
        Threads to learn with.
    """
    jury = Jury(cuts)

    def attempt(weights: int) -> Trial:
        parts = [learn_parts(base, weights, plan, n_threads) for base, _ in cuts]
        return jury.blended("budget", plan, parts)

    now = attempt(weights)
    yield now
    while 2 * weights <= most and 2 * weights * LEARNING_BYTES * len(cuts) <= memory():
        more = attempt(2 * weights)
        yield more
        if not more.beats(now, LEAST_GAIN):
            break
        now, weights = more, 2 * weights
    return weights
