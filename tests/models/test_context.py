"""What is known of a request."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

import models.context
from models.context import Context, moved_rank

CONTEXTS = st.builds(
    Context,
    st.integers(0, 2**32 - 1),
    st.integers(-1, 10**12),
    st.floats(0, 10, width=32),
    st.lists(st.integers(0, 2**64 - 1), max_size=6, unique=True).map(tuple),
)


def test_the_examples_hold() -> None:
    """The docstrings' examples are true."""
    assert doctest.testmod(models.context).failed == 0


@given(CONTEXTS)
def test_a_context_is_logged_whole(context: Context) -> None:
    """decode(encode(context)) == context."""
    assert Context.decode(context.encode()) == context


def test_the_running_rank_moves_towards_what_was_taken() -> None:
    """A well-ranked choice lowers it."""
    assert moved_rank(2.0, 0) < 2.0 < moved_rank(2.0, 100)
