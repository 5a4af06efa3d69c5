"""What `ot.solve` refuses, and that each message begins with the argument to change."""

import warnings

import numpy as np
import pytest
import scipy.sparse

from sparsenum import ConvergenceWarning, ot

METHODS = ["auto", "sns-paper", "sinkhorn"]
C = np.random.default_rng(1).random((6, 5))
A = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 1.0]) / 10
B = np.array([3.0, 1.0, 2.0, 2.0, 2.0]) / 10
HALL = np.full((4, 4), np.inf)  # three rows may use one column only
HALL[:3, 0] = HALL[3] = 0.0


def changed(x, value):
    x = x.copy()
    x.flat[3] = value
    return x


BAD = {
    "NaN cost": ({"M": changed(C, np.nan)}, ValueError, "^M must hold numbers.*NaN"),
    "-inf cost": ({"M": changed(C, -np.inf)}, ValueError, "^M must hold.*minus infinity"),
    "infinite cost": ({"M": C + np.inf}, ValueError, "^M must hold.*infinity"),
    "infinite row": (
        {"M": np.where(np.arange(6)[:, None] == 2, np.inf, C)},
        ValueError,
        "^M must leave each row.*in row 2;",
    ),
    "infinite column": (
        {
            "M": np.where(np.arange(5) == 3, np.inf, C),
            "a": [1, 1, 0, 1, 1, 1],
            "b": [0, 1, 1, 2, 1],
        },
        ValueError,
        "^M must leave each column.*in column 3;",
    ),
    "complex cost": ({"M": C + 0j}, TypeError, "^M must be an array of real numbers"),
    "cost of words": ({"M": [["x"]]}, TypeError, "^M must be an array of real numbers"),
    "vector cost": ({"M": C[0]}, ValueError, "^M must have 2 dimensions"),
    "empty cost": ({"M": np.zeros((0, 3))}, ValueError, "^M must have at least one row"),
    "NaN in a": ({"a": changed(A, np.nan)}, ValueError, "^a must hold finite masses"),
    "NaN in b": ({"b": changed(B, np.nan)}, ValueError, "^b must hold finite masses"),
    "inf in a": ({"a": changed(A, np.inf)}, ValueError, "^a must hold finite masses"),
    "negative a": ({"a": changed(A, -1e-9)}, ValueError, "^a must hold.*not negative"),
    "negative b": ({"b": changed(B, -0.1)}, ValueError, "^b must hold.*not negative"),
    "short a": ({"a": A[1:]}, ValueError, "^a must have one mass for each row of M, 6: got 5"),
    "long b": ({"b": A}, ValueError, "^b must have one mass for each column of M, 5: got 6"),
    "matrix b": ({"b": C}, ValueError, "^b must have 1 dimension"),
    "no mass": ({"a": 0 * A, "b": 0 * B}, ValueError, "^a must have positive total mass"),
    "unequal totals": ({"b": 2 * B}, ValueError, "^a must sum to the same total as b: got 1 and 2"),
    "unequal by 2e-6": ({"b": B * (1 + 2e-6)}, ValueError, "^a must sum to the same total"),
    "no reg": ({"reg": None}, ValueError, "^reg must be given"),
    "zero reg": ({"reg": 0}, ValueError, "^reg must be positive"),
    "negative reg": ({"reg": -0.1}, ValueError, "^reg must be positive"),
    "NaN reg": ({"reg": np.nan}, ValueError, "^reg must be positive and finite"),
    "word reg": ({"reg": "x"}, TypeError, "^reg must be a number"),
    "zero tol": ({"tol": 0}, ValueError, "^tol must be positive"),
    "negative max_iter": ({"max_iter": -1}, ValueError, "^max_iter must be at least 0"),
    "fractional max_iter": ({"max_iter": 1.5}, TypeError, "^max_iter must be a whole number"),
    "zero time_limit": ({"time_limit": 0}, ValueError, "^time_limit must be positive"),
    "unknown method": (
        {"method": "emd"},
        ValueError,
        "^Unknown method 'emd': expected one of 'auto'",
    ),
    "unknown device": ({"device": "tpu"}, ValueError, "^Unknown device 'tpu'"),
    "no threads": ({"n_threads": 0}, ValueError, "^n_threads must be at least 1"),
    "masked cost": (
        {"M": np.ma.masked_array(C, mask=C > 0.9)},
        TypeError,
        "^M must have a number in each place: got a masked array",
    ),
    "masked masses": (
        {"a": np.ma.masked_array(A, mask=A > 0.2)},
        TypeError,
        "^a must have a number in each place",
    ),
    "sparse cost": (
        {"M": scipy.sparse.csr_array(C)},
        TypeError,
        "^M must be a dense array: got the sparse csr_array",
    ),
    "a reference": ({"c": np.outer(A, B)}, NotImplementedError, "^c must be None"),
    "short start": (
        {"potentials_init": (A, B[1:])},
        ValueError,
        r"^potentials_init must have lengths \(6, 5\): got \(6, 4\)",
    ),
    "three starts": ({"potentials_init": (A, B, B)}, ValueError, "^potentials_init must be a pair"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    change, error, words = BAD[name]
    with pytest.raises(error, match=words):
        ot.solve(**({"M": C, "a": A, "b": B, "reg": 0.1} | change))


@pytest.mark.parametrize("method", METHODS)
def test_infinite_costs_that_leave_no_plan_are_refused(method):
    with pytest.raises(ValueError, match=r"^M forbids too many pairs"):
        ot.solve(HALL, reg=1.0, method=method, max_iter=500)
    masses = [0.1, 0.1, 0.1, 0.7], [0.3, 0.3, 0.2, 0.2]
    assert ot.solve(HALL, *masses, reg=1.0, tol=1e-6).converged


def test_a_feasible_pattern_that_ran_out_of_iterations_is_not_called_infeasible():
    walled = np.where(np.eye(6, 5) > 0, np.inf, C)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = ot.solve(walled, A, B, 0.01, max_iter=1)
    assert result.status == "max_iter"
    assert [w.category for w in caught] == [ConvergenceWarning]


def test_masks_that_hide_nothing_and_a_reference_of_none_are_taken():
    M = np.ma.masked_array(C, mask=np.zeros_like(C))
    np.testing.assert_array_equal(ot.solve(M, A, B, 0.1, None).plan, ot.solve(C, A, B, 0.1).plan)
