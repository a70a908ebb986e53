"""Forward decay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decay import ROOM, bits_of, fade, rebase

SPANS = st.floats(0, 200)


@given(SPANS, SPANS, st.floats(0.5, 100))
def test_decaying_twice_is_decaying_once_by_the_sum(a: float, b: float, half_life: float) -> None:
    """fade(a) · fade(b) = fade(a + b)."""
    assert fade(a, half_life) * fade(b, half_life) == pytest.approx(fade(a + b, half_life))


@given(st.floats(0.01, 0.99))
def test_one_step_keeps_what_was_asked(keep: float) -> None:
    """A step of `bits_of(keep)` halvings leaves `keep`."""
    assert fade(bits_of(keep), 1.0) == pytest.approx(keep)


@given(st.floats(0, 1e6), st.integers(0, 10**6))
def test_after_a_rebase_there_is_room(age: float, landmark: int) -> None:
    """The landmark moves forward only, by whole halvings, and only when growth has no room."""
    moved = rebase(age, landmark)
    assert (moved == 0) == (age - landmark <= ROOM)
    assert not moved or 0 <= age - (landmark + moved) < 1
