"""What every recommender promises: lists, metrics, files, reports, and clear refusals."""

import naive_recsys as naive
import numpy as np
import polars as pl
import pytest
from judged import MAKERS, N_ITEMS, N_USERS, NAMES, all_pairs, random_pairs, sets

from recsys import Interactions, SparseMF, load
from recsys.storage import files
from recsys.storage.series import pack_series, unpack_series


@pytest.fixture(scope="module")
def table():
    return all_pairs()


@pytest.fixture(scope="module")
def train(table):
    return Interactions.read(table, **NAMES)


@pytest.fixture(scope="module")
def fitted(train):
    return {name: make().fit(train) for name, make in MAKERS.items()}


@pytest.fixture(params=MAKERS)
def model(request, fitted):
    return fitted[request.param]


# Recommending.


def test_all_at_once_or_one_by_one_is_the_same(model):
    everybody = model.recommend("all", 7)
    users = model.users_
    assert everybody.equals(model.recommend(users, 7))
    assert everybody.equals(model.recommend(users.to_list(), 7))
    assert everybody.equals(model.recommend(users.to_numpy(), 7))
    assert everybody.equals(model.recommend(k=7))
    assert everybody.equals(pl.concat([model.recommend([user], 7) for user in users]))
    backwards = pl.concat([model.recommend([user], 7) for user in users[::-1]])
    assert backwards.equals(model.recommend(users[::-1], 7))
    assert model.recommend([5, 5], 2).height == 4


SCHEMA = {"user": pl.Int64, "item": pl.Int64, "score": pl.Float32, "rank": pl.UInt32}


def test_lists_are_those_of_the_scores(model, table):
    taken = sets(table)
    scores = model.scores(np.arange(model.users_.len()))
    assert scores.dtype == np.float32
    assert scores.shape == (model.users_.len(), N_ITEMS)
    for exclude in (True, False):
        lists = model.recommend("all", 7, exclude_seen=exclude)
        assert lists.schema == SCHEMA
        got = {user: rows for (user,), rows in lists.partition_by("user", as_dict=True).items()}
        for user, row in zip(model.users_, scores, strict=True):
            hidden = taken[user] if exclude else set()
            expected = naive.best_items(row, hidden, 7)
            if not expected:
                assert user not in got
                continue
            assert got[user]["item"].to_list() == expected
            np.testing.assert_array_equal(got[user]["score"], row[expected])
            assert got[user]["rank"].to_list() == list(range(1, len(expected) + 1))


def test_users_to_whom_little_is_left(model):
    assert model.recommend([-1], 7).equals(pl.DataFrame(schema=SCHEMA))
    assert model.recommend([-1], 7, exclude_seen=False).height == 7
    assert model.recommend([-2], N_ITEMS).height == N_ITEMS - 1
    both = model.recommend([-1, -2, -1], N_ITEMS)
    assert both["user"].unique().to_list() == [-2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 2.5}, "k must be a whole number"),
        ({"k": 0}, "k must be from 1 to 25: got 0"),
        ({"k": 26}, "k must be from 1 to 25: got 26"),
        ({"users": "x"}, "users must be a sequence of ids or 'all': got 'x'"),
        ({"users": []}, "users must name at least one user: got none"),
        ({"users": [1, 777]}, "users must have been in training: got 1 unknown, like 777;"),
        ({"users": pl.Series([1, 777, 778])}, "got 2 unknown, like 777, 778;"),
        ({"users": pl.Series([1, 777]).to_pandas()[1:]}, "got 1 unknown, like 777;"),
        ({"users": np.array([777])}, "got 1 unknown, like .*777"),
        ({"users": ["1", "me"]}, "got 1 unknown, like 'me';"),
        ({"users": [None]}, "got 1 unknown, like None;"),
        ({"users": range(900, 1000)}, "got 100 unknown, like 900, 901, 902;"),
    ],
)
def test_requests_that_make_no_sense_are_explained(model, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        model.recommend(**{"users": [1], "k": 3} | arguments)


# Files.

IDS = {
    "int": pl.Series(range(30), dtype=pl.Int16),
    "string": pl.Series([f"{number:03d} é" for number in range(30)]),
    "date": pl.Series(range(30)).cast(pl.Date),
    "categorical": pl.Series([f"c{number * 7 % 30}" for number in range(30)], dtype=pl.Categorical),
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_model_comes_back_the_same(tmp_path, name, kind):
    rng = np.random.default_rng(0)
    ids = IDS[kind]
    table = pl.DataFrame(
        {
            "who": ids.gather(rng.integers(30, size=200)),
            "what": ids.gather(rng.integers(9, size=200)),
        }
    )
    model = MAKERS[name]().fit(Interactions.read(table, user="who", item="what"))
    path = tmp_path / "model.npz"
    model.save(path)
    again = load(path)
    assert type(again) is type(model)
    lists = model.recommend("all", 4)
    assert again.recommend("all", 4).equals(lists)
    assert lists.schema["user"] == lists.schema["item"] == ids.dtype
    assert again.report() == model.report()
    assert again.parameters() == model.parameters()
    assert again.columns_ == model.columns_
    assert again.history_ == model.history_
    test = table.sample(50, with_replacement=True, shuffle=True, seed=1).with_columns(
        pl.col("what").reverse()
    )
    assert again.evaluate(test, 4) == model.evaluate(test, 4)
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_files_hold_no_pickle_and_nothing_dense(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "biuf" for name in file.files)
        assert max(file[name].size for name in file.files if name != "header") < 16 * N_USERS


def test_parameters_that_are_numpy_numbers_can_be_saved(train, tmp_path):
    model = SparseMF(
        budget=np.int64(900), dim=np.uint8(16), epochs=np.int32(1), learning_rate=np.float32(0.5)
    )
    model.fit(train).save(tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").parameters() == model.parameters()


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    return path


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_truncated_and_foreign_files_are_refused(saved):
    whole = saved.read_bytes()
    for share in (0.0, 0.3, 0.7, 0.99):
        saved.write_bytes(whole[: int(share * len(whole))])
        refused(saved, "not a complete|more bytes")
    np.savez(saved, weights=np.ones(3))
    refused(saved, "no header")
    saved.write_text("user,item\n1,2\n")
    refused(saved, "not a complete")
    with pytest.raises(FileNotFoundError, match="path must be that of a model file"):
        load(saved.with_name("none.npz"))


def replaced(name, change):
    def tamper(header, arrays):
        arrays[name] = change(arrays[name])

    return tamper


def edited(**entries):
    return lambda header, arrays: header.update(entries)


def without(name):
    return lambda header, arrays: (header if name in header else arrays).pop(name)


def one_row_less(header, arrays):
    """Item table and budget agree with each other, but not with the items."""
    dropped = int(arrays["item_counts"][-1]) + 1
    for part in ("indices", "data"):
        arrays[f"item_{part}"] = arrays[f"item_{part}"][:-dropped]
    arrays["item_counts"] = arrays["item_counts"][:-1]
    header["budget"] -= dropped


def one_id_less(packed):
    return pack_series(unpack_series(packed)[:-1])


ARRAYS = ("users", "items", "seen_counts", "seen_indices")
TABLES = [f"{side}_{part}" for side in ("user", "item") for part in ("counts", "indices", "data")]


def spoiled(names):
    """Each array absent, too short, of another type, or below zero."""
    changes = {
        "short": lambda x: x[:-1],
        "double": lambda x: x.astype(np.float64),
        "negative": lambda x: x.astype(np.int64) - 70_000,
    }
    cases = {f"no {name}": without(name) for name in names}
    for what, change in changes.items():
        cases |= {f"{what} {name}": replaced(name, change) for name in names}
    return cases


COMMON = {
    "model unknown": edited(model="other"),
    "model is a list": edited(model=["sparse-mf"]),
    "no columns": without("columns"),
    "columns lack the user": edited(columns={"item": "item"}),
    "one user less": replaced("users", one_id_less),
    "one item less": replaced("items", one_id_less),
    "seen out of range": replaced("seen_indices", lambda x: x + np.uint32(N_ITEMS)),
    "seen repeated": replaced("seen_indices", lambda x: 0 * x),
}
OF_SPARSE = {
    "dim too small": lambda header, _: header["parameters"].update(dim=2),
    "dim is text": lambda header, _: header["parameters"].update(dim="16"),
    "dim is huge": lambda header, _: header["parameters"].update(dim=10**12),
    "parameter unknown": lambda header, _: header["parameters"].update(depth=3),
    "budget is another": edited(budget=7),
    "no history": without("history"),
    "history is empty": edited(history=[]),
    "history is text": edited(history="long"),
    "rows do not fit": one_row_less,
    "columns out of range": replaced("item_indices", lambda x: x + np.uint16(16)),
    "columns big-endian": replaced("item_indices", lambda x: x.astype(">u2")),
    "columns unsorted": replaced("user_indices", lambda x: x[::-1].copy()),
    "counts another": replaced("user_counts", lambda x: x + np.uint16(1)),
}
CASES = {
    "dsl": COMMON | OF_SPARSE | spoiled([*ARRAYS, *TABLES]),
    "als": COMMON | OF_SPARSE | spoiled([*ARRAYS, *TABLES, "item_events"]),
    "popularity": COMMON | spoiled([*ARRAYS, "counts"]),
    "itemknn": COMMON | spoiled([*ARRAYS, "near_counts", "near_indices", "near_data"]),
    "userknn": COMMON | spoiled([*ARRAYS, "histories_counts", "histories_indices"]),
    "rp3beta": COMMON | spoiled([*ARRAYS, "near_counts", "near_indices", "near_data"]),
    "ease": COMMON | spoiled([*ARRAYS, "near_counts", "near_indices", "near_data"]),
    "sansa": COMMON | spoiled([*ARRAYS, "near_counts", "near_indices", "near_data"]),
}
TAMPERED = [
    pytest.param(name, tamper, id=f"{name}-{what}")
    for name, cases in CASES.items()
    for what, tamper in cases.items()
]


@pytest.mark.parametrize(("name", "tamper"), TAMPERED)
def test_files_whose_content_does_not_fit_are_refused(fitted, tmp_path, name, tamper):
    path = tmp_path / "model.npz"
    fitted[name].save(path)
    header, arrays = files.read(path)
    tamper(header, arrays)
    files.write(path, header, arrays)
    refused(path, "path must be that of a model file of this library")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_unfitted_models_say_so(make, tmp_path):
    model = make()
    for use in (
        lambda: model.recommend(),
        lambda: model.evaluate(random_pairs(0)),
        lambda: model.save(tmp_path / "model.npz"),
        lambda: model.report(),
    ):
        with pytest.raises(ValueError, match=f"{type(model).__name__} is not fitted yet; call fit"):
            use()
    assert not list(tmp_path.iterdir())


# Reports.


@pytest.mark.parametrize("name", ["dsl", "static"])
def test_the_report_adds_up(fitted, name):
    model = fitted[name]
    report = model.report()
    dense = (model.users_.len() + N_ITEMS) * 16
    weights = round(0.3 * dense)
    assert report["model"] == "sparse-mf"
    assert report["recipe"] == name
    assert report["budget"] == report["weights"] == report["optimizer_floats"] == weights
    assert report["dense_weights"] == dense
    assert report["density"] == weights / dense
    assert report["bytes_values"] == 4 * weights
    assert report["bytes_indices"] == 2 * weights
    assert report["bytes_rows"] == 2 * (model.users_.len() + N_ITEMS)
    for table, stored in (("users", model.user_table_), ("items", model.item_table_)):
        part = report["tables"][table]
        assert (part["rows"], part["dim"]) == stored.shape
        assert part["weights"] == stored.nnz
        assert part["density"] == stored.nnz / (part["rows"] * 16)
        assert part["largest_row"] in (4, 5)
    for key in ("weights", "bytes_values", "bytes_indices", "bytes_rows"):
        assert report[key] == sum(part[key] for part in report["tables"].values())
    if name == "static":
        assert report["explored"] == pytest.approx(0.3, abs=0.01)
    else:
        assert 0.36 < report["explored"] < 1


def test_popularity_counts_users(fitted, table):
    model = fitted["popularity"]
    counts = table.unique().group_by("item").len().sort("item")["len"].to_list()
    assert model.counts_.tolist() == counts
    sizes = {"weights": N_ITEMS, "bytes_values": 4 * N_ITEMS}
    assert model.report() == {"model": "popularity"} | sizes


@pytest.mark.parametrize("dim", [1, 2**16])
def test_narrowest_and_widest_tables(dim, tmp_path):
    table = pl.DataFrame({"user": [1, 1, 2, 3], "item": [1, 2, 3, 3]})
    train = Interactions.read(table, **NAMES)
    model = SparseMF(budget="100%", dim=dim, epochs=2, recipe="static").fit(train)
    model.save(tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").recommend("all", 3).equals(model.recommend("all", 3))
    assert model.report()["tables"]["users"]["largest_row"] == dim
