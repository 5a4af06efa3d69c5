"""A case: one call of a door as data, which can be cut smaller and written out."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# What counts along each axis of an argument: "n" rows, "m" columns, "k" problems or histograms,
# "d" coordinates; "r" and "t" rows of tables, "u", "v", "w" ids asked for. A pair of vectors has
# a pair of axes.
AXES = {
    "solve": {"M": "nm", "a": "n", "b": "m", "potentials_init": ("n", "m")},
    "sinkhorn": {"M": "nm", "a": "n", "b": "mk", "warmstart": ("n", "m")},
    "sinkhorn2": {"M": "nm", "a": "n", "b": "mk", "warmstart": ("n", "m")},
    "solve_sample": {
        "X_a": "nd",
        "X_b": "md",
        "a": "n",
        "b": "m",
        "potentials_init": ("n", "m"),
    },
    "solve_batch": {"M": "knm", "reg": "k", "a": "kn", "b": "km"},
    "barycenter": {"A": "nk", "M": "nm", "weights": "k"},
    "sinkhorn_divergence": {"X_a": "nd", "X_b": "md", "a": "n", "b": "m"},
}
TABLE_AXES = {
    **dict.fromkeys(("users", "items", "weights", "times"), "r"),
    **dict.fromkeys(("test_users", "test_items"), "t"),
    **{"asked": "u", "allow": "v", "deny": "w"},
}


def frozen(x):
    """Return an array that cannot be written to."""
    x = np.array(x)
    x.flags.writeable = False
    return x


def strided(x):
    """Return the same numbers in an array with gaps."""
    return np.repeat(x, 2, axis=-1)[..., ::2]


FORMS = {
    "tolist": lambda x: x.tolist(),
    "frozen": frozen,
    "strided": strided,
    "fortran": np.asfortranarray,
    "backwards": lambda x: x[::-1].copy()[::-1],
}


@dataclass(frozen=True)
class Case:
    """A door, its arguments as plain arrays and words, and the form in which each is passed."""

    door: str
    arguments: dict[str, Any]
    forms: dict[str, str] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument as plain data."""
        return self.arguments.get(name, default)

    def presented(self) -> dict[str, Any]:
        """Return the arguments as the door is given them."""
        return {
            name: FORMS[self.forms[name]](np.asarray(x)) if name in self.forms else copied(x)
            for name, x in self.arguments.items()
        }

    def changed(self, **changes: Any) -> "Case":
        """Return the case with other values for some arguments."""
        return Case(self.door, self.arguments | changes, self.forms)

    def without(self, name: str) -> "Case":
        """Return the case with one argument left to its default."""
        left = {key: x for key, x in self.arguments.items() if key != name}
        return Case(self.door, left, {k: form for k, form in self.forms.items() if k != name})

    def unformed(self, name: str) -> "Case":
        """Return the case with one argument as a plain array."""
        return Case(self.door, self.arguments, {k: v for k, v in self.forms.items() if k != name})

    def sizes(self) -> dict[str, int]:
        """Return the length of each axis."""
        found: dict[str, int] = {}
        for name, x in self.arguments.items():
            for letters, part in axes_of(self.door, name, x):
                for letter, size in zip(letters, part.shape, strict=True):
                    found[letter] = max(found.get(letter, 0), size)
        return found

    def cut(self, axis: str, which: slice) -> "Case":
        """Return the case without some positions of an axis."""
        changes = {}
        for name, x in self.arguments.items():
            parts = axes_of(self.door, name, x)
            if any(axis in letters for letters, _ in parts):
                smaller = [cut_one(letters, part, axis, which) for letters, part in parts]
                changes[name] = tuple(smaller) if isinstance(x, tuple) else smaller[0]
        return self.changed(**changes)

    def __str__(self) -> str:
        """Return the call as Python that can be pasted into a test."""
        if self.door not in AXES:  # a table, which is made from its numbers
            given = (f"{name!r}: {written(x)}" for name, x in self.arguments.items())
            return f"Case({self.door!r}, {{{', '.join(given)}}})"
        given = (f"{name}={self.written(name)}" for name in self.arguments)
        return f"ot.{self.door}({', '.join(given)})"

    def written(self, name: str) -> str:
        """Return one argument as Python."""
        text = written(self.arguments[name])
        form = self.forms.get(name)
        if form == "tolist":
            return f"{text}.tolist()"
        return text if form is None else f"FORMS[{form!r}]({text})"


def copied(x: Any) -> Any:
    """Return an array that the door may change without changing the case."""
    return x.copy() if isinstance(x, np.ndarray) else x


def axes_of(door: str, name: str, x: Any) -> list[tuple[str, np.ndarray]]:
    """Return the arrays in an argument, each with the letters of its axes."""
    letters = AXES.get(door, TABLE_AXES).get(name)
    if letters is None or isinstance(letters, tuple) != isinstance(x, tuple):
        return []
    pairs = zip(letters, x, strict=False) if isinstance(x, tuple) else [(letters, x)]
    fitted = [(word.replace("k", "") if np.ndim(v) < len(word) else word, v) for word, v in pairs]
    return [(word, v) for word, v in fitted if isinstance(v, np.ndarray) and v.ndim == len(word)]


def cut_one(letters: str, x: np.ndarray, axis: str, which: slice) -> np.ndarray:
    """Return an array without some positions of an axis, if it has that axis."""
    return np.delete(x, which, axis=letters.index(axis)) if axis in letters else x


def written(x: Any) -> str:
    """Return a value as Python."""
    if isinstance(x, np.ndarray):
        numbers = repr(x.tolist()).replace("inf", "np.inf").replace("nan", "np.nan")
        kind = "" if x.dtype == np.float64 else f", np.{x.dtype.name}"
        return f"np.array({numbers}{kind})" if x.size else f"np.empty({x.shape}{kind})"
    if isinstance(x, tuple):
        return f"({', '.join(map(written, x))},)"
    if isinstance(x, np.generic):
        return f"np.{x.dtype.name}({x})"
    return {"inf": "np.inf", "-inf": "-np.inf", "nan": "np.nan"}.get(repr(x), repr(x))
