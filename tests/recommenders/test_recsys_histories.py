"""What a saved model remembers of its users: the weights of their histories."""

import numpy as np
import polars as pl
import pytest

from recsys import Interactions, SparseMF, load


@pytest.mark.parametrize("weighted", [False, True])
def test_files_keep_the_weights_of_the_history(tmp_path, weighted):
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"user": rng.integers(20, size=200), "item": rng.integers(9, size=200)})
    table = table if weighted else table.unique(maintain_order=True)
    model = SparseMF(budget="40%", dim=8, epochs=2).fit(
        Interactions.read(table, user="user", item="item")
    )
    assert (model.seen_.data != 1).any() == weighted
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.seen_.data, model.seen_.data)
    with np.load(tmp_path / "model.npz") as stored:  # as all files were before weights were kept
        assert ("seen_data" in stored.files) == weighted
    more = Interactions.read(table[:30], user="user", item="item")
    for one in (model, loaded):
        one.partial_fit(more, epochs=2)
    np.testing.assert_array_equal(loaded.user_table_.data, model.user_table_.data)
