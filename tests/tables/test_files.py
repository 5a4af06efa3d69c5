"""Files of every kind: folders, patterns, separators, line ends, and what is wrong with a file."""

import gzip

import polars as pl
import pytest

from recsys.data import Interactions, TextFile, leave_last

NAMES = {"user": "user", "item": "item"}


def read(source, **options):
    return Interactions.read(source, **NAMES, **options)


def test_folders_and_patterns_are_one_table(tmp_path):
    (tmp_path / "a.csv").write_text("user,item\na,x\n")
    (tmp_path / "b.CSV").write_text("user,item\nb,x\n")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden.csv").write_text("damaged")
    assert read(tmp_path).users.to_list() == ["a", "b"]
    assert read(str(tmp_path / "a*.csv")).users.to_list() == ["a"]
    assert leave_last(tmp_path, **NAMES)[0].height == 2
    (tmp_path / "c.parquet").touch()
    with pytest.raises(ValueError, match=r"files of one kind: got .* with \.csv, \.parquet"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_folders_named_by_a_key_add_its_column(tmp_path, kind):
    for day in ("2020-01-02", "2020-01-01"):
        folder = tmp_path / f"day={day}"
        folder.mkdir()
        frame = pl.DataFrame({"user": ["a"], "item": ["x"], "n": [int(day[-1])]})
        getattr(frame, f"write_{kind}")(folder / f"part.{kind}")
    got = read(tmp_path, weight="n", time="day", duplicates="last")
    assert got.matrix.data.tolist() == [2.0]


def test_nothing_there_is_told(tmp_path):
    for path in (tmp_path, tmp_path / "*.csv"):
        with pytest.raises(FileNotFoundError, match="source must stand for files of tables"):
            read(path)
    with pytest.raises(ValueError, match="a path of this machine: got 's3://bucket"):
        read("s3://bucket/events.parquet")


def test_other_separators_and_decimal_commas(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("user;item;w\na;x;1,5\nb;y;2.5\n")
    with pytest.raises(ValueError, match=r"say so by separator \(--separator\)"):
        read(path)
    with pytest.raises(ValueError, match=r"decimal point: got '1,5' in 'w'.*--decimal-comma"):
        read(TextFile(path, separator=";"), weight="w")
    got = read(TextFile(path, separator=";", decimal_comma=True), weight="w")
    assert got.matrix.data.tolist() == [1.5, 2.5]
    assert leave_last(TextFile(path, separator=";"), **NAMES)[0].columns == ["user", "item", "w"]
    with pytest.raises(ValueError, match="separator must be one character"):
        TextFile(path, separator="::")


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n"])
def test_lines_may_end_as_on_every_machine(tmp_path, ending):
    (tmp_path / "t.csv").write_bytes(f"user,item{ending}a,x{ending}b,y{ending}".encode())
    assert read(tmp_path / "t.csv").items.to_list() == ["x", "y"]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "T.CSV.GZ"])
def test_the_line_with_too_many_fields_is_named(tmp_path, name):
    text = b'user,item\n"a\nb",x\nb,y,z\n'
    (tmp_path / name).write_bytes(gzip.compress(text) if name.lower().endswith("gz") else text)
    with pytest.raises(ValueError, match=r"line 4 has 3 fields where the header has 2, in "):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user,item\na,x\n".encode("utf-16"), "in UTF-16; convert it first.*iconv -f utf-16"),
        (b"user,item\0\na,x\n", "which holds zero bytes"),
    ],
)
def test_what_is_no_utf_8_is_named(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "t.csv")


def test_messages_stay_short(tmp_path):
    (tmp_path / "t.csv").write_text(",".join(f"column{n}" for n in range(5000)) + "\n")
    with pytest.raises(ValueError, match="user must name a column") as caught:
        read(tmp_path / "t.csv")
    assert len(str(caught.value)) < 500


def test_a_panic_of_the_reader_is_an_error_of_the_table(monkeypatch):
    from polars.exceptions import PanicException

    def panic(*_, **__):
        raise PanicException("out of bounds")

    monkeypatch.setattr(pl.LazyFrame, "collect_schema", panic)
    with pytest.raises(ValueError, match=r"source must be a readable table.*out of bounds"):
        read(pl.DataFrame({"user": [1], "item": [2]}))
