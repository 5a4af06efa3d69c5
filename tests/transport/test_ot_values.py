"""A result is a value: what the caller does to arrays later does not change it."""

import numpy as np
import pytest

from sparsenum import ot
from sparsenum.ot.problems import _cpu_digest, seal
from sparsenum.ot.problems.seal import Seal

RNG = np.random.default_rng(0)


def data(dtype=np.float64):
    M, a, b = RNG.random((6, 5)), RNG.random(6) + 0.1, RNG.random(5) + 0.1
    return M.astype(dtype), a / a.sum(), b / b.sum()


READ = {
    "plan": lambda r: r.plan,
    "sparse_plan": lambda r: r.sparse_plan.toarray(),
    "value_linear": lambda r: np.asarray(r.value_linear),
    "gradient": lambda r: r.gradient().M,
    "pullback": lambda r: r.pullback(np.ones((6, 5))).a,
}
SOLVE = {
    "balanced": lambda M, a, b: ot.solve(M, a, b, 0.1),
    "unbalanced": lambda M, a, b: ot.solve(M, a, b, 0.1, unbalanced=1.0),
    "sinkhorn": lambda M, a, b: ot.solve(M, a, b, 0.1, method="sinkhorn"),
    "stack": lambda M, a, b: ot.solve_batch(M[None], np.array([0.1]), a[None], b[None])[0],
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("how", SOLVE)
def test_changing_the_data_does_not_change_a_result(how, dtype):
    M, a, b = data(dtype)
    expected = {name: read(SOLVE[how](M, a, b)) for name, read in READ.items()}
    result = SOLVE[how](M, a, b)
    M *= 3
    a[:], b[:] = 1.0 / 6, 1.0 / 5
    for name, read in READ.items():
        np.testing.assert_array_equal(read(result), expected[name])


@pytest.mark.parametrize("how", SOLVE)
def test_a_large_cost_is_not_copied_and_a_change_is_found(how, monkeypatch):
    monkeypatch.setattr(seal, "COPIED", 0)
    M, a, b = data()
    if how == "stack":
        result = ot.solve_batch(M[None], 0.1, a[None], b[None])
    else:
        result = SOLVE[how](M, a, b)
    read = READ["plan"]
    expected = read(SOLVE[how](M.copy(), a, b))
    M *= -1
    with pytest.raises(RuntimeError, match="M was changed in place"):
        read(result)
    M *= -1  # as it was
    np.testing.assert_allclose(np.squeeze(read(result)), expected, rtol=1e-12, atol=0)


def test_points_may_change():
    X, Y = RNG.random((6, 2)), RNG.random((5, 2))
    for lazy in (False, True):
        result = ot.solve_sample(X, Y, reg=0.1, lazy=lazy)
        expected = ot.solve_sample(X, Y, reg=0.1, lazy=lazy).plan
        kept = X.copy()
        X += 1.0
        np.testing.assert_array_equal(result.plan, expected)
        X[:] = kept


def test_results_cannot_be_written_to():
    M, a, b = data()
    result, stack = ot.solve(M, a, b, 0.1), ot.solve_batch(M[None], 0.1)
    arrays = *result.potentials, *result.marginals, result.plan, *stack.potentials
    for x in (*arrays, stack.value, stack.value_linear, stack.plan, stack.marginal_error):
        with pytest.raises(ValueError, match="read-only"):
            x[...] = 0.0


def test_what_the_caller_may_write_to_is_no_part_of_a_result():
    M, a, b = data()
    result = ot.solve(M, a, b, 0.1)
    for x in (result.gradient().M, result.pullback(M).M, result.sparse_plan.data):
        x[:] = 0.0
    np.testing.assert_array_equal(result.plan, ot.solve(M, a, b, 0.1).plan)
    plan, log = ot.sinkhorn(a, b, M, 0.1, log=True)
    plan[:], log["alpha"][:] = 0.0, 0.0


@pytest.mark.parametrize("size", [1, 7, 8, 9, 100])
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_every_change_of_a_word_is_found(size, dtype):
    words = RNG.integers(0, 2**32, size).astype(dtype)
    before = _cpu_digest.digest(words)
    assert _cpu_digest.digest(words.copy()) == before
    for i in range(size):
        changed = words.copy()
        changed[i] ^= dtype(1) << dtype(RNG.integers(0, 8 * words.itemsize))
        assert _cpu_digest.digest(changed) != before
    if size > 8:
        assert _cpu_digest.digest(words[::-1].copy()) != before
        assert _cpu_digest.digest(words ^ dtype(1 << 31)) != before


def test_what_nobody_else_can_write_to_is_neither_copied_nor_sealed(monkeypatch, tmp_path):
    monkeypatch.setattr(seal, "COPIED", 0)
    M = data()[0]
    np.save(tmp_path / "M.npy", M)
    fresh, on_disk = np.array(M.tolist()), np.load(tmp_path / "M.npy", mmap_mode="r")
    frozen = np.frombuffer(M.tobytes()).reshape(M.shape)
    assert Seal.on(fresh, M.tolist())[1].digest is None
    assert Seal.on(np.asarray(on_disk), on_disk)[1].digest is None
    assert Seal.on(frozen, frozen)[1].digest is None
    locked = M[:]
    locked.flags.writeable = False  # though M itself is not
    assert Seal.on(locked, locked)[1].digest is not None
