"""A budget that grows as long as lists get better for it."""

from collections.abc import Generator, Sequence

from recsys.blend.judge import Cut, Jury, Trial
from recsys.blend.parts import learn_parts
from recsys.blend.plan import Plan
from sparsenum._system import memory

LEAST_GAIN = 0.005  # by which twice the weights must make lists better
LEARNING_BYTES = 64  # for each weight, while a blend is learned, about


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
