"""Public sets from a server of this machine: cached, checked, and never half there."""

import functools
import hashlib
import http.server
import threading
import zipfile
from typing import ClassVar

import pytest

from recsys.datasets import fetch, load, public
from recsys.datasets.download import cache_folder
from recsys.datasets.public import PublicSet


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serve a folder, count what is asked for, and break off where a name says so."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        if self.path == "/broken":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            return
        super().do_GET()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def site(tmp_path):
    """A folder that is served, its address, and the paths asked for."""
    folder = tmp_path / "site"
    folder.mkdir()
    Handler.asked = []
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def sha(content):
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_downloaded_once_and_again_if_it_is_damaged(site, tmp_path, capsys):
    folder, address = site
    (folder / "a.bin").write_bytes(b"content" * 999)
    cache = tmp_path / "new" / "cache"
    read = functools.partial(
        fetch, f"{address}/a.bin", sha(b"content" * 999), "b.bin", folder=cache
    )
    assert read() == read() == cache / "b.bin"
    assert Handler.asked == ["/a.bin"]
    (cache / "b.bin").write_bytes(b"damaged")
    assert read().read_bytes() == b"content" * 999
    assert Handler.asked == ["/a.bin"] * 2
    assert [path.name for path in cache.iterdir()] == ["b.bin"]
    assert "download b.bin" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.bin", "broken"])
def test_what_has_another_checksum_is_not_kept(site, tmp_path, name):
    folder, address = site
    (folder / "a.bin").write_bytes(b"altered")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "a.bin").write_bytes(b"before")
    with pytest.raises(
        ValueError, match=r"url must give the file with sha256 .*: got \d bytes with"
    ):
        fetch(f"{address}/{name}", sha(b"whole"), "a.bin", folder=cache)
    assert [path.read_bytes() for path in cache.iterdir()] == [b"before"]


def test_a_file_that_is_not_there_and_a_site_that_is_not(site, tmp_path):
    _, address = site
    with pytest.raises(ConnectionError, match=r"url must be within reach: got .*404.*none\.bin"):
        fetch(f"{address}/none.bin", "0" * 64, "a.bin", folder=tmp_path)
    with pytest.raises(ConnectionError, match=r"put the file at .*a\.bin"):
        fetch("http://127.0.0.1:1/a.bin", "0" * 64, "a.bin", folder=tmp_path)
    assert not list(tmp_path.glob("*.bin*"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("url", "sha256", "name", "message"),
    [
        ("file:///etc/passwd", "0" * 64, "a", "url must start with http"),
        ("http://x/a", "0" * 63, "a", "sha256 must be 64 hexadecimal digits"),
        ("http://x/a", "g" * 64, "a", "sha256 must be 64 hexadecimal digits"),
        ("http://x/a", "0" * 64, "../a", "name must be that of a file"),
        ("http://x/a", "0" * 64, "", "name must be that of a file"),
    ],
)
def test_unfit_arguments(tmp_path, url, sha256, name, message):
    with pytest.raises(ValueError, match=message):
        fetch(url, sha256, name, folder=tmp_path)


def test_the_cache_is_where_the_system_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for said, expected in (
        (str(tmp_path / "x"), "x/recsys"),
        ("x", ".cache/recsys"),
        ("", ".cache/recsys"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", said)
        assert cache_folder() == tmp_path / expected


@pytest.mark.parametrize("name", public.PUBLIC)
def test_sets_load_by_name(site, tmp_path, monkeypatch, name):
    folder, address = site
    known = public.PUBLIC[name]
    kind = known.member.rpartition("/")[2]
    rows = {
        "u.data": "1\t2\t3\t4\n",
        "ratings.dat": "1::2::3::4\n",
        "ratings.csv": "userId,movieId,rating,timestamp\n1,2,3.0,4\n",
    }
    archive = folder / known.url.rpartition("/")[2]
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(known.member, rows[kind])
    local = PublicSet(f"{address}/{archive.name}", sha(archive.read_bytes()), known.member)
    monkeypatch.setitem(public.PUBLIC, name, local)
    cache = tmp_path / "cache"
    for _ in range(2):
        assert load(name, folder=cache).collect().rows() == [("1", "2", 3.0, 4)]
    assert len(Handler.asked) == 1
    member = cache / archive.stem / kind
    member.write_bytes(b"")
    assert load(name, folder=cache).collect().height == 1
    assert list(member.parent.iterdir()) == [member]


def test_other_names_are_refused():
    with pytest.raises(
        ValueError, match="Unknown name 'netflix': expected one of 'movielens-100k'"
    ):
        load("netflix")


def test_downloads_have_an_end(site, tmp_path):
    folder, address = site
    content = b"content" * 999
    (folder / "a.bin").write_bytes(content)
    named = (f"{address}/a.bin", sha(content), "a.bin")
    with pytest.raises(ValueError, match="no more than 6,992 bytes"):
        fetch(*named, folder=tmp_path, most_bytes=len(content) - 1)
    with pytest.raises(ConnectionError, match="takes too long"):
        fetch(*named, folder=tmp_path, most_seconds=-1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]
    assert fetch(*named, folder=tmp_path, most_bytes=len(content)).read_bytes() == content


def test_what_was_extracted_is_checked_by_its_contents(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("set/u.data", b"1\t2\t3\t4\n")
    target = public._extract(archive, "set/u.data")
    target.write_bytes(b"9\t9\t9\t9\n")
    assert public._extract(archive, "set/u.data").read_bytes() == b"1\t2\t3\t4\n"
