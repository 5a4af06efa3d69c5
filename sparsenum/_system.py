"""What differs between operating systems: memory, processors, replacing a file whole."""

import contextlib
import errno
import math
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ORPHAN_AGE = 3600.0  # seconds after which a temporary file has no writer any more
# A full disk, or a full share of it: as Python tells it and as libraries written in Rust do.
FULL = {errno.ENOSPC, errno.EDQUOT}
FULL_IN_WORDS = ("(os error 28)", "(os error 112)", "(os error 122)")
_SHOWN = 48  # characters of a file's name in that of its temporary file: names have a limit


def memory() -> float:
    """Return the bytes of memory of this machine, infinity where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return math.inf


def processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # neither macOS nor Windows has it
        return os.cpu_count() or 1


def target_file(path: str | os.PathLike[str], name: str) -> Path:
    """Return the path of a file to write, once its folder is there and it is not a folder itself.

    Parameters
    ----------
    path : path
        A file to make or replace.
    name : str
        The caller's name of it, for messages.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    IsADirectoryError
        If the path is a folder.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{name} must lie in an existing folder: got {str(target)!r}; create "
            f"{str(target.parent)!r} first"
        )
    if target.is_dir():
        raise IsADirectoryError(
            f"{name} must be a file to write: got the folder {str(target)!r}; add a file name"
        )
    return target


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], name: str = "path") -> Iterator[Path]:
    """Give an empty file to write, which takes the place of `path` once it is complete.

    Whatever fails before, the old file stays as it was and no temporary file remains. The new file
    is on disk before it takes the place, and keeps owner and mode of the old one. A symbolic link
    stays one, and the file it points to is replaced. A device or a named pipe stays, too: it
    receives the bytes when they are complete.

    Parameters
    ----------
    path : path
        A file to make or replace.
    name : str, default "path"
        The caller's name of it, for messages.

    Yields
    ------
    Path
        A temporary file, on the same disk unless `path` is a device.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        As `target_file`.
    OSError
        If the file cannot be written; a full disk is named as such.
    """
    target = target_file(path, name)
    try:
        old = target.stat()
    except FileNotFoundError:
        old = None
    is_stream = old is not None and not stat.S_ISREG(old.st_mode)
    if is_stream:
        place = Path(tempfile.gettempdir()) / target.name
    else:
        place = target_file(os.path.realpath(target), name)
    prefix = f".{place.name[:_SHOWN]}.tmp-"
    _sweep(place.parent, prefix)
    temporary = place.with_name(f"{prefix}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        _create(temporary, old)
        yield temporary
        if is_stream:
            with open(temporary, "rb") as source, open(target, "wb") as stream:
                shutil.copyfileobj(source, stream)
        else:
            _flush(temporary)
            os.replace(temporary, place)
            _flush_folder(place.parent)
    except Exception as error:
        if not _is_full(error):
            raise
        fact = f"{name} must be on a disk with space left: got a full one"
        remedy = "make room or write elsewhere"
        raise OSError(errno.ENOSPC, f"{fact}; {remedy}", str(target)) from None
    finally:
        temporary.unlink(missing_ok=True)


def _is_full(error: Exception) -> bool:
    return getattr(error, "errno", None) in FULL or any(w in str(error) for w in FULL_IN_WORDS)


def _create(temporary: Path, old: os.stat_result | None) -> None:
    """Make an empty file, private where it replaces another, whose owner and mode it then takes."""
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if old else 0o666))
    if old is None or not stat.S_ISREG(old.st_mode):
        return
    with contextlib.suppress(AttributeError, PermissionError):  # only root may give files away
        os.chown(temporary, old.st_uid, old.st_gid)
    os.chmod(temporary, stat.S_IMODE(old.st_mode))


def _sweep(folder: Path, prefix: str) -> None:
    """Remove what writers of the same target left when they were killed."""
    for entry in folder.iterdir():
        if entry.name.startswith(prefix):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat().st_mtime > ORPHAN_AGE:
                    entry.unlink()


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # Not every system lets a folder be opened; the file itself is safe by then.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
