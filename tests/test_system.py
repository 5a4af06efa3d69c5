"""Replacing files whole, and working where the system does not say what it has."""

import errno
import math
import os
import stat
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import polars as pl
import pytest

import recsys.cli
from recsys import EASE, Interactions, load
from recsys.data import sink
from recsys.datasets import shop
from recsys.storage import files
from sparsenum import _system, cli, ot
from sparsenum._system import memory, processors, replacing

FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


def put(path, text="new"):
    with replacing(path) as temporary:
        temporary.write_text(text)


# Memory and processors


def test_memory_and_processors_of_this_machine():
    with open("/proc/meminfo") as file:
        assert memory() == pytest.approx(1024 * int(file.readline().split()[1]), rel=0.01)
    assert processors() == len(os.sched_getaffinity(0))


@pytest.fixture
def elsewhere(monkeypatch):
    """A system without what only Linux and its like have."""
    for name in ("sysconf", "sched_getaffinity", "chown", "mkfifo", "O_DIRECTORY"):
        monkeypatch.delattr(os, name, raising=False)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "events.parquet"
    shop(60, 30).write_parquet(path)
    return path


@pytest.mark.usefixtures("elsewhere")
def test_a_system_that_tells_nothing_has_memory_without_bounds_and_all_processors():
    assert memory() == math.inf
    assert processors() == os.cpu_count()


@pytest.mark.usefixtures("elsewhere")
def test_transport_works_everywhere(tmp_path, capsys):
    M = np.abs(np.subtract.outer(np.arange(6.0), np.arange(5.0)))
    result = ot.solve(M, reg=0.1)
    np.testing.assert_allclose(result.plan.sum(1), np.full(6, 1 / 6), rtol=1e-8)
    plan = ot.sinkhorn(np.full(6, 1 / 6), np.full(5, 0.2), M, 0.1)
    np.testing.assert_allclose(plan, result.plan, rtol=0, atol=1e-8)
    X = np.arange(12.0).reshape(6, 2)
    for lazy in (False, True):
        found = ot.solve_sample(X, X + 1, reg=1.0, lazy=lazy)
        np.testing.assert_allclose(found.plan.sum(1), np.full(6, 1 / 6), rtol=1e-8)
    np.save(tmp_path / "cost.npy", M)
    cost, out = str(tmp_path / "cost.npy"), str(tmp_path / "plan.npz")
    assert cli.main(["solve", cost, "--reg", "0.1", "--out", out]) == 0
    assert cli.main(["doctor"]) == 0
    capsys.readouterr()


@pytest.mark.usefixtures("elsewhere")
def test_recommenders_work_everywhere(table, tmp_path, capsys):
    read = {"user": "customer", "item": "product"}
    assert EASE(budget="50%").fit(Interactions.read(table, **read)).recommend(k=2).height > 0
    out = str(tmp_path / "model.npz")
    for model in ("auto", "popularity", "ease", "dsl-mf"):
        argv = ["train", str(table), "--user", "customer", "--item", "product", "--out", out]
        few = {"dsl-mf": ["--epochs", "1", "--dim", "4"]}.get(model, [])
        few += [] if model == "popularity" else ["--budget", "50%"]
        assert recsys.cli.main([*argv, "--model", model, *few]) == 0
        lists = str(tmp_path / "lists.csv")
        assert recsys.cli.main(["recommend", out, "--users", "all", "--out", lists]) == 0
    capsys.readouterr()


# Files


def test_a_file_is_made_or_replaced_whole_and_nothing_else_remains(tmp_path):
    path = tmp_path / "a.txt"
    put(path, "old")
    put(path)
    assert path.read_text() == "new"
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error), replacing(path) as temporary:
            raise error(temporary.write_text("half"))
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_name_as_long_as_names_can_be_will_do(tmp_path):
    path = tmp_path / ("é" * 125 + ".npz")
    put(path)
    put(path, "again")
    assert path.read_text() == "again"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o400])
def test_a_file_keeps_its_mode_and_is_never_more_open_before(tmp_path, mode):
    path = tmp_path / "private"
    path.write_text("old")
    path.chmod(mode)
    with replacing(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == mode
        if mode & 0o200 or os.geteuid() == 0:
            temporary.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_mode_that_open_gives(tmp_path):
    (tmp_path / "open").touch()
    put(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "open").stat().st_mode


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_keeps_its_owner(tmp_path):
    path = tmp_path / "theirs"
    path.touch()
    os.chown(path, 12345, 54321)
    put(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, there):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    if there:
        target.write_text("old")
        target.chmod(0o600)
    link.symlink_to("far/target")
    put(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["far", "link"]
    assert os.listdir(tmp_path / "far") == ["target"]


def test_a_link_that_leads_nowhere_is_explained(tmp_path):
    (tmp_path / "around").symlink_to("around")
    (tmp_path / "lost").symlink_to("none/target")
    for name in ("around", "lost"):
        with pytest.raises(OSError):  # noqa: PT011
            put(tmp_path / name)
        assert (tmp_path / name).is_symlink()


@pytest.mark.parametrize("name", ["null", "stdout"])
def test_a_device_stays_a_device(name):
    before = os.lstat(f"/dev/{name}")
    code = (
        "from sparsenum._system import replacing\n"
        f"with replacing('/dev/{name}') as t: t.write_text('text')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=99)
    assert done.stdout == (b"" if name == "null" else b"text")
    after = os.lstat(f"/dev/{name}")
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


@PIPES
def test_a_pipe_stays_and_its_reader_gets_the_bytes(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    put(path)
    reader.join(60)
    assert read == ["new"]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_missing_folders_and_folders_themselves_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^--out must lie in an existing folder: got"):
        _system.target_file(tmp_path / "none" / "x", "--out")
    with pytest.raises(IsADirectoryError, match=r"^path must be a file to write: got the folder"):
        put(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(tmp_path, number):
    path = tmp_path / "a.txt"
    put(path, "old")
    with (
        pytest.raises(
            OSError, match="--out must be on a disk with space left: got a full one"
        ) as e,
        replacing(path, "--out"),
    ):
        raise OSError(number, "some words")
    assert (e.value.errno, e.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@FULL
def test_a_device_without_space_is_a_full_disk():
    with pytest.raises(OSError, match="path must be on a disk with space left: got a full one"):
        put("/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.fixture
def full_disk(monkeypatch):
    """Temporary files on a disk that is full."""
    monkeypatch.setattr(_system, "_create", lambda path, old: path.symlink_to("/dev/full"))


@FULL
@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_a_disk_that_fills_while_something_is_written_is_named(tmp_path, kind):
    column, path = np.arange(10**5), tmp_path / f"x.{kind}"
    frame = pl.DataFrame({"user": column})
    ways = {"npz": lambda: files.write(path, {}, {"user": column})}
    way = ways.get(kind, lambda: sink.write_frames(iter([frame] * 3), frame.schema, path, "path"))
    with pytest.raises(OSError, match="path must be on a disk with space left: got a full one"):
        way()
    assert os.listdir(tmp_path) == []


def test_old_temporary_files_of_the_same_target_are_swept(tmp_path):
    old = [".model.npz.tmp-1-old", ".other.npz.tmp-1-old"]
    for name in (*old, ".model.npz.tmp-2-new"):
        (tmp_path / name).touch()
    for name in old:
        os.utime(tmp_path / name, (0, time.time() - 3700))
    put(tmp_path / "model.npz")
    left = [".model.npz.tmp-2-new", ".other.npz.tmp-1-old", "model.npz"]
    assert sorted(os.listdir(tmp_path)) == left


def test_a_saved_model_stays_private(table, tmp_path):
    model = EASE(budget="50%").fit(Interactions.read(table, user="customer", item="product"))
    path = tmp_path / "model.npz"
    model.save(path)
    path.chmod(0o600)
    model.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert load(path).items_.equals(model.items_)
