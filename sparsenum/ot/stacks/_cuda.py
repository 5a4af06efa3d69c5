"""Kernels of many small entropic transport problems for CUDA: a block of threads solves one whole.

The method and its numbers are those of `_cpu.py`: n rows, at most MOST_COLUMNS columns m, a
cost C in units of reg, masses a, b of sum one, potentials phi, psi in the same units, and
P_ij = exp((phi_i + psi_j - C_ij) / tau). Two points of these are held, `now` and one to try.

Rows are gone through by warps, columns by the lanes of each warp or by one thread each. What a
branch hangs on each warp adds up for itself, in the same order as the others: so all take the same
one, and wait for one another only where memory changes hands.

The shape (n, m) is in shared memory, and read where it is needed: what loops work out from it is
then forgotten after them, and takes no registers of those that follow.
"""

import math

import numpy as np
from numba import cuda, float64, int64

from sparsenum._cuda import (
    LANES,
    THREADS,
    block_max,
    formula,
    kernel,
    lane_max,
    lane_rank,
    lane_sum,
    part,
)
from sparsenum.ot.stacks import _cpu, _cuda_laplacian
from sparsenum.ot.stacks._cuda_laplacian import every, indices, lanes, thread, threads, warps

__all__ = ["GROUP", "solve_stack"]

WARPS, GROUP = THREADS // LANES, _cuda_laplacian.GROUP
MOST_COLUMNS = 128  # on the shorter side of 128 * 128 costs, which is as many as come to the kernel

paced = formula(_cpu.paced.py_func)


# What every warp finds out for itself, to all its lanes


@formula
def dot(x, y, size):
    """Return the sum of the products of two vectors."""
    total = 0.0
    for j in lanes(size):
        total += x[j] * y[j]
    return lane_sum(total)


@formula
def distance(x, y, size):
    """Return the 1-norm of x - y."""
    total = 0.0
    for j in lanes(size):
        total += abs(x[j] - y[j])
    return lane_sum(total)


@formula
def least(x, size):
    """Return the least of x."""
    low = np.inf
    for j in lanes(size):
        low = min(low, x[j])
    return -lane_max(-low)


# Sinkhorn sweeps


@formula
def gather(slabs, sums, m):
    """Add up what each warp has in its slab of columns."""
    cuda.syncthreads()
    for j in threads(m):
        total = 0.0
        for w in range(WARPS):
            total += slabs[w, j]
        sums[j] = total
    cuda.syncthreads()


@part
def iterate(C, a, b, psi, tau, phi, P, c, shape, slabs):
    """Set phi so that the rows of P sum to a; write P and its column sums; return |c - b|_1."""
    n, m = shape[0], shape[1]
    lane, warp = thread() % LANES, thread() // LANES
    cold = 1.0 / tau
    for j in lanes(m):
        slabs[warp, j] = 0.0
    for i in warps(n):
        top = -np.inf
        for j in lanes(m):
            top = max(top, (psi[j] - C[i, j]) * cold)
        top = lane_max(top)
        total = 0.0
        for j in lanes(m):
            p = math.exp((psi[j] - C[i, j]) * cold - top)
            P[i, j] = p
            total += p
        total = lane_sum(total)
        if lane == 0:
            phi[i] = tau * (math.log(a[i]) - top - math.log(total))
        share = a[i] / total
        for j in lanes(m):
            p = share * P[i, j]
            P[i, j] = p
            slabs[warp, j] += p
    gather(slabs, c, m)
    return distance(c, b, m)


@part
def column_update(C, b, phi, tau, psi, shape):
    """Set psi so that the columns of P sum to b, safe where a column of P has underflowed."""
    n, m = shape[0], shape[1]
    for j in threads(m):
        top = -np.inf
        for i in every(n):
            top = max(top, (phi[i] - C[i, j]) / tau)
        total = 0.0
        for i in every(n):
            total += math.exp((phi[i] - C[i, j]) / tau - top)
        psi[j] = tau * (math.log(b[j]) - top - math.log(total))


@part
def scale(P, a, b, c, v, sums, goal, most, shape, slabs):
    """Sweep until the error is below the goal or a scaling too large; return the sweeps made.

    The columns of P sum to c, its rows to a; v is the scaling of the columns.
    """
    warp = thread() // LANES
    for j in threads(shape[1]):
        sums[j] = c[j]
    count, wanted = 0, True
    while wanted:
        cuda.syncthreads()  # none still reads the scaling before
        n, m = shape[0], shape[1]
        for j in threads(m):
            v[j] = b[j] / sums[j]
        cuda.syncthreads()
        for j in lanes(m):
            slabs[warp, j] = 0.0
        for i in warps(n):
            total = 0.0
            for j in lanes(m):
                total += P[i, j] * v[j]
            u = a[i] / lane_sum(total)
            for j in lanes(m):
                slabs[warp, j] += u * P[i, j]
        gather(slabs, sums, m)
        error, reach = 0.0, 0.0
        for j in lanes(m):
            error += abs(v[j] * sums[j] - b[j])
            reach = max(reach, max(v[j], 1.0 / v[j]))
        count += 1
        wanted = lane_sum(error) > goal and count < most
        wanted = lane_max(reach) <= _cpu.LARGEST_SCALING and wanted
    return count


@part
def sweep(C, a, b, psi, tau, phi, P, c, v, sums, error, goal, most, shape, slabs):
    """Make Sinkhorn sweeps, and leave an iterate; return their number and the error."""
    done = 0
    while error > goal and done < most:
        if least(c, shape[1]) > _cpu.UNDERFLOW:
            done += scale(P, a, b, c, v, sums, goal, most - done, shape, slabs)
            for j in threads(shape[1]):
                psi[j] += tau * math.log(v[j])
        else:
            column_update(C, b, phi, tau, psi, shape)
            done += 1
        cuda.syncthreads()
        error = iterate(C, a, b, psi, tau, phi, P, c, shape, slabs)
    return done, error


# Newton's method


@part
def line_search(C, a, b, tau, psi, phi, P, c, now, x, error, best, shape, slabs):
    """Write the first acceptable point along a step x in log-scalings to where the other one is.

    Return its error, and how far along the step it is: 0 if there is none.
    """
    other = 1 - now
    value = dot(a, phi[now], shape[0]) + dot(b, psi[now], shape[1])
    slope = tau * (dot(b, x, shape[1]) - dot(c[now], x, shape[1]))
    flat = _cpu.UNCHANGED * max(abs(value), tau)
    after, length, along, trial = error, 0.0, 1.0, 0
    while length == 0.0 and trial < _cpu.TRIALS:
        cuda.syncthreads()  # none still reads the trial before
        for j in threads(shape[1]):
            psi[other, j] = psi[now, j] + along * tau * x[j]
        cuda.syncthreads()
        after = iterate(C, a, b, psi[other], tau, phi[other], P[other], c[other], shape, slabs)
        ascent = dot(a, phi[other], shape[0]) + dot(b, psi[other], shape[1]) - value
        if (
            ascent >= _cpu.ARMIJO * along * slope > 0.0
            or after <= _cpu.FALL * best
            or (after < error and abs(ascent) <= flat)
        ):
            length = along
        along *= _cpu.SHRINK
        trial += 1
    return after if length > 0.0 else error, length


# Whole problems


@part
def stage(C, a, inverse, b, tau, psi, phi, P, c, W, v, x, now, error, goal, most, shape, slabs):
    """Solve at one temperature: sweeps while they are cheaper than Newton's method, then its steps.

    These are safeguarded, and where one is refused there is a sweep. Return the sweeps, the steps,
    and which of the two points they led to.
    """
    last = tau == 1.0
    aim, ahead = (goal, _cpu.PROBE) if last else (_cpu.STAGE_GOAL, _cpu.STAGE_SWEEPS - 1.0)
    worth = _cpu.NEWTON_STEPS * (_cpu.STEP_SWEEPS + _cpu.COLUMN_SWEEPS * shape[1])
    sweeps, steps = 0, 0
    damping, cap, best, best_at = 0.0, _cpu.CAP, error, 0
    while error > aim and sweeps + steps < most and sweeps + steps - best_at < _cpu.PATIENCE:
        length, before, sweeping = 0.0, error, ahead <= worth
        if not sweeping and least(c[now], shape[1]) > _cpu.UNDERFLOW:
            _cuda_laplacian.newton_system(P[now], inverse, b, c[now], damping, W, shape)
            _cuda_laplacian.solve_laplacian(W, x, shape)
            reach = _cuda_laplacian.centre(x, cap, v, shape)
            error, length = line_search(
                C, a, b, tau, psi, phi, P, c, now, x, error, best, shape, slabs
            )
            damping, cap = paced(damping, cap, length, reach)
            steps += 1
        if length > 0.0:
            now = 1 - now
        else:
            left = min(np.int64(ahead) + 1, most - sweeps - steps) if sweeping else 1
            done, error = sweep(
                C,
                a,
                b,
                psi[now],
                tau,
                phi[now],
                P[now],
                c[now],
                v,
                x,
                error,
                aim,
                left,
                shape,
                slabs,
            )
            sweeps += done
        if sweeping:
            ahead = np.inf
            if last and aim < error < before:
                ahead = done * math.log(aim / error) / math.log(error / before)
            damping = _cpu.DAMPING_PER_ERROR * error
        if sweeping or error < best:
            best, best_at = error, sweeps + steps
    return sweeps, steps, now


@part
def solve_small(C, a, inverse, b, spread, goal, most, psi, phi, P, c, W, v, x, shape, slabs):
    """Solve one problem with positive masses by stages, whose temperature falls to 1.

    Return the sweeps, the Newton steps, and which of the two points they led to.
    """
    sweeps, steps, now, tau = 0, 0, 0, 0.0
    for j in threads(shape[1]):
        psi[0, j] = 0.0
    while tau != 1.0:
        lower = max(1.0, tau / _cpu.FACTOR if tau > 0.0 else _cpu.START * spread)
        cuda.syncthreads()  # none still reads the potentials
        for j in threads(shape[1]):  # relative to the masses they hardly change
            psi[now, j] += (lower - tau) * math.log(b[j])
        cuda.syncthreads()
        tau = lower
        error = iterate(C, a, b, psi[now], tau, phi[now], P[now], c[now], shape, slabs)
        left = most - sweeps - steps
        done, more, now = stage(
            C, a, inverse, b, tau, psi, phi, P, c, W, v, x, now, error, goal, left, shape, slabs
        )
        sweeps += done
        steps += more
    return sweeps, steps, now


@part
def with_mass(mass, places):
    """Write the indices that have mass; return how many there are."""
    lane, count = thread() % LANES, 0
    for start in range(0, mass.size, LANES):
        i = start + lane
        kept = i < mass.size and mass[min(i, mass.size - 1)] > 0.0
        before, all_of_them = lane_rank(kept, lane)
        if kept and thread() < LANES:
            places[count + before] = i
        count += all_of_them
    return count


@part
def fill_cost(M, longer, shorter, turned, reg, forbidden, C, shape):
    """Write some rows and columns of M, turned or not, in units of reg; return the spread of C."""
    low, high = np.inf, -np.inf
    for i in warps(shape[0]):
        for j in lanes(shape[1]):
            x = np.float64(M[shorter[j], longer[i]] if turned else M[longer[i], shorter[j]])
            x = x / reg if x <= forbidden else np.inf
            C[i, j] = x
            low = min(low, x)
            high = max(high, x if x < np.inf else -np.inf)
    return block_max(high) + block_max(-low)


@part
def take(mass, places, count, out):
    """Write some masses."""
    for i in threads(count):
        out[i] = mass[places[i]]


@part
def put(x, places, count, unit, out):
    """Write potentials to where there is mass, minus infinity elsewhere."""
    for i in threads(out.size):
        out[i] = -np.inf
    cuda.syncthreads()
    for i in threads(count):
        out[places[i]] = unit * x[i]


@kernel(
    "f8[:,:,::1], f8[:,::1], f8[:,::1], f8[::1], f8[::1], f8, i8, f8[:,::1], f8[:,::1], "
    "i8[:,::1], f8[:,:,:,::1], f8[:,:,::1], f8[:,:,::1], i8[:,:,::1]",
    "f4[:,:,::1], f8[:,::1], f8[:,::1], f8[::1], f8[::1], f8, i8, f8[:,::1], f8[:,::1], "
    "i8[:,::1], f8[:,:,:,::1], f8[:,:,::1], f8[:,:,::1], i8[:,:,::1]",
    per_processor=1,
)
def solve_stack(M, a, b, reg, forbidden, goal, most, f, g, counts, tables, weights, longs, places):
    """Solve each problem of a stack; write potentials, and counts (B, 2) of sweeps and steps.

    Rows and columns without mass are left out, and costs above what is forbidden are infinite; the
    columns become the shorter side. What follows the counts is room for each block, where N is the
    longer side of M and K the shorter: tables (blocks, 3, N, K) and longs (blocks, 4, N) for two
    points, and for cost and masses behind them, weights (blocks, K + GROUP - 1, K + 2), places
    (blocks, 2, N).
    """
    slabs = cuda.shared.array((WARPS, MOST_COLUMNS), float64)
    shape = cuda.shared.array(2, int64)
    psi = cuda.shared.array((2, MOST_COLUMNS), float64)
    c = cuda.shared.array((2, MOST_COLUMNS), float64)
    share = cuda.shared.array(MOST_COLUMNS, float64)
    v = cuda.shared.array(MOST_COLUMNS, float64)
    x = cuda.shared.array(MOST_COLUMNS, float64)
    room = np.uint64(cuda.blockIdx.x)
    P, C, W = tables[room], tables[room, 2], weights[room]
    phi, mass, inverse = longs[room], longs[room, 2], longs[room, 3]
    for k in indices(room, M.shape[0], cuda.gridDim.x):
        cuda.syncthreads()  # none is still at the problem before
        rows = with_mass(a[k], places[room, 0])
        columns = with_mass(b[k], places[room, 1])
        turned = rows < columns
        if thread() == 0:
            shape[0], shape[1] = max(rows, columns), min(rows, columns)
        cuda.syncthreads()
        longer, shorter = places[room, 1 if turned else 0], places[room, 0 if turned else 1]
        take(b[k] if turned else a[k], longer, shape[0], mass)
        take(a[k] if turned else b[k], shorter, shape[1], share)
        for i in threads(shape[0]):
            inverse[i] = 1.0 / mass[i]
        spread = fill_cost(M[k], longer, shorter, turned, reg[k], forbidden[k], C, shape)
        sweeps, steps, now = solve_small(
            C, mass, inverse, share, spread, goal, most, psi, phi, P, c, W, v, x, shape, slabs
        )
        put(phi[now], longer, shape[0], reg[k], g[k] if turned else f[k])
        put(psi[now], shorter, shape[1], reg[k], f[k] if turned else g[k])
        if thread() == 0:
            counts[k, 0], counts[k, 1] = sweeps, steps
