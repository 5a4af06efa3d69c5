"""The plan of a blend: how its budget is shared, and how its parts are mixed."""

from dataclasses import dataclass, field

from recsys.blend.graph import GraphRule
from recsys.blend.latent import LatentRule
from recsys.blend.walk import WalkRule


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of the blend: how its budget is shared and its parts are mixed.

    Attributes
    ----------
    graph : GraphRule
        How the graph is learned.
    factors : LatentRule
        How the factors are learned.
    graph_share : float
        Share of the weights that is the graph's; what walks read is paid before.
    mix : float
        Share of the factors in what graph and factors say, once both are on one level.
    walk : WalkRule
        How walks are weighed.
    walk_share, popularity_share : float
        Shares of walks and of popularity in the score, once all parts are on one level; the rest
        is that of graph and factors.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import shop
    >>> train = recsys.Interactions.read(shop(40, 30), user="customer", item="product")
    >>> plan = recsys.ItemBlend(budget="50%", trials=0).fit(train).plan_
    >>> plan.graph_share, plan.mix, plan.walk_share
    (0.5, 0.4, 0.0)
    """

    graph: GraphRule
    factors: LatentRule
    graph_share: float
    mix: float
    walk: WalkRule = field(default_factory=WalkRule)
    walk_share: float = 0.0
    popularity_share: float = 0.0

    @property
    def rest(self) -> float:
        """Share of graph and factors together in the score, from 0 to 1."""
        return max(round(1.0 - self.walk_share - self.popularity_share, 6), 0.0)

    def weights_of_parts(self, weights: int, n_items: int, pairs: int) -> tuple[int, int]:
        """Return how many weights of a budget are for the graph, and how many for the factors.

        Parameters
        ----------
        weights : int
            The budget.
        n_items : int
            Items: factors have a place for each of them and each column.
        pairs : int
            What users took, paid where walks have a share.

        Returns
        -------
        tuple of int
            Together what is left. What has no share in the score gets nothing.
        """
        left = max(weights - pairs, 0) if self.walk_share else weights
        places = n_items * self.factors.dim
        if not self.rest:
            return 0, 0
        if self.walk_share and self.mix in (0.0, 1.0):
            return (left, 0) if self.mix == 0.0 else (0, min(left, places))
        graph = max(round(self.graph_share * left), left - places)
        return graph, left - graph
