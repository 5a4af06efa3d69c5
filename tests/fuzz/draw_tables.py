"""Random tables of events, and what is done with them: read, split, learned from."""

import numpy as np

from fuzz.case import Case
from fuzz.draw_transport import Dice
from fuzz.tables import CODES, IDS, IN_FILES, TEXT_TIMES, TIMES

DOORS = {
    "read": 25,
    "leave_last": 15,
    "by_time": 12,
    "random_per_user": 5,
    "held_out_users": 8,
    "recommender": 35,
}
LIBRARIES = ("polars", "polars", "lazy", "pandas", "pyarrow", "csv", "tsv", "parquet")
START, END = 946_684_800, 1_700_000_000  # in the years 2000 to 2023


def table_case(seed: int, number: int) -> Case:
    """Return one of the cases of a seed: it depends on nothing but the two numbers."""
    dice = Dice(np.random.default_rng([seed, number]))
    shares = np.array(list(DOORS.values()), float)
    door = list(DOORS)[dice.rng.choice(len(DOORS), p=shares / shares.sum())]
    return Case(door, DRAWS[door](dice))


def events(dice, most=80, missing=True, library=None):
    """Return users, items and how they are dressed."""
    library = library or dice.one(*LIBRARIES)
    n, n_users, n_items = dice.size(most), dice.size(20), dice.size(20)
    found = {"library": library}
    for role, size in (("user", n_users), ("item", n_items)):
        kinds = [kind for kind in IDS if fits(kind, library)]
        found[f"{role}_ids"] = kind = dice.one(*kinds)
        codes = dice.rng.integers(0, min(size, CODES.get(kind, size)), n)
        if missing and dice.chance(0.2):
            codes = np.where(dice.rng.random(n) < 0.1, dice.one(-1, -2), codes)
        found[f"{role}s"] = codes
    return found


def fits(kind, library):
    """Return whether a library hands ids of this type over unchanged."""
    if library in ("csv", "tsv", "txt"):
        return kind in IN_FILES
    return library != "pandas" or kind not in ("date", "datetime", "uint8", "bool", "enum")


def times(dice, n, library):
    """Return moments, and the style they are written in; few distinct ones, so that some tie."""
    styles = [style for style in TIMES if library != "pandas" or style not in ("date",)]
    style = dice.one(*styles)
    step = TIMES[style][1]
    span = dice.one(step * 20, step * 2000, END - START)
    seconds = START + dice.rng.integers(0, END - START - span + 1) if span < END - START else START
    seconds = (seconds + dice.rng.integers(0, span, n)) // step * step
    if style == "clock":
        seconds = seconds % 86400
    if style == "milliseconds" or dice.chance(0.8):
        return {"times": seconds, "time_style": style}
    return {"times": np.where(dice.rng.random(n) < 0.1, -1, seconds), "time_style": style}


def stated(dice, found):
    """Return the format of the times, now and then."""
    style = found.get("time_style")
    if style in TEXT_TIMES and dice.chance(0.3):
        return {"time_format": TEXT_TIMES[style][0]}
    return {}


def weights(dice, n):
    """Return weights, some of which are none."""
    x = dice.one(
        lambda: np.ones(n),
        lambda: dice.rng.integers(1, 6, n).astype(float),
        lambda: dice.rng.normal(size=n),
        lambda: 10.0 ** dice.rng.uniform(-50, 50, n),
        lambda: dice.rng.integers(-1, 3, n).astype(float),
    )()
    if dice.chance(0.2):
        x = np.where(dice.rng.random(n) < 0.2, dice.one(np.nan, np.inf, 0.0, -1.0), x)
    return x


def read(dice):
    found = events(dice)
    n = found["users"].size
    if dice.chance(0.6):
        found["weights"] = weights(dice, n)
    if dice.chance(0.4):
        found |= times(dice, n, found["library"])
        found |= stated(dice, found)
    if dice.chance(0.7):
        found["duplicates"] = dice.one("sum", "last", "max", "error")
    if dice.chance(0.2):
        found["bad_rows"] = dice.one("drop", "error")
    if dice.chance(0.2):
        found |= {"min_user": int(dice.one(1, 2, 3)), "min_item": int(dice.one(1, 2, 3))}
    return found


def leave_last(dice):
    found = events(dice)
    if dice.chance(0.85):
        found |= times(dice, found["users"].size, found["library"])
        found |= stated(dice, found)
    if dice.chance(0.5):
        found["fraction"] = dice.one(0.1, 0.2, 0.29, 0.5, 0.9)
    else:
        found["k"] = int(dice.one(1, 1, 2, 5))
    return found


def by_time(dice):
    found = events(dice)
    found |= times(dice, found["users"].size, found["library"])
    found |= stated(dice, found)
    found["fraction"] = dice.one(0.1, 0.2, 0.29, 0.5, 0.9)
    return found


def random_per_user(dice):
    return events(dice) | {"fraction": dice.one(0.1, 0.29, 0.5), "seed": int(dice.one(0, 1, 2))}


def held_out_users(dice):
    found = events(dice)
    if dice.chance(0.6):
        found |= times(dice, found["users"].size, found["library"])
        found |= stated(dice, found)
    return found | {"fraction": dice.one(0.1, 0.5), "hide": dice.one(0.2, 0.5), "seed": 0}


MODELS = {
    "Popularity": (20, lambda dice: {}),
    "ItemKNN": (
        20,
        lambda dice: {
            "neighbours": int(dice.one(1, 3, 100)),
            "likeness": dice.one("cosine", "tversky"),
        },
    ),
    "UserKNN": (
        10,
        lambda dice: {
            "neighbours": int(dice.one(1, 3, 100)),
            "likeness": dice.one("cosine", "tversky"),
        },
    ),
    "RP3beta": (10, lambda dice: {"neighbours": int(dice.one(1, 3, 100))}),
    "EASE": (12, lambda dice: {"budget": dice.one("100%", "50%", "2%")}),
    "SANSA": (12, lambda dice: {"budget": dice.one("100%", "50%", "2%")}),
    "SparseMF": (
        15,
        lambda dice: {
            "budget": dice.one("50%", "20%", "5%"),
            "dim": 4,
            "epochs": int(dice.one(1, 2)),
            "loss": dice.one("bpr", "bce", "softmax", "ccl"),
            "recipe": dice.one("dsl", "static", "set", "rigl"),
        },
    ),
    "SparseALS": (12, lambda dice: {"budget": "50%", "dim": 4, "epochs": 1, "polish": 1}),
    "LightGCN": (8, lambda dice: {"budget": "50%", "dim": 4, "epochs": 1}),
    "ItemBlend": (1, lambda dice: {"budget": "50%", "trials": 1}),
}


def recommender(dice):
    found = events(dice, missing=dice.chance(0.3), library="polars")
    n, n_users, n_items = (found["users"].size, *(found[x].max() + 1 for x in ("users", "items")))
    shares = np.array([share for share, _ in MODELS.values()], float)
    model = list(MODELS)[dice.rng.choice(len(MODELS), p=shares / shares.sum())]
    found |= {"model": model, **MODELS[model][1](dice)}
    if dice.chance(0.3):
        found["weights"] = weights(dice, n)
    found["k"] = (
        int(dice.one(1, 2, 5, 20)) if dice.chance(0.1) else int(dice.rng.integers(n_items)) + 1
    )
    found["exclude_seen"] = dice.one(True, True, False)
    strangers = [100, 101] if dice.chance(0.4) and CODES.get(found["user_ids"], 200) > 101 else []
    found["unknown"] = dice.one(
        *(("error", "skip", "popular", "fold_in") if strangers else ("error", "skip", "popular"))
    )
    asked = dice.rng.permutation(max(n_users, 1))[: dice.size(6)]
    found["asked"] = np.concatenate([asked, np.array(strangers, asked.dtype)])
    for name in ("allow", "deny"):
        if dice.chance(0.2):
            found[name] = dice.rng.permutation(max(n_items, 1))[: dice.size(6)]
    size = dice.size(30)
    found["test_users"] = dice.rng.integers(0, max(n_users, 1), size)
    found["test_items"] = dice.rng.integers(0, max(n_items, 1), size)
    return found


DRAWS = {
    "read": read,
    "leave_last": leave_last,
    "by_time": by_time,
    "random_per_user": random_per_user,
    "held_out_users": held_out_users,
    "recommender": recommender,
}
