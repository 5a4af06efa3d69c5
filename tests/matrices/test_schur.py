"""Schur complements of two-sided systems, by iteration and directly, against dense algebra."""

import naive
import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

from sparsenum.sparse import schur, schur_cg, schur_direct, transpose

DIRECT = {"dense": -1.0, "sparse": 2.0}  # shares of non-zeros above which it is dense
ITERATED = {"scattered": -1.0, "gathered": 2.0}  # and above which there is no transpose


@st.composite
def systems(draw, leaks=(0.0,)):
    """A plan over the root of its row sums, its column sums, and a right-hand side in range."""
    P = np.abs(draw(strategies.dense(dtypes=(np.float64,))))
    P = P[:, P.sum(axis=0) > 0][P.sum(axis=1) > 0]
    assume(P.size > 0)
    weight = P.sum(axis=0) * (1.0 + draw(st.sampled_from(leaks)))
    Q = P / np.sqrt(P.sum(axis=1))[:, None]
    b = naive.schur(Q, weight) @ draw(strategies.vectors(len(weight)))
    assume(np.abs(b).max() > 1e-3 * weight.max())
    return Q, weight, b


def direct(route, Q, weight, b):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schur, "DENSE_SHARE", DIRECT[route])
        return schur_direct(strategies.from_dense(Q), weight, b)


def iterated(route, Q, weight, b, rtol):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schur, "SCATTER_SHARE", ITERATED[route])
        return schur_cg(strategies.from_dense(Q), weight, b, rtol=rtol)


@given(systems(leaks=(1e-2, 1.0)))
def test_definite_systems_are_solved_as_numpy_does(system):
    Q, weight, b = system
    expected = np.linalg.solve(naive.schur(Q, weight), b)
    close = {"rtol": 1e-7, "atol": 1e-8 * np.abs(expected).max()}
    for route in ITERATED:
        result = iterated(route, Q, weight, b, 1e-13)
        assert result.converged
        np.testing.assert_allclose(result.x, expected, **close)
    for route in DIRECT:
        np.testing.assert_allclose(direct(route, Q, weight, b), expected, **close)


@given(systems(), st.sampled_from([1e-8, 1e-12]))
def test_singular_consistent_systems_are_solved_too(system, rtol):
    """Iteration comes as far as its residual says, which rounding of b may hold up."""
    Q, weight, b = system
    S = naive.schur(Q, weight)
    for route in ITERATED:
        found = iterated(route, Q, weight, b, rtol)
        missed = np.abs(S @ found.x - b).sum() / np.abs(b).sum()
        assert missed <= 1.01 * found.residual + 1e-10
        assert found.converged or missed <= 1e-4
    for route in DIRECT:
        x = direct(route, Q, weight, b)
        np.testing.assert_allclose(S @ x, b, rtol=0, atol=1e-8 * np.abs(b).max())


@pytest.mark.parametrize("route", ITERATED)
def test_no_step_is_taken_where_only_rounding_is_left(route):
    """Unknown 0 is free: the residual's 1e-15 there must not become a step of 1e14."""
    P = np.array([[0.0, 1.3, 0.8, 0.9], [1.635**2, 0.0, 0.0, 0.0]])
    Q, weight = P / np.sqrt(P.sum(axis=1))[:, None], P.sum(axis=0)
    b = naive.schur(Q, weight) @ [0.0, 1.0, -1.0, 0.5]
    b[0] = 1.5e-15
    found = iterated(route, Q, weight, b, 1e-8)
    assert np.abs(found.x).max() < 10
    np.testing.assert_allclose(naive.schur(Q, weight) @ found.x, b, rtol=0, atol=1e-7)


@pytest.mark.parametrize("route", DIRECT)
@pytest.mark.parametrize("blocks", [1, 5])
def test_disconnected_blocks(blocks, route):
    rng = np.random.default_rng(0)
    P = np.kron(np.eye(blocks), rng.random((8, 6)) + 0.1)
    Q, weight = P / np.sqrt(P.sum(axis=1))[:, None], P.sum(axis=0)
    S = naive.schur(Q, weight)
    assert np.linalg.matrix_rank(S) == 5 * blocks
    b = S @ rng.standard_normal(6 * blocks)
    exact = naive.solve(S, b)
    by_cg = schur_cg(strategies.from_dense(Q), weight, b, rtol=1e-12)
    assert by_cg.converged
    for x in (by_cg.x, direct(route, Q, weight, b)):
        apart = (x - exact).reshape(blocks, 6)  # each block is free to move as a whole
        np.testing.assert_allclose(
            apart - apart.mean(axis=1, keepdims=True), 0.0, rtol=0, atol=1e-8
        )


def test_a_column_that_holds_all_of_its_row_has_a_diagonal_of_zero():
    result = schur_cg(strategies.from_dense(np.eye(3)), np.ones(3), np.zeros(3))
    assert (result.converged, result.n_iter, result.x.tolist()) == (True, 0, [0.0] * 3)
    assert np.isfinite(schur_cg(strategies.from_dense(np.eye(3)), np.ones(3), np.ones(3)).x).all()


def test_a_full_matrix_is_not_transposed(monkeypatch):
    sizes = []
    monkeypatch.setattr(schur, "transpose", lambda A: sizes.append(A.nnz) or transpose(A))
    for share in (0.2, 0.3):
        P = np.random.default_rng(0).random((40, 50))
        P[:, :] *= np.arange(50) < share * 50
        schur_cg(strategies.from_dense(P + 1e-3 * np.eye(40, 50)), 100.0 * np.ones(50), np.ones(50))
    assert len(sizes) == 1


def test_one_loose_unknown_does_not_pass_for_all_of_the_residual():
    """Column 0 barely hangs on: in the norm of the preconditioner it outweighs all the others."""
    rng = np.random.default_rng(0)
    Q = np.zeros((31, 30))
    Q[1:, 1:] = rng.random((30, 29)) / 30
    Q[0, 0] = 1.0
    weight = (Q**2).sum(axis=0) + (Q.T @ Q.sum(axis=1))
    weight[0] = 1.0 + 1e-10
    b = np.ones(30)
    result = schur_cg(strategies.from_dense(Q), weight, b, rtol=1e-3)
    residual = b - naive.schur(Q, weight) @ result.x
    assert result.converged
    assert np.abs(residual).sum() <= 1.1e-3 * np.abs(b).sum()


def test_an_indefinite_system_has_no_factor():
    with pytest.raises(np.linalg.LinAlgError):
        schur_direct(strategies.from_dense(2.0 * np.eye(3)), np.ones(3), np.ones(3))


def test_iteration_stops_where_it_must():
    rng = np.random.default_rng(0)
    P = rng.random((30, 40)) ** 8
    Q, weight, b = P / np.sqrt(P.sum(axis=1))[:, None], 1.001 * P.sum(axis=0), rng.random(40)
    A = strategies.from_dense(Q)
    full, short = schur_cg(A, weight, b), schur_cg(A, weight, b, max_iter=3)
    assert full.converged
    assert full.residual <= 1e-8
    assert full.n_iter > 3
    assert (short.n_iter, short.converged) == (3, False)
    diagonal = weight - (Q**2).sum(axis=0)
    r = b - naive.schur(Q, weight) @ short.x
    true = np.sqrt((r**2 / diagonal).sum() / (b**2 / diagonal).sum())
    assert short.residual == pytest.approx(true, rel=1e-9)


A = strategies.from_dense(np.eye(2, 3))


@pytest.mark.parametrize("solver", [schur_cg, schur_direct])
@pytest.mark.parametrize(
    ("weight", "b", "error", "words"),
    [
        (
            [1.0],
            [1.0, 1.0, 1.0],
            ValueError,
            "^weight and b must have one number for each of the 3",
        ),
        ([1.0, 1.0, 1.0], [1.0], ValueError, "^weight and b must have one number.*got 3 and 1"),
        ([1.0, 1.0, 1.0], ["x"], TypeError, "^b must be an array of real"),
        ([[1.0]], [1.0], ValueError, "^weight must have 1 dimension"),
    ],
)
def test_bad_input_is_named(solver, weight, b, error, words):
    with pytest.raises(error, match=words):
        solver(A, weight, b)
