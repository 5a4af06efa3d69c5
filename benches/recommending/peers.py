"""Recommenders of others: implicit's, RecBole's, and two of the literature in a few lines."""

import warnings
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.sparse import csr_array, csr_matrix, diags_array
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

from benches.recommending.public_sets import Outcome, Problem
from recsys.scores.toplists import Scores
from sparsenum.sparse import CSR

PACKAGES = {"implicit": "implicit", "RecBole": "recbole"}  # by the first word of a name
COLUMNS = 64
# Names that RecBole 1.2.1 asks of numpy, which dropped them.
DROPPED = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}


def missing(name: str) -> str | None:
    """Return the package that a learner needs and this machine does not have."""
    package = PACKAGES.get(name.partition(" ")[0])
    return package if package is not None and find_spec(package) is None else None


def als(some: Problem, columns: int, reg: float, alpha: float) -> Outcome:
    """Learn by implicit's alternating least squares."""
    from implicit.cpu.als import AlternatingLeastSquares

    options = {"factors": columns, "regularization": reg, "alpha": alpha}
    return implicit_tables(AlternatingLeastSquares, some, options)


def bpr(some: Problem, rate: float = 0.05, reg: float = 0.01) -> Outcome:
    """Learn by implicit's Bayesian personalised ranking."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    options = {"factors": COLUMNS, "learning_rate": rate, "regularization": reg}
    return implicit_tables(BayesianPersonalizedRanking, some, options)


def implicit_tables(kind: Any, some: Problem, options: dict[str, Any]) -> Outcome:
    with threadpool_limits(1):
        model = kind(**options, num_threads=1, random_state=0)
        model.fit(csr_matrix(some.train.matrix.to_scipy()), show_progress=False)
    return tables(model.user_factors, model.item_factors)._replace(iterations=model.iterations)


def recbole_bpr(some: Problem, epochs: int = 20) -> Outcome:
    """Learn by RecBole's Bayesian personalised ranking, at its defaults, on one thread."""
    for name, kind in DROPPED.items():
        if name not in vars(np):
            setattr(np, name, kind)
    # It leaves logs wherever it runs.
    with warnings.catch_warnings(), TemporaryDirectory() as folder, chdir(folder):
        warnings.simplefilter("ignore")
        return _recbole(some, epochs, Path(folder))


def _recbole(some: Problem, epochs: int, folder: Path) -> Outcome:
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.general_recommender import BPR
    from recbole.trainer import Trainer

    matrix = some.train.matrix
    torch.set_num_threads(1)
    _write_atoms(matrix, folder / "set" / "set.inter")
    config = Config("BPR", "set", config_dict=_settings(epochs, folder))
    dataset = create_dataset(config)
    train = data_preparation(config, dataset)[0]
    model = BPR(config, train.dataset)
    Trainer(config, model).fit(train, saved=False, verbose=False)
    found = []
    for side, n in zip(("user", "item"), matrix.shape, strict=True):
        weights = getattr(model, f"{side}_embedding").weight.detach().numpy()
        table = np.zeros((n, COLUMNS), np.float32)
        # The first row is a filling; the others come in RecBole's own order.
        table[dataset.field2id_token[f"{side}_id"][1:].astype(np.int64)] = weights[1:]
        found.append(table)
    return tables(*found)._replace(iterations=epochs)


def _write_atoms(matrix: CSR, path: Path) -> None:
    path.parent.mkdir()
    users = np.repeat(np.arange(matrix.shape[0]), matrix.row_counts)
    pairs = np.column_stack([users, matrix.indices])
    np.savetxt(path, pairs, "%d", "\t", header="user_id:token\titem_id:token", comments="")


def _settings(epochs: int, folder: Path) -> dict[str, Any]:
    everything = {"split": {"RS": [1, 0, 0]}, "order": "RO", "group_by": "user", "mode": "full"}
    return {
        "data_path": str(folder),
        "checkpoint_dir": str(folder),
        "load_col": {"inter": ["user_id", "item_id"]},
        "eval_args": everything,
        "embedding_size": COLUMNS,
        "epochs": epochs,
        "seed": 0,
        "use_gpu": False,
        "show_progress": False,
    }


def svd(some: Problem, columns: int) -> Outcome:
    """Return the truncated SVD of the normalised interactions, popularity put back."""
    A, root = normalised(some.train.matrix)
    with threadpool_limits(1):
        U, s, Vt = svds(A, k=columns, rng=np.random.default_rng(0))
    users, items = (U * s).astype(np.float32), (Vt.T * root[:, None]).astype(np.float32)
    return tables(users, items)


def gf_cf(some: Problem, columns: int = 256, share: float = 0.3) -> Outcome:
    """Return GF-CF: the linear filter A A'A and a share of the ideal low pass."""
    A, root = normalised(some.train.matrix)
    X = csr_array(A.shape, dtype=np.float32) + (some.train.matrix.to_scipy() > 0)
    with threadpool_limits(1):
        V = svds(A, k=columns, rng=np.random.default_rng(0))[2].T
        linear = (A.T @ A).tocsr()
    down, up = (V / root[:, None]).astype(np.float32), (V * root[:, None]).astype(np.float32)

    def scores(rows: np.ndarray) -> np.ndarray:
        block = (A[rows] @ linear).toarray()
        block += np.float32(share) * ((X[rows] @ down) @ up.T)
        return np.ascontiguousarray(block, np.float32)

    size = linear.data.nbytes + linear.indices.nbytes + up.nbytes
    return Outcome(scores, linear.nnz + up.size, size)


def normalised(matrix: CSR) -> tuple[csr_array, np.ndarray]:
    """Return D_u^-1/2 X D_i^-1/2, and the roots of the numbers of users of the items."""
    X = csr_array(matrix.to_scipy().astype(np.float32))
    X.data[:] = 1.0
    root = np.sqrt(np.maximum(matrix.column_counts, 1)).astype(np.float32)
    users = np.sqrt(np.maximum(matrix.row_counts, 1)).astype(np.float32)
    return (diags_array(1 / users) @ X @ diags_array(1 / root)).tocsr().astype(np.float32), root


def products(users: np.ndarray, items: np.ndarray) -> Scores:
    """Return the scores that two dense tables give."""
    return lambda rows: np.ascontiguousarray(users[rows] @ items.T)


def tables(users: np.ndarray, items: np.ndarray) -> Outcome:
    """Return what two dense tables are worth."""
    return Outcome(products(users, items), users.size + items.size, users.nbytes + items.nbytes)
