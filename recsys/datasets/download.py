"""Files of the web in a cache on disk: whole, with the checksum promised, or not at all."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from sparsenum._system import replacing
from sparsenum.progress import Progress

_CHUNK = 2**20  # bytes
_TIMEOUT = 30.0  # seconds without an answer


def fetch(
    url: str,
    sha256: str,
    name: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    most_bytes: int = 2 * 10**9,
    most_seconds: float = 3600.0,
) -> Path:
    """Return the path of a file of the web, downloaded unless it is in the cache already.

    Parameters
    ----------
    url : str
        Where the file is, with http or https.
    sha256 : str
        Checksum in 64 hexadecimal digits; a cached file with another one is downloaded again.
    name : str
        What to call the file in the cache.
    folder : path, optional
        The cache; by default `recsys` in $XDG_CACHE_HOME or in ~/.cache. It is made if need be.
    most_bytes : int, default 2,000,000,000
        Size at which a download is given up.
    most_seconds : float, default 3600
        Time after which it is.

    Returns
    -------
    Path
        The file, whose contents have the checksum.

    Raises
    ------
    ConnectionError
        If the site cannot be reached, does not have the file or takes too long.
    ValueError
        If what came is too large or has another checksum, and is not kept; or `url`, `sha256` or
        `name` is unfit.
    OSError
        If the cache cannot be written.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import fetch
    >>> path = fetch("https://example.org/events.csv", "0" * 64, "events.csv")  # doctest: +SKIP
    """
    sha256 = _checked(url, sha256, name)
    target = (cache_folder() if folder is None else Path(folder)) / name
    if target.is_file() and digest(target) == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target, "folder") as temporary:
        with open(temporary, "wb") as file:
            _download(url, file, target, most_bytes, time.monotonic() + most_seconds)
        found = digest(temporary)
        if found != sha256:
            raise ValueError(
                f"url must give the file with sha256 {sha256}: got {temporary.stat().st_size:,} "
                f"bytes with {found} from {url!r}; try again; if it stays so, the file was changed "
                "and is not to be trusted"
            )
    return target


def cache_folder() -> Path:
    """Return the folder of the cache: `recsys` in $XDG_CACHE_HOME, if absolute, or in ~/.cache."""
    said = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(said) if os.path.isabs(said) else Path.home() / ".cache") / "recsys"


def _checked(url: str, sha256: str, name: str) -> str:
    """Return the checksum in small letters."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url must start with http:// or https://: got {url!r}")
    if len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef"):
        raise ValueError(
            f"sha256 must be 64 hexadecimal digits: got {sha256!r}; `sha256sum FILE` prints them"
        )
    if name != os.path.basename(name) or name in ("", ".", ".."):
        raise ValueError(f"name must be that of a file, without folders: got {name!r}")
    return sha256.lower()


def _download(url: str, file: BinaryIO, target: Path, most_bytes: int, deadline: float) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            with Progress(
                f"download {target.name}, MiB", total=-(-total // _CHUNK) or None
            ) as shown:
                # One read takes what has arrived, so that a slow site cannot hold it up.
                while chunk := answer.read1(_CHUNK):
                    if max(total, file.tell() + len(chunk)) > most_bytes:
                        raise ValueError(
                            f"url must give no more than {most_bytes:,} bytes (most_bytes): got "
                            f"{max(total, file.tell() + len(chunk)):,} or more from {url!r}"
                        )
                    if time.monotonic() > deadline:
                        raise TimeoutError("a download that takes too long (most_seconds)")
                    file.write(chunk)
                    shown.update(-(-file.tell() // _CHUNK))
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        raise ConnectionError(
            f"url must be within reach: got {error} for {url!r}; check the connection, or put the "
            f"file at {str(target)!r} by other ways"
        ) from None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
