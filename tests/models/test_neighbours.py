"""Streaming neighbours."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models.neighbours
from models.neighbours import Around, Neighbours, read

DAY = 86_400_000

Told = tuple[int, int, int, int, int, int]
PAIRS = st.lists(
    st.tuples(
        st.integers(1, 2**64 - 1) | st.integers(1, 12),
        st.integers(-80, 80).filter(bool),
        st.integers(0, 10_000 * DAY),
        st.integers(0, 200_000),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
    ),
    max_size=60,
)
SMALL = Neighbours(slots=8, head=4, batch=3)


def told(pairs: list[Told], around: Around | None = None) -> Around:
    around = around or Around()
    for pair in pairs:
        SMALL.learn(around, *pair)
    return around


def test_the_example_holds() -> None:
    """The docstring's example is true."""
    assert doctest.testmod(models.neighbours).failed == 0


@given(PAIRS)
def test_memory_is_what_the_store_holds_after_every_pair(pairs: list[Told]) -> None:
    """decode(encode(state)) == state, and both go on alike."""
    straight, through = Around(), Around()
    for pair in pairs:
        SMALL.learn(straight, *pair)
        SMALL.learn(through, *pair)
        through = Around.decode(through.encode())
        assert through.encode() == straight.encode()
        assert through.places == straight.places


@given(PAIRS, st.integers(0, 60))
def test_a_replay_cut_anywhere_gives_the_same_bytes(pairs: list[Told], cut: int) -> None:
    """Where a frame ends decides nothing."""
    first = Around.decode(told(pairs[:cut]).encode())
    assert told(pairs[cut:], first).encode() == told(pairs).encode()


@given(PAIRS)
def test_a_note_stays_within_its_bounds(pairs: list[Told]) -> None:
    """Slots and head are never exceeded, and no neighbour stands twice."""
    around = told(pairs)
    front = read(SMALL.head(around))
    assert len(around) <= SMALL.slots
    assert len(around.places) == len(set(around.hashes)) == len(around)
    assert len(front.hashes) == min(len(around), SMALL.size)
    assert np.isfinite(front.sums).all()


@given(PAIRS)
def test_reading_the_head_changes_nothing(pairs: list[Told]) -> None:
    """`head` is a read."""
    around = told(pairs)
    before = around.encode()
    assert SMALL.head(around) == SMALL.head(around)
    assert around.encode() == before


def test_order_counts_one_way_and_togetherness_both() -> None:
    """`after` is gathered by a neighbour that came later only."""
    around = Around()
    SMALL.learn(around, 1, -2, 0, 0, 1, 1)
    SMALL.learn(around, 2, 2, 0, 0, 1, 1)
    assert list(around.together) == [pytest.approx(2**-0.5)] * 2
    assert list(around.after) == [0.5, 0.0]


def test_a_newcomer_outlives_an_old_neighbour_that_gathers_nothing() -> None:
    """Eviction compares what was gathered with the time there was to gather it."""
    rules, around = Neighbours(slots=4, head=4, batch=1, youth=10.0), Around()
    for other in range(1, 4):
        rules.learn(around, other, 1, 0, 0, 0, 1)
        rules.learn(around, other, 1, 0, 0, 0, 1)
    rules.learn(around, 50, 1, 0, 0, 1_000, 1)
    rules.learn(around, 51, 1, 0, 0, 1_001, 1)
    assert 50 in around.places
    assert 51 in around.places
    assert 1 not in around.places


def test_what_is_recent_halves_in_a_half_life() -> None:
    """Two pairs a half-life apart weigh 1 : 2, across a moved landmark too."""
    rules, around = Neighbours(half_life_ms=DAY), Around()
    rules.learn(around, 1, 1, 0, 0, 1, 1)
    for day in (100, 101):
        rules.learn(around, day, 1, day * DAY, 0, 1, 1)
    assert around.recent[2] / around.recent[1] == 2.0
    assert around.landmark > 0


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x02" + bytes(15), Around().encode() + b"x"])
def test_a_value_that_is_no_neighbourhood_is_refused(value: bytes) -> None:
    """A stage must not fold on from garbage; serving shrugs."""
    with pytest.raises(ValueError, match="neighbours"):
        Around.decode(value)
    assert len(read(value).hashes) == 0
