"""Model files: what goes in comes out, nothing else does, and a broken write harms nothing."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import polars as pl
import pytest

from recsys.storage.files import read, write
from recsys.storage.series import pack_series, unpack_series

HEADER = {"model": "x", "config": {"k": 5, "rate": 0.1}, "names": ["é", None]}
ARRAYS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "indptr": np.array([0, 2**63], np.uint64),
    "mask": np.array([True, False]),
    "scalar": np.float64(2.5) * np.ones(()),
    "nothing": np.zeros((0, 4), np.int32),
    "columns": np.arange(6).reshape(2, 3).T,
    "swapped": np.arange(3, dtype=">f4"),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.npz"
    write(path, HEADER, ARRAYS)
    return path


def test_round_trip(path):
    header, arrays = read(path)
    assert header == HEADER
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].flags.writeable
        assert arrays[name].flags.c_contiguous


def test_same_content_gives_the_same_bytes_and_replaces(path):
    before = path.read_bytes()
    write(path, HEADER, ARRAYS)
    assert path.read_bytes() == before
    write(path, {}, {})
    assert read(path) == ({}, {})
    assert os.listdir(path.parent) == ["model.npz"]


@pytest.mark.parametrize(
    "series",
    [
        pl.Series("id", ["007", "é", ""]),
        pl.Series([2**64 - 1, 0], dtype=pl.UInt64),
        pl.Series(["b", "a"], dtype=pl.Categorical),
        pl.Series(["b", "a"], dtype=pl.Enum(["b", "a"])),
        pl.Series([0, 5], dtype=pl.Date),
        pl.Series([b"\xff", b""]),
        pl.Series([], dtype=pl.Int16),
    ],
    ids=lambda series: str(series.dtype),
)
def test_series_round_trip_through_a_file(series, tmp_path):
    write(tmp_path / "m", {}, {"ids": pack_series(series)})
    got = unpack_series(read(tmp_path / "m")[1]["ids"])
    assert got.dtype == series.dtype
    assert got.name == series.name
    assert got.equals(series)


def test_bytes_that_are_no_series_are_refused():
    for junk in (b"", b"junk", pack_series(pl.Series(["a"] * 99)).tobytes()[:-30]):
        with pytest.raises(ValueError, match="array must hold the bytes"):
            unpack_series(np.frombuffer(junk, np.uint8))
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1], "b": [2]}).write_ipc(buffer)
    with pytest.raises(ValueError, match="array must hold one column"):
        unpack_series(np.frombuffer(buffer.getvalue(), np.uint8))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Int64])
def test_ids_that_would_grow_when_they_are_read_are_refused(compression, dtype):
    ids = pl.Series("ids", [7] * 10**6, pl.Int64)
    ids = ids if dtype == pl.Int64 else ids.cast(pl.String).cast(dtype)
    buffer = io.BytesIO()
    ids.to_frame().write_ipc(buffer, compression=compression)
    assert len(buffer.getvalue()) < 10**5
    with pytest.raises(ValueError, match="not compressed ones"):
        unpack_series(np.frombuffer(buffer.getvalue(), np.uint8))
    assert unpack_series(pack_series(ids)).equals(ids)


def test_damaged_ids_are_refused_or_read_whatever_polars_makes_of_them(capfd):
    whole = pack_series(pl.Series("a", [f"item {k}" for k in range(40)], pl.Categorical))
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(whole.size, size=1000):
        damaged = whole.copy()
        damaged[place] ^= rng.integers(1, 256, dtype=np.uint8)
        try:
            unpack_series(damaged)
        except ValueError:
            refused += 1
    assert refused > 100
    capfd.readouterr()  # polars tells of its panics


@pytest.mark.parametrize(
    ("header", "arrays", "message"),
    [
        ({"version": 3}, {}, "reserved keys"),
        ({"rate": float("nan")}, {}, "header must hold what JSON can"),
        ({"what": object()}, {}, "header must hold what JSON can"),
        ({"text": "x" * 2**24}, {}, "header must stay under"),
        ({}, {"header": np.ones(1)}, "arrays must have names like"),
        ({}, {"file": np.ones(1)}, "arrays must have names like"),
        ({}, {"../a": np.ones(1)}, "arrays must have names like"),
        ({}, {"ids": np.array(["a"], object)}, "arrays must hold numbers"),
        ({}, {"ids": np.array(["a"])}, "arrays must hold numbers"),
    ],
)
def test_what_cannot_be_stored_is_explained_and_harms_nothing(path, header, arrays, message):
    with pytest.raises(ValueError, match=message):
        write(path, header, arrays)
    assert read(path)[0] == HEADER
    assert os.listdir(path.parent) == ["model.npz"]


def test_missing_file_and_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="path must be that of a model file"):
        read(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="path must lie in an existing folder"):
        write(tmp_path / "none" / "m.npz", {}, {})


@pytest.mark.parametrize("broken", [(zipfile.ZipFile, "open"), (os, "replace"), (os, "fsync")])
def test_a_failing_write_leaves_the_old_file_alone(path, monkeypatch, broken):
    def fail(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(*broken, fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, {}, {})
    monkeypatch.undo()
    assert read(path)[0] == HEADER
    assert os.listdir(path.parent) == ["model.npz"]


def test_old_orphans_of_the_same_target_are_swept(path):
    names = [".model.npz.tmp-1-old", ".model.npz.tmp-2-new", ".other.npz.tmp-1-old"]
    for name in names:
        (path.parent / name).touch()
        if name.endswith("old"):
            os.utime(path.parent / name, (0, time.time() - 3700))
    write(path, {}, {})
    assert sorted(os.listdir(path.parent)) == [*names[1:], "model.npz"]


def test_a_file_that_older_numpy_wrote_is_read(path):
    """Before 2.2 numpy.savez stored its own option as one array more."""
    write(path, HEADER, ARRAYS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("allow_pickle.npy", npy(np.array(False)))
    header, arrays = read(path)
    assert header == HEADER
    assert list(arrays) == list(ARRAYS)


def test_what_is_written_holds_what_was_passed_and_no_more(path):
    assert set(members_of(path)) == {f"{name}.npy" for name in ("header", *ARRAYS)}


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def with_header(path, change):
    members = members_of(path)
    header = json.loads(np.load(io.BytesIO(members["header.npy"])).tobytes())
    change(header)
    members["header.npy"] = npy(np.frombuffer(json.dumps(header).encode(), np.uint8))
    rewrite(path, members)


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_every_truncation_is_refused(path):
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path, "not a complete .npz archive|claims more bytes")


def test_every_flipped_byte_is_refused_or_harmless(path):
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    harmless = 0
    for place in rng.integers(len(whole), size=400):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        path.write_bytes(flipped)
        try:
            header, arrays = read(path)
        except ValueError:
            continue
        harmless += 1  # a byte of the archive's own bookkeeping
        assert header == HEADER
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array)
    assert harmless < 80


def test_foreign_files_are_refused(path):
    path.write_bytes(pickle.dumps({"weights": [1]}))
    refused(path, "not a complete")
    np.savez(path, weights=np.ones(3))
    refused(path, "no header")
    np.savez(path, header=np.frombuffer(b'{"format": "other"}', np.uint8))
    refused(path, "does not say format")
    np.savez(path, header=np.frombuffer(b"[" * 100_000, np.uint8))
    refused(path, "not JSON")
    np.savez(path, header=np.ones(3))
    refused(path, "not bytes")
    np.savez(path, header=np.zeros(2**24 + 5000, np.uint8))
    refused(path, "over the limit")
    rewrite(path, {"header.npy": b"no array"})
    refused(path, "not an array file")
    rewrite(path, {"readme.txt": b"hello"})
    refused(path, "no array")


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_pickled_arrays_are_never_loaded(path):
    members = members_of(path)
    members["weights.npy"] = npy(np.array([Trap()], object), allow_pickle=True)
    rewrite(path, members)
    refused(path, "plain numbers")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(version=2), "version 1 or older.*of version 2; update"),
        (lambda header: header.update(version="1"), "says version '1'"),
        (lambda header: header.update(version=True), "says version True"),
        (lambda header: header.pop("arrays"), "lists no arrays"),
        (lambda header: header["arrays"].pop("mask"), "header lists others"),
        (lambda header: header["arrays"].update(more={}), "header lists others"),
        (lambda header: header["arrays"].update(mask=None), "where the header says"),
        (lambda header: header["arrays"]["mask"].update(shape=[3]), "where the header says"),
        (lambda header: header["arrays"]["mask"].update(dtype="<f8"), "where the header says"),
        (lambda header: header["arrays"]["mask"].pop("sha256"), "where the header says"),
        (lambda header: header["arrays"]["mask"].update(sha256="0"), "match its checksum"),
    ],
)
def test_headers_that_do_not_fit_are_refused(path, change, message):
    with_header(path, change)
    refused(path, message)


def test_altered_members_are_refused(path):
    original = members_of(path)
    altered = {**original, "mask.npy": npy(np.array([True, True]))}
    rewrite(path, altered)
    refused(path, "checksum")
    rewrite(path, original, zipfile.ZIP_DEFLATED)
    refused(path, "compressed")
    rewrite(path, {**original, "extra.npy": npy(np.ones(2))})
    refused(path, "header lists others")


def test_huge_claims_are_refused_before_anything_is_allocated(path):
    members = members_of(path)
    claim = npy(np.zeros(8, np.uint8)).replace(b"(8,), }         ", b"(9999999999,), }")
    assert b"9999999999" in claim
    rewrite(path, {**members, "weights.npy": claim})
    refused(path, "8 bytes for uint8 of shape")
    np.savez(path, header=np.zeros(4, np.uint8))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    for field in (entry + 20, entry + 24):  # both sizes in the central directory
        data[field : field + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, "claims more bytes than the file has")


WRITER = """
import sys
import numpy as np
from recsys.storage.files import write
step = 0
while True:
    step += 1
    write(sys.argv[1], {"step": step}, {"step": np.full(200_000, step)})
    if step == 1:
        sys.stdout.write("r")
        sys.stdout.flush()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_writers_always_leave_a_readable_file(tmp_path):
    path = tmp_path / "model.npz"
    for kill in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout.read(1) == b"r"
            time.sleep(0.006 * kill)
            writer.send_signal(signal.SIGKILL)
        header, arrays = read(path)
        assert (arrays["step"] == header["step"]).all()


def test_a_panic_of_the_reader_of_ids_is_an_error(monkeypatch):
    def panic(*_):
        raise pl.exceptions.PanicException("out of bounds")

    monkeypatch.setattr(pl, "read_ipc", panic)
    with pytest.raises(ValueError, match="bytes of an Arrow IPC"):
        unpack_series(np.zeros(16, np.uint8))
