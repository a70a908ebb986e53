"""The order of hashes and of scores."""

from __future__ import annotations

import doctest
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import models.sorting
from models.sorting import DEPTH, RESERVE, ascending, bring, descending


def test_the_examples_hold() -> None:
    """The docstrings' examples are true."""
    assert doctest.testmod(models.sorting).failed == 0


@given(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 9), st.integers(2**64 - 9, 2**64 - 1))))
def test_hashes_ascend_and_equals_keep_their_order(values: list[int]) -> None:
    """numpy's stable order, of whatever numbers."""
    hashes = np.array(values, np.uint64)
    assert ascending(hashes).tolist() == np.argsort(hashes, kind="stable").tolist()


@given(st.lists(st.one_of(st.floats(width=32), st.sampled_from([0.0, -0.0, 1.0]))))
def test_scores_descend_and_equals_keep_their_order(values: list[float]) -> None:
    """numpy's stable order, of whatever numbers."""
    scores = np.array(values, np.float32)
    assert descending(scores).tolist() == np.argsort(-scores, kind="stable").tolist()
    read_only = np.frombuffer(scores.tobytes(), np.float32)
    assert descending(read_only).tolist() == descending(scores).tolist()


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 9), unique=True), st.integers(0, 7), st.booleans(), st.booleans())),
    st.booleans(),
    st.randoms(),
)
def test_lists_are_brought_together_by_how_deep_a_note_stands(
    lists: list[tuple[list[int], int, bool, bool]], by_score: bool, luck: Random
) -> None:
    """Each note once: all its sources, its best rank, and whether any of its lists vouches for it."""
    found = np.array([h << 60 for notes, *_ in lists for h in notes], np.uint64)
    order = luck.sample(range(len(found)), len(found)) if by_score else []
    wanted = [max(len(notes), 1) + 3 for notes, *_ in lists]
    places, at = dict[int, list[tuple[int, int, bool]]](), 0
    for one, (notes, source, reserve, inside) in enumerate(lists):
        for depth, h in enumerate(notes):
            rank = order[at] if by_score else depth * DEPTH // wanted[one] * len(lists) + one + RESERVE * reserve
            places.setdefault(h << 60, []).append((rank, 1 << source, inside))
            at += 1
    n = len(found)
    hashes, sources, ranks, within = np.empty(n, np.uint64), np.empty(n, np.uint8), np.empty(n, np.int64), np.empty(n, np.bool_)
    columns = (np.array([one[k] for one in lists], dtype) for k, dtype in ((2, np.bool_), (3, np.bool_)))
    bits, sizes = np.array([1 << one[1] for one in lists], np.uint8), np.array([len(one[0]) for one in lists], np.intp)
    known = bring(found, sizes, bits, np.array(wanted, np.int64), *columns, np.array(order, np.intp), hashes, sources, ranks, within)
    assert hashes[:known].tolist() == sorted(places)
    for i, h in enumerate(sorted(places)):
        assert ranks[i] == min(rank for rank, _, _ in places[h])
        assert sources[i] == np.bitwise_or.reduce([bit for _, bit, _ in places[h]])
        assert within[i] == any(inside for _, _, inside in places[h])
