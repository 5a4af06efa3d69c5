"""What the recommenders' doors have answered, held against loops over the true rows."""

import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np

from fuzz.tables import TIMES

LARGEST = float(np.finfo(np.float32).max)
LEAST = float(np.finfo(np.float32).smallest_subnormal) / 2  # which is rounded to nothing
CLOSE = 2e-4  # of scores in float32, relative to the largest


def rows_of(case):
    """Return (row, user, item, weight, time) of each row, None where something is missing."""
    n = case.get("users").size
    columns = [range(n), case.get("users"), case.get("items")]
    columns += [
        case.get(name) if case.get(name) is not None else [1] * n for name in ("weights", "times")
    ]
    for row, user, item, weight, time in zip(*columns, strict=True):
        yield (
            row,
            *(int(x) if x >= 0 else None for x in (user, item)),
            float(weight),
            (int(time) if time >= 0 else None),
        )


def complaints(case, found):
    """Yield what is wrong with an answer."""
    yield from JUDGES[case.door](case, found)


def is_number(weight):
    """Return whether float32 can hold a weight without making it nothing."""
    return weight == 0 or LEAST < abs(weight) <= LARGEST


# Reading.

MERGE = {  # the (time, row, weight) of a pair
    "sum": lambda several: total([weight for *_, weight in several]),
    "max": lambda several: max(weight for *_, weight in several),
    "last": lambda several: max(several)[2],
    "error": lambda several: several[0][2],
}


def total(weights):
    """Return a sum, nothing where what is left of it is rounding."""
    left = math.fsum(weights)
    return left if abs(left) > 1e-12 * math.fsum(map(abs, weights)) else 0.0


def merged(case):
    """Return the weight of each pair, and how many rows are not among them, and why."""
    events, account = defaultdict(list), Counter()
    for row, user, item, weight, time in rows_of(case):
        if user is None or item is None:
            account["null_ids"] += 1
        elif not is_number(weight):
            account["bad_weights"] += 1
        elif time is None:
            account["null_times"] += 1
        else:
            events[user, item].append((time, row, weight))
    policy = case.get("duplicates", "sum")
    pairs = {pair: MERGE[policy](several) for pair, several in events.items()}
    account["duplicates"] = sum(len(several) - 1 for several in events.values())
    account["touched"] = sum(weight <= 0 for weight in pairs.values())
    return pairs, account


def expected_read(case):
    """Return the pairs that are liked, and the account; None where it must be refused."""
    pairs, account = merged(case)
    bad = sum(account[name] for name in ("null_ids", "bad_weights", "null_times"))
    if case.get("duplicates") == "error" and account["duplicates"]:
        return None, account
    if (case.get("bad_rows") == "error" and bad) or max(pairs.values(), default=0) > LARGEST:
        return None, account
    liked = {pair: weight for pair, weight in pairs.items() if weight > 0}
    kept = without_rare(liked, case.get("min_user", 1), case.get("min_item", 1))
    return kept or None, account


def without_rare(pairs, min_user, min_item):
    """Return the pairs of users and items with enough pairs, until all have."""
    while True:
        users, items = Counter(user for user, _ in pairs), Counter(item for _, item in pairs)
        kept = {
            p: w for p, w in pairs.items() if users[p[0]] >= min_user and items[p[1]] >= min_item
        }
        if len(kept) == len(pairs):
            return kept
        pairs = kept


def wrong_read(case, found):
    right, account = expected_read(case)
    if right is None:
        yield "taken: a table that has to be refused was read"
        return
    pairs = found["pairs"]
    if pairs.keys() != right.keys():
        yield f"pairs: {sorted(pairs.keys() ^ right.keys())[:4]} are wrong or missing"
        return
    for pair, weight in right.items():
        if not math.isclose(pairs[pair], weight, rel_tol=1e-5, abs_tol=1e-44):
            yield f"weights: {pairs[pair]} of {pair}, truly {weight}"
            return
    for name, count in account.items():
        if getattr(found["report"], name) != count:
            yield f"report: {name} {getattr(found['report'], name)}, truly {count}"


# Splitting.


def split_events(case):
    """Return the complete rows of each user in order of time, the table's order where equal."""
    by_user = defaultdict(list)
    for row, user, item, _, time in rows_of(case):
        if user is not None and item is not None and time is not None:
            by_user[user].append((time, row))
    return {user: [row for _, row in sorted(several)] for user, several in by_user.items()}


def quota(case, count, part="fraction"):
    """Return how many of a user's rows are held back."""
    fraction = case.get(part)
    wanted = case.get("k", 1) if fraction is None else math.floor(fraction * count + 1e-9)
    return min(wanted, count - 1)


def parted(case, held, among=None):
    """Return the rows that are not held, and those held whose pair is not among them."""
    every = [row for row in rows_of(case) if among is None or row[0] in among]
    first = [row for row in every if row[0] not in held]
    seen = {(user, item) for _, user, item, *_ in first}
    second = [row for row in every if row[0] in held and (row[1], row[2]) not in seen]
    return [[row[0] for row in part] for part in (first, second)]


def wrong_leave_last(case, found):
    held = set()
    for rows in split_events(case).values():
        held |= set(rows[len(rows) - quota(case, len(rows)) :])
    if found != parted(case, held):
        yield f"split: {found}, truly {parted(case, held)}"


def wrong_by_time(case, found):
    events = sorted((time, row) for row, u, i, _, time in rows_of(case) if None not in (u, i, time))
    held = set()
    if events:
        cut = events[int((1 - case.get("fraction")) * len(events) + 1e-9)][0]
        held = {row for time, row in events if time >= cut}
    if found != parted(case, held):
        yield f"split: {found}, truly {parted(case, held)}"


def wrong_random(case, found):
    yield from wrong_part(case, *found, "fraction", None)


def wrong_part(case, first, second, part, among):
    """Yield what is wrong with a random part of the rows of each user."""
    held = {row[0] for row in rows_of(case) if among is None or row[0] in among} - set(first)
    for user, rows in split_events(case).items():
        if among is not None and not set(rows) <= among:
            continue
        if len(held & set(rows)) != quota(case, len(rows), part):
            yield f"share: {len(held & set(rows))} of {len(rows)} rows of user {user} held back"
            return
    if [first, second] != parted(case, held, among):
        yield f"split: {[first, second]}, truly {parted(case, held, among)}"


def wrong_held_out(case, found):
    train, known, hidden = found
    user_of = {row: user for row, user, *_ in rows_of(case)}
    users = {user for user in user_of.values() if user is not None}
    if len(users) < 2:
        yield "taken: a table of fewer than two users was split"
        return
    others = {user_of[row] for row in (*known, *hidden)}
    count = max(int(case.get("fraction") * len(users) + 1e-9), 1)
    if len(others) != count or None in others or others & {user_of[row] for row in train}:
        yield f"users: {sorted(map(str, others))} held out, wanted {count} whole ones"
        return
    among = {row for row, user in user_of.items() if user in others}
    if set(train) | among != set(user_of) or set(train) & among:
        yield "rows: some are lost or stand twice"
        return
    if case.get("times") is None:
        yield from wrong_part(case, known, hidden, "hide", among)
        return
    held = set()
    for user, rows in split_events(case).items():
        if user in others:
            held |= set(rows[len(rows) - quota(case, len(rows), "hide") :])
    if [known, hidden] != parted(case, held, among):
        yield f"split: {[known, hidden]}, truly {parted(case, held, among)}"


# Recommending.


def wrong_recommender(case, found):
    taken, touched = taken_items(case), taken_items(case, liked=False)
    users, items = found["users"], found["items"]
    scores = dict(zip(users, found["scores"].astype(float), strict=True))
    if not np.isfinite(found["scores"]).all():
        yield f"scores: not finite in {case.get('model')}"
        return
    if found["everybody"] != found["again"]:
        yield "file: a model that was read back makes other lists"
    k = min(int(case.get("k")), len(items))
    yield from wrong_lists(found["everybody"], users, scores, items, touched, k, set())
    yield from wrong_metrics(case, found, touched, k)
    if case.get("model") == "Popularity":
        takers = Counter(item for several in taken.values() for item in several)
        if found["scores"][0].tolist() != [takers[item] for item in items]:
            yield "popularity: not the numbers of users"
    allowed = set(items) if case.get("allow") is None else set(map(int, case.get("allow")))
    barred = set(items) - allowed | set(map(int, case.get("deny", np.empty(0))))
    known = [int(code) for code in case.get("asked") if int(code) in scores]
    mine = [row for row in found["lists"] if row[0] in scores]
    shown = touched if case.get("exclude_seen") else {}
    yield from wrong_lists(mine, known, scores, items, shown, int(case.get("k")), barred)
    strange = [row for row in found["lists"] if row[0] not in scores]
    if any(row[1] in barred for row in strange):
        yield "rules: a denied item is recommended to a stranger"


def taken_items(case, *, liked=True):
    """Return the items that each user liked, or all that were touched."""
    taken = defaultdict(set)
    for (user, item), weight in merged(case)[0].items():
        if weight > 0 or not liked:
            taken[user].add(item)
    return taken


def wrong_lists(rows, users, scores, items, taken, k, barred):
    """Each list holds the best items that are left, in order: near ties may change places."""
    by_user = defaultdict(list)
    for user, item, score, rank in rows:
        by_user[user].append((rank, item, score))
    for user in users:
        own = dict(zip(items, scores[user], strict=True))
        near = CLOSE * max(1e-6, max(map(abs, own.values())))
        listed = sorted(by_user[user])
        names = [item for _, item, _ in listed]
        left = set(items) - taken.get(user, set()) - barred
        if [rank for rank, *_ in listed] != list(range(1, len(listed) + 1)):
            yield f"ranks: {listed} of user {user}"
        elif len(set(names)) < len(names) or not set(names) <= left:
            yield f"items: {names} of user {user}, of {sorted(left)}"
        elif len(names) != min(k, len(left)):
            yield f"length: {len(names)} items for user {user}, {min(k, len(left))} are left"
        elif any(abs(own[item] - score) > near for _, item, score in listed):
            yield f"scores: {listed} of user {user}, truly {[own[item] for item in names]}"
        elif any(own[x] < own[y] - near for x, y in pairwise(names)):
            yield f"order: {listed} of user {user}"
        elif names and max((own[x] for x in left - set(names)), default=-np.inf) > near + min(
            own[item] for item in names
        ):
            yield f"best: better items than {names} are left for user {user}"


def wrong_metrics(case, found, touched, k):
    """The metrics are those of the lists, by their definitions."""
    held = defaultdict(set)
    for user, item in zip(case.get("test_users"), case.get("test_items"), strict=True):
        if (
            int(user) in found["users"]
            and int(item) in found["items"]
            and int(item) not in touched[int(user)]
        ):
            held[int(user)].add(int(item))
    lists = defaultdict(list)
    for user, item, _, _ in found["everybody"]:
        lists[user].append(item)
    of = defaultdict(list)
    for user, wanted in held.items():
        ranks = [rank for rank, item in enumerate(lists[user], 1) if item in wanted]
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
        of["recall"].append(len(ranks) / len(wanted))
        of["recall_capped"].append(len(ranks) / min(k, len(wanted)))
        of["ndcg"].append(sum(1 / math.log2(rank + 1) for rank in ranks) / ideal)
        of["hit_rate"].append(float(bool(ranks)))
        of["mrr"].append(1 / ranks[0] if ranks else 0.0)
    if found["metrics"]["users"] != len(held):
        yield f"metrics: {found['metrics']['users']} users, truly {len(held)}"
        return
    for name, values in of.items():
        said, true = found["metrics"][f"{name}@{k}"], sum(values) / len(values)
        if abs(said - true) > 1e-9:
            yield f"metrics: {name} {said}, truly {true}"


JUDGES = {
    "read": wrong_read,
    "leave_last": wrong_leave_last,
    "by_time": wrong_by_time,
    "random_per_user": wrong_random,
    "held_out_users": wrong_held_out,
    "recommender": wrong_recommender,
}


# Refusing.

ARGUMENTS = (
    *("source", "table", "test", "rows", "users", "item", "items", "user", "time", "time_format"),
    *("weight", "duplicates", "bad_rows", "min_user", "min_item", "k", "fraction", "hide", "seed"),
    *("unknown", "histories", "allow", "deny", "budget", "path", "epochs", "dim"),
)


def may_be_refused(case):
    """Return whether there is something about a case that a door may object to."""
    if case.get("times") is not None and not TIMES[case.get("time_style")][2]:
        return True
    if case.door == "read":
        return expected_read(case)[0] is None
    if case.door == "held_out_users":
        return len({row[1] for row in rows_of(case)} - {None}) < 2
    if case.door == "recommender":
        taken = taken_items(case)
        items = set().union(*taken.values()) if taken else set()
        allowed = items if case.get("allow") is None else items & set(map(int, case.get("allow")))
        strangers = {int(code) for code in case.get("asked")} - set(taken)
        return (
            case.get("k") > len(items)
            or not allowed - set(map(int, case.get("deny", ())))
            or not case.get("asked").size
            or (bool(strangers) and case.get("unknown") in ("error", "fold_in"))
            or case.get("unknown") == "fold_in"
            or "budget" in case.arguments
        )
    return False
