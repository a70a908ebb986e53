"""Counters of many processes as one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.ops.samples import Series
from serving.ops.tally import Tally

A: Series = ("a_total", (("kind", "x"),))


def test_a_process_that_starts_again_at_zero_takes_nothing_away() -> None:
    tally = Tally(3600, 10)
    for value in (5.0, 9.0, 2.0, 3.0):
        tally.saw("w1", {A: value}, born=True)
    assert tally.total[A] == 9 + 3


def test_what_was_counted_before_we_looked_is_in_the_total_and_not_in_the_hour() -> None:
    """Else every start of an API would show the workers' whole past as a spike."""
    tally = Tally(3600, 10)
    tally.saw("old", {A: 1000.0}, born=False)
    tally.mark(0)
    tally.saw("old", {A: 1010.0}, born=False)
    tally.saw("new", {A: 5.0}, born=True)
    assert tally.total[A] == 1015
    assert tally.since(20, 60) == ({A: 15.0}, 20.0)


def test_a_process_that_is_gone_leaves_what_it_counted() -> None:
    tally = Tally(3600, 10)
    tally.saw("w1", {A: 7.0}, born=True)
    tally.forget("w1")
    tally.saw("w2", {A: 1.0}, born=True)
    assert tally.total[A] == 8


def test_marks_do_not_pile_up() -> None:
    """Bounded by how far back one looks, whatever the sampling."""
    tally = Tally(100, 10)
    for second in range(5000):
        tally.saw("w", {A: float(second)}, born=True)
        tally.mark(second)
    assert len(tally._marks) <= 13
    grown, seconds = tally.since(4999, 50)
    assert 50 <= seconds <= 60
    assert grown[A] == seconds


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50), st.booleans()), max_size=40))
def test_the_total_is_the_sum_of_what_each_process_counted_in_all_its_lives(steps: list[tuple[str, int, bool]]) -> None:
    """A process that starts again is seen before it has counted as far as it had."""
    tally, stands, expected = Tally(100, 1), dict.fromkeys("abc", 0), 0
    for name, grown, again in steps:
        if again and stands[name] > 0:
            stands[name] = grown % stands[name]
            expected += stands[name]
        else:
            stands[name] += grown
            expected += grown
        tally.saw(name, {A: float(stands[name])}, born=True)
    assert tally.total.get(A, 0.0) == expected
