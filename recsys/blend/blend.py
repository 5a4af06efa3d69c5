"""The model to start with: a sparse graph and sparse factors of items under one budget."""

from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from typing import Any, ClassVar, Self, TypeVar, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.blend.budget import dense_weights, grow, left_by_walks, weights_of
from recsys.blend.graph import GraphRule
from recsys.blend.judge import Trial, cuts_of
from recsys.blend.latent import LatentRule
from recsys.blend.parts import Scales, factors_of, learn_parts, scales_of
from recsys.blend.plan import Plan
from recsys.blend.search import Search, first_plan, search
from recsys.blend.walk import WalkRule, walks_over
from recsys.data.interactions import Interactions
from recsys.data.required import require_interactions
from recsys.data.table import Source
from recsys.items.item_based import ItemBased
from recsys.scores.history_scores import HistoryScores, ItemTables
from recsys.storage import files
from recsys.storage.packing import (
    Values,
    bytes_of,
    bytes_of_pattern,
    pack,
    pack_pattern,
    quantised,
    unpack,
    unpack_pattern,
)
from sparsenum._check import choice, non_negative, whole
from sparsenum.sparse import CSR

AUTO, BEGIN_AT = "auto", "25%"  # a budget that grows, and from where
MOST_COLUMNS = 2**12  # of factors in a file: a dense matrix has as many rows and columns


Chosen = TypeVar("Chosen")  # what trials lead to


class ItemBlend(ItemBased):
    """The default recommender: a sparse graph and sparse factors of items under one budget.

    With d_u items taken by user u and d_j users of item j, the score of j is

    ``d_u^-1/2 sum_i W_ij  +  d_j^p (M sum_i d_u^-1/2 d_i^-q V_i) . V_j``
    ``+  s d_u^-1/2 sum_i d_i^-a sum_v d_v^-b x_vi x_vj d_j^-c  +  t d_j``

    summed over the items i taken. W is a graph with few edges for each item, weighed by ridge
    regression [1]_. V has few weights in many columns for each item, grown by exact gradients,
    solved exactly and pruned. M, a small dense matrix, follows from V. At equal weights both are
    better than either alone. Where items have few users, no graph within a budget holds all that
    was taken together, and walks over what all users took (x is 1 for what user v took, 0 else)
    reach the rest: they learn nothing, cost a weight of the budget for each pair of the training,
    and are taken in where lists get better for it. So is popularity, where little else is known.
    How all parts are learned and mixed is chosen on held-out pairs. Whoever has a history is
    served, known in training or not (`recommend_from`).

    Parameters
    ----------
    budget : int or str, default "25%"
        Weights of both parts (``500000``), a share of two dense tables of 64 columns, for users
        and items (``"10%"``), or what the weights take on disk (``"4MB"``; ids and histories come
        on top). Tables without room for them hold fewer. With ``"auto"`` it begins at a quarter of
        the dense tables and is doubled as long as lists get better beyond chance, up to all.
    graph_share : float, default 0.5
        Share of the weights that is the graph's, from 0 to 1.
    trials : int, default 24
        Graphs that are learned at most to choose by; with 0 nothing is chosen, and exponents and
        mix are those that suit the lengths of the histories.
    values : {"float32", "int8"}, default "float32"
        How weights are stored: as they are, or in a byte each with a scale for each row.
    n_threads : int, default 1
        Threads to learn with; the result does not depend on them.
    seed : int, default 0
        Of the pairs that are held back where `fit` is given none.

    Attributes
    ----------
    graph_ : CSR, shape (n_items, n_items)
        W, by the item taken, on the level of the factors.
    factors_ : CSR, shape (n_items, dim)
        V.
    pairs_ : CSR, shape (n_users, n_items), optional
        What walks lead over, the pairs of the training, where they have a share in the score.
    plan_ : Plan
        What was chosen.
    counts_ : ndarray of uint32, shape (n_items,)
        Users of each item in training.
    n_weights_ : int
        The budget in weights; graph and factors hold no more.
    history_ : list of dict
        What was tried, and how good its lists were.

    See Also
    --------
    recsys.EASE : exact, and dense before it is cut.
    recsys.ItemKNN : the simplest model of items, without a search.
    recsys.SparseMF : tables of users and items trained sparse.

    References
    ----------
    .. [1] Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import shop
    >>> train = recsys.Interactions.read(shop(40, 30), user="customer", item="product")
    >>> model = recsys.ItemBlend(budget="50%", trials=0).fit(train)
    >>> model.recommend(["C00019"], k=3).columns
    ['user', 'item', 'score', 'rank']
    >>> model.recommend_from(["CUP-0001", "BAG-0002"], k=3).height  # a history of somebody unknown
    3
    """

    name: ClassVar[str] = "item-blend"
    graph_: CSR
    factors_: CSR
    plan_: Plan
    counts_: NDArray[np.uint32]
    n_weights_: int
    pairs_: CSR | None
    _scales: Scales
    _tables: ItemTables

    def __init__(
        self,
        *,
        budget: int | str = "25%",
        graph_share: float = 0.5,
        trials: int = 24,
        values: Values = "float32",
        n_threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.budget = budget
        self.graph_share = graph_share
        self.trials = trials
        self.values = values
        self.n_threads = n_threads
        self.seed = seed

    def fit(
        self,
        train: Interactions,
        *,
        valid: Source | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
        plan: Plan | None = None,
        recent: NDArray[np.float64] | None = None,
    ) -> Self:
        """Choose a plan on held-out pairs, then learn the model from all of them.

        Parameters
        ----------
        train : Interactions
            What users took; weights tell what is liked, but not how much.
        valid : table or path, optional
            Pairs to choose by, with the same columns. Those that stand in `train` as well are left
            out while choosing, and learned from in the end. By default a tenth of the pairs, drawn
            at random; where lists are to be right about what comes later, the latest pairs of users
            are a better guide (`recsys.data.pairs_to_choose_by`). Where nobody has a pair to
            spare, nothing is chosen, as with no `trials`.
        on_epoch : callable, optional
            Called with each new entry of `history_`.
        plan : Plan, optional
            What another fit has chosen: nothing is chosen here, and the share of the graph is that
            of the plan.
        recent : ndarray of float64, shape (n_items,), optional
            What recent events make of each item (`recsys.data.recent_counts`), to compare with:
            lists by them and by popularity alone are looked at last, and noted in `history_`.

        Returns
        -------
        ItemBlend
            The fitted model. Cost that of `recsys.blend.graph.learn_graph` for each trial and of
            `recsys.blend.latent.learn_factors` a few times.

        Raises
        ------
        ValueError
            If a parameter is out of range, the budget cannot be read or buys nothing, or no pair
            of `valid` is known.
        """
        require_interactions(train)
        seed = whole(self.seed, "seed")
        trials = whole(self.trials, "trials")
        n_threads = whole(self.n_threads, "n_threads", lower=1)
        choice(self.values, "values", get_args(Values))
        matrix = train.matrix
        start = plan or first_plan(matrix, self._share())
        grows = self.budget == AUTO
        priced = BEGIN_AT if grows else self.budget, self.values, matrix
        if plan is not None and plan.walk_share and not left_by_walks(*priced, plan):
            plan = start = replace(plan, walk_share=0.0)  # chosen where there was more to spend
        weights = weights_of(*priced, start)
        self.history_ = []
        if plan is None and trials:
            cuts = cuts_of(train, valid, np.random.default_rng(seed))
            if cuts[0][1].nnz:
                left = left_by_walks(*priced, start)
                asked = Search(cuts, weights, trials, left, n_threads, recent)
                plan = self._followed(search(asked, start), on_epoch)
                if grows:
                    growth = grow(cuts, plan, weights, dense_weights(matrix), n_threads)
                    weights = self._followed(growth, on_epoch)
        chosen = plan or start
        if not grows:
            if chosen.walk_share and not left_by_walks(*priced, chosen):
                chosen = replace(chosen, walk_share=0.0)
            weights = weights_of(*priced, chosen)
        self._learn(matrix, weights, chosen, n_threads)
        self._remember(train)
        return self

    def _share(self) -> float:
        """Return the share of the graph, checked."""
        remedy = "0.5 gives graph and factors as many weights"
        share = non_negative(self.graph_share, "graph_share", remedy)
        if share > 1:
            raise ValueError(f"graph_share must be at most 1: got {self.graph_share!r}; {remedy}")
        return share

    def _followed(
        self,
        looks: Generator[Trial, None, Chosen],
        on_epoch: Callable[[dict[str, Any]], None] | None,
    ) -> Chosen:
        """Note each trial, and return what they lead to."""
        while True:
            try:
                trial = next(looks)
            except StopIteration as end:
                chosen: Chosen = end.value
                return chosen
            entry = {"epoch": len(self.history_) + 1, "part": trial.part, **trial.metrics()}
            self.history_.append(entry)
            if on_epoch is not None:
                on_epoch(entry)

    def _learn(self, matrix: CSR, weights: int, plan: Plan, n_threads: int) -> None:
        """Learn both parts, bring them to one level, and round them if so wanted."""
        parts = learn_parts(matrix, weights, plan, n_threads)
        assert parts.graph is not None
        assert parts.table is not None
        scales = scales_of(parts, plan)
        graph, table = parts.graph, parts.table
        graph = graph.with_data(graph.data * np.float32(scales.graph))
        if self.values == "int8":
            graph, table = quantised(graph), quantised(table)
        self.n_weights_ = weights
        counts = matrix.column_counts.astype(np.uint32)
        self.graph_, self.factors_, self.counts_, self.plan_ = graph, table, counts, plan
        self._serve(scales, matrix if plan.walk_share else None)

    def _serve(self, scales: Scales, pairs: CSR | None) -> None:
        self._scales, self.pairs_ = scales, pairs
        rule, popular = self.plan_.factors, self.plan_.popularity_share
        self._tables = ItemTables(
            self.graph_,
            factors_of(self.factors_, self.counts_, rule, scales.factors)
            if self.factors_.nnz
            else None,
            None if pairs is None else walks_over(pairs, self.plan_.walk, scales.walks),
            np.float32(scales.popularity) * self.counts_.astype(np.float32) if popular else None,
        )

    @property
    def scorer(self) -> HistoryScores:
        """The scorer of users by their histories, which also lists the best items."""
        return HistoryScores(self.seen_, self._tables)

    def scores_of(self, taken: CSR) -> NDArray[np.float32]:
        """Return the scores of all items for users with these rows of interactions."""
        return HistoryScores(taken, self._tables)(np.arange(taken.shape[0]))

    def contributions(self, user: int, item: int) -> pl.DataFrame:
        """Return what each item taken adds to the score of one for a user, by row number."""
        taken, parts = self.scorer.contributions(user, item)
        total = np.sum(list(parts.values()), axis=0, dtype=np.float32)
        return pl.DataFrame({"item": self.items_.gather(taken), "contribution": total, **parts})

    def _with_rows(self, rows: NDArray[np.int64]) -> Self:
        """Return the model of some of its users; no walk leads over the others any more."""
        some = super()._with_rows(rows)
        if self.pairs_ is not None and self._serves(self.pairs_):
            some._serve(self._scales, self.pairs_.take(rows))
        return some

    def similarities(self, item: int) -> NDArray[np.float32]:
        """Return the scores of all items for a history of that one, by number."""
        return self._tables.similarities(item)

    def report(self) -> dict[str, Any]:
        """Return budget, weights and bytes of both parts, and what was chosen.

        Returns
        -------
        dict
            ``budget`` (weights), ``weights``, ``bytes_values``, ``bytes_indices``, ``bytes_rows``
            (as stored; those of the items' counts among the last), the same by part under
            ``tables``, and ``plan``.
        """
        self._fitted()
        tables = {}
        for name, table in (("graph", self.graph_), ("factors", self.factors_)):
            size = bytes_of(table, self.values)
            tables[name] = {
                "rows": table.shape[0],
                "dim": table.shape[1],
                "weights": table.nnz,
                "bytes_values": size.values,
                "bytes_indices": size.indices,
                "bytes_rows": size.rows,
            }
        if self.pairs_ is not None:
            size = bytes_of_pattern(self.pairs_)
            tables["walks"] = {
                "rows": self.pairs_.shape[0],
                "dim": self.pairs_.shape[1],
                "weights": self.pairs_.nnz,
                "bytes_values": 0,
                "bytes_indices": size.indices,
                "bytes_rows": size.rows,
            }
        totals = {
            key: sum(table[key] for table in tables.values())
            for key in ("weights", "bytes_values", "bytes_indices", "bytes_rows")
        }
        totals["bytes_rows"] += self.counts_.nbytes
        budget = {"model": self.name, "budget": self.n_weights_}
        return budget | totals | {"tables": tables, "plan": asdict(self.plan_)}

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        header = {
            "parameters": files.plain(self.parameters()),
            "budget": self.n_weights_,
            "plan": asdict(self.plan_),
            "scales": asdict(self._scales),
            "history": self.history_,
        }
        arrays = pack(self.graph_, "graph", self.values) | pack(
            self.factors_, "factors", self.values
        )
        if self.pairs_ is not None:
            arrays |= pack_pattern(self.pairs_, "walks")
        return header, arrays | {"counts": self.counts_}

    @classmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        model = cls(**header["parameters"])
        plan = header["plan"] | {
            "graph": GraphRule(**header["plan"]["graph"]),
            "factors": LatentRule(**header["plan"]["factors"]),
            "walk": WalkRule(**header["plan"].get("walk", {})),  # which older files do not have
        }
        chosen, n_items, counts = Plan(**plan), shape[1], arrays["counts"]
        if counts.dtype != np.uint32 or counts.shape != (n_items,):
            raise ValueError("the file's counts of the items are not sound")
        graph = unpack(arrays, "graph", (n_items, n_items))
        factors = unpack(
            arrays,
            "factors",
            (n_items, whole(chosen.factors.dim, "dim", lower=1, upper=MOST_COLUMNS)),
        )
        pairs = unpack_pattern(arrays, "walks", n_items) if chosen.walk_share else None
        scales = Scales(**header["scales"]) if "scales" in header else Scales(factors=chosen.mix)
        model.n_weights_, model.history_ = header["budget"], header["history"]
        model.graph_, model.factors_, model.counts_, model.plan_ = graph, factors, counts, chosen
        model._serve(scales, pairs)
        return model
