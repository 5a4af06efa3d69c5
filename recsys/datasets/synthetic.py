"""Made-up data with a known law, for examples, tests and benchmarks."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sparsenum._check import whole

_DEPARTMENTS = (
    "TEA", "CUP", "TOY", "BAG", "LAMP", "CARD", "SOAP", "SEED", "BOOK", "YARN", "CAKE", "TOOL",
)  # fmt: skip
# Saturday and the evening sell best; from Monday, from 0 h.
_WEEK = np.array([0.9, 0.8, 0.8, 0.9, 1.2, 1.6, 0.8])
_HOURS = np.exp(-0.5 * ((np.arange(24) - 12.5) / 2.5) ** 2)
_HOURS += 0.8 * np.exp(-0.5 * ((np.arange(24) - 19.0) / 1.5) ** 2)
_START = np.datetime64("2025-01-06", "ms")  # a Monday

Ints = NDArray[np.int64]


def shop(n_customers: int = 2000, n_products: int = 1500, *, seed: int = 0) -> pl.DataFrame:
    """Return a year of synthetic transactions: skewed, clustered by taste, a little dirty.

    The products are spread over 12 departments; within one, the r-th most popular product has
    weight (r + 2)^-1. Each customer likes 2 or 3 departments, in Dirichlet(1) proportions, and
    makes 5 + ⌊X⌋ transactions, log X ~ N(2.5, 1), about 25 on average. A transaction
    repeats an earlier product of the same customer with probability 0.15, else comes from a liked
    department with probability 0.85, else from the whole shop. Days follow a weekly rhythm, hours
    peak at noon and in the evening.

    Then comes the dirt: 0.5 % of customers and 0.3 % of products null, 1 % of quantities
    negative (returns), 0.5 % zero, and 0.2 % of the rows twice.

    Parameters
    ----------
    n_customers : int, default 2000
        Number of customers.
    n_products : int, default 1500
        Number of products, at least one per department.
    seed : int, default 0
        Same seed, same table.

    Returns
    -------
    DataFrame
        In order of time: `customer` ("C00417"), `product` ("TEA-0031"), `quantity` (Int64),
        `price` (Float64, per piece, the same at every sale of a product), `time` (Datetime).
        Cost O(n log n) for n transactions; 0.1 s for the defaults.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or too small.

    See Also
    --------
    recsys.datasets.load : public sets.

    Examples
    --------
    >>> from recsys.datasets import shop
    >>> shop(seed=0).columns
    ['customer', 'product', 'quantity', 'price', 'time']
    """
    n_customers = whole(n_customers, "n_customers", lower=1)
    n_products = whole(n_products, "n_products", lower=len(_DEPARTMENTS))
    rng = np.random.default_rng(whole(seed, "seed"))
    activity = 5 + rng.lognormal(2.5, 1.0, n_customers).astype(np.int64)
    customer = np.repeat(np.arange(n_customers), activity)
    bounds = np.linspace(0, n_products, len(_DEPARTMENTS) + 1).astype(np.int64)
    product = _products(rng, _departments(rng, n_customers, customer), bounds)
    product = _repeat_earlier(rng, product, activity)
    price = np.round(rng.lognormal(1.5, 0.8, n_products) + 0.5, 2)
    table = pl.DataFrame(
        {
            "customer": _names(n_customers)[customer],
            "product": _skus(rng, bounds)[product],
            "quantity": rng.geometric(0.4, customer.size),
            "price": price[product],
            "time": _times(rng, customer.size),
        }
    )
    return _soil(rng, table).sort("time", maintain_order=True)


def _departments(rng: np.random.Generator, n_customers: int, customer: Ints) -> Ints:
    """Return the department each transaction looks into, by the taste of its customer."""
    n = len(_DEPARTMENTS)
    liked = np.argsort(rng.random((n_customers, n)), axis=1)[:, :3]
    shares = rng.exponential(size=(n_customers, 3))
    shares[rng.random(n_customers) < 0.5, 2] = 0.0
    reach = np.cumsum(shares, axis=1) / shares.sum(axis=1, keepdims=True)
    which = (rng.random(customer.size)[:, None] >= reach[customer]).sum(axis=1)
    department: Ints = liked[customer, np.minimum(which, 2)]
    return department


def _products(rng: np.random.Generator, department: Ints, bounds: Ints) -> Ints:
    """Return a product per transaction: departments hold consecutive products, best seller first.

    One uniform number, stretched over the weights of a department or of the whole shop, is looked
    up in the running sum of all weights.
    """
    rank = np.arange(bounds[-1]) - np.repeat(bounds[:-1], np.diff(bounds))
    mass = np.append(0.0, np.cumsum(1.0 / (rank + 3.0)))
    at_random = rng.random(department.size) >= 0.85
    low = np.where(at_random, 0.0, mass[bounds[department]])
    high = np.where(at_random, mass[-1], mass[bounds[department + 1]])
    place = low + rng.random(department.size) * (high - low)
    product: Ints = np.clip(np.searchsorted(mass, place, side="right") - 1, 0, bounds[-1] - 1)
    return product


def _repeat_earlier(rng: np.random.Generator, product: Ints, activity: Ints) -> Ints:
    start = np.repeat(np.cumsum(activity) - activity, activity)
    row = np.arange(product.size)
    earlier = start + (rng.random(product.size) * (row - start)).astype(np.int64)
    return np.where(rng.random(product.size) < 0.15, product[earlier], product)


def _names(n_customers: int) -> NDArray[np.str_]:
    return np.array([f"C{number:05d}" for number in range(1, n_customers + 1)])


def _skus(rng: np.random.Generator, bounds: Ints) -> NDArray[np.str_]:
    """Return the name of each product; numbers within a department say nothing of popularity."""
    return np.array(
        [
            f"{department}-{number:04d}"
            for department, size in zip(_DEPARTMENTS, np.diff(bounds), strict=True)
            for number in 1 + rng.permutation(size)
        ]
    )


def _times(rng: np.random.Generator, n: int) -> NDArray[np.datetime64]:
    days = np.resize(_WEEK, 364)
    day = rng.choice(days.size, n, p=days / days.sum())
    hour = rng.choice(24, n, p=_HOURS / _HOURS.sum())
    seconds = day * 86400 + hour * 3600 + rng.integers(3600, size=n)
    return _START + seconds.astype("timedelta64[s]")


def _soil(rng: np.random.Generator, table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with nulls, returns, zero quantities and repeated rows."""

    def some(share: float) -> pl.Series:
        return pl.Series(rng.random(table.height) < share)

    quantity = pl.col("quantity")
    table = table.with_columns(
        pl.when(~some(0.005)).then(pl.col("customer")).alias("customer"),
        pl.when(~some(0.003)).then(pl.col("product")).alias("product"),
        pl.when(some(0.01)).then(-quantity).when(some(0.005)).then(0).otherwise(quantity)
        .alias("quantity"),
    )  # fmt: skip
    return pl.concat([table, table.filter(some(0.002))])
