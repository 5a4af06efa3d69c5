"""Kernels of many small entropic transport problems: each is solved whole, without the interpreter.

One problem is a cost C (n, m) in units of reg, masses a, b of sum one, and potentials phi, psi in
the same units; P_ij = exp((phi_i + psi_j - C_ij) / tau), where the temperature tau falls to 1.
"""

import math

import numpy as np

from sparsenum._formulas import column_update_v1, exp_or_zero_v1, highest_v1, solve_laplacian_v1
from sparsenum._numba import kernel

__all__ = ["paced", "solve_stack"]

GOAL = 0.9  # share of the tolerance to aim at, as everywhere: rounding must not undo the result

# Annealing: from a tenth of the spread of the cost, as fast as a few sweeps can follow.
START, FACTOR = 0.1, 4.0
STAGE_SWEEPS, STAGE_GOAL = 6, 0.02

# Sweeps at the target, before anyone knows the rate; and, in sweeps, what Newton's method costs:
# some steps, each of a fixed part and one that grows with the number of columns.
PROBE = 12.0
NEWTON_STEPS, STEP_SWEEPS, COLUMN_SWEEPS = 3, 7.0, 1.0

# Newton's method is that of newton.py: damping, cap on a step's entries, and line search.
DAMPING_PER_ERROR, DAMPING_LEAST = 1e-2, 1e-16
CAP, CAP_LEAST, CAP_MOST = 8.0, 4.0, 64.0
SHRINK, TRIALS = 0.4, 8
ARMIJO, FALL, UNCHANGED = 1e-4, 0.5, 1e-12
PATIENCE = 30  # steps without progress after which the problem is left to the ordinary solver

UNDERFLOW = 1e-250  # column sums below this have lost their digits
LARGEST_SCALING = 1e100  # scalings are absorbed into the potentials before they get here
DENSE_ABOVE = 0.5  # share of entries that are not faint from which loops without lists are faster
FAINT = 1e-20  # share of its row below which an entry of the plan does not enter the Hessian


@kernel
def iterate(C, a, b, psi, tau, phi, P, c):
    """Set phi so that the rows of P sum to a; write P and its column sums; return |c - b|_1."""
    n, m = C.shape
    c[:] = 0.0
    row = np.empty(m)
    for i in range(n):
        for j in range(m):
            row[j] = (psi[j] - C[i, j]) / tau
        top = highest_v1(row, 0, m)
        total = 0.0
        for j in range(m):
            row[j] = exp_or_zero_v1(row[j] - top)
            total += row[j]
        phi[i] = tau * (math.log(a[i]) - top - math.log(total))
        share = a[i] / total
        for j in range(m):
            P[i, j] = share * row[j]
            c[j] += P[i, j]
    return np.abs(c - b).sum()


@kernel
def scale(P, a, b, c, v, goal, most):
    """Sweep until the error is below the goal or a scaling too large; return the sweeps made.

    The columns of P sum to c, its rows to a; v is the scaling of the columns.
    """
    n, m = P.shape
    sums = c.copy()
    for count in range(1, most + 1):
        for j in range(m):
            v[j] = b[j] / sums[j]
        sums[:] = 0.0
        for i in range(n):
            total = 0.0
            for j in range(m):
                total += P[i, j] * v[j]
            u = a[i] / total
            for j in range(m):
                sums[j] += u * P[i, j]
        error = 0.0
        for j in range(m):
            error += abs(v[j] * sums[j] - b[j])
        if not error > goal or max(v.max(), 1.0 / v.min()) > LARGEST_SCALING:
            return count
    return most


@kernel
def sweep(C, a, b, psi, tau, phi, P, c, error, goal, most):
    """Make Sinkhorn sweeps, and leave an iterate; return their number and the error."""
    v = np.empty(b.size)
    done = 0
    while error > goal and done < most:
        if c.min() > UNDERFLOW:
            done += scale(P, a, b, c, v, goal, most - done)
            psi += tau * np.log(v)
        else:
            column_update_v1(C, b, phi, tau, psi)
            done += 1
        error = iterate(C, a, b, psi, tau, phi, P, c)
    return done, error


@kernel
def anneal(C, a, b, psi, spread, phi, P, c, most):
    """Lower the temperature to 1 by stages: a few sweeps, and Newton steps where they fail.

    Return the sweeps, the steps and the error.
    """
    log_b = np.log(b)
    tau = max(1.0, START * spread)
    psi += tau * log_b
    done = steps = 0
    error = iterate(C, a, b, psi, tau, phi, P, c)
    while tau > 1.0:
        left = most - done - steps
        made, error = sweep(
            C, a, b, psi, tau, phi, P, c, error, STAGE_GOAL, min(STAGE_SWEEPS, left)
        )
        more, sweeps, error = newton(C, a, b, psi, tau, phi, P, c, error, STAGE_GOAL, left - made)
        done += made + sweeps
        steps += more
        lower = max(1.0, tau / FACTOR)
        psi += (lower - tau) * log_b  # relative to the masses potentials hardly change
        tau = lower
        error = iterate(C, a, b, psi, tau, phi, P, c)
    return done, steps, error


@kernel
def sinkhorn(C, a, b, psi, phi, P, c, error, goal, most):
    """Sweep at the target for as long as that is cheaper than Newton's method."""
    worth = NEWTON_STEPS * (STEP_SWEEPS + COLUMN_SWEEPS * b.size)
    done, ahead = 0, PROBE
    while error > goal and ahead <= worth and done < most:
        before = error
        budget = min(np.int64(ahead) + 1, most - done)
        sweeps, error = sweep(C, a, b, psi, 1.0, phi, P, c, error, goal, budget)
        done += sweeps
        rate = math.log(error / before) / sweeps
        ahead = math.log(goal / error) / rate if rate < 0.0 else np.inf
    return done, error


@kernel
def dense_couplings(P, a, W):
    """Add P' diag(1/a) P above the diagonal of W, four rows of P for each pass over W."""
    n, m = P.shape
    whole = n // 4 * 4
    for i in range(0, whole, 4):
        for j in range(m):
            p, q = P[i, j] / a[i], P[i + 1, j] / a[i + 1]
            r, s = P[i + 2, j] / a[i + 2], P[i + 3, j] / a[i + 3]
            for k in range(j + 1, m):
                W[j, k] += p * P[i, k] + q * P[i + 1, k] + r * P[i + 2, k] + s * P[i + 3, k]
    for i in range(whole, n):
        for j in range(m):
            for k in range(j + 1, m):
                W[j, k] += P[i, j] / a[i] * P[i, k]


@kernel
def sparse_couplings(P, a, W):
    """Do what dense_couplings does, but for the faint entries of P."""
    n, m = P.shape
    strong, entries = np.empty(m, np.int64), np.empty(m)
    for i in range(n):
        count = 0
        for j in range(m):
            if P[i, j] > FAINT * a[i]:
                strong[count], entries[count] = j, P[i, j]
                count += 1
        for s in range(count):
            share = entries[s] / a[i]
            for t in range(s + 1, count):
                W[strong[s], strong[t]] += share * entries[t]


@kernel
def couplings(P, a, W):
    """Write P' diag(1/a) P above the diagonal of W: the weights of a Laplacian on the columns."""
    W[:] = 0.0
    faint = np.count_nonzero(FAINT * a[:, None] >= P)
    if faint < (1.0 - DENSE_ABOVE) * P.size:
        dense_couplings(P, a, W)
    else:
        sparse_couplings(P, a, W)


@kernel
def line_search(C, a, b, tau, at, x, error, best, trial):
    """Write the first acceptable point along a step x in log-scalings into the arrays of `trial`.

    Return its error, and how far along the step it is: 0 if there is none.
    """
    (psi, phi, _, c), (trial_psi, trial_phi, P, sums) = at, trial
    value, slope = (a * phi).sum() + (b * psi).sum(), tau * ((b - c) * x).sum()
    flat = UNCHANGED * max(abs(value), tau)
    length = 1.0
    for _ in range(TRIALS):
        trial_psi[:] = psi + length * tau * x
        after = iterate(C, a, b, trial_psi, tau, trial_phi, P, sums)
        ascent = (a * trial_phi).sum() + (b * trial_psi).sum() - value
        if (
            ascent >= ARMIJO * length * slope > 0.0
            or after <= FALL * best
            or (after < error and abs(ascent) <= flat)
        ):
            return after, length
        length *= SHRINK
    return error, 0.0


@kernel
def paced(damping, cap, length, reach):
    """Return damping and cap for the next step, from how far along this one went."""
    if length == 0.0:
        return 10.0 * max(damping, 1e-6), cap
    if length == 1.0:
        return max(0.2 * damping, DAMPING_LEAST), min(2.0 * cap, CAP_MOST) if reach > cap else cap
    if length >= 0.3:
        return max(0.6 * damping, DAMPING_LEAST), cap
    return 6.0 * max(damping, 1e-7), max(0.5 * cap, CAP_LEAST)


@kernel
def newton(C, a, b, psi, tau, phi, P, c, error, goal, most):
    """Take safeguarded Newton steps on the dual, and sweeps where they are refused.

    Return the steps, the sweeps and the error; psi and phi are where they led.
    """
    n, m = C.shape
    W, start, start_phi = np.empty((m, m)), psi, phi
    at = (psi, phi, P, c)
    trial = (np.empty(m), np.empty(n), np.empty((n, m)), np.empty(m))
    damping, cap = DAMPING_PER_ERROR * error, CAP
    steps, sweeps, best, best_at = 0, 0, error, 0
    while error > goal and steps + sweeps < most and steps + sweeps - best_at < PATIENCE:
        psi, phi, P, c = at
        length = 0.0
        if c.min() > UNDERFLOW:
            couplings(P, a, W)
            x = b - c
            solve_laplacian_v1(W, damping * c, x)
            x -= np.median(x)
            reach = np.abs(x).max()
            x = np.minimum(np.maximum(x, -cap), cap)
            error, length = line_search(C, a, b, tau, at, x, error, best, trial)
            damping, cap = paced(damping, cap, length, reach)
            steps += 1
        if length > 0.0:
            at, trial = trial, at
        else:
            done, error = sweep(C, a, b, psi, tau, phi, P, c, error, goal, 1)
            sweeps += done
        if error < best:
            best, best_at = error, steps + sweeps
    start[:], start_phi[:] = at[0], at[1]
    return steps, sweeps, error


@kernel
def solve_small(C, a, b, spread, goal, most, psi, phi):
    """Solve one problem with positive masses; return sweeps and Newton steps."""
    n, m = C.shape
    P, c = np.empty((n, m)), np.empty(m)
    psi[:] = 0.0
    sweeps, steps, error = anneal(C, a, b, psi, spread, phi, P, c, most)
    more, error = sinkhorn(C, a, b, psi, phi, P, c, error, goal, most - sweeps - steps)
    sweeps += more
    last, more, error = newton(C, a, b, psi, 1.0, phi, P, c, error, goal, most - sweeps - steps)
    return sweeps + more, steps + last


@kernel
def scaled(M, rows, columns, reg):
    """Return some rows and columns of a cost in units of reg, and the spread of what is finite."""
    C = np.empty((rows.size, columns.size))
    low, high = np.inf, -np.inf
    for i in range(rows.size):
        for j in range(columns.size):
            C[i, j] = M[rows[i], columns[j]] / reg
            low = min(low, C[i, j])
            high = max(high, C[i, j] if C[i, j] < np.inf else -np.inf)
    return C, high - low


@kernel
def solve_stack(M, a, b, reg, tol, most, f, g, sweeps, steps):
    """Solve each problem of a stack, without rows and columns of zero mass.

    The columns become the shorter side, because Newton's method is cubic in it.
    """
    for k in range(M.shape[0]):
        rows, columns = np.flatnonzero(a[k]), np.flatnonzero(b[k])
        C, spread = scaled(M[k], rows, columns, reg[k])
        x, y = a[k][rows], b[k][columns]
        u, v = np.empty(rows.size), np.empty(columns.size)
        if rows.size < columns.size:
            C = np.ascontiguousarray(C.T)
            sweeps[k], steps[k] = solve_small(C, y, x, spread, GOAL * tol, most, u, v)
        else:
            sweeps[k], steps[k] = solve_small(C, x, y, spread, GOAL * tol, most, v, u)
        f[k, :] = g[k, :] = -np.inf
        f[k][rows] = reg[k] * u
        g[k][columns] = reg[k] * v
