"""What a user may say of the budget, and what tables cost."""

import re
from collections.abc import Callable
from typing import Any

from sparsenum.sparse import CSR

VALUE_BYTES, INDEX_BYTES, ROW_BYTES = 4, 2, 2  # float32 value, uint16 column; uint16 count of a row
_UNITS = {"": 0, "%": 0, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_FORM = re.compile(
    r"\s*([0-9][0-9_]*\.?[0-9]*(?:[eE]\+?[0-9]+)?)\s*(%|KB|MB|GB)?\s*", re.IGNORECASE
)


def parse_budget(budget: int | str, n_rows: int, dim: int) -> int:
    """Return the number of weights that a budget buys in tables of `n_rows` rows in all.

    Parameters
    ----------
    budget : int or str
        Weights (``500000``), a share of the dense tables (``"10%"``), or what weights take on disk
        (``"4MB"``, decimal; 6 bytes for a weight with its column, 2 for a row).
    n_rows : int
        Users and items together.
    dim : int
        Columns of the tables.

    Returns
    -------
    int
        Weights, from `n_rows` (each user and item has one at least) to ``n_rows * dim``.

    Raises
    ------
    ValueError
        If the budget cannot be read, or is too small or too large.

    See Also
    --------
    recsys.ItemBlend : whose `budget` it reads.

    Examples
    --------
    >>> import recsys
    >>> recsys.storage.parse_budget("10%", n_rows=100, dim=64)
    640
    >>> recsys.storage.parse_budget(500, n_rows=100, dim=64)
    500
    """
    dense = n_rows * dim

    def bought(size: int) -> int:
        return (size - n_rows * ROW_BYTES) // (VALUE_BYTES + INDEX_BYTES)

    weights = read_budget(budget, dense, bought)
    if not n_rows <= weights <= dense:
        raise ValueError(
            f"budget must buy from {n_rows:,} weights (one for each user and item) to {dense:,} "
            f"(dense tables of {dim} columns): got {budget!r}, which buys {max(weights, 0):,}; "
            "change the budget or dim"
        )
    return weights


def read_budget(budget: int | str, dense: int, bought: Callable[[int], int]) -> int:
    """Return the weights of a budget: a number, a share of `dense`, or what bytes buy."""
    match = _FORM.fullmatch(str(budget))
    if match is None or isinstance(budget, bool):
        raise ValueError(
            f"budget must be a number of weights, a share or a size: got {budget!r}; write it like "
            "500000, '10%' or '4MB'"
        )
    number, unit = float(match[1].replace("_", "")), (match[2] or "").upper()
    number = min(number, 1e30)  # beyond any table, and still a whole number
    if unit == "%":
        return round(number / 100 * dense)
    return bought(int(number * _UNITS[unit])) if unit else int(number)


def table_sizes(users: CSR, items: CSR) -> dict[str, Any]:
    """Return weights, bytes and density of two tables, in all and one by one under ``tables``."""
    tables = {}
    for name, table in (("users", users), ("items", items)):
        tables[name] = {
            "rows": table.shape[0],
            "dim": table.shape[1],
            "weights": table.nnz,
            "density": table.nnz / (table.shape[0] * table.shape[1]),
            "bytes_values": table.data.nbytes,
            "bytes_indices": table.indices.nbytes,
            "bytes_rows": ROW_BYTES * table.shape[0],
            "largest_row": int(table.row_counts.max()),
        }
    totals: dict[str, Any] = {
        key: sum(table[key] for table in tables.values())
        for key in ("weights", "bytes_values", "bytes_indices", "bytes_rows")
    }
    dense = sum(table["rows"] * table["dim"] for table in tables.values())
    sizes = {"dense_weights": dense, "density": totals["weights"] / dense, "tables": tables}
    return totals | sizes
