"""Public sets by name: where each is, what its archive must be, and the table in it."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

import polars as pl

from recsys.data.readers import movielens
from recsys.datasets.download import digest, fetch
from sparsenum._check import choice
from sparsenum._system import replacing


class PublicSet(NamedTuple):
    """The address of a public set, the checksum of its archive, and its file of events."""

    url: str
    sha256: str
    member: str


_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
PUBLIC = {
    "movielens-100k": PublicSet(
        f"{_GROUPLENS}/ml-100k.zip",
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        "ml-100k/u.data",
    ),
    "movielens-1m": PublicSet(
        f"{_GROUPLENS}/ml-1m.zip",
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        "ml-1m/ratings.dat",
    ),
    "movielens-20m": PublicSet(
        f"{_GROUPLENS}/ml-20m.zip",
        "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
        "ml-20m/ratings.csv",
    ),
    "movielens-25m": PublicSet(
        f"{_GROUPLENS}/ml-25m.zip",
        "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
        "ml-25m/ratings.csv",
    ),
}


def load(name: str, *, folder: str | os.PathLike[str] | None = None) -> pl.LazyFrame:
    """Open a public set by name, downloaded at the first time and checked at each.

    The MovieLens sets are GroupLens's, free for research but not for resale or redistribution: the
    README in each archive has the terms and the paper to cite.

    Parameters
    ----------
    name : {"movielens-100k", "movielens-1m", "movielens-20m", "movielens-25m"}
        Which set.
    folder : path, optional
        Where to keep the archive; see `recsys.datasets.download.fetch`.

    Returns
    -------
    LazyFrame
        `user`, `item`, `rating` and `time`; see `recsys.data.readers.movielens`.

    Raises
    ------
    ConnectionError, OSError
        As `recsys.datasets.download.fetch`.
    ValueError
        If there is no set of that name, or the download has another checksum.

    See Also
    --------
    recsys.datasets.shop : made up, without a download.

    Examples
    --------
    >>> import recsys
    >>> from recsys.datasets import load
    >>> table = load("movielens-100k")  # doctest: +SKIP
    """
    public = PUBLIC[choice(name, "name", PUBLIC)]
    archive = fetch(public.url, public.sha256, public.url.rpartition("/")[2], folder=folder)
    return movielens(_extract(archive, public.member))


def _extract(archive: Path, member: str) -> Path:
    """Return the member of a checked archive as a file beside it, in a folder of its own."""
    target = archive.with_suffix("") / Path(member).name
    with zipfile.ZipFile(archive) as opened:
        if target.is_file() and _is_same(target, opened, member):
            return target
        target.parent.mkdir(exist_ok=True)
        with (
            opened.open(member) as source,
            replacing(target, "folder") as temporary,
            open(temporary, "wb") as file,
        ):
            shutil.copyfileobj(source, file)
    return target


def _is_same(target: Path, archive: zipfile.ZipFile, member: str) -> bool:
    """Return whether a file has the contents of a member of a checked archive."""
    if target.stat().st_size != archive.getinfo(member).file_size:
        return False
    expected = hashlib.sha256()
    with archive.open(member) as source:
        while chunk := source.read(2**20):
            expected.update(chunk)
    return digest(target) == expected.hexdigest()
