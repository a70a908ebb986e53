"""Rows of what is learned by hash."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.liking
import models.rows
from models.liking import NOBODY, Liking
from models.rows import BLOCK, Rows

TOLD = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.floats(-1.0, 1.0, width=32)), max_size=60)


def small() -> Liking:
    """Room for 24 rows: some leave."""
    return Liking(factors=2, rows=24)


def parts_of(rows: Rows) -> tuple[list[bytes], list[bytes]]:
    """Blocks and memories."""
    count = range(rows.blocks)
    return [*map(rows.block, count)], [*map(rows.memory, count)]


def all_of(rows: Rows) -> bytes:
    blocks, memories = parts_of(rows)
    return b"".join(blocks + memories)


def tell(liking: Liking, told: list[tuple[int, int, float]]) -> Liking:
    for one in told:
        liking.learn(*one)
    return liking


def test_the_examples_hold() -> None:
    """The docstrings' examples are true."""
    assert doctest.testmod(models.rows, optionflags=doctest.ELLIPSIS).failed == 0
    assert doctest.testmod(models.liking).failed == 0


@settings(max_examples=60)
@given(TOLD, st.integers(0, 60))
def test_rows_that_were_stored_anywhere_go_on_byte_for_byte(told: list[tuple[int, int, float]], cut: int) -> None:
    """A fold that was stored and read back equals one that was not, within bounds, with rows leaving."""
    straight, resumed, again = tell(small(), told), tell(small(), told[:cut]), small()
    again.rows.take(len(resumed.rows), resumed.rows.steps, *parts_of(resumed.rows))
    tell(again, told[cut:])
    assert all_of(again.rows) == all_of(straight.rows)
    assert again.rows.steps == straight.rows.steps
    assert len(straight.rows) <= straight.rows.most


@settings(max_examples=60)
@given(TOLD, st.integers(0, 50))
def test_what_serving_reads_says_what_the_learner_would(told: list[tuple[int, int, float]], user: int) -> None:
    """Blocks alone, looked up by order instead of by name, tell the same; asking changes nothing."""
    learned, served, asked = tell(small(), told), small(), np.arange(50, dtype=np.uint64)
    before = all_of(learned.rows)
    served.rows.take(len(learned.rows), learned.rows.steps, parts_of(learned.rows)[0])
    assert served.beyond(user, asked).tobytes() == learned.beyond(user, asked).tobytes()
    assert all_of(learned.rows) == before


def test_a_block_that_says_it_did_not_change_did_not() -> None:
    """Whatever leaves or comes between two looks."""
    rng, liking, before, steps = np.random.default_rng(1), Liking(factors=2, rows=2_000), [], -1
    for _ in range(40):
        for _ in range(int(rng.integers(1, 60))):
            liking.learn(int(rng.integers(1, 900)), int(rng.integers(1, 1_200)), 0.3)
        rows = liking.rows
        now = [rows.block(i) + rows.memory(i) for i in range(rows.blocks)]
        changed = set(rows.changed(steps))
        assert all(i in changed or now[i] == before[i] for i in range(len(now)))
        before, steps = now, rows.steps
    assert len(before) == -(-len(liking.rows) // BLOCK) > 2


def test_a_user_of_whom_nothing_may_be_used_is_nobody() -> None:
    """His row is there, and is not looked at."""
    liking = tell(small(), [(5, 7, -0.5)] * 20)
    notes = np.array([7, 8], np.uint64)
    assert liking.beyond(5, notes)[1] > 0.0 == liking.beyond(NOBODY, notes)[1]
    assert liking.beyond(NOBODY, notes).tolist() == liking.beyond(6, notes).tolist()


def test_who_is_forgotten_is_as_if_never_met() -> None:
    """His row leaves, and all blocks say that they changed."""
    liking = tell(small(), [(5, 7, -0.5), (6, 8, 0.5)] * 9)
    before, steps = liking.beyond(6, np.array([7, 8], np.uint64)), liking.rows.steps
    liking.forget(5)
    liking.forget(9)
    notes = np.array([7, 8], np.uint64)
    assert liking.beyond(5, notes).tolist() == liking.beyond(NOBODY, notes).tolist()
    assert liking.beyond(6, notes).tolist() == before.tolist()
    assert liking.rows.changed(steps) == [0]
    assert len(liking.rows) == 3


def test_two_rows_are_room_enough() -> None:
    """Whoever comes takes the place of who was longest away; without room for both nothing begins."""
    liking = Liking(factors=2, rows=2)
    tell(liking, [(5, 7, -0.5), (6, 8, 0.5), (6, 9, 0.5)])
    assert len(liking.rows) == 2
    with pytest.raises(ValueError, match="likes = 1"):
        Liking(rows=1)


def test_a_user_and_a_note_of_one_name_are_two() -> None:
    """Both are known by the hash of their name."""
    liking = tell(small(), [(7, 8, -0.5)] * 20)
    assert liking.beyond(NOBODY, np.array([7], np.uint64)).tolist() == [0.0]


def test_rows_that_are_cut_are_refused() -> None:
    """And what was there stays."""
    liking = tell(small(), [(5, 7, -0.5)])
    before = all_of(liking.rows)
    (block,), (memory,) = parts_of(liking.rows)
    for parts in (([block[:-1]], [memory]), ([block], [memory + b"0"]), ([], []), ([block, block], [memory])):
        with pytest.raises(ValueError, match="rows"):
            liking.rows.take(2, 1, *parts)
    assert all_of(liking.rows) == before


def test_rows_that_are_only_read_do_not_learn() -> None:
    """What learning needs is not there."""
    liking, read = tell(small(), [(5, 7, -0.5)]), small()
    read.rows.take(2, 1, parts_of(liking.rows)[0])
    with pytest.raises(ValueError, match="cannot learn"):
        read.learn(5, 7, 0.5)


@settings(max_examples=60)
@given(TOLD)
def test_a_step_moves_a_note_and_a_user_as_its_formula_says(told: list[tuple[int, int, float]]) -> None:
    """Against the same in numpy and doubles, as long as nothing leaves."""
    liking, rows = Liking(factors=2, rows=200), {}
    for user, note, error in told:
        known = set(rows)
        liking.learn(user, note, error)
        names = [note, user ^ models.liking.USER]
        for h in set(names) - known:
            values = begun(h) if h == note else np.zeros(3)
            rows[h] = values, np.full(3, 0.1)
        old = [rows[h][0].copy() for h in names]
        for h, own, other, share in ((names[0], old[0], old[1], 1.0), (names[1], old[1], old[0], 0.5)):
            gradient = error * np.array([1.0, *other[1:]]) + 0.03 * abs(error) * own
            values, squares = rows[h]
            squares += gradient**2
            values -= 0.15 * np.array([share, 1.0, 1.0]) * gradient / np.sqrt(squares)
    for h, (values, _) in rows.items():
        (row,) = liking.rows.found(np.array([h], np.uint64))
        assert [liking.rows["bias"][row], *liking.rows["vector"][row]] == pytest.approx(values, rel=1e-3, abs=1e-4)


def begun(h: int) -> np.ndarray:
    """Bias and vector of a note before its first step: splitmix64 of its hash."""
    vector = []
    for j in (1, 2):
        x = (h + j * 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        vector.append((((x ^ (x >> 31)) >> 40) / 2**24 - 0.5) * 0.34641016)
    return np.array([0.0, *vector])
