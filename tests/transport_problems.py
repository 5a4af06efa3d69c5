"""Transport problems of all the families that tests draw from."""

import numpy as np

METHODS = ["auto", "sns-paper", "sinkhorn"]


def between(X, Y, power):
    return (np.abs(X[:, None] - Y) ** power).sum(axis=2)


def clouds(rng, n, m, d=2, power=2):
    M = between(rng.random((n, d)), rng.random((m, d)), power)
    return M, rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


def grids(rng, side=9):
    """Blobs on a grid over a background of a millionth: the l1 cost has very many ties."""
    points = np.argwhere(np.ones((side, side))) / (side - 1)

    def blob():
        ink = np.abs(points - rng.random(2)).sum(axis=1) < 0.5
        mass = 1e-6 + ink * rng.random(side**2)
        return mass / mass.sum()

    return between(points, points, 1), blob(), blob()


def permuted(rng, n=80):
    X = rng.random((n, 2))
    return between(X, X[rng.permutation(n)], 2), None, None


def duplicated(rng, n=100, m=70):
    X = rng.random((15, 2))
    return between(X[rng.integers(0, 15, n)], X[rng.integers(0, 15, m)], 2), None, None


def tiny(rng, n=80, m=90, decades=12):
    a, b = (10.0 ** rng.uniform(-decades, 0, size) for size in (n, m))
    return rng.random((n, m)), a / a.sum(), b / b.sum()


def walled(rng, n=70, m=90):
    """Half of all pairs forbidden; the masses are those of some plan on the others."""
    free = rng.random((n, m)) < 0.5
    k = np.arange(max(n, m))
    free[k % n, k % m] = True
    P = np.where(free, rng.random((n, m)) ** 3, 0.0) + 1e-3 * free
    P /= P.sum()
    return np.where(free, rng.random((n, m)), np.inf), P.sum(axis=1), P.sum(axis=0)


FAMILIES = {
    "random": lambda rng: (rng.random((100, 100)), None, None),
    "random, wide": lambda rng: (rng.random((60, 150)), None, None),
    "clouds": lambda rng: clouds(rng, 90, 120),
    "clouds in 20-D": lambda rng: clouds(rng, 100, 80, d=20),
    "l1 clouds": lambda rng: clouds(rng, 110, 90, power=1),
    "l1 grid": grids,
    "line": lambda rng: clouds(rng, 100, 120, d=1, power=1),
    "permuted": permuted,
    "duplicated": duplicated,
    "tiny masses": tiny,
    "masses beyond float32": lambda rng: tiny(rng, decades=60),
    "walled": walled,
    "ties": lambda rng: (rng.integers(0, 4, (80, 60)).astype(float), None, None),
    "outliers": lambda rng: (rng.random((80, 60)) + 1e3 * np.eye(80, 60), None, None),
}


def problem(family, reg, seed=0):
    M, a, b = FAMILIES[family](np.random.default_rng(seed))
    n, m = M.shape
    a, b = (np.full(k, 1.0 / k) if x is None else x for x, k in ((a, n), (b, m)))
    return M, a, b, reg * float(M[np.isfinite(M)].max())
