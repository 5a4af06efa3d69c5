"""Every argument of every door is given nonsense: the answer is an error that names an argument."""

import inspect
import re
import warnings

import numpy as np
import pytest

from sparsenum import ot
from sparsenum.errors import ConvergenceWarning, DeviceError

a, b = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.6])
M = np.arange(6.0).reshape(3, 2)
DENSE = {"M": M, "a": a, "b": b, "reg": 0.5}
CLOUDS = {"X_a": M, "X_b": M[:2] + 0.5, "reg": 0.5}
DOORS = {
    "solve": (ot.solve, DENSE),
    "unbalanced": (ot.solve, {**DENSE, "unbalanced": 1.0}),
    "sinkhorn": (ot.sinkhorn, {**DENSE, "log": True}),
    "sinkhorn2": (ot.sinkhorn2, DENSE),
    "many": (ot.sinkhorn, {**DENSE, "b": np.stack([b, b], axis=1)}),
    "solve_sample": (ot.solve_sample, CLOUDS),
    "lazy": (ot.solve_sample, {**CLOUDS, "lazy": True}),
    "solve_batch": (ot.solve_batch, {**DENSE, "M": np.stack([M, M + 1])}),
    "barycenter": (ot.barycenter, {"A": np.stack([a, a[::-1]], axis=1), "M": M, "reg": 0.5}),
    "sinkhorn_divergence": (ot.sinkhorn_divergence, CLOUDS),
}
MORE = {
    "sinkhorn": ("callback", "time_limit", "n_threads", "device"),
    "solve_sample": ("potentials_init", "method", "grad", "device"),
}
NONSENSE = {
    "nothing": None,
    "truth": True,
    "nan": np.nan,
    "infinity": np.inf,
    "minus": -1.0,
    "tiny": 1e-320,
    "next to zero": 1e-300,
    "huge": 1e308,
    "endless": 10**400,
    "word": "many",
    "empty": [],
    "ragged": [[1.0], [1.0, 2.0]],
    "mapping": {"a": 1},
    "complex": np.array([1j, 2]),
    "words": np.array(["a", "b"]),
    "objects": np.array([None, 1.0, {}], object),
    "dates": np.array(["2020-01-01"] * 3, "M8[D]"),
    "records": np.zeros(3, [("x", float)]),
    "hole": np.empty((0, 2)),
    "pair of nan": (np.full(3, np.nan), np.full(2, np.inf)),
    "pair far apart": (np.full(3, 1e300), np.array([1e308, -1e308])),
    "pair of words": ("ab", "cd"),
    "three": np.ones(3),
    "far apart": np.array([[1e308, -1e308], [0, 0], [1, 1]]),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("door", DOORS)
def test_nonsense_is_refused_by_name_or_means_something(door, nonsense):
    function, right = DOORS[door]
    known = list(inspect.signature(function).parameters)
    named = re.compile(rf"\b({'|'.join([*known, *MORE.get(door, ())])})\b")
    unnamed = []
    for name in {*known, *MORE.get(door, ())} - {"options", "kwargs", "verbose"}:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                function(**{**right, name: NONSENSE[nonsense]})
            except (TypeError, ValueError, NotImplementedError, DeviceError) as error:
                unnamed += [] if named.search(str(error)) else [(name, error)]
    assert not unnamed


@pytest.mark.parametrize("door", [ot.solve_sample, ot.sinkhorn_divergence])
def test_a_metric_without_a_number_for_a_pair_is_named(door):
    with pytest.raises(ValueError, match=r"^metric must measure all pairs of X_a and X_b"):
        door([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0]], metric="cosine", reg=1.0)


@pytest.mark.parametrize("far", [1e17, 1e37, 1e109, 1e300])
@pytest.mark.parametrize("unbalanced", [None, 2.0])
def test_a_start_that_says_nothing_changes_nothing(far, unbalanced):
    start = np.zeros(3), np.array([-4.0, 3.0]) * far
    cold = ot.solve(**DENSE, unbalanced=unbalanced)
    warm = ot.solve(**DENSE, unbalanced=unbalanced, potentials_init=start)
    np.testing.assert_array_equal(warm.plan, cold.plan)


@pytest.mark.parametrize("far", [1.0, 10.0, 90.0, 1e3, 1e6, 1e12])
def test_a_start_far_off_leads_where_none_does(far):
    start = np.zeros(3), np.array([0.9, -1.0]) * far
    cold = ot.solve(**DENSE, unbalanced=0.05)
    warm = ot.solve(**DENSE, unbalanced=0.05, potentials_init=start)
    np.testing.assert_allclose(warm.plan, cold.plan, rtol=1e-7, atol=0)


@pytest.mark.parametrize("method", ["sns", "sinkhorn"])
def test_a_warm_start_that_says_nothing_changes_nothing(method):
    start = np.zeros(3), np.array([-4e109, 3e109])
    cold = ot.sinkhorn(a, b, M, 1e-4, method=method)
    warm = ot.sinkhorn(a, b, M, 1e-4, method=method, warmstart=start)
    np.testing.assert_array_equal(warm, cold)
