"""Prune and grow on a device leaves the patterns that it leaves on the CPU, entry by entry."""

import numpy as np
import pytest

from sparsenum import topology
from sparsenum._device import lives_on_cuda
from sparsenum.errors import DeviceError
from sparsenum.sparse import CSR

pytestmark = pytest.mark.usefixtures("cuda")


def table(n, m, share, dtype=np.float32, index=np.uint32, seed=0):
    rng = np.random.default_rng(seed)
    A = CSR.from_dense((rng.normal(size=(n, m)) * (rng.random((n, m)) < share)).astype(dtype))
    return CSR(A.indptr, A.indices.astype(index), A.data, A.shape)


def blocks_of(grow, rows):
    return ((i, grow[i : i + rows].copy()) for i in range(0, len(grow), rows))


def same(one, other):
    for name in ("indptr", "indices", "source"):
        here, there = getattr(one, name), getattr(other, name)
        assert here.dtype == there.dtype
        np.testing.assert_array_equal(there, here)


def compare(A, keep, quota, grow, rows):
    here, there = (
        topology.rewire(
            A, keep, quota, blocks_of(grow, rows), rng=np.random.default_rng(3), device=device
        )
        for device in ("cpu", "cuda")
    )
    same(here, there)


CASES = {
    "one": (1, 1, 1.0),
    "one row": (1, 23, 0.5),
    "one column": (9, 1, 0.6),
    "several blocks": (29, 11, 0.4),
    "empty": (5, 4, 0.0),
    "full": (7, 6, 1.0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("by_row", [False, True], ids=["table", "rows"])
@pytest.mark.parametrize(
    ("dtype", "index"), [(np.float32, np.uint16), (np.float64, np.uint32)], ids=["f4", "f8"]
)
def test_rewire_is_that_of_the_cpu(case, by_row, dtype, index):
    A = table(*case, dtype, index)
    rng = np.random.default_rng(1)
    grow = np.maximum(rng.normal(size=A.shape), 0).astype(dtype)  # half of them go at random
    for share in (0.0, 0.3, 1.0):
        quota = (share * A.row_counts).astype(np.int64) if by_row else int(share * A.nnz)
        compare(A, np.abs(A.data), quota, grow, rows=4)


@pytest.mark.parametrize("by_row", [False, True], ids=["table", "rows"])
def test_ties_are_settled_as_on_the_cpu(by_row):
    A = table(17, 13, 0.5)
    rng = np.random.default_rng(2)
    # A zero is a tie with its negative, and what is infinite is a number like others.
    keep = rng.choice([-1.0, -0.0, 0.0, 2.0, np.inf], A.nnz)
    grow = rng.choice([0.0, 1.0, 2.0, np.inf, np.nan], A.shape)
    quota = A.row_counts // 2 if by_row else A.nnz // 2
    compare(A, keep, quota, grow, rows=5)


def test_long_streams_are_thinned_out_on_the_way():
    A = table(24, 15, 0.3)
    grow = np.random.default_rng(4).random(A.shape).astype(np.float32)
    for quota in (1, 7):
        compare(A, np.abs(A.data), quota, grow, rows=2)
        compare(A, np.abs(A.data), quota, np.zeros_like(grow), rows=3)  # all at random


def test_prune_is_that_of_the_cpu():
    A = table(19, 8, 0.5, index=np.uint16)
    keep = np.abs(A.data)
    for quota in (0, 11, A.nnz, A.row_counts // 3, A.row_counts):
        same(topology.prune(A, keep, quota), topology.prune(A, keep, quota, device="cuda"))


def test_what_is_on_the_device_stays_there():
    upper, lower = table(6, 7, 0.5), table(9, 7, 0.5, seed=5)
    A = topology.stack(upper, lower)
    grow = np.random.default_rng(6).random(A.shape).astype(np.float32)
    keep = np.abs(A.data)
    here = topology.rewire(A, keep, 9, blocks_of(grow, 4), rng=np.random.default_rng(0))
    held, score = A.to("cuda"), CSR(A.indptr, A.indices, keep, A.shape).to("cuda").data
    there = topology.rewire(
        held, score, 9, blocks_of(grow, 4), rng=np.random.default_rng(0), device="cuda"
    )
    assert lives_on_cuda(there.source)
    assert there.n_grown == here.n_grown == 9
    same(here, there.to("cpu"))
    for mine, other in zip(here.split(6, upper.nnz), there.split(6, upper.nnz), strict=True):
        same(mine, other.to("cpu"))
    carried = there.carry(score, -7.0)
    assert lives_on_cuda(carried)
    np.testing.assert_array_equal(carried.copy_to_host(), here.carry(keep, -7.0))
    np.testing.assert_array_equal(there.carry(keep, -7.0), here.carry(keep, -7.0))
    with pytest.raises(DeviceError, match="table is in the memory"):
        topology.prune(held, keep, 2)


def test_blocks_that_do_not_cover_the_table_are_refused():
    A = table(6, 7, 0.5)
    with pytest.raises(ValueError, match="must cover 6 rows: got 4"):
        topology.rewire(
            A,
            np.abs(A.data),
            2,
            [(0, np.ones((4, 7)))],
            rng=np.random.default_rng(0),
            device="cuda",
        )
