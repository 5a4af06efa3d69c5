"""Feasibility: the test for a plan that avoids the forbidden pairs of a cost matrix."""

import numpy as np

from sparsenum.ot.problems.dense import Problem

UNITS = 10**8  # resolution at which masses are compared, within int32 for scipy's flows
SLACK = 1e-6  # share of the mass that rounding to units may seem to lose


def is_feasible(problem: Problem) -> bool:
    """Return whether the pairs of finite cost can carry all the mass, by a maximum flow.

    Asked only after a solve failed, because most costs have no infinite entry and the answer costs
    a flow problem on all finite ones.
    """
    allowed = np.isfinite(problem.M)
    if allowed.all():
        return True
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_flow

    n, m = problem.M.shape
    a = np.maximum(np.rint(problem.a * UNITS), 1).astype(np.int32)
    b = np.maximum(np.rint(problem.b * UNITS), 1).astype(np.int32)
    row, column = np.nonzero(allowed)
    source, sink = n + m, n + m + 1
    # Whole numbers of 32 bits, the only ones that flows of older scipy take.
    tails = np.concatenate([np.full(n, source), row, n + np.arange(m)]).astype(np.int32)
    heads = np.concatenate([np.arange(n), n + column, np.full(m, sink)]).astype(np.int32)
    capacity = np.concatenate([a, np.minimum(a[row], b[column]), b])
    network = coo_array((capacity, (tails, heads)), shape=(n + m + 2, n + m + 2)).tocsr()
    flow = maximum_flow(network, source, sink).flow_value
    return bool(flow >= (1.0 - SLACK) * min(int(a.sum()), int(b.sum())) - (n + m))
