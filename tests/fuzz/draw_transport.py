"""Random transport problems for every door: kind ones, strange ones, and wrong ones."""

import numpy as np

from fuzz.case import FORMS, Case

DOORS = {
    "solve": 30,
    "unbalanced": 15,
    "sinkhorn": 12,
    "sinkhorn2": 8,
    "solve_batch": 10,
    "solve_sample": 12,
    "barycenter": 7,
    "sinkhorn_divergence": 6,
}


def transport_case(seed: int, number: int) -> Case:
    """Return one of the cases of a seed: it depends on nothing but the two numbers."""
    rng = np.random.default_rng([seed, number])
    shares = np.array(list(DOORS.values()), float)
    door = list(DOORS)[rng.choice(len(DOORS), p=shares / shares.sum())]
    case = DRAWS[door](Dice(rng))
    return disguised(spoiled(case, Dice(rng)), Dice(rng))


class Dice:
    """A generator with the draws that are needed here."""

    def __init__(self, rng):
        self.rng = rng

    def chance(self, p):
        """Return whether something that happens with probability p happens."""
        return self.rng.random() < p

    def one(self, *things):
        """Return one of some things."""
        return things[self.rng.integers(len(things))]

    def size(self, most=40):
        """Return a size: mostly small."""
        return int(min(most, 1 + self.rng.geometric(self.one(0.5, 0.4, 0.2, 0.06))))

    def power(self, low, high):
        """Return a power of ten between two."""
        return float(10.0 ** self.rng.uniform(low, high))


# Costs and masses.


def cost(dice, shape):
    """Return a cost, and a range that a reg may go by."""
    M = dice.one(*COSTS)(dice.rng, shape)
    spread = float(np.ptp(M)) or 1.0
    if dice.chance(0.15):
        scale = dice.power(-8, 8)
        M, spread = M * scale, spread * scale
    if dice.chance(0.15):
        M = far(dice, M, spread)
    if dice.chance(0.1):
        M = M + dice.one(-1, 1) * spread * dice.power(0, 12)
    if dice.chance(0.1):
        M = np.where(dice.rng.random(shape) < dice.one(0.1, 0.3, 0.6), np.inf, M)
    return typed(dice, M), spread


def ties(rng, shape):
    return rng.integers(0, 4, shape).astype(float)


def grid(rng, shape):
    x, y = (np.linspace(0, 1, n) for n in shape[-2:])
    return np.broadcast_to((x[:, None] - y) ** 2, shape).copy()


def clouds(rng, shape):
    X, Y = rng.normal(size=(*shape[:-1], 1, 2)), rng.normal(size=(*shape[:-2], 1, shape[-1], 2))
    return ((X - Y) ** 2).sum(axis=-1)


COSTS = (
    lambda rng, shape: rng.random(shape),
    lambda rng, shape: rng.normal(size=shape),
    lambda rng, shape: 10.0 ** rng.uniform(-4, 2, shape),
    lambda rng, shape: np.full(shape, float(rng.integers(0, 3))),
    ties,
    grid,
    clouds,
)


def far(dice, M, spread):
    """Return a cost some of whose entries are outliers, or sentinels for forbidden pairs."""
    few = dice.rng.random(M.shape) < dice.one(0.03, 0.1, 0.3, 0.7)
    value = dice.one(spread * dice.power(1, 6), dice.power(9, 29))
    return np.where(few, value, M)


def typed(dice, M):
    """Return a cost in one of the types that callers have, if it can hold it."""
    kind = dice.one(np.float64, np.float64, np.float64, np.float32, np.int64, np.int32, bool)
    if np.issubdtype(kind, np.integer) and np.abs(M).max() < 2**31 - 1:
        return np.round(M).astype(kind)
    if kind is bool and set(np.unique(M)) <= {0.0, 1.0}:
        return M.astype(bool)
    if kind is np.float32 and np.abs(M[np.isfinite(M)]).max(initial=0) <= 1e37:
        return M.astype(np.float32)
    return M


def masses(dice, n):
    """Return masses of sum one, some of them strange."""
    x = dice.one(
        lambda: np.ones(n),
        lambda: dice.rng.random(n) + 1e-3,
        lambda: dice.rng.dirichlet(np.full(n, 0.3)) + 1e-12,
        lambda: dice.rng.random(n) * (dice.rng.random(n) < 0.6),
        lambda: 10.0 ** dice.rng.uniform(dice.one(-4, -20, -100, -300), 0, n),
        lambda: np.exp(-(np.linspace(0, dice.one(3, 30, 40), n) ** 2) / 2),
    )()
    return x / x.sum() if x.sum() > 0 else np.ones(n) / n


def sides(dice, n, m):
    """Return masses of both sides with totals that are equal, about equal, or not at all."""
    a, b = masses(dice, n), masses(dice, m)
    if dice.chance(0.25):
        total = dice.power(-8, 8) if dice.chance(0.8) else dice.power(-290, 300)
        a, b = a * total, b * total
    if dice.chance(0.05):
        b = b * (1 + dice.one(-1, 1) * dice.power(-9, -6.1))
    elif dice.chance(0.02):
        b = b * dice.one(0.5, 1.001, 1.1, 3.0)
    return a, b


def maybe_masses(dice, n, m):
    """Return both sides as arguments, or nothing for uniform ones."""
    if dice.chance(0.2):
        return {}
    a, b = sides(dice, n, m)
    if abs(a.sum() - 1) < 1e-9 and dice.chance(0.1):
        return {"a": a} if dice.chance(0.5) else {"b": b}
    return {"a": a, "b": b}


def strength(dice, spread):
    """Return a reg: from hardly any entropy to nothing but entropy."""
    return float(spread * dice.one(dice.power(-6, 3), dice.power(-3, 1), dice.power(-2, 0)))


def options(dice, **names):
    """Return how exact and how long: mostly by default."""
    chosen = {}
    if dice.chance(0.15):
        chosen[names.get("tol", "tol")] = dice.power(-14, -3)
    if dice.chance(0.96):  # few need more, and those that do would take most of the time
        chosen[names.get("max_iter", "max_iter")] = int(dice.one(0, 1, 3, 10, *[40] * 20))
    if "time_limit" not in names and dice.chance(0.05):
        chosen["time_limit"] = dice.power(-9, -2)
    return chosen


def start(dice, n, m, scale):
    """Return potentials to start from, good and bad ones."""
    f, g = (dice.rng.normal(size=k) * scale * dice.power(-3, 3) for k in (n, m))
    if dice.chance(0.2):
        f, g = f * dice.power(10, 300), g * dice.power(10, 300)
    if dice.chance(0.2):
        g[0] = dice.one(np.nan, np.inf, -np.inf)
    return f, g


# One draw for each door.


def solve(dice):
    n, m = dice.size(), dice.size()
    M, spread = cost(dice, (n, m))
    arguments = {"M": M, **maybe_masses(dice, n, m), "reg": strength(dice, spread)}
    arguments |= options(dice)
    if dice.chance(0.5):
        arguments["method"] = method = dice.one("auto", "sns", "sns-paper", "sinkhorn")
        if method == "sinkhorn":
            arguments["max_iter"] = int(dice.one(0, 1, 10, 100, 100, 1000))
    if dice.chance(0.3):
        arguments["reg_type"] = dice.one("KL", "entropy", "kl")
    if dice.chance(0.1):
        arguments["potentials_init"] = start(dice, n, m, spread)
    return Case("solve", arguments)


def unbalanced(dice):
    n, m = dice.size(12), dice.size(12)
    M, spread = cost(dice, (n, m))
    a, b = masses(dice, n), masses(dice, m)
    if dice.chance(0.5):
        a, b = a * dice.power(-3, 3), b * dice.power(-3, 3)
    arguments = {"M": M, "a": a, "b": b, "reg": strength(dice, spread)}
    rho = [float(spread * dice.power(-4, 4)) for _ in range(2)]
    if dice.chance(0.1):
        rho[dice.one(0, 1)] = np.inf
    arguments["unbalanced"] = tuple(rho) if dice.chance(0.5) else rho[0]
    arguments |= options(dice)
    if dice.chance(0.5):
        arguments["reg_type"] = dice.one("KL", "entropy")
    if dice.chance(0.1):
        arguments["potentials_init"] = start(dice, n, m, spread)
    return Case("solve", arguments)


def compat(door):
    def draw(dice):
        n, m = dice.size(), dice.size()
        M, spread = cost(dice, (n, m))
        a, b = sides(dice, n, m)
        if dice.chance(0.1):
            b = np.stack([b, b[::-1], b], axis=1)[:, : dice.one(1, 2, 3)]
        elif dice.chance(0.1):
            a, b = np.empty(0), np.empty(0)
        arguments = {"a": a, "b": b, "M": M, "reg": strength(dice, spread)}
        arguments |= options(dice, tol="stopThr", max_iter="numItermax")
        if dice.chance(0.5):
            arguments["method"] = dice.one("sns", "sinkhorn", "sinkhorn_log", "sinkhorn_stabilized")
        if dice.chance(0.1) and b.ndim == 1:
            arguments["warmstart"] = start(dice, n, m, 1.0)
        if dice.chance(0.3):
            arguments["warn"] = dice.one(True, False)
        return Case(door, arguments)

    return draw


def solve_batch(dice):
    k, n, m = dice.size(5), dice.size(20), dice.size(20)
    M, spread = cost(dice, (k, n, m))
    reg = [strength(dice, spread) for _ in range(k)]
    arguments = {"M": M, "reg": np.array(reg) if dice.chance(0.5) else reg[0]}
    pairs = [sides(dice, n, m) for _ in range(k)]
    if dice.chance(0.3):
        arguments |= {"a": pairs[0][0], "b": pairs[0][1]}
    elif dice.chance(0.8):
        a, b = (np.array(side) for side in zip(*pairs, strict=True))
        arguments |= {"a": a, "b": b}
    arguments |= options(dice, time_limit=None)
    if dice.chance(0.3):
        arguments["reg_type"] = dice.one("KL", "entropy")
    return Case("solve_batch", arguments)


def points(dice, n, d):
    """Return a cloud: random, on a grid, coincident, or with outliers far away."""
    X = dice.one(
        lambda: dice.rng.normal(size=(n, d)),
        lambda: dice.rng.integers(0, 3, (n, d)).astype(float),
        lambda: np.ones((n, d)),
        lambda: dice.rng.standard_cauchy((n, d)),
    )()
    if dice.chance(0.1):
        X[dice.rng.integers(n)] *= dice.power(2, 10)
    return X


def samples(dice, most):
    """Return two clouds as arguments, and a range for reg."""
    n, m, d = dice.size(most), dice.size(most), dice.one(1, 2, 3, 5)
    X, Y = points(dice, n, d), points(dice, m, d)
    if dice.chance(0.1):
        Y = X.copy()
    if dice.chance(0.15):
        scale, offset = dice.power(-4, 4), dice.one(0, dice.power(0, 8))
        X, Y = scale * X + offset, scale * Y + offset
    if dice.chance(0.2):
        X, Y = X.astype(np.float32), Y.astype(np.float32)
    arguments = {"X_a": X, "X_b": Y, **maybe_masses(dice, len(X), len(Y))}
    middle = np.median(((X[:, None].astype(float) - Y) ** 2).sum(axis=2))
    return arguments, float(middle) or 1.0


def solve_sample(dice):
    arguments, spread = samples(dice, 40)
    lazy = dice.chance(0.5)
    metric = dice.one("sqeuclidean", "cityblock")
    if not lazy and dice.chance(0.5):
        metric = dice.one("euclidean", "cosine", "chebyshev")
    if metric != "sqeuclidean":
        spread = 1.0 if metric == "cosine" else np.sqrt(spread)
    arguments |= {"metric": metric, "reg": strength(dice, spread), "lazy": lazy}
    arguments |= options(dice)
    if dice.chance(0.3):
        arguments["reg_type"] = dice.one("KL", "entropy")
    return Case("solve_sample", arguments)


def sinkhorn_divergence(dice):
    arguments, spread = samples(dice, 15)
    arguments["reg"] = strength(dice, spread)
    if dice.chance(0.3):
        arguments["metric"] = dice.one("cityblock", "euclidean")
    return Case("sinkhorn_divergence", arguments | options(dice))


def barycenter(dice):
    k, n = dice.size(5), dice.size(15)
    m = n if dice.chance(0.8) else dice.size(15)
    M, spread = cost(dice, (n, m))
    if np.isinf(M).any() and dice.chance(0.9):
        M = np.where(np.isinf(M), spread, M)
    A = np.stack([masses(dice, n) for _ in range(k)], axis=1)
    if dice.chance(0.2):
        A = A * dice.power(-8, 8)
    arguments = {"A": A, "M": M, "reg": strength(dice, spread)}
    if dice.chance(0.5):
        weights = dice.rng.random(k) * (dice.rng.random(k) < 0.8) * dice.power(-3, 3)
        arguments["weights"] = weights if weights.sum() > 0 else np.ones(k)
    more = options(dice, tol="stopThr", max_iter="numItermax", time_limit=None)
    return Case("barycenter", arguments | more)


DRAWS = {
    "solve": solve,
    "unbalanced": unbalanced,
    "sinkhorn": compat("sinkhorn"),
    "sinkhorn2": compat("sinkhorn2"),
    "solve_batch": solve_batch,
    "solve_sample": solve_sample,
    "sinkhorn_divergence": sinkhorn_divergence,
    "barycenter": barycenter,
}

# What is wrong, and how arrays are passed.


WRONG = (
    *(np.nan, np.inf, -1.0, 0, 1e-300, 1e300, 10**400, True, None, "many"),
    *([1.0, 2.0], [[1.0], [1.0, 2.0]], [], ("a", "b"), {"a": 1.0}),
)


def spoiled(case, dice):
    """Return a case, one in thirty with something wrong about it."""
    if not dice.chance(1 / 30):
        return case
    name = dice.one(*case.arguments)
    x = case.arguments[name]
    if isinstance(x, np.ndarray) and x.size:
        return case.changed(**{name: spoiled_array(x, dice)})
    wrong = dice.one(*WRONG)
    return case.changed(**{name: wrong})


def spoiled_array(x, dice):
    """Return an array with a number that should not be there, or of a wrong shape or type."""
    if dice.chance(0.3):
        others = (x[:-1], x[..., None], x.astype(complex), x.astype(str), x.astype(object))
        return dice.one(*others)
    x = x.astype(float)
    x.flat[dice.rng.integers(x.size)] = dice.one(np.nan, -np.inf, np.inf, -1.0, 0.0, 1e300, -1e300)
    return x


def disguised(case, dice):
    """Return a case some of whose arrays are passed as lists, in another order, with gaps."""
    arrays = [name for name, x in case.arguments.items() if isinstance(x, np.ndarray)]
    forms = {name: dice.one(*FORMS) for name in arrays if dice.chance(0.12)}
    return Case(case.door, case.arguments, forms)
