"""Kernels that find the best items of a block of users: scores by tiles, kept while in cache."""

import numpy as np

from sparsenum._formulas import dot_v1
from sparsenum._numba import formula, kernel

__all__ = [
    "hide_seen",
    "hide_tile",
    "merge_tile",
    "merge_touched",
    "rows_times",
    "score_tile",
    "score_touched",
    "search_rows",
]


@formula
def rows_times(X, M, Y):
    """Add X M to Y, four rows at a time; len(X) is a multiple of four.

    Sums go in the order they are written in, the same for each row, so equal rows of X give rows
    of Y that are equal to the bit wherever they stand.
    """
    rest = M.shape[0] - M.shape[0] % 4
    for r in range(0, X.shape[0], 4):
        xa, xb, xc, xd = X[r], X[r + 1], X[r + 2], X[r + 3]
        ya, yb, yc, yd = Y[r], Y[r + 1], Y[r + 2], Y[r + 3]
        for k in range(0, rest, 4):
            m0, m1, m2, m3 = M[k], M[k + 1], M[k + 2], M[k + 3]
            a0, a1, a2, a3 = xa[k], xa[k + 1], xa[k + 2], xa[k + 3]
            b0, b1, b2, b3 = xb[k], xb[k + 1], xb[k + 2], xb[k + 3]
            c0, c1, c2, c3 = xc[k], xc[k + 1], xc[k + 2], xc[k + 3]
            d0, d1, d2, d3 = xd[k], xd[k + 1], xd[k + 2], xd[k + 3]
            for t in range(M.shape[1]):
                ya[t] = ya[t] + a0 * m0[t] + a1 * m1[t] + a2 * m2[t] + a3 * m3[t]
                yb[t] = yb[t] + b0 * m0[t] + b1 * m1[t] + b2 * m2[t] + b3 * m3[t]
                yc[t] = yc[t] + c0 * m0[t] + c1 * m1[t] + c2 * m2[t] + c3 * m3[t]
                yd[t] = yd[t] + d0 * m0[t] + d1 * m1[t] + d2 * m2[t] + d3 * m3[t]
        for k in range(rest, M.shape[0]):
            m, a, b, c, d = M[k], xa[k], xb[k], xc[k], xd[k]
            for t in range(M.shape[1]):
                ya[t] += a * m[t]
                yb[t] += b * m[t]
                yc[t] += c * m[t]
                yd[t] += d * m[t]


@formula
def score_tile(indptr, indices, data, first, X, Y):
    """Write Y = A X for the rows of A from `first` on; four weights at a time spare Y trips.

    Sums go in the order of a row's weights, one after the other, as in search_rows: a score is the
    same to the bit wherever it is made.
    """
    for i in range(Y.shape[0]):
        y = Y[i]
        y[:] = np.float32(0)
        p, stop = indptr[first + i], indptr[first + i + 1]
        while p + np.uint64(4) <= stop:
            a, xa = data[p], X[indices[p]]
            b, xb = data[p + np.uint64(1)], X[indices[p + np.uint64(1)]]
            c, xc = data[p + np.uint64(2)], X[indices[p + np.uint64(2)]]
            d, xd = data[p + np.uint64(3)], X[indices[p + np.uint64(3)]]
            for t in range(y.size):
                y[t] = y[t] + a * xa[t] + b * xb[t] + c * xc[t] + d * xd[t]
            p += np.uint64(4)
        while p < stop:
            a, xa = data[p], X[indices[p]]
            for t in range(y.size):
                y[t] += a * xa[t]
            p += np.uint64(1)


@kernel
def hide_tile(indptr, indices, rows, first, Y):
    """Set to minus infinity what the sorted row rows[t] bars from column t of Y, from first on."""
    for t in range(rows.size):
        start, stop = indptr[rows[t]], indptr[rows[t] + 1]
        end = stop
        while start < stop:
            middle = (start + stop) >> np.uint64(1)
            if indices[middle] < first:
                start = middle + np.uint64(1)
            else:
                stop = middle
        while start < end and indices[start] < first + Y.shape[0]:
            Y[indices[start] - first, t] = -np.inf
            start += np.uint64(1)


@kernel
def hide_seen(indptr, indices, rows, scores):
    """Set the scores (b, n_items) of what user rows[t] has taken to minus infinity."""
    for t in range(rows.size):
        for p in range(indptr[rows[t]], indptr[rows[t] + 1]):
            scores[t, indices[p]] = -np.inf


@kernel
def enter(score, item, t, indices, values):
    """Put an item in its place among the best of user t, if it is one; ties to the lower item."""
    place = values.shape[1] - 1
    if not score >= values[t, place] or (
        score == values[t, place] and (indices[t, place] < item or score == -np.inf)
    ):
        return
    while place > 0 and (
        values[t, place - 1] < score
        or (values[t, place - 1] == score and indices[t, place - 1] > item)
    ):
        values[t, place] = values[t, place - 1]
        indices[t, place] = indices[t, place - 1]
        place -= 1
    values[t, place] = score
    indices[t, place] = item


@kernel
def merge_tile(Y, items, worst, indices, values):
    """Merge scores Y (tile, b) of `items` into the k best so far (b, k), ties to the lower item.

    worst (b,) holds the last of each user's values, or infinity in lanes that hold no user.
    """
    k = indices.shape[1]
    for i in range(Y.shape[0]):
        y, item = Y[i], items[i]
        hits = np.int32(0)
        for t in range(y.size):
            hits = np.int32(hits + (y[t] >= worst[t]))
        if hits == 0:
            continue
        for t in range(y.size):
            # As `enter` does, written out: calls would take three times as long.
            score, place = y[t], k - 1
            if not score >= worst[t] or (
                score == values[t, place] and (indices[t, place] < item or score == -np.inf)
            ):
                continue
            while place > 0 and (
                values[t, place - 1] < score
                or (values[t, place - 1] == score and indices[t, place - 1] > item)
            ):
                values[t, place] = values[t, place - 1]
                indices[t, place] = indices[t, place - 1]
                place -= 1
            values[t, place] = score
            indices[t, place] = item
            worst[t] = values[t, k - 1]


@formula
def search_rows(X, sizes, table, items, norms, barred, lists):
    """Merge into the lists of users, one after the other, whatever items score better.

    Row t of X is the vector of user t and sizes[t] its norm; items come by falling norm, those at
    the places barred[1] from barred[0][t] on are left out.
    """
    indptr, columns, data = table
    is_barred = np.zeros(items.size + 1, np.bool_)
    for t in range(len(X)):
        x, size, worst = X[t], sizes[t], lists[1][t, -1]
        own = barred[1][barred[0][t] : barred[0][t + 1]]
        for place in own:
            is_barred[place] = True
        for i in range(items.size):
            if size * norms[i] < worst:
                break
            if is_barred[i]:
                continue
            score = np.float32(0)
            for p in range(indptr[i], indptr[i + 1]):
                score += data[p] * x[columns[p]]
            if score >= worst:
                enter(score, items[i], t, lists[0], lists[1])
                worst = lists[1][t, -1]
        for place in own:
            is_barred[place] = False


@kernel
def spread(indptr, indices, data, row, place, sums, words):
    """Add a row of a table to the sums by place, and mark in words the places that it touches."""
    for p in range(indptr[row], indptr[row + 1]):
        at = place[indices[p]]
        if at < sums.size:
            sums[at] += data[p]
            words[at >> np.uint32(6)] |= np.uint64(1) << np.uint64(at & np.uint32(63))


@kernel
def spread_walks(items, walks, place, ways, between, sums, words):
    """Add the walks from some items to the sums by place, and mark in words the places they reach.

    walks are (users, items, source, through, target): the items of each user and the users of each
    item, (indptr, indices), and what a walk is scaled by. ways (n_users,) comes and stays zero;
    between (n_users,) is scratch.
    """
    users, holders, source, through, target = walks
    count = 0
    for item in items:
        for p in range(holders[0][item], holders[0][item + np.uint32(1)]):
            user = holders[1][p]
            if ways[user] == 0:
                between[count] = user
                count += 1
            ways[user] += source[item]
    for t in range(count):
        user = between[t]
        way = ways[user] * through[user]
        ways[user] = np.float32(0)
        for p in range(users[0][user], users[0][user + np.uint32(1)]):
            item = users[1][p]
            at = place[item]
            if at < sums.size:
                sums[at] += way * target[item]
                words[at >> np.uint32(6)] |= np.uint64(1) << np.uint64(at & np.uint32(63))


@kernel
def collect(words, touched, first):
    """Write the marked places from touched[first] on, rising, unmark them; return the end."""
    for w in range(words.size):
        word, at = words[w], np.uint64(w) << np.uint64(6)
        while word:
            if word & np.uint64(255) == 0:
                word >>= np.uint64(8)
                at += np.uint64(8)
                continue
            if word & np.uint64(1):
                touched[first] = at
                first += np.uint64(1)
            word >>= np.uint64(1)
            at += np.uint64(1)
        words[w] = np.uint64(0)
    return first


@kernel
def score_touched(rows, taken, hidden, graph, walks, table, place, vectors, sums, words, found):
    """Score the items that the graph and walks from what users took touch, by place.

    Tables are (indptr, indices, data); row i of vectors is that of user rows[i]. Items hidden from
    a user count as touched, with no score. found holds where the items of each user end, their
    places and their scores. sums and words come and stay zero.
    """
    ends, touched, scores = found
    n_between = walks[3].size
    ways, between = np.zeros(n_between, np.float32), np.empty(n_between, np.uint32)
    stop = np.uint64(0)
    for i in range(rows.size):
        first, own = stop, range(taken[0][rows[i]], taken[0][rows[i] + 1])
        for p in own:
            spread(graph[0], graph[1], graph[2], taken[1][p], place, sums, words)
        if n_between > 0:
            items = taken[1][taken[0][rows[i]] : taken[0][rows[i] + 1]]
            spread_walks(items, walks, place, ways, between, sums, words)
        for p in range(hidden[0][rows[i]], hidden[0][rows[i] + 1]):
            at = place[hidden[1][p]]
            if at < sums.size:
                sums[at] = -np.inf
                words[at >> np.uint32(6)] |= np.uint64(1) << np.uint64(at & np.uint32(63))
        stop = collect(words, touched, first)
        ends[i + 1] = stop
        weight = np.float32(1 / np.sqrt(max(len(own), 1)))
        for q in range(first, stop):
            at = touched[q]
            start, end = table[0][at], table[0][at + 1]
            product = dot_v1(table[1], table[2], start, end, vectors[i])
            scores[q] = weight * sums[at] + product
            sums[at] = np.float32(0)


@kernel
def merge_touched(found, items, lists):
    """Merge the scores of touched places into the lists of users; items holds what is where."""
    ends, touched, scores = found
    indices, values = lists
    worst = np.empty(1, np.float32)
    for i in range(ends.size - 1):
        first, stop = ends[i], ends[i + 1]
        worst[0] = values[i, values.shape[1] - 1]
        own, numbers = scores[first:stop], items[touched[first:stop]]
        Y = own.reshape((own.size, 1))
        merge_tile(Y, numbers, worst, indices[i : i + 1], values[i : i + 1])
