"""Model files: one uncompressed .npz with a JSON header, written whole or not at all, no pickle."""

import hashlib
import json
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sparsenum._system import replacing
from sparsenum.sparse import CSR

FORMAT = "recsys-model"
VERSION = 1
MAX_HEADER = 16 * 2**20
_RESERVED = ("format", "version", "arrays")
_NPY_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_STRAY = "allow_pickle"  # a member that numpy before 2.2 made of the option of numpy.savez
# What zipfile raises when it is led astray.
_DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    UnicodeError,
    struct.error,
)

Array = NDArray[Any]


def write(
    path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Write a model file: what was at `path` before stays whole until the new file is complete.

    Parameters
    ----------
    path : path
        The file to make or replace.
    header : mapping
        Anything JSON holds, except the keys "format", "version" and "arrays".
    arrays : mapping of str to ndarray
        Arrays of numbers or booleans, of any shape.

    Raises
    ------
    ValueError
        If the header is no JSON, over 16 MiB or uses a reserved key, or an array is not of plain
        numbers or has an unfit name.
    OSError
        If the folder is absent or the disk is full; the old file is untouched and no temporary
        file stays behind.
    """
    packed = {name: _storable(name, array) for name, array in arrays.items()}
    members = {"header": _pack_header(header, packed), **packed}
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        for name, array in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a model file back, trusting nothing in it before it is checked.

    Names, types, shapes and sizes are compared with the header, and the sizes with that of the
    file, before anything is allocated; contents are compared with their SHA-256.

    Parameters
    ----------
    path : path
        A file made by `write`.

    Returns
    -------
    header : dict
        What was passed to `write`.
    arrays : dict of str to ndarray
        The arrays, C-contiguous and writable.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a model file, or is damaged, altered or of a newer version.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(
            f"path must be that of a model file: got {str(source)!r}, which is none; check the "
            "spelling or save a model there first"
        )
    with open(source, "rb") as file:
        try:
            header, arrays = _unpack(file, source)
        except _DAMAGE as error:
            _refuse(source, f"it is not a complete .npz archive ({error})")
    return {key: value for key, value in header.items() if key not in _RESERVED}, arrays


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with numpy's numbers as Python's, which JSON can hold."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
    }


def _storable(name: str, array: Array) -> Array:
    if not name.isidentifier() or name in ("header", "file", "allow_pickle"):
        raise ValueError(
            f"arrays must have names like 'weights': got {name!r}; use letters, digits and _, and "
            "not 'header', 'file' or 'allow_pickle'"
        )
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"arrays must hold numbers or booleans: got {name!r} of type {array.dtype}; pack ids "
            "with pack_series"
        )
    return np.asarray(array, order="C")


def _digest(array: Array) -> str:
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()


def _pack_header(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Array:
    taken = [key for key in _RESERVED if key in header]
    if taken:
        raise ValueError(f"header must not use the reserved keys {taken}: rename them")
    facts = {
        name: {"dtype": array.dtype.str, "shape": array.shape, "sha256": _digest(array)}
        for name, array in arrays.items()
    }
    full = {"format": FORMAT, "version": VERSION, "arrays": facts, **header}
    try:
        text = json.dumps(full, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"header must hold what JSON can: got {error}; convert to numbers, texts, lists"
        ) from None
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"header must stay under {MAX_HEADER} bytes: got {len(text)}; move data into arrays"
        )
    return np.frombuffer(text, np.uint8)


def _refuse(path: Path, fact: str) -> NoReturn:
    raise ValueError(
        f"path must be that of a whole {FORMAT} file: got {str(path)!r}, but {fact}; save the "
        "model again or take another copy"
    ) from None


def _unpack(file: BinaryIO, path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, path)
        header = _read_header(archive, members, path)
        declared = header["arrays"]
        if {"header", *declared} != set(members) - {_STRAY}:
            _refuse(path, f"it holds {sorted(members)} where the header lists others")
        for name, facts in declared.items():
            _check_member(archive, members[name], name, facts, path)
        return header, {
            name: _load(archive, members[name], name, facts["sha256"], path)
            for name, facts in declared.items()
        }


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, each stored plainly and within the file."""
    size = path.stat().st_size
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members or info.filename != f"{name}.npy":
            _refuse(path, f"its member {info.filename!r} is repeated or no array")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            _refuse(path, f"its member {name!r} is compressed")
        if info.header_offset + info.file_size > size:
            _refuse(path, f"its member {name!r} claims more bytes than the file has")
        members[name] = info
    return members


def _npy_facts(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, path: Path
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of a member from its .npy header, checked against its size."""
    with archive.open(info) as member:
        try:
            shape, fortran, dtype = _NPY_HEADERS[npy.read_magic(member)](member)
        except zipfile.BadZipFile:
            raise
        except Exception:  # numpy parses the header as Python text, which fails in many ways
            _refuse(path, f"its member {name!r} is not an array file")
        rest = info.file_size - member.tell()
    if dtype.kind not in "biuf" or fortran:
        _refuse(path, f"its member {name!r} holds {dtype}, where plain numbers were expected")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != rest:
        _refuse(path, f"its member {name!r} has {rest} bytes for {dtype} of shape {shape}")
    return shape, dtype


def _read_header(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], path: Path
) -> dict[str, Any]:
    if "header" not in members:
        _refuse(path, "it has no header")
    info = members["header"]
    if info.file_size > MAX_HEADER + 4096:
        _refuse(path, f"its header has {info.file_size} bytes, over the limit of {MAX_HEADER}")
    shape, dtype = _npy_facts(archive, info, "header", path)
    if len(shape) != 1 or dtype != np.uint8:
        _refuse(path, f"its header is {dtype} of shape {shape}, not bytes")
    with archive.open(info) as member:
        text = npy.read_array(member, allow_pickle=False).tobytes()
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        _refuse(path, "its header is not JSON")
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        _refuse(path, f"its header does not say format {FORMAT!r}")
    version = header.get("version")
    if type(version) is not int or version < 1:
        _refuse(path, f"its header says version {version!r}")
    if version > VERSION:
        raise ValueError(
            f"path must be a {FORMAT} file of version {VERSION} or older: got {str(path)!r} of "
            f"version {version}; update this package to read it"
        )
    if not isinstance(header.get("arrays"), dict):
        _refuse(path, "its header lists no arrays")
    return header


def _check_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, facts: Any, path: Path
) -> None:
    shape, dtype = _npy_facts(archive, info, name, path)
    found = {"dtype": dtype.str, "shape": list(shape)}
    if not isinstance(facts, dict) or {**facts, **found} != facts or "sha256" not in facts:
        _refuse(path, f"its member {name!r} is {found} where the header says {facts}")


def _load(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, sha256: str, path: Path
) -> Array:
    with archive.open(info) as member:
        array: Array = npy.read_array(member, allow_pickle=False)
    if _digest(array) != sha256:
        _refuse(path, f"its member {name!r} does not match its checksum")
    return array


def rows_from_counts(counts: Array, indices: Array, data: Array, shape: tuple[int, int]) -> CSR:
    """Return a CSR matrix from the lengths of its rows, as files hold it, once it is sound."""
    sound = (
        counts.dtype in (np.uint16, np.uint32)
        and indices.dtype in (np.uint16, np.uint32)
        and data.dtype == np.float32
        and counts.shape == (shape[0],)
        and indices.shape == data.shape == (int(counts.sum()),)
    )
    if sound:
        falls = np.flatnonzero(indices[1:] <= indices[:-1]) + 1
        sound = (
            bool(np.isin(falls, np.cumsum(counts, dtype=np.int64)).all())
            and not (indices >= shape[1]).any()
        )
    if not sound:
        raise ValueError("the file's rows are not sound (lengths, order or range of the columns)")
    return CSR.from_counts(counts, indices, data, shape)
