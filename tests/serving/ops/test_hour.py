"""The last hour, a column a minute."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.ops.hour import MINUTES, Hour


def test_of_one_minute_the_largest_number_stays() -> None:
    """A spike between two looks of a page is seen."""
    hour = Hour()
    hour.turn(0)
    for values in ([1, 5], [3, 2], [float("nan"), 1]):
        hour.put("lag", values)
    assert hour.rows("lag")[:, -1].tolist() == [3, 5]


def test_minutes_without_a_look_are_gaps() -> None:
    hour = Hour()
    hour.turn(0)
    hour.put("lag", [1])
    hour.turn(180)
    hour.put("lag", [2])
    assert np.array_equal(hour.rows("lag")[0, -4:], [1, np.nan, np.nan, 2], equal_nan=True)


def test_another_number_of_rows_begins_anew() -> None:
    """A rebuilt system may have other partitions."""
    hour = Hour()
    hour.turn(0)
    hour.put("lag", [1, 2])
    hour.put("lag", [1, 2, 3])
    assert hour.rows("lag").shape == (3, MINUTES)
    assert hour.rows("never").shape == (0, MINUTES)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 100)), min_size=1, max_size=50))
def test_the_hour_is_what_a_dictionary_of_minutes_would_say(looks: list[tuple[int, int]]) -> None:
    hour, plain, minute = Hour(), {}, 0
    for gap, value in looks:
        minute += gap
        hour.turn(minute * 60)
        hour.put("x", [value])
        plain[minute] = max(plain.get(minute, 0), value)
    wanted = [plain.get(m, np.nan) for m in range(minute - MINUTES + 1, minute + 1)]
    assert np.array_equal(hour.rows("x")[0], np.array(wanted, np.float32), equal_nan=True)
