"""Looking ids up: casts that lose nothing, what is unknown, and what are no ids."""

import datetime
import math

import numpy as np
import polars as pl
import pytest

from recsys.data.vocabulary import STEP, Vocabulary, lookup

days = [datetime.date(2024, 2, 1), datetime.date(2023, 5, 9), datetime.date(2024, 1, 1)]


@pytest.mark.parametrize(
    ("vocabulary", "wanted", "codes"),
    [
        (pl.Series([3, 5, 7]), [7, 4, 3], [2, -1, 0]),
        (pl.Series([3, 5, 7], dtype=pl.UInt8), pl.Series([7, 300, -1]), [2, -1, -1]),
        (pl.Series([3, 5, 7]), ["7", "x", None], [2, -1, -1]),
        (pl.Series([3, 5, 7]), [7.0, 5.5, math.nan], [2, -1, -1]),
        (pl.Series(["3", "7"]), [7, 3, 7], [1, 0, 1]),
        (pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"])), ["b", "c"], [1, -1]),
        (pl.Series([0, 2**64 - 1], dtype=pl.UInt64), [2**64 - 1], [1]),
        (pl.Series(sorted(days)), ["2024-01-01"], [1]),
        (pl.Series(["2024-01-01"]), days, [-1, -1, 0]),
        (pl.Series([2.0**53]), [2**53, 2**53 + 1], [0, -1]),
        (pl.Series([3, 5]), [], []),
        (pl.Series([3, 5]), [None], [-1]),
        (pl.Series([], dtype=pl.String), ["a"], [-1]),
    ],
)
def test_lookup_casts_to_the_vocabulary(vocabulary, wanted, codes):
    got = lookup(vocabulary, wanted)
    assert got.dtype == np.int64
    assert got.tolist() == codes


@pytest.mark.parametrize("wanted", [[1, "a"], [[1], [2]], 7, [object()]])
def test_lookup_refuses_what_are_no_ids(wanted):
    with pytest.raises(TypeError, match="ids must be a sequence"):
        lookup(pl.Series([1]), wanted)


def test_lookup_refuses_types_with_no_way_to_the_vocabulary():
    with pytest.raises(TypeError, match="ids must be of a type like that of the vocabulary"):
        lookup(pl.Series([1]), pl.Series([b"a"]))


@pytest.mark.parametrize("n", [0, 1, STEP - 1, STEP, STEP + 1, 5 * STEP + 3])
@pytest.mark.parametrize("kind", [lambda n: 3 * n, lambda n: f"é{n:05d}", lambda n: n / 7])
def test_each_id_is_found_in_its_place(n, kind):
    ids, strange = [kind(2 * i) for i in range(n)], [kind(2 * i - 1) for i in range(n + 1)]
    few = Vocabulary(pl.Series(ids, dtype=pl.Series([kind(1)]).dtype))
    for asked in (ids, strange):
        expected = [ids.index(each) if each in ids else -1 for each in asked]
        assert few.places(asked).tolist() == expected
        assert few.places(tuple(asked)).tolist() == expected
        assert [int(few.places([each])[0]) for each in asked] == expected
