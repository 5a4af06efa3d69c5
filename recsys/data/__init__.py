"""Tables in, events and splits of them out: the only place that reads data frames."""

from recsys.data import readers
from recsys.data.interactions import Interactions, ReadReport
from recsys.data.split import by_time, held_out_users, leave_last, random_per_user
from recsys.data.table import open_table
from recsys.data.textfile import TextFile
from recsys.data.times import read_times
from recsys.data.validation import pairs_to_choose_by, recent_counts

__all__ = [
    "Interactions",
    "ReadReport",
    "TextFile",
    "by_time",
    "held_out_users",
    "leave_last",
    "open_table",
    "pairs_to_choose_by",
    "random_per_user",
    "read_times",
    "readers",
    "recent_counts",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
