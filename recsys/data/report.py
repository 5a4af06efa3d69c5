"""The account of a table that was read: what became of each row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from sparsenum._check import choice, positive

Policy = Literal["sum", "last", "max", "error"]


@dataclass(frozen=True, slots=True)
class Reading:
    """The reading of the weights and times of a table: the same in training and in every test.

    Attributes
    ----------
    duplicates : {"sum", "last", "max", "error"}
        How several rows of a pair become one.
    min_weight : float, optional
        The least weight of a pair that is liked; else all above zero are.
    time_format : str, optional
        How times are written.
    """

    duplicates: Policy = "sum"
    min_weight: float | None = None
    time_format: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return what a model file says, once it is sound."""
        read = cls(**values)
        choice(read.duplicates, "duplicates", get_args(Policy))
        if read.min_weight is not None:
            positive(read.min_weight, "min_weight", "leave it out")
        if not isinstance(read.time_format, str | None):
            raise TypeError(f"time_format must be text: got {read.time_format!r}")
        return read


_POLICY_MEANS = {
    "sum": "their weights were added",
    "last": "the latest counts",
    "max": "the largest weight counts",
    "error": "none allowed",
}


@dataclass(frozen=True, slots=True)
class ReadReport:
    """The account of a table that was read: the number of rows kept, and left out by reason.

    Each row is counted once, under the first that applies, so that
    rows = null_ids + bad_weights + null_times + duplicates + touched + rare + pairs.

    Attributes
    ----------
    rows : int
        Rows read.
    null_ids : int
        Rows dropped because user or item is null, NaN or an empty text.
    bad_weights : int
        Rows dropped because the weight is no finite number (in float32).
    null_times : int
        Rows dropped because the time is null.
    duplicates : int
        Rows merged into another row of the same user and item.
    touched : int
        Distinct pairs that are not liked, as their weight is not above zero or below `min_weight`:
        not learned from, but not recommended either.
    rare : int
        Distinct pairs dropped because too few were left of their user or of their item.
    pairs, users, items : int
        Distinct (user, item) pairs, users and items kept.
    policy : str
        How duplicates were merged: "sum", "last", "max" or "error".
    min_user, min_item : int
        The fewest pairs that a user and an item were to have.
    min_weight : float, optional
        The least weight of a pair that is liked.

    See Also
    --------
    recsys.Interactions : whose `report` it is.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> events = pl.DataFrame({"user": ["ann", "ann", None], "item": ["tea", "tea", "mug"]})
    >>> report = recsys.Interactions.read(events, user="user", item="item").report
    >>> report.summary().splitlines()[0]
    'Read 3 rows: kept 1 pairs of 1 users and 1 items.'
    """

    rows: int
    null_ids: int
    bad_weights: int
    null_times: int
    duplicates: int
    touched: int
    rare: int
    pairs: int
    users: int
    items: int
    policy: Policy
    min_user: int
    min_item: int
    min_weight: float | None

    def summary(self) -> str:
        """Return the account as lines of text: three, and one more for each other loss."""
        dropped = self.null_ids + self.bad_weights + self.null_times
        lines = [
            f"Read {self.rows:,} rows: kept {self.pairs:,} pairs of {self.users:,} users and "
            f"{self.items:,} items.",
            f"Dropped {dropped:,} rows: {self.null_ids:,} without user or item, "
            f"{self.bad_weights:,} with a weight that is no number, "
            f"{self.null_times:,} without time.",
            f"Merged {self.duplicates:,} rows that repeat a pair "
            f"(duplicates={self.policy!r}: {_POLICY_MEANS[self.policy]}).",
        ]
        if self.touched:
            least = "above zero" if self.min_weight is None else f"{self.min_weight:g} or more"
            lines.append(
                f"Set aside {self.touched:,} pairs whose weight is not {least}: they are not "
                "learned from, and not recommended to their users."
            )
        if max(self.min_user, self.min_item) > 1:
            lines.append(
                f"Dropped {self.rare:,} pairs of users with fewer than {self.min_user:,} or items "
                f"with fewer than {self.min_item:,}, until none was left."
            )
        return "\n".join(lines)
