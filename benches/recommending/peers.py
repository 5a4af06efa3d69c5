"""Recommenders of others: implicit's, Cornac's, and two of the literature in a few lines.

Each takes a problem and its settings, of which the last may be several, and yields an outcome for
each of these: what they share, a decomposition or earlier passes, is computed once.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy.sparse import csr_array, csr_matrix, diags_array
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

from benches.recommending.public_sets import Outcome, Problem
from recsys.scores.toplists import Scores
from sparsenum.sparse import CSR

PACKAGES = {"implicit": "implicit", "Cornac": "cornac"}  # by the first word of a name
COLUMNS = 64


def missing(name: str) -> str | None:
    """Return the package that a learner needs and this machine does not have."""
    package = PACKAGES.get(name.partition(" ")[0])
    return package if package is not None and find_spec(package) is None else None


def als(some: Problem, reg: float, *alphas: float, columns: int = COLUMNS) -> Iterator[Outcome]:
    """Learn by implicit's alternating least squares, for each weight of what was taken."""
    from implicit.cpu.als import AlternatingLeastSquares

    options = {"factors": columns, "regularization": reg, "num_threads": 1, "random_state": 0}
    for alpha in alphas:
        model = AlternatingLeastSquares(**options, alpha=alpha)
        with threadpool_limits(1):
            model.fit(csr_matrix(some.train.matrix.to_scipy()), show_progress=False)
        found = tables(model.user_factors, model.item_factors)
        yield found._replace(iterations=model.iterations)


def implicit_bpr(some: Problem, rate: float, reg: float, *passes: int) -> Iterator[Outcome]:
    """Learn by implicit's Bayesian personalised ranking, and yield its tables as they are then.

    What a user did not take is drawn by how often others took it.
    """
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    options = {"factors": COLUMNS, "learning_rate": rate, "regularization": reg}
    rng = np.random.default_rng(0)  # goes on where a seed would begin again
    model = BayesianPersonalizedRanking(**options, num_threads=1, random_state=rng)
    matrix = csr_matrix(some.train.matrix.to_scipy())
    for before, upto in steps(passes):
        model.iterations = upto - before
        with threadpool_limits(1):
            model.fit(matrix, show_progress=False)
        yield tables(model.user_factors, model.item_factors)._replace(iterations=upto)


def cornac_bpr(some: Problem, rate: float, reg: float, *passes: int) -> Iterator[Outcome]:
    """Learn by Cornac's Bayesian personalised ranking, and yield its tables as they are then.

    What a user did not take is drawn from all items alike, as its authors have it.
    """
    from cornac.data import Dataset
    from cornac.models import BPR

    matrix = some.train.matrix
    pairs = (row_of_each(matrix), matrix.indices.astype(np.int64), matrix.data)
    ids = [{row: row for row in range(n)} for n in matrix.shape]
    taken = Dataset(*matrix.shape, *ids, pairs, seed=0)
    state: dict[str, Any] = {}
    for before, upto in steps(passes):
        options = {"k": COLUMNS, "learning_rate": rate, "lambda_reg": reg, "seed": before}
        model = BPR(**options, max_iter=upto - before, init_params=state).fit(taken)
        state = {"U": model.u_factors, "V": model.i_factors, "Bi": model.i_biases}
        users = np.column_stack([state["U"], np.ones(matrix.shape[0], np.float32)])
        items = np.column_stack([state["V"], state["Bi"]])
        yield tables(users, items)._replace(iterations=upto)


def steps(passes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Return from where to where each stretch of some growing numbers of passes goes."""
    return zip((0, *passes), passes, strict=False)


def svd(some: Problem, *columns: int) -> Iterator[Outcome]:
    """Yield truncated SVDs of the normalised interactions, popularity put back."""
    A, root = normalised(some.train.matrix)
    U, s, V = spectrum(A, max(columns))
    users, items = (U * s).astype(np.float32), (V * root[:, None]).astype(np.float32)
    for k in columns:
        yield tables(users[:, :k].copy(), items[:, :k].copy())


def gf_cf(some: Problem, *shares: float, columns: int = 256) -> Iterator[Outcome]:
    """Yield GF-CF: rows of X through the linear filter A'A, and a share of the ideal low pass.

    As in its authors' code, both filters take the rows as they are: A is normalised, X is not.
    """
    A, root = normalised(some.train.matrix)
    X = binary(some.train.matrix)
    V = spectrum(A, columns)[2]
    with threadpool_limits(1):
        linear = (A.T @ A).tocsr()
    down, up = (V / root[:, None]).astype(np.float32), (V * root[:, None]).astype(np.float32)
    for share in shares:
        size = linear.data.nbytes + linear.indices.nbytes + up.nbytes
        yield Outcome(filtered(X, linear, down, share * up), linear.nnz + up.size, size)


def filtered(X: csr_array, linear: csr_array, down: np.ndarray, up: np.ndarray) -> Scores:
    """Return the scores that two filters of rows give: a sparse one, and one of low rank."""

    def scores(rows: np.ndarray) -> np.ndarray:
        block = (X[rows] @ linear).toarray()
        block += (X[rows] @ down) @ up.T
        return np.ascontiguousarray(block, np.float32)

    return scores


def spectrum(A: csr_array, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the largest singular values, the largest first, and vectors by columns: (U, s, V)."""
    columns = min(columns, min(A.shape) - 1)
    with threadpool_limits(1):
        U, s, Vt = svds(A, k=columns, rng=np.random.default_rng(0))
    order = np.argsort(-s)
    return U[:, order], s[order], Vt[order].T


def normalised(matrix: CSR) -> tuple[csr_array, np.ndarray]:
    """Return D_u^-1/2 X D_i^-1/2, and the roots of the numbers of users of the items."""
    root = np.sqrt(np.maximum(matrix.column_counts, 1)).astype(np.float32)
    users = np.sqrt(np.maximum(matrix.row_counts, 1)).astype(np.float32)
    A = diags_array(1 / users) @ binary(matrix) @ diags_array(1 / root)
    return A.tocsr().astype(np.float32), root


def binary(matrix: CSR) -> csr_array:
    """Return a matrix with ones for what was taken, however often."""
    X = csr_array(matrix.to_scipy().astype(np.float32))
    X.data[:] = 1.0
    return X


def row_of_each(matrix: CSR) -> np.ndarray:
    """Return the row of each entry."""
    return np.repeat(np.arange(matrix.shape[0]), matrix.row_counts)


def products(users: np.ndarray, items: np.ndarray) -> Scores:
    """Return the scores that two dense tables give."""
    return lambda rows: np.ascontiguousarray(users[rows] @ items.T)


def tables(users: np.ndarray, items: np.ndarray) -> Outcome:
    """Return what two dense tables are worth."""
    return Outcome(products(users, items), users.size + items.size, users.nbytes + items.nbytes)
