"""The account of a table that was read: what became of each row."""

from dataclasses import dataclass
from typing import Literal

Policy = Literal["sum", "last", "max", "error"]

_POLICY_MEANS = {
    "sum": "their weights were added",
    "last": "the latest counts",
    "max": "the largest weight counts",
    "error": "none allowed",
}


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What became of the rows of a table.

    Each row is counted once, under the first that applies, so that
    rows = null_ids + bad_weights + null_times + duplicates + rare + pairs.

    Attributes
    ----------
    rows : int
        Rows read.
    null_ids : int
        Rows dropped because user or item is null, NaN or an empty text.
    bad_weights : int
        Rows dropped because the weight is no finite number above zero (in float32).
    null_times : int
        Rows dropped because the time is null.
    duplicates : int
        Rows merged into another row of the same user and item.
    rare : int
        Distinct pairs dropped because too few were left of their user or of their item.
    pairs, users, items : int
        Distinct (user, item) pairs, users and items kept.
    policy : str
        How duplicates were merged: "sum", "last", "max" or "error".
    min_user, min_item : int
        The fewest pairs that a user and an item were to have.
    """

    rows: int
    null_ids: int
    bad_weights: int
    null_times: int
    duplicates: int
    rare: int
    pairs: int
    users: int
    items: int
    policy: Policy
    min_user: int
    min_item: int

    def summary(self) -> str:
        """Return the account as three lines of text, four where users or items had a minimum."""
        dropped = self.null_ids + self.bad_weights + self.null_times
        lines = [
            f"Read {self.rows:,} rows: kept {self.pairs:,} pairs of {self.users:,} users and "
            f"{self.items:,} items.",
            f"Dropped {dropped:,} rows: {self.null_ids:,} without user or item, "
            f"{self.bad_weights:,} with a weight that is no positive number, "
            f"{self.null_times:,} without time.",
            f"Merged {self.duplicates:,} rows that repeat a pair "
            f"(duplicates={self.policy!r}: {_POLICY_MEANS[self.policy]}).",
        ]
        if max(self.min_user, self.min_item) > 1:
            lines.append(
                f"Dropped {self.rare:,} pairs of users with fewer than {self.min_user:,} or items "
                f"with fewer than {self.min_item:,}, until none was left."
            )
        return "\n".join(lines)
