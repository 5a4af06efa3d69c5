"""What models learn from: interactions; anything else is refused with what to do about it."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

import recsys

TABLE = pl.DataFrame({"customer": [1, 1, 2, 3], "product": [1, 2, 2, 1]})
MODELS = [
    recsys.EASE,
    recsys.SANSA,
    recsys.ItemBlend,
    recsys.ItemKNN,
    recsys.LightGCN,
    recsys.Popularity,
    recsys.RP3beta,
    recsys.SparseAE,
    recsys.SparseALS,
    recsys.SparseMF,
    recsys.UserKNN,
]
NAMED = r"got \w*DataFrame; read it first, as in Interactions.read\(table, user='customer', item="
PLAIN = r"; make a table of its users and items, and read it: Interactions.read\(table, user"
OTHERS = [
    (TABLE, NAMED),
    (TABLE.to_pandas(), NAMED),
    (TABLE.to_arrow(), "got Table; read it first, as in"),
    (TABLE.to_numpy(), "got ndarray" + PLAIN),
    (scipy.sparse.csr_array(np.eye(3)), "got csr_array" + PLAIN),
    (pd.Series([1, 2]), "got Series" + PLAIN),
    (TABLE.lazy(), "got LazyFrame; read it first, as in"),
    ("events.csv", r"got str; read it first: Interactions.read\(table, user=..., item=...\)"),
    (None, "got NoneType; read it first"),
]


@pytest.mark.parametrize("train", [other for other, _ in OTHERS], ids=lambda t: type(t).__name__)
def test_what_is_no_interactions_is_refused_by_name(train):
    message = next(message for other, message in OTHERS if other is train)
    for kind in MODELS:
        with pytest.raises(TypeError, match=f"train must be Interactions: .*{message}"):
            kind().fit(train)
    with pytest.raises(TypeError, match="train must be Interactions"):
        recsys.dense_mf(train)
    read = recsys.Interactions.read(TABLE, user="customer", item="product")
    fitted = recsys.SparseMF(budget="100%", dim=2, epochs=1).fit(read)
    with pytest.raises(TypeError, match="train must be Interactions"):
        fitted.partial_fit(train)


def test_all_models_are_asked():
    public = {getattr(recsys, name) for name in recsys.__all__}
    assert set(MODELS) == {each for each in public if hasattr(each, "recommend_from")}


def test_files_of_an_earlier_spelling_report(tmp_path):
    train = recsys.Interactions.read(TABLE, user="customer", item="product")
    for kind in (recsys.SparseMF, recsys.SparseALS):
        model = kind(budget="100%", dim=2, epochs=1).fit(train)
        expected = model.report()
        for entry in model.history_:
            entry["optimiser_floats"] = entry.pop("optimizer_floats")
        model.save(tmp_path / "model.npz")
        assert recsys.load(tmp_path / "model.npz").report() == expected
