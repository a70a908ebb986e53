"""The pace of what comes."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import models.pace
from models.pace import Pace


def test_the_examples_hold() -> None:
    """The docstring's examples are true."""
    assert doctest.testmod(models.pace).failed == 0


@given(st.lists(st.integers(0, 2**44), max_size=30), st.integers(0, 30))
def test_a_pace_goes_on_where_it_was_stored(times: list[int], cut: int) -> None:
    """To the last bit, whatever the order of the times."""
    whole, first = Pace(), Pace()
    for t in times:
        whole.saw(t)
    for t in times[:cut]:
        first.saw(t)
    rest = Pace(first.per_second, first.at)
    for t in times[cut:]:
        rest.saw(t)
    assert (rest.per_second, rest.at) == (whole.per_second, whole.at)


def test_what_comes_late_and_together_is_no_pace() -> None:
    """A thousand that an app kept for an hour are a moment's work, and no thousand a second."""
    pace = Pace()
    for _ in range(1_000):
        pace.saw(10**9)
    assert pace.per_second == pytest.approx(1_000 / 60)
