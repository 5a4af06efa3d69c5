"""Popularity of held-out sets: against numpy, and warnings where, and only where, they differ."""

import warnings

import numpy as np
import polars as pl
import pytest

from recsys import Popularity
from recsys.cli import main
from recsys.data.interactions import Interactions, read_pairs
from recsys.data.split import by_time, random_per_user
from recsys.evaluation.protocol import degree_profile, warn_of_drift
from sparsenum.errors import ProtocolWarning

NAMES = {"user": "user", "item": "item"}


def trend(n_users=400, n_items=200, seed=0):
    """Events whose popular items change with time: item i is at its best at time i / n_items."""
    rng = np.random.default_rng(seed)
    time = rng.random((n_users, 30))
    item = np.clip(time * n_items + rng.normal(0, 10, time.shape), 0, n_items - 1).astype(int)
    item = np.where(rng.random(time.shape) < 0.5, item, rng.zipf(1.5, time.shape) % n_items)
    user = np.repeat(np.arange(n_users), 30)
    return pl.DataFrame({"user": user, "item": item.ravel(), "time": time.ravel()}).unique(
        ["user", "item"], keep="first", maintain_order=True
    )


@pytest.fixture(scope="module")
def parts():
    """Training, a random validation set, and a later test set."""
    rest, test = by_time(trend(), **NAMES, time="time", fraction=0.2)
    train, valid = random_per_user(rest, **NAMES)
    return Interactions.read(train, **NAMES), valid, test


def test_profile_equals_numpy():
    rng = np.random.default_rng(1)
    train, held = rng.integers(0, 50, (2, 30))
    got = degree_profile(train, held)
    assert got.pairs == held.sum()
    assert got.correlation == pytest.approx(np.corrcoef(train, held)[0, 1])
    logs = [
        np.log(1 + degree) for degree, count in zip(train, held, strict=True) for _ in range(count)
    ]
    assert got.mean_log_degree == pytest.approx(np.mean(logs))


def test_a_random_part_is_what_chance_gives():
    rng = np.random.default_rng(2)
    everything = rng.zipf(1.5, 500) % 1000
    held = rng.binomial(everything, 0.2)
    got = degree_profile(everything - held, held)
    assert abs(got.drift) < 4 * got.deviation
    assert 0 < got.deviation < 0.02


def test_nothing_held_and_flat_counts_have_no_correlation():
    flat = np.full(5, 3)
    for held in (np.zeros(5, int), flat):
        got = degree_profile(flat, held)
        assert (got.correlation, got.pairs) == (0.0, held.sum())
        assert np.isfinite([got.by_chance, got.deviation, got.mean_log_degree]).all()


def test_random_validation_for_a_later_test_is_warned_of(parts):
    train, valid, test = parts
    with pytest.warns(
        ProtocolWarning, match="valid and test should be held out in the same way"
    ) as said:
        ours, theirs = warn_of_drift(train, valid, test)
    assert said[0].filename == __file__
    assert abs(ours.drift) < 0.02
    assert theirs.drift > 0.2
    assert "\n" not in str(said[0].message)


def test_matrices_are_compared_like_tables(parts):
    train, *tables = parts
    matrices = [read_pairs(t, **NAMES, users=train.users, items=train.items)[0] for t in tables]
    with pytest.warns(ProtocolWarning):
        by_matrix = warn_of_drift(train.matrix, *matrices)
    with pytest.warns(ProtocolWarning):
        assert warn_of_drift(train, *tables) == by_matrix
    with pytest.raises(TypeError, match="test must be a CSR matrix where train is one"):
        warn_of_drift(train.matrix, matrices[0], tables[1])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.04, 0.3])
def test_sets_held_out_alike_are_not(seed, fraction):
    rest, test = random_per_user(trend(seed=seed), **NAMES, fraction=0.2, seed=seed)
    train, valid = random_per_user(rest, **NAMES, fraction=fraction, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_drift(Interactions.read(train, **NAMES), valid, test)


def test_evaluation_warns_where_validation_was_held_out_otherwise(tmp_path, capsys):
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, 81)
    pairs = pl.DataFrame(
        {
            "user": rng.integers(300, size=6000),
            "item": rng.choice(80, size=6000, p=chance / chance.sum()),
        }
    ).unique(maintain_order=True)
    train, valid = pairs[:-600], pairs[-600:]
    rare = pl.DataFrame(
        {"user": rng.integers(300, size=600), "item": rng.integers(60, 80, size=600)}
    )
    rare = rare.unique(maintain_order=True)
    model = Popularity().fit(Interactions.read(train, user="user", item="item"))
    assert model.evaluate(valid, 5, valid=valid) == model.evaluate(valid, 5)
    with pytest.warns(ProtocolWarning, match="held out in the same way"):
        model.evaluate(rare, 5, valid=valid)

    files = [str(tmp_path / name) for name in ("model.npz", "test.parquet", "valid.parquet")]
    model.save(files[0])
    rare.write_parquet(files[1])
    valid.write_parquet(files[2])
    assert main(["evaluate", *files[:2], "--k", "5", "--valid", files[2]]) == 0
    assert "warning: valid and test should be held out" in capsys.readouterr().err
