"""Alternating least squares on two sparse tables: rows solved exactly, on supports that move."""

import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recsys import _cpu_als, newcomers
from recsys.budget import parse_budget, share_rows
from recsys.factored import MAX_DIM, Factored
from recsys.factors import FactorScores, row_norms
from recsys.interactions import Interactions
from recsys.stopping import Monitor, hold_out
from recsys.table import Source
from sparsenum._check import positive, whole
from sparsenum.sparse import CSR, transpose
from sparsenum.topology import aligned_start, cosine_fraction, random_start

ALIGNED_DIM = 512  # wider tables start at random: aligning takes dim x dim matrices
FIRST_LENGTH = 0.3  # of the rows of items that the first users are solved for
ROW_POWER = 0.4  # weights of a row grow with this power of its events
# Share of a row that is tried anew, in the first sweep, in the last that tries any, and when.
GROWTH = {"start": 0.5, "end": 0.1, "stop": 0.85}
TEMPERATURE, RATE, DECAY = 0.3, 0.03, 0.03  # of the polish
FOLDING_SWEEPS = 2  # for new users: to find columns, and to find better ones
FIRST_SQUARE = 1.0  # Adagrad's sum for a solved weight, which is not to leap


class SparseALS(Factored):
    """Implicit least squares on two sparse tables, each row solved exactly under its budget.

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
        Epochs of sampled softmax after them.
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
        The ledger of each epoch (see `recsys.als.Sweep`), with validation metrics where taken.

    References
    ----------
    .. [1] Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM
       2008.
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
        dim = whole(self.dim, "dim", lower=1, upper=MAX_DIM)
        epochs = whole(self.epochs, "epochs", lower=1)
        polish = whole(self.polish, "polish")
        drawn = whole(self.n_negatives, "n_negatives", lower=1)
        rng = np.random.default_rng(whole(self.seed, "seed"))
        patience = None if self.patience is None else whole(self.patience, "patience", lower=1)
        n_weights = parse_budget(self.budget, train.n_users + train.n_items, dim)
        matrix, held = hold_out(train, valid, self.validation, patience, rng)
        monitor = Monitor(held, matrix, epochs + polish, patience, on_epoch)
        problem = self._problem(matrix, matrix.column_counts)
        for sweep, tables in train_tables(problem, n_weights, dim, epochs, polish, drawn, rng):
            if monitor.see(asdict(sweep), tables, FactorScores):
                break
        self._remember(train)
        self.user_table_, self.item_table_ = monitor.best or tables
        self.item_events_ = matrix.column_counts
        self.n_weights_, self.history_ = n_weights, monitor.history
        return self

    def _problem(self, matrix: CSR, item_events: NDArray[np.int64]) -> "Problem":
        alpha = 0.0
        if self.alpha != 0:
            alpha = positive(self.alpha, "alpha", "1 is a good start, and 0 trusts all alike")
        reg = positive(self.reg, "reg", "0.05 is a good start")
        return Problem.of(matrix, item_events, alpha, reg)

    def fold_in(self, rows: Source, *, user: str | None = None, item: str | None = None) -> Self:
        """Return a model of new users by what they took; this one stays as it is.

        Each user gets a row of as many weights as the users of the training have on average,
        grown and solved exactly with the items as they are.

        Parameters
        ----------
        rows : table or path
            What the new users took; items that were not in training are left out, and users
            without others.
        user, item : str, optional
            Columns of ids; those of the training table by default.

        Returns
        -------
        SparseALS
            The same items with the new users in place of the old. Cost as for the users in a
            sweep of the training.

        Raises
        ------
        ValueError
            If no row holds an item of the training.
        """
        self._fitted()
        guests = copy(self)
        guests.users_, guests.seen_ = newcomers.histories(self, rows, user, item)
        mean = round(self.user_table_.nnz / self.user_table_.shape[0])
        counts = np.full(guests.seen_.shape[0], mean)
        problem = self._problem(guests.seen_, self.item_events_)
        guests.user_table_ = problem.new_users(
            self.item_table_, counts, np.random.default_rng(self.seed)
        )
        guests.n_weights_ = guests.user_table_.nnz + self.item_table_.nnz
        return guests

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


@dataclass(frozen=True, slots=True)
class Sweep:
    """The ledger of one epoch.

    Attributes
    ----------
    epoch : int
        Epochs done.
    loss : float
        Of the least squares as a share of that of tables of zeros, the penalty on users left out;
        in the polish, the mean softmax loss of what was taken.
    weights : int
        Weights of both tables: the budget.
    optimiser_floats : int
        Numbers of optimiser state: none in the least squares, one for each weight in the polish.
    fraction : float
        Share of the weights by which the rows of items were grown before they were pruned back.
    seconds : float
        Time since the start of training.
    """

    epoch: int
    loss: float
    weights: int
    optimiser_floats: int
    fraction: float
    seconds: float


Tables = tuple[CSR, CSR]


@dataclass(frozen=True, slots=True)
class Problem:
    """The weighted least squares of all rows, by users and by items.

    Attributes
    ----------
    by_user, by_item : CSR
        By how much the confidence in what was taken is above one.
    user_factors, item_factors : ndarray of float32
        d^-1/2 of either side: their products are the targets.
    reg : float
        L2 penalty.
    """

    by_user: CSR
    by_item: CSR
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    reg: float

    @classmethod
    def of(cls, matrix: CSR, item_events: NDArray[np.int64], alpha: float, reg: float) -> Self:
        """State the problem of a matrix of interactions."""
        taste = np.log1p(matrix.data)
        extra = alpha / taste.mean(dtype=np.float64) * taste
        by_user = matrix.with_data(extra.astype(np.float32))
        users, items = (
            (1 / np.sqrt(np.maximum(events, 1))).astype(np.float32)
            for events in (matrix.row_counts, item_events)
        )
        return cls(by_user, transpose(by_user), users, items, reg)

    def solve_users(self, users: CSR, items: CSR, fraction: float) -> tuple[CSR, float]:
        """Return the table of users for that of items, and the sum of b'x."""
        events = _arrays(self.by_user)
        return self._solved((*events, self.user_factors, self.item_factors), users, items, fraction)

    def solve_items(self, users: CSR, items: CSR, fraction: float) -> tuple[CSR, float]:
        """Return the table of items for that of users, and the sum of b'x."""
        events = _arrays(self.by_item)
        return self._solved((*events, self.item_factors, self.user_factors), items, users, fraction)

    def _solved(
        self, events: tuple[Any, ...], table: CSR, other: CSR, fraction: float
    ) -> tuple[CSR, float]:
        gram = np.zeros((table.shape[1], table.shape[1]), np.float32)
        _cpu_als.add_gram(_arrays(other), gram)
        solved = CSR(table.indptr, table.indices.copy(), table.data.copy(), table.shape)
        found = _cpu_als.solve_rows(
            events, _arrays(solved), _arrays(other), gram, np.float32(self.reg), fraction
        )
        return solved, found

    def missed(self, found: float) -> float:
        """Return the share of the targets' squares that is not met where so much was found."""
        target = self.user_factors[_rows(self.by_user)] * self.item_factors[self.by_user.indices]
        total = np.dot(1.0 + self.by_user.data.astype(np.float64), target.astype(np.float64) ** 2)
        return float(1.0 - found / total)

    def served(self, tables: Tables) -> Tables:
        """Return tables whose scores are 1 where those of the problem meet their targets."""
        return _scaled(tables[0], 1 / self.user_factors), _scaled(tables[1], 1 / self.item_factors)

    def new_users(self, items: CSR, counts: NDArray[np.int64], rng: np.random.Generator) -> CSR:
        """Return rows for all users by tables that serve, with the items as they are."""
        solved = _scaled(items, self.item_factors)
        users = random_start(counts, items.shape[1], rng=rng, index_dtype=np.uint16)
        for _ in range(FOLDING_SWEEPS):
            users, _ = self.solve_users(users, solved, 1.0)
        return _scaled(users, 1 / self.user_factors)


def train_tables(
    problem: Problem,
    weights: int,
    dim: int,
    epochs: int,
    polish: int,
    n_drawn: int,
    rng: np.random.Generator,
) -> Iterator[tuple[Sweep, Tables]]:
    """Yield the ledger after each epoch, and the tables that serve."""
    begin = time.perf_counter()
    users, items = first_tables(problem.by_user, weights, dim, rng)
    for epoch in range(epochs):
        fraction = cosine_fraction(epoch / epochs, **GROWTH)
        users, _ = problem.solve_users(users, items, fraction if epoch else 1.0)
        items, found = problem.solve_items(users, items, fraction)
        loss, seconds = problem.missed(found), time.perf_counter() - begin
        tables = problem.served((users, items))
        yield Sweep(epoch + 1, loss, users.nnz + items.nnz, 0, fraction, seconds), tables
    steps = polished(problem.by_user, tables, polish, n_drawn, rng)
    for epoch, (loss, moved) in enumerate(steps, epochs + 1):
        seconds = time.perf_counter() - begin
        yield Sweep(epoch, loss, weights, weights, 0.0, seconds), moved


def first_tables(matrix: CSR, weights: int, dim: int, rng: np.random.Generator) -> Tables:
    """Return supports within the budget, those of items with values to solve the users by."""
    counts = share_rows(weights, matrix, dim, ROW_POWER)
    if dim <= ALIGNED_DIM:
        ones = matrix.with_data(np.ones(matrix.nnz, np.float32))
        users, items = aligned_start(ones, *counts, dim, rng=rng, index_dtype=np.uint16)
    else:
        users, items = (random_start(c, dim, rng=rng, index_dtype=np.uint16) for c in counts)
        items = items.with_data(rng.standard_normal(items.nnz, np.float32))
    lengths = np.maximum(row_norms(items), np.finfo(np.float32).tiny)
    zeros = np.zeros(users.nnz, np.float32)
    return users.with_data(zeros), _scaled(items, FIRST_LENGTH / lengths)


def polished(
    matrix: CSR, tables: Tables, epochs: int, n_drawn: int, rng: np.random.Generator
) -> Iterator[tuple[float, Tables]]:
    """Yield the mean loss of each epoch of sampled softmax, and the tables, in the scale they came.

    The steps are taken on tables of rows of mean square length one.
    """
    scales = [np.sqrt(t.shape[0] / np.square(t.data, dtype=np.float64).sum()) for t in tables]
    moving = [
        table.with_data((scale * table.data).astype(np.float32))
        for table, scale in zip(tables, scales, strict=True)
    ]
    squares = tuple(np.full(table.nnz, FIRST_SQUARE, np.float32) for table in moving)
    rule = (np.float32(RATE), np.float32(DECAY), np.float32(1 / TEMPERATURE))
    scratch = np.zeros((2, tables[0].shape[1]), np.float32)
    for _ in range(epochs):
        loss = _cpu_als.polish_users(
            rng.permutation(matrix.shape[0]).astype(np.uint32),
            (matrix.indptr, matrix.indices),
            tuple(_arrays(table) for table in moving),
            squares,
            rule,
            n_drawn,
            rng.integers(2**63, dtype=np.uint64),
            scratch,
        )
        users, items = (
            table.with_data((table.data / scale).astype(np.float32))
            for table, scale in zip(moving, scales, strict=True)
        )
        yield loss / matrix.nnz, (users, items)


def _scaled(table: CSR, factors: NDArray[Any]) -> CSR:
    """Multiply each row of a table by a number."""
    return table.with_data((table.data * factors[_rows(table)]).astype(np.float32))


def _rows(table: CSR) -> NDArray[np.int64]:
    return np.repeat(np.arange(table.shape[0]), table.row_counts)


def _arrays(table: CSR) -> tuple[Any, ...]:
    return table.indptr, table.indices, table.data
