"""A model answers in a forked process, where polars' engine stands still."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings

import polars as pl
import pytest
from judged import walking

from recsys import (
    Interactions,
    ItemBlend,
    ItemKNN,
    LightGCN,
    RP3beta,
    SparseAE,
    SparseALS,
    SparseMF,
    UserKNN,
    load,
)
from recsys.data.vocabulary import lookup

SECONDS = 60  # after which a child that does not answer is taken to hang
MAKERS = {
    "sparse": lambda: SparseMF(budget="30%", dim=16, epochs=1),
    "als": lambda: SparseALS(budget="30%", dim=16, epochs=1, polish=1),
    "lightgcn": lambda: LightGCN(budget="30%", dim=16, epochs=1),
    "itemknn": lambda: ItemKNN(neighbours=5),
    "userknn": lambda: UserKNN(neighbours=5),
    "rp3beta": lambda: RP3beta(neighbours=5),
    "autoencoder": lambda: SparseAE(budget=200, dim=16, epochs=1),
    "blend": lambda: ItemBlend(budget=200, trials=0),
    "walks": walking,
}
IDS = {
    "text": pl.Series([f"é{number:03d}" for number in range(80)]),
    "whole": pl.Series(range(80)),
    "date": pl.Series(range(80)).cast(pl.Date),
    "category": pl.Series([f"c{number * 7 % 80}" for number in range(80)], dtype=pl.Categorical),
}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def table_of(kind):
    ids, numbers = IDS[kind], range(400)
    users, items = [7 * n % 80 for n in numbers], [n * n % 23 for n in numbers]
    return pl.DataFrame({"user": ids.gather(users), "item": ids.gather(items)})


def answers_in_a_child(work):
    """Run work in a forked process while polars' threads are busy here; fail if it hangs."""
    pl.DataFrame({"a": [1, 2]}).join(pl.DataFrame({"a": [2]}), on="a")  # the threads start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads, as we mean to
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail(f"the child gave no answer within {SECONDS} seconds")


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("name", MAKERS)
def test_a_model_loaded_before_a_fork_answers(name, kind, tmp_path):
    table = table_of(kind)
    fitted = MAKERS[name]().fit(Interactions.read(table, user="user", item="item"))
    fitted.save(tmp_path / "model.npz")
    model = load(tmp_path / "model.npz")
    users, items = model.users_, model.items_
    some = users[:3].to_list()

    def answers(model):
        folds = not isinstance(model, LightGCN)
        yield model.recommend(some, 5)
        yield model.recommend(users, 5)
        yield model.recommend("all", 5, deny=items[:2])
        yield model.recommend(some, 5, allow={some[0]: items[:7].to_list()})
        yield model.recommend([*some, *IDS[kind][-1:]], 5, unknown="skip")
        yield model.recommend(some, exclude_seen=False)
        yield model.similar_items(items[4], 5)
        yield model.similar_items(items[:3].to_list(), 5)
        yield model.explain(users[0], items[4]).contributions
        yield model.explain(users[0], items[4]).because
        yield pl.Series(model.score(some, items[:3])).to_frame()
        yield model.forget(some).recommend("all", 5) if folds else model.recommend(some, 2)
        yield model.recommend_from(items[:3].to_list(), 5) if folds else model.recommend(some, 2)

    expected = [*answers(fitted)]

    def work():
        for got, wanted in zip(answers(model), expected, strict=True):
            assert got.equals(wanted)
        model.save(tmp_path / "again.npz")
        again = load(tmp_path / "again.npz")
        assert again.recommend(some, 5).equals(expected[0])
        assert lookup(users, some).tolist() == [0, 1, 2]

    answers_in_a_child(work)


def test_a_model_can_be_fitted_after_a_fork():
    train = Interactions.read(table_of("text"), user="user", item="item")
    expected = {name: make().fit(train).recommend("all", 5) for name, make in MAKERS.items()}

    def work():
        for name, make in MAKERS.items():
            assert make().fit(train).recommend("all", 5).equals(expected[name])

    answers_in_a_child(work)


def test_what_needs_polars_engine_says_so(tmp_path):
    table = table_of("text")
    model = ItemKNN().fit(Interactions.read(table, user="user", item="item"))
    table.write_csv(tmp_path / "table.csv")

    def work():
        for use in (
            lambda: Interactions.read(table, user="user", item="item"),
            lambda: Interactions.read(tmp_path / "table.csv", user="user", item="item"),
            lambda: model.fold_in(table),
            lambda: model.evaluate(table.lazy()),
            lambda: model.recommend_to(tmp_path / "lists.csv"),
        ):
            with pytest.raises(RuntimeError, match=r"do not survive a fork.*'spawn'"):
                use()

    answers_in_a_child(work)


def test_processes_of_multiprocessing_answer():
    model = ItemKNN().fit(Interactions.read(table_of("text"), user="user", item="item"))
    expected = model.recommend("all", 5).rows()
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        worker = context.Process(
            target=lambda: theirs.send(model.recommend("all", 5).rows()), daemon=True
        )
        worker.start()
    try:
        assert mine.poll(SECONDS)
        assert mine.recv() == expected
    finally:
        worker.kill()


def test_a_child_whose_parent_left_polars_alone_may_read():
    """Only where threads were lost is anything refused."""
    script = (
        "import os, sys, polars as pl\n"
        "from recsys import Interactions\n"
        "child = os.fork()\n"
        "if child:\n"
        "    sys.exit(os.waitpid(child, 0)[1])\n"
        "table = pl.DataFrame({'user': [1, 2], 'item': [1, 1]})\n"
        "assert Interactions.read(table, user='user', item='item').nnz == 2\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=SECONDS, check=False)
    assert done.returncode == 0
