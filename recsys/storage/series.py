"""Ids in a model file: one polars series as the bytes of an Arrow IPC stream, never compressed."""

import io
import struct
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

# Places in the tables of Arrow's format, as its schemas File.fbs and Message.fbs number them.
_DICTIONARIES, _BATCHES = 2, 3  # of the footer: lists of blocks
_HEADER, _DATA, _COMPRESSION = 2, 1, 3  # of a message, of a dictionary, of a batch
_KIND, _BODY, _DICTIONARY, _BATCH = 1, 3, 2, 3  # of a message in a stream, and kinds of them
_BLOCK = struct.Struct("<qi4xq")  # where a message is, and its lengths


def pack_series(series: pl.Series) -> NDArray[np.uint8]:
    """Return a series of any plain type, name included, as the bytes of an Arrow IPC stream.

    Unlike a file it is written without polars' engine, which does not survive a fork.
    """
    buffer = io.BytesIO()
    series.to_frame().write_ipc_stream(buffer, compression="uncompressed")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def unpack_series(array: NDArray[np.uint8]) -> pl.Series:
    """Return the series that `pack_series` made into bytes.

    Parameters
    ----------
    array : ndarray of uint8
        The bytes, which are not trusted.

    Returns
    -------
    Series
        The series; it takes about as much memory as its bytes.

    Raises
    ------
    ValueError
        If the bytes are no such file, hold several columns, or are compressed: a few bytes could
        become any number of them.
    """
    raw = array.tobytes()
    # Models of earlier versions hold Arrow IPC files.
    is_file = raw.startswith(b"ARROW1")
    batches, read = (_batches, pl.read_ipc) if is_file else (_messages, pl.read_ipc_stream)
    try:
        is_compressed = any(_has_field(raw, batch, _COMPRESSION) for batch in batches(raw))
        frame = None if is_compressed else read(io.BytesIO(raw))
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
        struct.error,
        IndexError,
    ) as error:
        raise ValueError(
            f"array must hold the bytes of an Arrow IPC stream: got {array.size} bytes that do not "
            f"read as one ({error}); use what pack_series returned"
        ) from None
    if frame is None:
        raise ValueError("array must hold the bytes that pack_series writes, not compressed ones")
    if frame.width != 1:
        raise ValueError(
            f"array must hold one column: got {frame.width}; use what pack_series returned"
        )
    return frame.to_series()


# Arrow's metadata are flatbuffers: tables whose fields are found by offsets.


def _batches(raw: bytes) -> Iterator[int]:
    """Yield where the tables of the batches of an Arrow file are, those of dictionaries too."""
    size = len(raw)
    footer = _follow(raw, size - 10 - _number(raw, "<i", size - 10))
    for field in (_DICTIONARIES, _BATCHES):
        if not _has_field(raw, footer, field):
            continue
        blocks = _follow(raw, _field(raw, footer, field))
        for k in range(_number(raw, "<I", blocks)):
            place, _, _ = _BLOCK.unpack_from(raw, blocks + 4 + k * _BLOCK.size)
            # Since Arrow 0.15 a message begins by four bytes of ones before its length.
            place += 8 if _number(raw, "<I", place) == 0xFFFFFFFF else 4
            table = _follow(raw, _field(raw, _follow(raw, place), _HEADER))
            yield table if field == _BATCHES else _follow(raw, _field(raw, table, _DATA))


def _messages(raw: bytes) -> Iterator[int]:
    """Yield where the tables of the batches of an Arrow stream are, those of dictionaries too."""
    place = 0
    while place < len(raw) and (length := _number(raw, "<i", place + 4)):
        message = _follow(raw, place + 8)
        kind = raw[_field(raw, message, _KIND)] if _has_field(raw, message, _KIND) else 0
        if kind in (_DICTIONARY, _BATCH):
            table = _follow(raw, _field(raw, message, _HEADER))
            yield table if kind == _BATCH else _follow(raw, _field(raw, table, _DATA))
        has_body = _has_field(raw, message, _BODY)
        body = _number(raw, "<q", _field(raw, message, _BODY)) if has_body else 0
        if min(length, body) < 0:
            raise struct.error("a message has a length below 0")
        place += 8 + length + body


def _follow(raw: bytes, place: int) -> int:
    """Return where the offset at a place leads."""
    return place + _number(raw, "<I", place)


def _has_field(raw: bytes, table: int, field: int) -> bool:
    return _field(raw, table, field) > table


def _field(raw: bytes, table: int, field: int) -> int:
    """Return where a field of a table is, the table itself if it has none of that number."""
    offsets = table - _number(raw, "<i", table)
    place = 4 + 2 * field
    if place >= _number(raw, "<H", offsets):
        return table
    return table + _number(raw, "<H", offsets + place)


def _number(raw: bytes, form: str, place: int) -> int:
    """Return the number at a place; struct.error if that lies outside of the bytes."""
    if place < 0:
        raise struct.error("an offset leads out of the file")
    number: int = struct.unpack_from(form, raw, place)[0]
    return number
