"""The check that a model is given interactions, not a table that has yet to be read."""

from recsys.data.interactions import Interactions


def require_interactions(train: object, n_items: int = 1) -> None:
    """Raise an error that says how to make Interactions of what is none, or of too few items.

    Examples
    --------
    >>> import numpy as np
    >>> require_interactions(np.eye(3))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    TypeError: train must be Interactions: got ndarray; make a table of its users and items, ...
    """
    if isinstance(train, Interactions):
        if train.n_items < n_items:
            raise ValueError("train must have at least two items to rank one above another: got 1")
        return
    names = _columns(train)
    if len(names) > 1:
        named = f"user={names[0]!r}, item={names[1]!r}"
        remedy = f"read it first, as in Interactions.read(table, {named})"
    elif hasattr(train, "shape"):
        remedy = (
            "make a table of its users and items, and read it: "
            "Interactions.read(table, user='user', item='item')"
        )
    else:
        remedy = "read it first: Interactions.read(table, user=..., item=...)"
    raise TypeError(f"train must be Interactions: got {type(train).__name__}; {remedy}")


def _columns(table: object) -> list[str]:
    """Return the column names of a table of any library, an empty list where it has none."""
    if hasattr(table, "collect_schema"):
        return list(table.collect_schema())
    names = getattr(table, "column_names", None)  # of pyarrow; others say columns
    return [str(name) for name in (getattr(table, "columns", ()) if names is None else names)]
