"""Tables in files: small types, values of one byte, and nothing trusted."""

import naive_recsys as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.storage.packing import bytes_of, pack, quantised, unpack, weights_for


def table(seed, shape, density):
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.integers(-30, 30, (shape[0], 1))
    return naive.compressed(rng.standard_normal(shape) * sizes, rng.random(shape) < density)


shapes = st.tuples(st.integers(1, 9), st.sampled_from([1, 5, 256, 257, 300]))


@given(st.integers(0, 99), shapes, st.floats(0, 1), st.sampled_from(["int8", "float32"]))
def test_what_is_packed_comes_back_and_costs_what_is_said(seed, shape, density, values):
    given_table = table(seed, shape, density)
    held = quantised(given_table) if values == "int8" else given_table
    arrays = pack(held, "near", values)
    back = unpack(arrays, "near", shape)
    np.testing.assert_array_equal(back.to_dense(), held.to_dense())
    np.testing.assert_array_equal(back.indptr, held.indptr)
    assert back.indices.dtype == np.uint16
    assert arrays["near_indices"].dtype == (np.uint8 if shape[1] <= 256 else np.uint16)
    assert bytes_of(held, values).total == sum(array.nbytes for array in arrays.values())
    assert weights_for(bytes_of(held, values).total, shape, values) <= held.nnz
    bought = weights_for(500, shape, values)
    assert 0 <= bought <= shape[0] * shape[1]


@given(st.integers(0, 99), shapes)
def test_quantised_values_are_near_and_stay_as_they_are(seed, shape):
    exact = table(seed, shape, 0.7)
    near = quantised(exact)
    np.testing.assert_array_equal(quantised(near).data, near.data)
    a, b = exact.to_dense().astype(np.float64), near.to_dense().astype(np.float64)
    assert (np.abs(a - b) <= np.abs(a).max(axis=1, keepdims=True) / 127 * 0.5001).all()


def test_a_budget_buys_as_much_as_fits():
    # 10 rows of 2 + 4 bytes; then 1 + 2 bytes for a weight in 1000 columns.
    assert weights_for(60 + 3 * 50 + 2, (10, 1000), "int8") == 50
    assert weights_for(59, (10, 1000), "int8") == 0
    assert weights_for(10**9, (10, 100), "float32") == 1000


BROKEN = {
    "lacks": lambda arrays: arrays.pop("x_data"),
    "unfit type": lambda arrays: arrays.update(x_counts=arrays["x_counts"].astype(np.int64)),
    "out of range": lambda arrays: arrays["x_indices"].fill(200),
    "not sound": lambda arrays: arrays.update(x_counts=arrays["x_counts"][1:]),
    "not finite": lambda arrays: arrays["x_scales"].fill(np.inf),
    "values or scales": lambda arrays: arrays.update(x_scales=arrays["x_scales"][1:]),
    "finite float32": lambda arrays: arrays.pop("x_scales"),
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_no_table_can_be_is_refused(message):
    arrays = pack(table(0, (4, 9), 0.6), "x", "int8")
    BROKEN[message](arrays)
    with pytest.raises(ValueError, match=message):
        unpack(arrays, "x", (4, 9))
