"""Trainings that are killed and go on: the same model, bit for bit, from sound files."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from recsys import Interactions, LightGCN, Recipe, SparseMF
from recsys.cli import main
from sparsenum.topology.recipe import RECIPES

EPOCHS = 8
MOMENTUM = Recipe(RECIPES["dsl"].fraction, grow="momentum", scope="table")


class Killed(Exception):
    """Stands for a power cut."""


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return pl.DataFrame({"user": rng.integers(60, size=600), "item": rng.integers(40, size=600)})


@pytest.fixture(scope="module")
def interactions(table):
    return Interactions.read(table, user="user", item="item")


def fitted(model, interactions, until=None, **options):
    """Train, or be killed as soon as an epoch is done."""

    def kill(entry):
        if entry["epoch"] == until:
            raise Killed

    return model.fit(interactions, on_epoch=kill, **options)


def digits(model):
    tables = model.user_table_, model.item_table_
    arrays = [x for table in tables for x in (table.indptr, table.indices, table.data)]
    entries = [{k: v for k, v in e.items() if k != "seconds"} for e in model.history_]
    return [array.tobytes() for array in arrays], json.dumps(entries)


MODELS = {
    "default": lambda: SparseMF(budget="30%", dim=16, epochs=EPOCHS),
    "paper": lambda: SparseMF(budget="30%", dim=16, epochs=EPOCHS, recipe="dsl-paper"),
    "prune": lambda: SparseMF(budget="30%", dim=16, epochs=EPOCHS, recipe="prune"),
    "momentum": lambda: SparseMF(budget="30%", dim=16, epochs=EPOCHS, recipe=MOMENTUM),
    "adam, early": lambda: SparseMF(
        budget="30%", dim=16, epochs=EPOCHS, optimizer="adam", patience=7, validation=0.2
    ),
    "graph": lambda: LightGCN(budget="30%", dim=8, epochs=EPOCHS),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_killed_training_goes_on_as_if_nothing_had_been(name, interactions, tmp_path):
    whole = digits(fitted(MODELS[name](), interactions))
    folder = tmp_path / "state"
    for until in (1, 3, 4, 7):  # epoch by epoch, killed before the checkpoint of each is written
        with pytest.raises(Killed):
            fitted(MODELS[name](), interactions, until, checkpoint=folder, resume=until > 1)
    assert len(list(folder.iterdir())) == 2
    assert digits(fitted(MODELS[name](), interactions, checkpoint=folder, resume=True)) == whole
    # And once more, from the end.
    assert digits(fitted(MODELS[name](), interactions, checkpoint=folder, resume=True)) == whole


def test_a_damaged_checkpoint_leaves_the_one_before(interactions, tmp_path):
    whole = digits(fitted(MODELS["default"](), interactions))
    with pytest.raises(Killed):
        fitted(MODELS["default"](), interactions, 5, checkpoint=tmp_path)
    last = max(tmp_path.iterdir())
    last.write_bytes(last.read_bytes()[:-100])
    model = fitted(MODELS["default"](), interactions, checkpoint=tmp_path, resume=True)
    assert digits(model) == whole


def test_checkpoints_of_which_none_can_be_read_are_not_passed_over(interactions, tmp_path):
    with pytest.raises(Killed):
        fitted(MODELS["default"](), interactions, 3, checkpoint=tmp_path)
    before = {path: path.read_bytes()[:-100] for path in tmp_path.iterdir()}
    for path, content in before.items():
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint must be a folder with a sound checkpoint"):
        fitted(MODELS["default"](), interactions, checkpoint=tmp_path, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_only_the_same_training_goes_on(table, interactions, tmp_path):
    with pytest.raises(Killed):
        fitted(MODELS["default"](), interactions, 3, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="has some; go on from them with resume"):
        fitted(MODELS["default"](), interactions, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="checkpoint must be of the same data and parameters"):
        fitted(MODELS["paper"](), interactions, checkpoint=tmp_path, resume=True)
    less = Interactions.read(table[:-10], user="user", item="item")
    with pytest.raises(ValueError, match="checkpoint must be of the same data and parameters"):
        fitted(MODELS["default"](), less, checkpoint=tmp_path, resume=True)
    with pytest.raises(ValueError, match="resume must have a checkpoint folder"):
        MODELS["default"]().fit(interactions, resume=True)


def test_resume_without_a_checkpoint_begins(interactions, tmp_path):
    model = fitted(MODELS["default"](), interactions, checkpoint=tmp_path / "new", resume=True)
    assert digits(model) == digits(fitted(MODELS["default"](), interactions))


def test_an_interrupted_command_says_how_to_go_on(table, tmp_path, capsys):
    source, state = tmp_path / "events.parquet", tmp_path / "state"
    table.write_parquet(source)

    def command(out, *more):
        columns = ["--user", "user", "--item", "item", "--budget", "30%", "--dim", "16"]
        columns += ["--model", "dsl-mf"]
        return ["train", str(source), *columns, "--out", str(tmp_path / out), *more]

    long = ["--epochs", "200000", "--checkpoint", str(state)]
    argv = [sys.executable, "-m", "recsys.cli", *command("never.npz", *long)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as child:
        while not any(state.glob("epoch-*.npz")) and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=30)[1]
    assert child.returncode == 130, said
    assert "--resume" in said
    assert not (tmp_path / "never.npz").exists()

    short = ["--epochs", "5", "--checkpoint", str(tmp_path / "other")]
    assert main(command("a.npz", "--epochs", "5")) == 0
    assert main(command("b.npz", *short)) == 0
    assert main(command("b.npz", *short)) == 2  # a folder that is taken
    assert main(command("c.npz", *short, "--resume")) == 0
    capsys.readouterr()


def test_kills_leave_a_sound_state_each_time(table, tmp_path):
    source, state = tmp_path / "events.parquet", tmp_path / "state"
    table.write_parquet(source)
    argv = [sys.executable, "-m", "recsys.cli", "train", str(source), "--user", "user"]
    argv += ["--item", "item", "--budget", "30%", "--dim", "16", "--epochs", "1000000"]
    argv += ["--model", "dsl-mf"]
    argv += ["--checkpoint", str(state), "--resume", "--out", str(tmp_path / "never.npz")]
    before = 0
    for wait in np.random.default_rng(0).uniform(0.0, 0.2, 3):
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as child:
            while newest(state) <= before and child.poll() is None:
                time.sleep(0.02)
            time.sleep(wait)
            child.kill()
        assert newest(state) > before  # it went on from where the last one was killed
        before = newest(state)


def newest(folder):
    return max((int(path.stem.split("-")[1]) for path in folder.glob("epoch-*.npz")), default=0)


MANY_KILLS = """
import os, random, signal, sys, time
import numpy as np, polars as pl
from recsys import Interactions, SparseMF

rng, lots = np.random.default_rng(0), random.Random(0)
table = pl.DataFrame({"user": rng.integers(60, size=600), "item": rng.integers(40, size=600)})
train = Interactions.read(table, user="user", item="item")

def fitted(**options):
    return SparseMF(budget="30%", dim=16, epochs=15).fit(train, **options)

def digits(model):
    tables = model.user_table_, model.item_table_
    return [x.tobytes() for table in tables for x in (table.indptr, table.indices, table.data)]

def killed(work, seconds):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])

model = fitted()
begin = time.perf_counter()
fitted(checkpoint=sys.argv[1] + "/timed")
whole = time.perf_counter() - begin
died = same = 0
for n in range(10):
    state = f"{sys.argv[1]}/{n}"
    died += killed(lambda: fitted(checkpoint=state), lots.uniform(0.1, 0.9) * whole)
    same += digits(fitted(checkpoint=state, resume=True)) == digits(model)
print(died, same)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_ten_kills_at_random_moments_give_ten_equal_models(tmp_path):
    argv = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", MANY_KILLS, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    died, same = map(int, done.stdout.split())
    assert died >= 7  # the others were done before
    assert same == 10
