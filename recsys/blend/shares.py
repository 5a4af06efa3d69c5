"""Choosing how walks are weighed, and how much each part of a blend says."""

from collections.abc import Generator, Sequence
from dataclasses import replace

from recsys.blend.judge import Jury, Trial
from recsys.blend.parts import Parts
from recsys.blend.plan import Plan
from recsys.blend.walk import WalkRule

WALK_STEPS = {"target_power": 0.1, "user_power": 0.25, "source_power": 0.2}
WALK_LOOKS = 10  # that a climb of the powers of walks may take, about
# Shares of graph, factors and walks to begin with: what did best on the validation cuts of tables
# of some hundred users; and what does where more is known, for both parts as they were mixed.
MOSTLY_WALKS, BEGIN = (0.1, 0.1, 0.8), 0.5
SHARE_STEPS = (0.2, 0.1)  # by which shares of the score are moved
LEAST_POPULAR = 0.5  # of what a blend is worth, that popularity alone must be worth to be tried
POPULAR = (0.2, 0.4, 0.6, 0.8)  # shares of popularity in the score

Climb = Generator[Trial, None, Trial]


def climb_walks(jury: Jury, plan: Plan, parts: Sequence[Parts]) -> Climb:
    """Try powers of walks alone, one after the other up and down; return the best trial."""

    def attempt(rule: WalkRule) -> Trial:
        tried = replace(plan, walk=rule)
        return jury.look("walks", tried, [of.walks(tried) for of in parts])

    best = attempt(plan.walk)
    yield best
    tried, moved = {plan.walk}, True
    while moved and len(tried) < WALK_LOOKS:
        moved = False
        for power, step in WALK_STEPS.items():
            for sign in (1, -1):
                value = round(getattr(best.plan.walk, power) + sign * step, 6)
                rule = replace(best.plan.walk, **{power: value})
                if rule in tried:
                    continue
                tried.add(rule)
                trial = attempt(rule)
                yield trial
                if trial.beats(best):
                    best, moved = trial, True
                    break
    return best


def share_out(jury: Jury, best: Trial, parts: Sequence[Parts]) -> Climb:
    """Move shares of the score from part to part as long as lists get better; return the best.

    The parts are the graph, the factors and walks.
    """
    shares = shares_of(best.plan)
    for step in SHARE_STEPS:
        moved = True
        while moved:
            moved = False
            for giver, taker in ((0, 2), (1, 2), (2, 0), (2, 1), (0, 1), (1, 0)):
                if shares[giver] < step - 1e-9:
                    continue
                tried = list(shares)
                tried[giver], tried[taker] = tried[giver] - step, tried[taker] + step
                trial = jury.blended("shares", with_shares(best.plan, tried), parts)
                yield trial
                if trial.beats(best):
                    best, shares, moved = trial, tried, True
                    break
    return best


def shares_of(plan: Plan) -> list[float]:
    """Return the shares of graph, factors and walks in the score."""
    return [plan.rest * (1 - plan.mix), plan.rest * plan.mix, plan.walk_share]


def with_shares(plan: Plan, shares: Sequence[float]) -> Plan:
    """Return a plan with other shares of graph, factors and walks."""
    graph, factors, walks = (max(round(share, 6), 0.0) for share in shares)
    mix = factors / (graph + factors) if graph + factors else plan.mix
    return replace(plan, mix=round(mix, 6), walk_share=walks)


def with_popularity(jury: Jury, best: Trial, alone: Trial, parts: Sequence[Parts]) -> Climb:
    """Give popularity a growing share of the score as long as lists get better, at last all.

    `alone` is what popularity alone is worth: where that is little, it is not tried.
    """
    if alone.worth < LEAST_POPULAR * best.worth:
        return best
    for share in POPULAR:
        scale = (1 - share) / max(best.plan.rest + best.plan.walk_share, 1e-9)
        tried = replace(
            best.plan,
            walk_share=round(best.plan.walk_share * scale, 6),
            popularity_share=share,
        )
        trial = jury.blended("shares", tried, parts)
        yield trial
        if not trial.beats(best):
            break
        best = trial
    if alone.beats(best):
        return replace(alone, plan=replace(best.plan, walk_share=0.0, popularity_share=1.0))
    return best
