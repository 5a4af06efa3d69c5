"""Training kernels, on sparse tables by compressed rows (indptr, indices, values, state).

Their arguments are tuples. A sampler is (indptr, indices, data, users, scale, seed, negatives): the
matrix of interactions, the user of each, what log(1 + weight) is multiplied by, and how to draw. A
loss is (code, margin, weight). An optimizer is (code, rate, corrections).
"""

import math

import numpy as np

from sparsenum._numba import formula, kernel

__all__ = ["add_slopes", "move_all", "visit"]

BPR, BCE, SOFTMAX, COSINE = 0, 1, 2, 3
SGD, ADAGRAD, ADAM = 0, 1, 2
REDRAWS = 5  # how often a negative that the user has taken is drawn anew
ADAM_MEAN, ADAM_SQUARE, ADAM_FLOOR = 0.9, 0.999, 1e-8
SHORT = 1e-4  # added to squared lengths: a row of newborn zeros has no direction


@formula
def mixed(seed, x, y):
    """Return a 64-bit hash of (seed, x, y): a random number that does not depend on any order."""
    z = np.uint64(seed) ^ (np.uint64(x) << np.uint64(32)) ^ np.uint64(y)
    z = (z + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def contains(indices, start, stop, value):
    """Return whether a sorted range of indices holds value."""
    end = stop
    while start < stop:
        middle = (start + stop) >> np.uint64(1)
        if indices[middle] < value:
            start = middle + np.uint64(1)
        else:
            stop = middle
    return start < end and indices[start] == value


@kernel
def draw(indices, start, stop, n_items, seed, e, candidates):
    """Write items that are not in indices[start:stop], if any is found, from candidates[1] on."""
    for c in range(1, candidates.size):
        for attempt in range(REDRAWS + 1):
            lot = mixed(seed, e, c * (REDRAWS + 1) + attempt) >> np.uint64(32)
            candidates[c] = (lot * np.uint64(n_items)) >> np.uint64(32)
            if not contains(indices, start, stop, candidates[c]):
                break


@formula
def softplus(x):
    """Return log(1 + exp(x)) without overflow."""
    return math.log1p(math.exp(x)) if x < 30 else x


@formula
def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return np.float32(1) / (np.float32(1) + np.exp(-x))


@kernel
def derive(code, margin, weight, scores, slopes):
    """Write the derivative of the loss by each score, that of the item taken first; return it."""
    n = scores.size - 1
    share = np.float32(1) / np.float32(n)
    total = 0.0
    if code == BPR:
        slopes[0] = 0
        for c in range(1, n + 1):
            behind = scores[c] - scores[0]
            slopes[c] = share * sigmoid(behind)
            slopes[0] -= slopes[c]
            total += share * softplus(behind)
    elif code == BCE:
        slopes[0] = -sigmoid(-scores[0])
        total = softplus(-scores[0])
        for c in range(1, n + 1):
            slopes[c] = share * sigmoid(scores[c])
            total += share * softplus(scores[c])
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
def dot(indices, values, start, stop, dense):
    """Return the product of a sparse row with a dense one."""
    total = np.float32(0)
    for p in range(start, stop):
        total += values[p] * dense[indices[p]]
    return total


@kernel
def add(indices, values, start, stop, factor, dense):
    """Add a multiple of a sparse row to a dense one."""
    for p in range(start, stop):
        dense[indices[p]] += factor * values[p]


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
def step(state, p, gradient, code, rate, corrections):
    """Take a gradient into the state of weight p and return how far the weight moves."""
    if code == ADAGRAD:
        state[0, p] += gradient * gradient
        return rate * gradient / np.sqrt(state[0, p])
    if code == SGD:
        return rate * gradient
    keep, keep_square = np.float32(ADAM_MEAN), np.float32(ADAM_SQUARE)
    state[0, p] = keep * state[0, p] + (np.float32(1) - keep) * gradient
    state[1, p] = keep_square * state[1, p] + (np.float32(1) - keep_square) * gradient * gradient
    correction = corrections[min(np.int64(state[2, p]), corrections.size - 1)]
    state[2, p] += np.float32(1)
    return rate * correction * state[0, p] / (np.sqrt(state[1, p]) + np.float32(ADAM_FLOOR))


@kernel
def move(indices, values, state, start, stop, decay, slope, other, code, rate, corrections):
    """Step down decay times a row plus slope times the other side, on active weights alone."""
    for p in range(start, stop):
        gradient = decay * values[p] + slope * other[indices[p]]
        values[p] -= step(state, p, gradient, code, rate, corrections)


@kernel
def visit(order, sampler, users, items, loss, optimizer, decay, scratch, notes):
    """Judge each interaction in `order` against its drawn candidates, and learn or take notes.

    Without notes (None), take a step on active weights. Notes are (chosen, out), both of shape
    (interactions, 1 + kept): the item taken, the first of those drawn, which stand for all, and
    the derivative of the loss by their products with the user. scratch is (2, d) zeros, given back
    as zeros. Returns the mean loss.
    """
    taken_ptr, taken, data, owners, scale, seed, n = sampler
    u_ptr, u_ind, u_val, u_state = users
    v_ptr, v_ind, v_val, v_state = items
    loss_code, margin, weight = loss
    code, rate, corrections = optimizer
    n_items = v_ptr.size - 1
    one = np.uint32(1)
    taste, contrast = scratch[0], scratch[1]
    candidates = np.empty(n + 1, np.uint32)
    scores, slopes = np.empty(n + 1, np.float32), np.empty(n + 1, np.float32)
    along = np.zeros(n + 1, np.float32)
    length, own = np.float32(1), np.float32(0)
    total = 0.0
    for e in order:
        u = owners[e]
        start, stop = u_ptr[u], u_ptr[u + one]
        candidates[0] = taken[e]
        draw(taken, taken_ptr[u], taken_ptr[u + one], n_items, seed, e, candidates)
        add(u_ind, u_val, start, stop, np.float32(1), taste)
        for c in range(n + 1):
            i = candidates[c]
            scores[c] = dot(v_ind, v_val, v_ptr[i], v_ptr[i + one], taste)
        if loss_code == COSINE:
            length = one_over_length(u_val, start, stop)
            for c in range(n + 1):
                i = candidates[c]
                along[c] = one_over_length(v_val, v_ptr[i], v_ptr[i + one])
                scores[c] *= length * along[c]
        total += derive(loss_code, margin, weight, scores, slopes)
        confidence = scale * np.log1p(data[e])
        for c in range(n + 1):
            slopes[c] *= confidence
        if loss_code == COSINE:
            own = by_product(scores, slopes, along, length)
        if notes is None:
            for c in range(n + 1):
                i = candidates[c]
                if slopes[c] != 0:
                    add(v_ind, v_val, v_ptr[i], v_ptr[i + one], slopes[c], contrast)
            pull = decay + own
            move(
                u_ind,
                u_val,
                u_state,
                start,
                stop,
                pull,
                np.float32(1),
                contrast,
                code,
                rate,
                corrections,
            )
            for c in range(n + 1):
                first, last = v_ptr[candidates[c]], v_ptr[candidates[c] + one]
                if slopes[c] == 0:  # beyond the margin: nothing is learned of it
                    continue
                clear(v_ind, first, last, contrast)
                pull = decay + along[c]
                move(
                    v_ind,
                    v_val,
                    v_state,
                    first,
                    last,
                    pull,
                    slopes[c],
                    taste,
                    code,
                    rate,
                    corrections,
                )
        else:
            chosen, out = notes
            kept = out.shape[1] - 1
            for c in range(kept + 1):
                chosen[e, c] = candidates[c]
                out[e, c] = slopes[c] * np.float32(n) / np.float32(kept) if c else slopes[c]
        clear(u_ind, start, stop, taste)
    return total / order.size


@kernel
def move_all(values, state, gradients, optimizer):
    """Take one step with every active weight."""
    code, rate, corrections = optimizer
    for p in range(values.size):
        values[p] -= step(state, p, gradients[p], code, rate, corrections)


@kernel
def add_slopes(order, sampler, users, items, user_slopes, item_slopes):
    """Add the derivative of the ranking loss by two dense tables; return the total loss."""
    taken_ptr, taken, data, owners, scale, seed, _ = sampler
    candidates = np.empty(2, np.uint32)
    total = 0.0
    for e in order:
        u, i = owners[e], taken[e]
        draw(taken, taken_ptr[u], taken_ptr[u + np.uint32(1)], len(items), seed, e, candidates)
        j = candidates[1]
        behind = np.float32(0)
        for t in range(users.shape[1]):
            behind += users[u, t] * (items[j, t] - items[i, t])
        total += softplus(behind)
        pull = scale * np.log1p(data[e]) * sigmoid(behind)
        for t in range(users.shape[1]):
            user_slopes[u, t] += pull * (items[j, t] - items[i, t])
            item_slopes[i, t] -= pull * users[u, t]
            item_slopes[j, t] += pull * users[u, t]
    return total
