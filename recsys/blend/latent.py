"""Sparse factors of items alone: users follow from them, and neither side is ever dense."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.blend import _cpu_latent
from recsys.blend.cooccurrence import CoOccurrence
from recsys.scores.factor_scores import rows_times
from sparsenum._threads import by_rows
from sparsenum.sparse import CSR, rows_times_sparse, transpose
from sparsenum.sparse.formats import index_type
from sparsenum.topology import allocate, cosine_fraction, strongest

FLOOR = 4  # weights of the rarest item, where the budget reaches
FIRST, LAST = 1.0, 0.2  # columns exchanged in an epoch, as a share of those a row holds
TOLERANCE, MAX_STEPS = 1e-2, 20  # conjugate gradients of a row: closer solutions rank no better


@dataclass(frozen=True, slots=True)
class LatentRule:
    """The rule by which factors of items are learned and served.

    Attributes
    ----------
    dim : int
        Columns of the table, of which a row uses few: 256 for large catalogues, 64 for small ones
        with long histories.
    epochs : int
        Passes over the interactions.
    item_power : float
        An interaction counts d_i^-item_power, with d_i users of its item: how far popularity is
        taken out of what is learned.
    target_power : float
        A score is multiplied by d_j^target_power: how far popularity is put back. Learning does
        not know it: other values can be tried on the same factors.
    user_ridge, item_ridge : float
        Penalties on the vectors of users and items, as shares of the mean of the diagonal that
        they are added to.
    row_power : float
        An item's share of the budget grows as d_i^row_power.

    See Also
    --------
    recsys.blend.Plan : what it is a part of.

    Examples
    --------
    >>> import recsys
    >>> rule = recsys.blend.LatentRule(dim=64)
    >>> rule.dim, rule.epochs
    (64, 5)
    """

    dim: int = 256
    epochs: int = 5
    item_power: float = 0.5
    target_power: float = 0.5
    user_ridge: float = 0.02
    item_ridge: float = 0.02
    row_power: float = 0.4


def normalised(matrix: CSR, item_power: float) -> CSR:
    """Return a_ui = d_u^(-1/2) d_i^(-item_power) for what each user took.

    Parameters
    ----------
    matrix : CSR, shape (n_users, n_items)
        What users took; only the pattern counts, and it is shared.
    item_power : float
        As in `LatentRule`.

    Returns
    -------
    CSR, shape (n_users, n_items)
        The weights, float32.
    """
    of_user = np.maximum(matrix.row_counts, 1) ** -0.5
    of_item = np.maximum(matrix.column_counts, 1) ** -float(item_power)
    data = np.repeat(of_user.astype(np.float32), matrix.row_counts)
    data *= of_item.astype(np.float32)[matrix.indices]
    return matrix.with_data(data)


def user_map(V: CSR, rule: LatentRule) -> NDArray[np.float64]:
    """Return M, which makes the vector of a user of the rows of what they took.

    The vector is ``M z_u`` with ``z_u = V' a_u``, the ridge solution of ``a_u ~ V x``, so
    ``M = (V'V + ridge I)^-1`` follows from the table alone.

    Parameters
    ----------
    V : CSR, shape (n_items, dim)
        Rows of the items.
    rule : LatentRule
        The rule they were learned by.

    Returns
    -------
    ndarray, shape (dim, dim)
        M, symmetric.
    """
    gram = rows_times_sparse(transpose(V), V, 0, V.shape[1])
    return np.asarray(np.linalg.inv(_with_ridge(gram.astype(np.float64), rule.user_ridge)))


def learn_factors(
    matrix: CSR,
    weights: int,
    rule: LatentRule,
    *,
    n_threads: int = 1,
    on_epoch: Callable[[int, CSR], None] | None = None,
    entries: int | None = None,
) -> CSR:
    """Learn sparse rows of items by which what a user took tells what else they take.

    With A the normalised matrix, V the rows and M their `user_map`, users have the vectors
    ``U = A V M``, which never exist, and V is fitted to ``A ~ U V'`` by alternating least squares
    [1]_. An interaction is left out of its own user's vector, or items would learn to tell that
    they themselves were taken [2]_. In each epoch every row, by itself,

    1. grows by the columns of largest ``g_t^2 / H_tt``, what the loss falls by if one moves: the
       gradient ``g = b_j - H v_j`` is over all columns, with ``H = U'U + ridge I`` and
       ``b_j = U' a_.j``;
    2. is solved on these columns, by conjugate gradients from where it is;
    3. is pruned to its budget by ``v_t^2 H_tt`` and solved again.

    The start holds, of each item, the strongest ties to the `dim` most popular ones.

    Parameters
    ----------
    matrix : CSR, shape (n_users, n_items)
        What users took; only the pattern counts.
    weights : int
        Weights of the table at any time, exactly; at most n_items times dim.
    rule : LatentRule
        How to learn.
    n_threads : int, default 1
        Threads; the result does not depend on them.
    on_epoch : callable, optional
        Called with the number of epochs done and the table as it is then.
    entries : int, optional
        Numbers in the largest dense block, 2^24 by default. Items that do not fit are fitted block
        by block, and each block reads the users again.

    Returns
    -------
    CSR, shape (n_items, dim)
        The rows, float32. An epoch costs O(nnz dim + (n_users + n_items) dim^2) and the small
        systems of the rows; memory is a number for each interaction and a few blocks.

    References
    ----------
    .. [1] Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets",
       ICDM 2008.
    .. [2] Steck, "Autoencoders that don't overfit towards the identity", NeurIPS 2020.
    """
    pulls = CoOccurrence.of(normalised(matrix, rule.item_power), n_threads, entries)
    degrees = matrix.column_counts
    V = _anchored(pulls, degrees, _row_counts(degrees, weights, rule), rule.dim)
    for epoch in range(rule.epochs if matrix.nnz else 0):
        V = _refitted(pulls, V, cosine_fraction(epoch / rule.epochs, start=FIRST, end=LAST), rule)
        if on_epoch is not None:
            on_epoch(epoch + 1, V)
    return V


def _row_counts(degrees: NDArray[np.int64], weights: int, rule: LatentRule) -> NDArray[np.int64]:
    floor = min(FLOOR, rule.dim, weights // degrees.size)
    return allocate(weights, degrees**rule.row_power, lower=floor, upper=rule.dim)


def _anchored(
    pulls: CoOccurrence, degrees: NDArray[np.int64], counts: NDArray[np.int64], dim: int
) -> CSR:
    """Return rows of length 1 that hold the strongest ties of each item to the anchors."""
    anchors = np.sort(np.argsort(-degrees, kind="stable")[:dim])
    ones = CSR.from_counts(
        np.isin(np.arange(degrees.size), anchors),
        np.arange(anchors.size, dtype=index_type(dim)),
        np.ones(anchors.size, np.float32),
        (degrees.size, dim),
    )
    ties = (pulls.of_items(ones, items) for items in pulls.blocks(dim))
    start = strongest(ties, counts, dim, index_dtype=ones.indices.dtype)
    row = np.repeat(np.arange(degrees.size), counts)
    length = np.sqrt(np.bincount(row, start.data.astype(np.float64) ** 2, degrees.size))
    length[length == 0] = 1.0
    return start.with_data((start.data / length[row]).astype(np.float32))


def _refitted(pulls: CoOccurrence, V: CSR, fraction: float, rule: LatentRule) -> CSR:
    """Return rows fitted to the users that the old ones give."""
    M = user_map(V, rule)
    H = _with_ridge(M @ pulls.gram_of_users(V) @ M, rule.item_ridge).astype(np.float32)
    half = M.astype(np.float32)
    new = CSR(V.indptr, V.indices.copy(), V.data.copy(), V.shape)
    for items in pulls.blocks(V.shape[1]):
        Y = pulls.of_items(V, items)

        def refit(rows: slice, Y: NDArray[np.float32] = Y, first: int = items.start) -> None:
            _cpu_latent.refit_rows(
                new.indptr,
                new.indices,
                new.data,
                np.uint64(first + rows.start),
                rows_times(Y[rows], half),
                H,
                fraction,
                np.float32(TOLERANCE),
                MAX_STEPS,
            )

        by_rows(refit, Y.shape, pulls.n_threads)
    return _scaled(new)


def _scaled(V: CSR) -> CSR:
    """Give rows the mean square length 1: scores know no scale, and so it cannot run away."""
    size = float(np.linalg.norm(V.data)) / V.shape[0] ** 0.5
    return V.with_data(V.data / np.float32(size)) if size > 0 else V


def _with_ridge(gram: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Add a share of the mean of the diagonal to it, or one where there is nothing."""
    ridge = share * np.trace(gram) / len(gram) or 1.0
    ridged: NDArray[np.float64] = gram + ridge * np.eye(len(gram))
    return ridged
