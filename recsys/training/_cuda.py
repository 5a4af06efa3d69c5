"""Training steps for CUDA: a warp takes an interaction, all warps a wave of them at a time.

Interactions of a wave share no user and no item, so their steps do not meet. What lanes write to
the scratch rows of their warp others read: hence the `sync_lanes` between.
"""

import math

import numpy as np
from numba import cuda

from sparsenum._cuda import LANES, formula, kernel, lane_max, lane_sum, sync_lanes

__all__ = ["visit"]

BPR, BCE, SOFTMAX, COSINE = 0, 1, 2, 3
SGD, ADAGRAD, MOMENTUM = 0, 1, 3
ADAM_MEAN, ADAM_SQUARE = np.float32(0.9), np.float32(0.999)
ADAM_FLOOR, KEPT = np.float32(1e-8), np.float32(0.9)
SHORT = np.float32(1e-4)  # added to squared lengths: a row of newborn zeros has no direction
NONE, ONE = np.float32(0), np.float32(1)


@formula
def softplus(x):
    """Return log(1 + exp(x)) without overflow."""
    return math.log1p(math.exp(x)) if x < 30 else x


@formula
def sigmoid(x):
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = np.float32(math.exp(-abs(x)))
    return (ONE if x >= 0 else small) / (ONE + small)


@formula
def push(code, margin, weight, share, score, taken):
    """Return the derivative of the loss by the score of an item drawn, and its part of the loss."""
    slope = lost = NONE
    if code == BPR:
        slope, lost = share * sigmoid(score - taken), share * softplus(score - taken)
    elif code == BCE:
        slope, lost = share * sigmoid(score), share * softplus(score)
    elif code == COSINE:
        slope = weight * share if score > margin else NONE
        lost = slope * max(score - margin, NONE)
    return slope, lost


@formula
def pull(code, taken, pushed):
    """Return the same of the item taken; pushed is the sum of the others' derivatives."""
    slope, lost = -pushed, NONE
    if code == BCE:
        slope, lost = -sigmoid(-taken), softplus(-taken)
    elif code == COSINE:
        slope, lost = -ONE, ONE - taken
    return slope, lost


@formula
def derive(code, margin, weight, scores, slopes, lane):
    """Write the derivative of the loss by each score; return the lane's part of the loss."""
    taken, share = scores[0], ONE / np.float32(scores.size - 1)
    pushed, best, total = NONE, taken, 0.0
    for c in range(lane, scores.size, LANES):
        best = max(best, scores[c])
        if c > 0:
            slopes[c], lost = push(code, margin, weight, share, scores[c], taken)
            pushed += slopes[c]
            total += lost
    pushed, best = lane_sum(pushed), lane_max(best)
    if lane == 0:
        slopes[0], lost = pull(code, taken, pushed)
        total += lost
    if code == SOFTMAX:
        rest = NONE
        for c in range(lane, scores.size, LANES):
            slopes[c] = math.exp(scores[c] - best)
            rest += slopes[c]
        rest = lane_sum(rest)
        for c in range(lane, scores.size, LANES):
            slopes[c] /= rest
        if lane == 0:
            slopes[0] -= ONE
            total += best - taken + math.log(rest)
    return total


@formula
def row_dot(indices, values, first, stop, dense, lane):
    """Return the product of a sparse row with a dense one."""
    total = NONE
    for p in range(first + lane, stop, LANES):
        total += values[p] * dense[indices[p]]
    return lane_sum(total)


@formula
def one_over_length(values, first, stop, lane):
    """Return one over the length of a row, bounded where it is hardly there."""
    square = NONE
    for p in range(first + lane, stop, LANES):
        square += values[p] * values[p]
    return ONE / np.float32(math.sqrt(lane_sum(square) + SHORT))


@formula
def scaled(code, confidence, length, scores, slopes, along, lane):
    """Weigh the slopes, make those by cosine slopes by product; return how the user pulls itself.

    along, one over the candidates' lengths, becomes how their rows are pulled along themselves.
    """
    own = NONE
    for c in range(lane, scores.size, LANES):
        slopes[c] *= confidence
        if code == COSINE:
            radial = -slopes[c] * scores[c]
            slopes[c] *= length * along[c]
            along[c] *= radial * along[c]
            own += radial * length * length
    return lane_sum(own)


@formula
def step(state, p, gradient, code, rate, corrections):
    """Take a gradient into the state of weight p and return how far the weight moves."""
    reach = rate * gradient
    if code == ADAGRAD:
        state[0, p] += gradient * gradient
        reach /= np.float32(math.sqrt(state[0, p]))
    elif code == MOMENTUM:
        state[0, p] = KEPT * state[0, p] + gradient
        reach = rate * state[0, p]
    elif code != SGD:
        mean = ADAM_MEAN * state[0, p] + (ONE - ADAM_MEAN) * gradient
        square = ADAM_SQUARE * state[1, p] + (ONE - ADAM_SQUARE) * gradient * gradient
        correction = corrections[min(np.int64(state[2, p]), corrections.size - 1)]
        state[0, p], state[1, p] = mean, square
        state[2, p] += ONE
        reach = rate * correction * mean / (np.float32(math.sqrt(square)) + ADAM_FLOOR)
    return reach


@formula
def move(indices, values, state, first, stop, decay, slope, other, code, rate, corrections, lane):
    """Step down decay times a row plus slope times the other side, on active weights alone."""
    for p in range(first + lane, stop, LANES):
        gradient = decay * values[p] + slope * other[indices[p]]
        values[p] -= step(state, p, gradient, code, rate, corrections)


TABLE = "Tuple((u8[::1], u2[::1], f4[::1], f4[:,::1]))"


@kernel(
    f"Tuple((i8[::1], u4[::1], u4[:,::1], f4[::1])), {TABLE}, {TABLE}, Tuple((i8, f4, f4)), "
    "Tuple((i8, f4, f4[::1])), f4, f4, Tuple((f4[:,:,::1], f4[:,:,::1], f8[::1]))",
    per_processor=1,
)
def visit(waves, users, items, loss, optimizer, decay, scale, scratch):
    """Take a step on active weights for each interaction, waves one after the other.

    Of the waves, starts says where each begins among owners, candidates (the items, that taken
    first) and amounts. Of the scratch each warp has rows (2, d), zeros given back as zeros, numbers
    (3, n + 1), of which the last are zeros where no loss by cosines writes them, and a place of
    losses, to which it adds.
    """
    starts, owners, candidates, amounts = waves
    u_ptr, u_ind, u_val, u_state = users
    v_ptr, v_ind, v_val, v_state = items
    kind, margin, weight = loss
    rule, rate, corrections = optimizer
    rows, numbers, losses = scratch
    grid = cuda.cg.this_grid()
    lane, warp, warps = cuda.threadIdx.x % LANES, cuda.grid(1) // LANES, cuda.gridsize(1) // LANES
    taste, contrast = rows[warp, 0], rows[warp, 1]
    scores, slopes, along = numbers[warp, 0], numbers[warp, 1], numbers[warp, 2]
    total = 0.0
    for wave in range(starts.size - 1):
        for k in range(starts[wave] + warp, starts[wave + 1], warps):
            u = owners[k]
            start, stop = np.int64(u_ptr[u]), np.int64(u_ptr[u + 1])
            for p in range(start + lane, stop, LANES):
                taste[u_ind[p]] = u_val[p]
            sync_lanes()
            length = ONE
            if kind == COSINE:
                length = one_over_length(u_val, start, stop, lane)
            for c in range(scores.size):
                i = candidates[k, c]
                first, end = np.int64(v_ptr[i]), np.int64(v_ptr[i + 1])
                score = row_dot(v_ind, v_val, first, end, taste, lane)
                if kind == COSINE:
                    inverse = one_over_length(v_val, first, end, lane)
                    score *= length * inverse
                    if lane == 0:
                        along[c] = inverse
                if lane == 0:
                    scores[c] = score
            sync_lanes()
            total += derive(kind, margin, weight, scores, slopes, lane)
            confidence = scale * np.float32(math.log1p(amounts[k]))
            own = scaled(kind, confidence, length, scores, slopes, along, lane)
            sync_lanes()
            for c in range(scores.size):
                i = candidates[k, c]
                if slopes[c] != 0:
                    for p in range(np.int64(v_ptr[i]) + lane, np.int64(v_ptr[i + 1]), LANES):
                        contrast[v_ind[p]] += slopes[c] * v_val[p]
                sync_lanes()
            strength = decay + own
            move(
                u_ind,
                u_val,
                u_state,
                start,
                stop,
                strength,
                ONE,
                contrast,
                rule,
                rate,
                corrections,
                lane,
            )
            sync_lanes()
            for c in range(scores.size):
                i = candidates[k, c]
                first, end = np.int64(v_ptr[i]), np.int64(v_ptr[i + 1])
                if slopes[c] == 0:  # beyond the margin: nothing is learned of it
                    continue
                for p in range(first + lane, end, LANES):
                    contrast[v_ind[p]] = NONE
                strength = decay + along[c]
                move(
                    v_ind,
                    v_val,
                    v_state,
                    first,
                    end,
                    strength,
                    slopes[c],
                    taste,
                    rule,
                    rate,
                    corrections,
                    lane,
                )
            sync_lanes()
            for p in range(start + lane, stop, LANES):
                taste[u_ind[p]] = NONE
            sync_lanes()
        grid.sync()
    total = lane_sum(total)
    if lane == 0:
        losses[warp] += total
