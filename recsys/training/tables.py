"""The tables that a model trains, and the budget of their rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsenum.nn.table import Table
from sparsenum.sparse import CSR
from sparsenum.topology import allocate

ROW_FLOOR = 0.25  # of the mean: fewest weights of a user or item


class Tables(NamedTuple):
    """The two tables of a model of users and items."""

    users: Table
    items: Table


class ItemTable(NamedTuple):
    """The one table of a model of items alone."""

    items: Table


def share_rows(
    weights: int, matrix: CSR, dim: int, power: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many weights each user and each item gets: in proportion to events ** `power`.

    At power 0 rows are as equal as whole numbers allow. The floor, so that what is rare
    can still be told apart, is a share of the mean; the ceiling is `dim`.
    """
    events = np.concatenate([matrix.row_counts, matrix.column_counts])
    floor = max(1, int(ROW_FLOOR * weights / events.size))
    counts = allocate(weights, events.astype(np.float64) ** power, lower=floor, upper=dim)
    return counts[: matrix.shape[0]], counts[matrix.shape[0] :]
