"""Training kernels, on sparse tables by compressed rows (indptr, indices, values, state).

Their arguments are tuples. A sampler is (indptr, indices, data, scale, seed, negatives): the matrix
of interactions, what log(1 + weight) is multiplied by, and how to draw. A loss is (code, margin,
weight). An optimizer is (code, rate, corrections).
"""

import math

import numpy as np

from sparsenum._formulas import add_v1, contains_v1, dot_v1, draw_v1, softplus_v1, step_v1
from sparsenum._numba import formula, kernel

__all__ = ["add_products", "add_slopes", "draw_all", "note", "visit"]

BPR, BCE, SOFTMAX, COSINE = 0, 1, 2, 3
REDRAWS = 5  # how often a negative that the user has taken is drawn again
SHORT = 1e-4  # added to squared lengths: a row of newborn zeros has no direction


@kernel
def owner(indptr, u, e):
    """Return the row of entry e, looked for from row u on: entries mostly come in order."""
    one = np.uint32(1)
    if e < indptr[u]:
        u = np.uint32(0)
    while indptr[u + one] <= e:
        u += one
    return u


@kernel
def draw(indices, start, stop, n_items, seed, e, candidates):
    """Write items that are not in indices[start:stop], if any is found, from candidates[1] on."""
    for c in range(1, candidates.size):
        for attempt in range(REDRAWS + 1):
            candidates[c] = draw_v1(seed, e, c * (REDRAWS + 1) + attempt, n_items)
            if not contains_v1(indices, start, stop, candidates[c]):
                break


@kernel
def draw_all(order, sampler, n_items, users, candidates):
    """Write the user of each interaction in `order`, and the items taken and drawn."""
    indptr, taken, _, _, seed, _ = sampler
    u = np.uint32(0)
    for k in range(order.size):
        e = order[k]
        u = users[k] = owner(indptr, u, e)
        start, stop = indptr[u], indptr[u + np.uint32(1)]
        candidates[k, 0] = taken[e]
        draw(taken, start, stop, n_items, seed, e, candidates[k])


@kernel
def draw_unmarked(taken_by, u, n_items, seed, e, candidates):
    """Do as `draw` where taken_by[i] is u for all items of the user."""
    for c in range(1, candidates.size):
        for attempt in range(REDRAWS + 1):
            candidates[c] = draw_v1(seed, e, c * (REDRAWS + 1) + attempt, n_items)
            if taken_by[candidates[c]] != u:
                break


@formula
def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return np.float32(1) / (np.float32(1) + np.exp(-x))


@kernel
def derive(code, margin, weight, scores, slopes, with_loss):
    """Write the derivative of the loss by each score, that of the item taken first.

    Return the loss, or part of it without with_loss: its logarithms take as long as all else.
    """
    n = scores.size - 1
    share = np.float32(1) / np.float32(n)
    total = 0.0
    if code == BPR:
        slopes[0] = 0
        for c in range(1, n + 1):
            behind = scores[c] - scores[0]
            slopes[c] = share * sigmoid(behind)
            slopes[0] -= slopes[c]
            if with_loss:
                total += share * softplus_v1(behind)
    elif code == BCE:
        slopes[0] = -sigmoid(-scores[0])
        if with_loss:
            total = softplus_v1(-scores[0])
        for c in range(1, n + 1):
            slopes[c] = share * sigmoid(scores[c])
            if with_loss:
                total += share * softplus_v1(scores[c])
    elif code == SOFTMAX:
        best, rest = scores[0], np.float32(0)
        for c in range(1, n + 1):
            best = max(best, scores[c])
        for c in range(n + 1):
            slopes[c] = np.exp(scores[c] - best)
            rest += slopes[c]
        for c in range(n + 1):
            slopes[c] /= rest
        slopes[0] -= np.float32(1)
        total = best - scores[0] + math.log(rest)
    else:
        slopes[0] = np.float32(-1)
        total = np.float32(1) - scores[0]
        for c in range(1, n + 1):
            beyond = scores[c] - margin
            slopes[c] = weight * share if beyond > 0 else np.float32(0)
            total += slopes[c] * max(beyond, np.float32(0))
    return total


@kernel
def clear(indices, start, stop, dense):
    """Set a dense row back to zero in the places of a sparse one."""
    for p in range(start, stop):
        dense[indices[p]] = np.float32(0)


@kernel
def one_over_length(values, start, stop):
    """Return one over the length of a row, bounded where it is hardly there."""
    square = np.float32(SHORT)
    for p in range(start, stop):
        square += values[p] * values[p]
    return np.float32(1) / np.sqrt(square)


@kernel
def by_product(scores, slopes, inverse, length):
    """Turn slopes by cosine into slopes by product; return how the user is pulled along itself.

    inverse (one over the candidates' lengths) becomes how their rows are pulled along themselves:
    a row w by inverse times w. That part of the gradient does not let a cosine gain by length.
    """
    user = np.float32(0)
    for c in range(scores.size):
        radial = -slopes[c] * scores[c]
        slopes[c] *= length * inverse[c]
        user += radial * length * length
        inverse[c] *= radial * inverse[c]
    return user


@kernel
def move(indices, values, state, start, stop, decay, slope, other, code, rate, corrections):
    """Step down decay times a row plus slope times the other side, on active weights alone."""
    for p in range(start, stop):
        gradient = decay * values[p] + slope * other[indices[p]]
        values[p] -= step_v1(state, p, gradient, code, rate, corrections)


@kernel
def judge(loss, confidence, candidates, items, taste, length, scores, slopes, along, with_loss):
    """Write the derivative of the loss by each candidate's product; return the loss with_loss.

    For cosines, length is one over that of the user, and along becomes how the rows of candidates
    are pulled along themselves. The second number returned says the same of the user.
    """
    code, margin, weight = loss
    v_ptr, v_ind, v_val = items
    own = np.float32(0)
    for c in range(candidates.size):
        i = candidates[c]
        scores[c] = dot_v1(v_ind, v_val, v_ptr[i], v_ptr[i + np.uint32(1)], taste)
    if code == COSINE:
        for c in range(candidates.size):
            i = candidates[c]
            along[c] = one_over_length(v_val, v_ptr[i], v_ptr[i + np.uint32(1)])
            scores[c] *= length * along[c]
    total = derive(code, margin, weight, scores, slopes, with_loss)
    for c in range(candidates.size):
        slopes[c] *= confidence
    if code == COSINE:
        own = by_product(scores, slopes, along, length)
    return total, own


@kernel
def visit(order, sampler, users, items, loss, optimizer, decay, scratch):
    """Take a step on active weights for each interaction in `order`; return the loss of all.

    scratch is (2, d) zeros, given back as zeros.
    """
    taken_ptr, taken, data, scale, seed, n = sampler
    u_ptr, u_ind, u_val, u_state = users
    v_ptr, v_ind, v_val, v_state = items
    code, rate, corrections = optimizer
    n_items = v_ptr.size - 1
    one = np.uint32(1)
    taste, contrast = scratch[0], scratch[1]
    candidates = np.empty(n + 1, np.uint32)
    scores, slopes = np.empty(n + 1, np.float32), np.empty(n + 1, np.float32)
    along = np.zeros(n + 1, np.float32)
    length = np.float32(1)
    rows = v_ptr, v_ind, v_val
    amount = confidence = np.float32(0)
    total = 0.0
    u = np.uint32(0)
    for e in order:
        u = owner(taken_ptr, u, e)
        start, stop = u_ptr[u], u_ptr[u + one]
        candidates[0] = taken[e]
        draw(taken, taken_ptr[u], taken_ptr[u + one], n_items, seed, e, candidates)
        add_v1(u_ind, u_val, start, stop, np.float32(1), taste)
        if loss[0] == COSINE:
            length = one_over_length(u_val, start, stop)
        if data[e] != amount:  # mostly all amounts are the same
            amount = data[e]
            confidence = scale * np.log1p(amount)
        lost, own = judge(
            loss, confidence, candidates, rows, taste, length, scores, slopes, along, True
        )
        total += lost
        for c in range(n + 1):
            i = candidates[c]
            if slopes[c] != 0:
                add_v1(v_ind, v_val, v_ptr[i], v_ptr[i + one], slopes[c], contrast)
        pull = decay + own
        alone = np.float32(1)
        move(u_ind, u_val, u_state, start, stop, pull, alone, contrast, code, rate, corrections)
        for c in range(n + 1):
            first, last = v_ptr[candidates[c]], v_ptr[candidates[c] + one]
            slope = slopes[c]
            if slope == 0:  # beyond the margin: nothing is learned of it
                continue
            clear(v_ind, first, last, contrast)
            pull = decay + along[c]
            move(v_ind, v_val, v_state, first, last, pull, slope, taste, code, rate, corrections)
        clear(u_ind, start, stop, taste)
    return total


@kernel
def note(order, sampler, users, items, loss, first_item, stop_item, taste, chosen, out):
    """Write the derivative of the loss by the products that interactions of some users ask for.

    chosen and out have the shape (len(order), 1 + kept): the item taken, the first of those drawn,
    which stand for all, and the slopes, left at zero where none of them is in
    first_item..stop_item - 1. order ascends. taste is (d,) zeros, given back as zeros.
    """
    taken_ptr, taken, data, scale, seed, n = sampler
    u_ptr, u_ind, u_val = users
    n_items = items[0].size - 1
    one = np.uint32(1)
    candidates = np.empty(n + 1, np.uint32)
    scores, slopes = np.empty(n + 1, np.float32), np.empty(n + 1, np.float32)
    along = np.zeros(n + 1, np.float32)
    nobody = np.uint32(taken_ptr.size)
    taken_by = np.full(n_items, nobody)
    length = np.float32(1)
    start, stop = u_ptr[0], u_ptr[0]
    share = np.float32(n) / np.float32(out.shape[1] - 1)
    amount = confidence = np.float32(0)
    u, last = np.uint32(0), nobody
    for place in range(order.size):
        e = order[place]
        u = owner(taken_ptr, u, e)
        if u != last:
            clear(u_ind, start, stop, taste)
            start, stop = u_ptr[u], u_ptr[u + one]
            add_v1(u_ind, u_val, start, stop, np.float32(1), taste)
            for p in range(taken_ptr[u], taken_ptr[u + one]):
                taken_by[taken[p]] = u
            if loss[0] == COSINE:
                length = one_over_length(u_val, start, stop)
            last = u
        candidates[0] = taken[e]
        draw_unmarked(taken_by, u, n_items, seed, e, candidates)
        wanted = False
        for c in range(out.shape[1]):
            chosen[place, c] = candidates[c]
            out[place, c] = 0
            wanted |= first_item <= candidates[c] < stop_item
        if not wanted:
            continue
        if data[e] != amount:
            amount = data[e]
            confidence = scale * np.log1p(amount)
        judge(loss, confidence, candidates, items, taste, length, scores, slopes, along, False)
        for c in range(out.shape[1]):
            out[place, c] = share * slopes[c] if c else slopes[c]
    clear(u_ind, start, stop, taste)


@kernel
def add_products(indptr, indices, slopes, users, first_user, first_item, gradient):
    """Add rows first_item.. of D' U: D has rows first_user.. of users by items, U is sparse."""
    u_ptr, u_ind, u_val = users
    for row in range(indptr.size - 1):
        start, stop = u_ptr[first_user + row], u_ptr[first_user + row + 1]
        for p in range(indptr[row], indptr[row + 1]):
            i = np.int64(indices[p]) - first_item
            if 0 <= i < len(gradient):
                add_v1(u_ind, u_val, start, stop, slopes[p], gradient[i])


@kernel
def add_slopes(order, sampler, users, items, user_slopes, item_slopes):
    """Add the derivative of the ranking loss by two dense tables; return the total loss."""
    taken_ptr, taken, data, scale, seed, _ = sampler
    candidates = np.empty(2, np.uint32)
    total = 0.0
    u = np.uint32(0)
    for e in order:
        u, i = owner(taken_ptr, u, e), taken[e]
        draw(taken, taken_ptr[u], taken_ptr[u + np.uint32(1)], len(items), seed, e, candidates)
        j = candidates[1]
        behind = np.float32(0)
        for t in range(users.shape[1]):
            behind += users[u, t] * (items[j, t] - items[i, t])
        total += softplus_v1(behind)
        pull = scale * np.log1p(data[e]) * sigmoid(behind)
        for t in range(users.shape[1]):
            user_slopes[u, t] += pull * (items[j, t] - items[i, t])
            item_slopes[i, t] -= pull * users[u, t]
            item_slopes[j, t] += pull * users[u, t]
    return total
