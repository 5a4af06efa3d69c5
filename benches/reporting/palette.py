"""How solvers look: one colour for each package, one line style for each of its variants."""

from collections.abc import Iterable
from typing import NamedTuple

from benches.reporting.races import package
from benches.reporting.records import FLOOR

# Okabe and Ito's palette, which colour-blind readers can tell apart; the first one is ours.
OURS = "#0072B2"
PEERS = ("#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#7A5195", "#8C564B")
GREY = "#666666"  # a floor, which is nobody's
STYLES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 3)))
# Our names begin with what was made: a model, or the word itself.
OUR_NAMES = ("ours", "blend", "sparsenum", "recsys")


class Look(NamedTuple):
    """Colour, dashes and width of a line."""

    colour: str
    style: object
    width: float


def is_ours(name: str) -> bool:
    return name.startswith(OUR_NAMES)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return the look of each solver; the first variant of a package has a solid line."""
    found: dict[str, Look] = {}
    variants: dict[str, int] = {}
    for name in dict.fromkeys(names):
        whose = "ours" if is_ours(name) else package(name)
        variant = variants[whose] = variants.get(whose, -1) + 1
        peers = [other for other in variants if other not in ("ours", FLOOR)]
        if whose in peers:
            colour = PEERS[peers.index(whose) % len(PEERS)]
        else:
            colour = OURS if whose == "ours" else GREY
        width = 2.6 if whose == "ours" and variant == 0 else 1.7
        found[name] = Look(colour, STYLES[variant % len(STYLES)], width)
    return found
