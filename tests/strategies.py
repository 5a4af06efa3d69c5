"""Small random inputs within the documented domain."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparsenum.sparse import CSR

LARGEST = 20
sizes = st.integers(1, LARGEST)
# Thousandths: exact to compare, with ties and zeros.
numbers = st.integers(-4000, 4000).map(lambda x: x / 1000)

costs = st.integers(0, 1000).map(lambda x: x / 1000)


def vectors(length, elements=numbers):
    return hnp.arrays(np.float64, length, elements=elements)


@st.composite
def dense(draw, rows=None, columns=None, dtypes=(np.float32, np.float64)):
    """A matrix with any share of zeros, rows of zeros among them."""
    shape = (draw(sizes) if rows is None else rows, draw(sizes) if columns is None else columns)
    A = draw(hnp.arrays(np.float64, shape, elements=numbers))
    present = draw(hnp.arrays(np.bool_, shape)) & draw(hnp.arrays(np.bool_, (shape[0], 1)))
    return np.where(present, A, 0.0).astype(draw(st.sampled_from(dtypes)))


def from_dense(A, index_dtype=np.uint32):
    """Build a CSR matrix by numpy alone."""
    rows, columns = np.nonzero(A)
    indptr = np.searchsorted(rows, np.arange(A.shape[0] + 1)).astype(np.uint64)
    return CSR(indptr, columns.astype(index_dtype), A[rows, columns], A.shape)


@st.composite
def sparse(draw, **shape):
    """A CSR matrix with either type of index."""
    return from_dense(draw(dense(**shape)), draw(st.sampled_from([np.uint16, np.uint32])))


def marginals(length):
    """Positive masses that sum to one."""
    return vectors(length, st.integers(1, 100).map(float)).map(lambda x: x / x.sum())


@st.composite
def problems(draw, regs=(0.2, 0.5, 1.0)):
    """Cost in [0, 1], two marginals and a reg that is not too small for the naive twin."""
    n, m = draw(sizes), draw(sizes)
    M = draw(hnp.arrays(np.float64, (n, m), elements=costs))
    return M, draw(marginals(n)), draw(marginals(m)), draw(st.sampled_from(regs))


@st.composite
def tables(draw):
    """A table, its growth scores, and a whole number to draw generators from."""
    A = draw(sparse())
    scores = draw(hnp.arrays(np.float64, A.shape, elements=st.integers(0, 50).map(float)))
    return A, scores, draw(st.integers(0, 2**32))
