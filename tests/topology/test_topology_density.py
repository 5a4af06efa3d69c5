"""Densities of tables: the closed forms, to the unit."""

from math import prod

import naive_topology as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsenum.topology import allocate, best_densities, share_tables

sizes = st.integers(1, 12)
shapes = st.lists(
    st.tuples(sizes, sizes) | st.tuples(sizes, sizes, st.integers(1, 3), st.integers(1, 3)),
    min_size=1,
    max_size=5,
)


@st.composite
def cases(draw):
    tables = draw(shapes)
    return draw(st.integers(0, sum(prod(shape) for shape in tables))), tables


@pytest.mark.parametrize("rule", ["uniform", "er", "erk"])
@given(cases())
def test_rules_equal_their_closed_form(rule, case):
    total, tables = case
    counts = share_tables(total, tables, rule)
    assert counts.sum() == total
    relative = [naive.relative_density(rule, shape) for shape in tables]
    densities = naive.table_densities(total, tables, relative)
    for count, density, shape in zip(counts, densities, tables, strict=True):
        assert abs(count - density * prod(shape)) < 1 + 1e-6
        assert 0 <= count <= prod(shape)


def test_a_stack_of_layers_by_hand():
    layers = [(600, 200), (200, 600), (10, 10)]
    # ERK claims 800, 800 and 20 of 16,200: none is full.
    assert share_tables(16_200 // 10, layers, "erk").tolist() == [800, 800, 20]
    # The small layer is dense at 100; 1,600 a layer for the others.
    assert share_tables(3300, [*layers[:2], (2, 50)], "erk").tolist() == [1600, 1600, 100]
    assert share_tables(24_010, layers, "uniform").tolist() == [12_000, 12_000, 10]
    # A kernel of 3 x 3 adds to its table's claim by ERK, and not by ER.
    kernels = [(4, 4), (4, 4, 3, 3)]
    assert share_tables(11, kernels, "erk").tolist() == [4, 7]
    assert share_tables(10, kernels, "er").tolist() == [1, 9]


def test_for_embeddings_every_rule_is_nearly_uniform():
    tables = [(30_000, 64), (40_000, 64)]
    uniform = share_tables(500_000, tables, "uniform")
    for rule in ("er", "erk"):
        np.testing.assert_allclose(share_tables(500_000, tables, rule), uniform, rtol=1e-3)


@given(cases(), st.data())
def test_explicit_densities_are_kept_or_scaled(case, data):
    _, tables = case
    entries = np.array([prod(shape) for shape in tables])
    counts = np.array([data.draw(st.integers(0, int(size))) for size in entries])
    shared = share_tables(int(counts.sum()), tables, counts / entries)
    assert shared.tolist() == counts.tolist()


scores = st.lists(st.lists(st.integers(0, 6).map(float), min_size=1, max_size=6), min_size=1)


@given(scores, st.data())
def test_best_densities_equal_sorting(tables, data):
    total = data.draw(st.integers(0, sum(len(table) for table in tables)))
    densities = best_densities(tables, total)
    counts = naive.best_counts(tables, total)
    assert densities.tolist() == [c / len(t) for c, t in zip(counts, tables, strict=True)]
    shapes = [(len(table), 1) for table in tables]
    assert share_tables(total, shapes, densities).tolist() == counts


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 1.0])
def test_rows_by_frequency_keep_floor_ceiling_and_law(power):
    events = np.array([1, 4, 16, 64, 256, 1024] * 5)
    counts = allocate(1000, events**power, lower=3, upper=64)
    assert counts.sum() == 1000
    assert 3 <= counts.min() <= counts.max() <= 64
    within = (counts > 3) & (counts < 64)
    scale = counts[within] / events[within] ** power
    assert within.sum() >= 5
    assert np.ptp(scale) <= (2 / events[within] ** power).max()


BAD = [
    (lambda: share_tables(1, [(3,)]), "^shapes must have two dimensions or more"),
    (lambda: share_tables(1, [(3, 0)]), "^shapes must have two dimensions or more"),
    (lambda: share_tables(7, [(3, 2)]), "^total must be from 0 to 6"),
    (lambda: share_tables(1, [(3, 2)], "best"), "^Unknown rule 'best': expected one of 'uniform'"),
    (lambda: share_tables(1, [(3, 2)], [1.0, 2.0]), "^rule must give a density for each of the 1"),
    (lambda: share_tables(1, [(3, 2)], [-1.0]), "^weights must be finite and not negative"),
    (lambda: best_densities([[1.0]], 2), "^total must be from 0 to 1"),
]


@pytest.mark.parametrize(("call", "words"), BAD)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_rules_with_a_plus_make_one_table_dense_and_keep_the_budget():
    shapes = [(20, 10), (30, 20), (30, 30), (5, 30)]
    sizes = np.array([200, 600, 900, 150])
    plus = share_tables(500, shapes, "erk+")
    assert plus.sum() == 500
    assert plus[-1] == 150
    np.testing.assert_array_equal(plus[:-1], share_tables(350, shapes[:-1], "erk"))
    plus = share_tables(300, shapes, "uniform+")
    assert plus.sum() == 300
    assert plus[0] == 200
    assert plus[-1] == 30  # a fifth, where all others have less
    assert np.ptp(plus[1:3] / sizes[1:3]) < 0.01
    plus = share_tables(1000, shapes, "uniform+")
    assert np.ptp(plus[1:] / sizes[1:]) < 0.01  # and no more where they have more
    assert share_tables(700, shapes, "uniform+", dense=1)[1] == 600
    assert share_tables(700, shapes, "erk+", dense=0)[0] == 200
    with pytest.raises(ValueError, match="dense must be from 0 to 3"):
        share_tables(500, shapes, "erk+", dense=4)
    with pytest.raises(ValueError, match="total must be from 230"):
        share_tables(200, shapes, "uniform+")
