"""The model of alternating least squares: two sparse tables, each row solved exactly."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.data.required import require_interactions
from recsys.data.table import Source
from recsys.evaluation.hold_out import hold_out
from recsys.factors.least_squares import Problem, train_tables
from recsys.factors.two_tables import MAX_DIM, Factored
from recsys.scores.factor_scores import FactorScores
from recsys.storage.budget import parse_budget
from recsys.training.monitor import Monitor
from sparsenum._check import non_negative, positive, whole
from sparsenum.sparse import CSR


class SparseALS(Factored):
    """Alternating least squares on two sparse tables, each row solved exactly under its budget.

    With the target t_ui = (d_u d_i)^-1/2 for what was taken, of users and items with d events, and
    0 for all else, the loss is that of Hu, Koren and Volinsky [1]_: the sum over all pairs of
    ``c_ui (t_ui - w_u . v_i)^2`` with confidence 1 + `alpha` for what was taken and 1 for all
    else, and `reg` times the squares of the weights. Each sweep solves all users, then all
    items: a row grows where its loss falls most (g^2 / A_jj, of the exact gradient), is solved on
    this wider support, pruned back to its budget by what a weight is worth (w^2 A_jj), and solved
    again. The polish goes on with fixed supports on the softmax of what was taken
    among items drawn, which is nearer to what lists are judged by.

    Parameters
    ----------
    budget : int or str, default "5%"
        Weights in both tables together, as for `SparseMF`; rows get them in proportion to
        events ** 0.4.
    dim : int, default 256
        Columns of the tables, up to 65,536; time for each row grows with its weights and not
        with them.
    epochs : int, default 6
        Sweeps of least squares.
    polish : int, default 8
        Epochs of sampled softmax after them; 0 is better on small dense catalogues, where users
        have taken about as many items as are drawn against them.
    alpha : float, default 1.0
        Confidence in what was taken beyond that in what was not; in proportion to log(1 + weight),
        with mean `alpha`.
    reg : float, default 0.05
        L2 penalty of the least squares.
    n_negatives : int, default 256
        Items drawn for each user in an epoch of the polish.
    patience, validation
        As for `SparseMF`.
    seed : int, default 0
        Same seed, same table, same machine: same model.

    Attributes
    ----------
    user_table_, item_table_ : CSR
        The weights, float32; scores approach 1 for what was taken, before the polish.
    n_weights_ : int
        The budget in weights; the tables hold exactly as many.
    item_events_ : ndarray of int64, shape (n_items,)
        Events of each item that it learned from: new users are solved by them.
    history_ : list of dict
        The ledger of each epoch (see `recsys.factors.least_squares.Sweep`), and metrics
        where taken.

    See Also
    --------
    recsys.SparseMF : factors trained by descent, with exchange of weights.
    recsys.ItemBlend : the default, within a budget.

    References
    ----------
    .. [1] Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM
       2008.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import shop
    >>> train = recsys.Interactions.read(shop(40, 30), user="customer", item="product")
    >>> model = recsys.SparseALS(budget="20%", dim=16, epochs=2).fit(train)
    >>> model.recommend(["C00019"], k=3).columns
    ['user', 'item', 'score', 'rank']
    """

    name: ClassVar[str] = "sparse-als"
    item_events_: NDArray[np.int64]

    def __init__(
        self,
        *,
        budget: int | str = "5%",
        dim: int = 256,
        epochs: int = 6,
        polish: int = 8,
        alpha: float = 1.0,
        reg: float = 0.05,
        n_negatives: int = 256,
        patience: int | None = None,
        validation: float | None = None,
        seed: int = 0,
    ) -> None:
        self.budget = budget
        self.dim = dim
        self.epochs = epochs
        self.polish = polish
        self.alpha = alpha
        self.reg = reg
        self.n_negatives = n_negatives
        self.patience = patience
        self.validation = validation
        self.seed = seed

    def fit(
        self,
        train: Interactions,
        *,
        valid: Source | None = None,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> Self:
        """Sweep over users and items, then polish; the budget holds at every step.

        Parameters
        ----------
        train : Interactions
            What users took; weights count on a logarithmic scale.
        valid : table or path, optional
            Held-out events with the same columns, evaluated about ten times on the way.
        on_epoch : callable, optional
            Called with each new entry of `history_`.

        Returns
        -------
        SparseALS
            The fitted model. Cost for each sweep O(nnz k (k + k^2 / dim)) and O(k^3) a row with k
            weights in it, memory O(dim^2) beside the tables.

        Raises
        ------
        ValueError
            If a parameter is out of range or the budget does not fit the tables.
        """
        require_interactions(train)
        dim = whole(self.dim, "dim", lower=1, upper=MAX_DIM)
        epochs = whole(self.epochs, "epochs", lower=1)
        polish = whole(self.polish, "polish")
        drawn = whole(self.n_negatives, "n_negatives", lower=1)
        rng = np.random.default_rng(whole(self.seed, "seed"))
        patience = None if self.patience is None else whole(self.patience, "patience", lower=1)
        n_weights = parse_budget(self.budget, train.n_users + train.n_items, dim)
        matrix, held = hold_out(train, valid, self.validation, patience, rng)
        monitor = Monitor(held, matrix, epochs + polish, patience, on_epoch, n_weights)
        problem = Problem.of(matrix, matrix.column_counts, *self._numbers())
        for sweep, tables in train_tables(problem, n_weights, dim, epochs, polish, drawn, rng):
            if monitor.see(asdict(sweep), tables, FactorScores):
                break
        self._remember(train)
        self.user_table_, self.item_table_ = monitor.best or tables
        self.item_events_ = matrix.column_counts
        self.n_weights_, self.history_ = n_weights, monitor.history
        return self

    def _numbers(self) -> tuple[float, float]:
        """Return alpha and reg, checked."""
        remedy = "1 is a good start, and 0 trusts all alike"
        alpha = non_negative(self.alpha, "alpha", remedy)
        return alpha, positive(self.reg, "reg", "0.05 is a good start")

    def for_users(self, users: pl.Series, taken: CSR, touched: CSR | None = None) -> Self:
        """Return a model of the same items for other users by what they took.

        Each user gets a row of as many weights as the users of the training have on average,
        grown and solved exactly with the items as they are, at the cost of the users in a sweep
        of the training.
        """
        mean = round(self.user_table_.nnz / self.user_table_.shape[0])
        counts = np.full(taken.shape[0], mean)
        problem = Problem.of_each(taken, self.item_events_, *self._numbers())
        table = problem.new_users(self.item_table_, counts, np.random.default_rng(self.seed))
        return self._with_table(users, taken, touched, table)

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        header, arrays = super()._state()
        return header, arrays | {"item_events": self.item_events_.astype(np.uint32)}

    @classmethod
    def _restored(
        cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], shape: tuple[int, int]
    ) -> Self:
        model = super()._restored(header, arrays, shape)
        events = arrays["item_events"]
        if events.dtype != np.uint32 or events.shape != shape[1:]:
            raise ValueError("the file must hold the number of events of each item")
        model.item_events_ = events.astype(np.int64)
        return model
