"""Files of other recommenders: what they hold, and what is told of those that hold else."""

import polars as pl
import pytest

from recsys.data.interactions import Interactions
from recsys.data.readers import lightgcn, movielens, recbole

RATINGS = [("1", "07", 3.5, 881250949), ("2", "5", 4.0, 891717742)]
FILES = {
    "u.data": "1\t07\t3.5\t881250949\n2\t5\t4\t891717742\n",
    "ratings.dat": "1::07::3.5::881250949\n2::5::4::891717742\n",
    "ratings.csv": "userId,movieId,rating,timestamp\r\n1,07,3.5,881250949\r\n2,5,4,891717742\r\n",
}


@pytest.mark.parametrize("name", FILES)
def test_all_kinds_of_movielens_files(tmp_path, name):
    (tmp_path / name).write_text(FILES[name], "utf-8", newline="")
    table = movielens(tmp_path / name)
    assert table.collect().rows() == RATINGS
    read = Interactions.read(table, user="user", item="item", weight="rating", time="time")
    assert read.items.to_list() == ["07", "5"]
    assert read.matrix.data.tolist() == [3.5, 4.0]


def test_lightgcn_lines_become_rows(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("0 5 07 5\n1\n2 3 \n\n10  1\t4\n", "utf-8")
    table = lightgcn(str(path))
    pairs = [("0", "5"), ("0", "07"), ("0", "5"), ("2", "3"), ("10", "1"), ("10", "4")]
    assert table.collect().rows() == pairs
    assert Interactions.read(table, user="user", item="item").nnz == 5


def test_recbole_fields_have_the_types_of_the_header(tmp_path):
    path = tmp_path / "set.inter"
    path.write_text(
        "user_id:token\titem_id:token\trating:float\ttags:token_seq\tpoint:float_seq\n"
        '007\t"a"\t2.5\tx y\t1 2.5\n',
        "utf-8",
    )
    table = recbole(path).collect()
    assert table.rows() == [("007", '"a"', 2.5, ["x", "y"], [1.0, 2.5])]
    assert table.columns == ["user_id", "item_id", "rating", "tags", "point"]
    got = Interactions.read(recbole(path), user="user_id", item="item_id", weight="rating")
    assert got.users.to_list() == ["007"]


@pytest.mark.parametrize(
    ("reader", "name", "content", "message"),
    [
        (lightgcn, "t.txt", b"", "path must be a"),
        (lightgcn, "t.txt", b"1\n2\n", "path must be a file with a user and items"),
        (lightgcn, "t.txt", b"\xe9 1\n", "path must be UTF-8"),
        (movielens, "u.data", b"", "path must be a"),
        (movielens, "u.data", b"1,2,3,4\n", "path must be a"),
        (movielens, "u.data", b"1\t2\tgood\t4\n", "path must be a readable table.*good"),
        (movielens, "u.data", b"1\t2\t3\t4\t5\n", "path must be a readable table"),
        (movielens, "ratings.dat", b"1,2,3,4\n", "path must be a"),
        (movielens, "ratings.csv", b"userId,movieId,rating,timestamp\n", "path must be a"),
        (recbole, "t.inter", b"user_id\titem_id\n1\t2\n", r"a type for each field: got 'user_id'"),
        (recbole, "t.inter", b"user_id:text\n1\n", r"got 'user_id:text'.*token, float"),
        (recbole, "t.inter", b"r:float\nhigh\n", "path must be a readable table.*high"),
        (recbole, "t.inter", b"", "path must be a readable table"),
    ],
)
def test_other_contents_are_explained(tmp_path, reader, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        reader(tmp_path / name)


@pytest.mark.parametrize("reader", [lightgcn, movielens, recbole])
def test_files_that_are_not_there(reader, tmp_path):
    with pytest.raises(FileNotFoundError, match="path must be the path of a file"):
        reader(tmp_path / "none.dat")


def test_a_later_row_that_is_no_rating_is_found_when_read(tmp_path):
    path = tmp_path / "u.data"
    path.write_text(FILES["u.data"] + "3\t4\tgood\t5\n", "utf-8")
    table = movielens(path)
    with pytest.raises(ValueError, match=r"source must be a readable table.*good"):
        Interactions.read(table, user="user", item="item", weight="rating")


def test_tables_are_lazy(tmp_path):
    (tmp_path / "u.data").write_text(FILES["u.data"], "utf-8")
    assert isinstance(movielens(tmp_path / "u.data"), pl.LazyFrame)
