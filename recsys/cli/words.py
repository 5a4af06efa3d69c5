"""Messages in the words of a command's user: TABLE and --users, not names of parameters."""

import re

LONGEST = 1000  # characters of a message
_WORDS = {
    **dict.fromkeys(("source", "table", "test", "train"), "TABLE"),
    "path": "MODEL.npz",
    "rows": "--histories",
    "exclude_seen": "--include-seen",
}
_OPTIONS = (
    "user",
    "item",
    "weight",
    "time",
    "time_format",
    "min_weight",
    "duplicates",
    "bad_rows",
    "min_user",
    "min_item",
    "budget",
    "values",
    "trials",
    "dim",
    "epochs",
    "learning_rate",
    "weight_decay",
    "seed",
    "valid",
    "validation",
    "patience",
    "device",
    "users",
    "k",
    "allow",
    "deny",
    "unknown",
    "histories",
    "memory_limit",
    "fraction",
    "cut",
    "hide",
    "separator",
)
_WORDS |= {name: f"--{name.replace('_', '-')}" for name in _OPTIONS}
_SUBJECT = re.compile(r"(\w+)(?: and (\w+))? (?=must\b)")


def as_said(message: str) -> str:
    """Return an error's message with the parameter it is about as the command line calls it."""
    subject = _SUBJECT.match(message)
    if subject is not None:
        names = [_WORDS.get(name, name) for name in subject.groups() if name]
        message = f"{' and '.join(names)} {message[subject.end() :]}"
    half = LONGEST // 2
    return message if len(message) <= LONGEST else f"{message[:half]} ... {message[-half:]}"
