"""Kernels that learn the sources of one target item after another from who took what.

Users and items come as (indptr, indices): the items of each user, the users of each item. The
order of the users is random, so that the first of them are a sample.
"""

import math

import numpy as np

from sparsenum._numba import kernel

__all__ = ["fill_sides", "learn_targets"]


@kernel
def fill_sides(order, pattern, users, cursor, holders, reach):
    """Copy a pattern with its users in another order, and list the users of each item.

    users are the (indptr, indices) to fill, the first filled already; cursor (n_items,) holds
    where each list of holders starts. Add up in reach (n_items,) how many other items the users of
    each have taken.
    """
    for user in range(order.size):
        p, q = pattern[0][order[user]], users[0][user]
        others = users[0][user + 1] - q - np.uint64(1)
        while q < users[0][user + 1]:
            item = pattern[1][p]
            users[1][q] = item
            holders[cursor[item]] = user
            cursor[item] += np.uint64(1)
            reach[item] += others
            p += np.uint64(1)
            q += np.uint64(1)


@kernel
def hash_pair(x, y):
    """Return 32 bits that look random and depend on the pair alone."""
    z = (np.uint64(x) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(y)
    z = (z ^ (z >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return z >> np.uint64(32)


@kernel
def meet(target, users, items, weight, limits, reach, shared, met):
    """Add up in shared (n_items,) the weights of the users that each item shares with a target.

    limits are the most items to read, by the reach of the target, and the most of one history.
    Beyond them every s-th user or item is read, from a lot, and counts s times. Return how many
    items were met; met lists them.
    """
    count = 0
    p, last = items[0][target], items[0][target + np.uint32(1)]
    skip = np.uint64(1) + reach // limits[0]
    if skip > 1:
        p += hash_pair(target, 0) % skip
    while p < last:
        user = items[1][p]
        p += skip
        q, stop = users[0][user], users[0][user + np.uint32(1)]
        step = np.uint64(1) + (stop - q - np.uint64(1)) // limits[1]
        if step > 1:
            q += hash_pair(user, target) % step
        share = weight[user] * np.float32(skip * step)
        while q < stop:
            item = users[1][q]
            if shared[item] == 0:
                met[count] = item
                count += 1
            shared[item] += share
            q += step
    return count


@kernel
def rivals(target, favour, shared, met, count, score):
    """Score what was met, without the target, by what it shares times its favour; clear shared."""
    left = 0
    for t in range(count):
        item = met[t]
        if item != target:
            score[left] = shared[item] * favour[item]
            met[left] = item
            left += 1
        shared[item] = 0
    return left


@kernel
def best_rivals(score, met, pool):
    """Fill pool with the items of the largest scores, best first; ties go to the lower item.

    Insertion: what it costs beyond one look at each score is less than a solve with the pool.
    """
    k = pool.size
    best = np.empty(k, score.dtype)
    found = 0
    for t in range(score.size):
        value, item = score[t], met[t]
        if found == k:
            worst = best[k - 1]
            if value < worst or (value == worst and item > pool[k - 1]):
                continue
        place = min(found, k - 1)
        while place > 0:
            above = best[place - 1]
            if above > value or (above == value and pool[place - 1] < item):
                break
            best[place] = above
            pool[place] = pool[place - 1]
            place -= 1
        best[place] = value
        pool[place] = item
        found = min(found + 1, k)


@kernel
def list_users(pool, items, limit, counts, listed):
    """Count in counts (n_users,) how many of the pool each user below a limit took.

    listed receives these users; return how many they are.
    """
    n_listed = 0
    for item in pool:
        for p in range(items[0][item], items[0][item + np.uint32(1)]):
            user = items[1][p]
            if user >= limit:
                break
            if counts[user] == 0:
                listed[n_listed] = user
                n_listed += 1
            counts[user] += 1
    return n_listed


@kernel
def list_places(pool, items, limit, ends, places):
    """Write the places in the pool of what each user took, ascending, from ends[user] on."""
    for a in range(pool.size):
        item = pool[a]
        for p in range(items[0][item], items[0][item + np.uint32(1)]):
            user = items[1][p]
            if user >= limit:
                break
            places[ends[user]] = a
            ends[user] += 1


@kernel
def overlaps(pool, items, weight, most, ends, listed):
    """Return the weights of the users that each two items of a pool share, below the diagonal.

    Where the items of the pool have more than `most` users, added up, about `most` are read: the
    first users stand for all, as their order is random. ends (n_users,) is zero before and
    after; listed (n_users,) is scratch.
    """
    reads = 0.0
    for item in pool:
        reads += items[0][item + np.uint32(1)] - items[0][item]
    limit = np.uint32(math.ceil(min(1.0, most / reads) * weight.size))
    part = limit / weight.size
    n_listed = list_users(pool, items, limit, ends, listed)
    end = 0
    for user in listed[:n_listed]:
        count = ends[user]
        ends[user] = end
        end += count
    places = np.empty(end, np.uint16)
    list_places(pool, items, limit, ends, places)
    gram = np.zeros((pool.size, pool.size))
    start = 0
    for user in listed[:n_listed]:
        stop, share = ends[user], weight[user] / part
        ends[user] = 0
        for x in range(start, stop):
            row = gram[places[x]]
            for y in range(start, x + 1):
                row[places[y]] += share
        start = stop
    return gram


@kernel
def regularise(gram, scale, ridge):
    """Scale rows and columns, add the ridge, and fill the triangle above the diagonal."""
    for a in range(scale.size):
        for b in range(a):
            gram[a, b] *= scale[a] * scale[b]
            gram[b, a] = gram[a, b]
        gram[a, a] = gram[a, a] * scale[a] * scale[a] + ridge


@kernel
def exchange(x, a, b):
    """Exchange two entries."""
    x[a], x[b] = x[b], x[a]


@kernel
def pursue(gram, k, order, w):
    """Choose k sources of the last of a pool one by one, and weigh them by least squares.

    Orthogonal least squares [1]_: gram (n + 1, n + 1) is factored by Cholesky, and the pivot is
    what lowers the error most, by the square of its gradient over what is left of its own square.
    The first k of order (n,) are the chosen; w (k,) receives their weights.

    .. [1] Chen, Cowan, Grant, "Orthogonal least squares learning algorithm for radial basis
       function networks", IEEE TNN 1991.
    """
    n = order.size
    gradient = gram[n, :n].copy()
    left = np.diag(gram)[:n].copy()
    root = np.empty((n, k), gram.dtype)
    for t in range(k):
        best, most = t, -1.0
        for a in range(t, n):
            gain = gradient[a] * gradient[a] / left[a]
            if gain > most:
                best, most = a, gain
        exchange(order, t, best)
        exchange(left, t, best)
        exchange(gradient, t, best)
        for s in range(t):
            root[t, s], root[best, s] = root[best, s], root[t, s]
        pivot, source = math.sqrt(left[t]), gram[order[t]]
        w[t] = gradient[t] / pivot
        root[t, t] = pivot
        for a in range(t + 1, n):
            total = source[order[a]]
            for s in range(t):
                total -= root[t, s] * root[a, s]
            total /= pivot
            root[a, t] = total
            left[a] -= total * total
            gradient[a] -= total * w[t]
    for t in range(k - 1, -1, -1):
        w[t] /= root[t, t]
        for s in range(t):
            w[s] -= root[t, s] * w[t]


@kernel
def learn_targets(
    targets, quota, starts, users, items, weight, scales, reach, rule, sources, values, met
):
    """Learn quota[j] sources of each target j and their weights, from starts[j] on.

    scales are the favour in selection and the scale of each item, reach what its users took; rule
    is the limits of `meet`, the most users of a pool, the ridge, and the pool over the quota.
    met (n_items,) receives how many items share a user with each target.
    """
    favour, scale = scales
    limits, most, ridge, breadth = rule
    shared = np.zeros(scale.size, np.float32)
    score = np.empty(scale.size, np.float32)
    found = np.empty(scale.size, np.uint32)
    ends = np.zeros(weight.size, np.uint32)
    listed = np.empty(weight.size, np.uint32)
    for target in targets:
        count = meet(target, users, items, weight, limits, reach[target], shared, found)
        count = rivals(target, favour, shared, found, count, score)
        met[target] = count
        k = min(quota[target], count)
        if k == 0:
            continue
        size = min(max(np.int64(breadth * k), k), count)
        pool = np.empty(size + 1, np.uint32)
        best_rivals(score[:count], found[:count], pool[:size])
        pool[:size].sort()
        pool[size] = target
        gram = overlaps(pool, items, weight, most, ends, listed)
        regularise(gram, scale[pool], ridge)
        order = np.arange(size)
        w = np.empty(k)
        pursue(gram, k, order, w)
        for t in range(k):
            source = pool[order[t]]
            sources[starts[target] + t] = source
            values[starts[target] + t] = w[t] * scale[source]
