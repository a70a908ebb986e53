"""What time it is for a feed, and for what the API appends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.clock import StreamClock, partition_state
from store.layout import PartitionState, encode_partition

DAY = 86_400_000


def clock(wall_ms: int) -> StreamClock:
    return StreamClock(lambda: wall_ms / 1000.0, live_s=10.0)


def test_a_live_stream_stamps_with_the_time_of_appending() -> None:
    """However long it was quiet: an erasure covers what is on its way, a slate does not end before it is seen."""
    now = clock(100 * DAY)
    now.read([encode_partition(PartitionState(clock=99 * DAY, appended=99 * DAY + 500))])
    assert (now.now, now.stamp()) == (99 * DAY, 100 * DAY)


def test_a_replay_stamps_in_its_own_time() -> None:
    now = clock(100 * DAY)
    now.read([encode_partition(PartitionState(clock=5 * DAY, appended=100 * DAY))])
    assert (now.now, now.stamp()) == (5 * DAY, 5 * DAY)


def test_an_empty_stream_is_live() -> None:
    assert clock(100 * DAY).stamp() == 100 * DAY


@given(st.lists(st.tuples(st.integers(0, 10 * DAY), st.integers(0, 10 * DAY))))
def test_the_clock_never_goes_back(states: list[tuple[int, int]]) -> None:
    now = clock(0)
    before = 0
    for at, appended in states:
        now.saw(at, appended)
        assert now.now >= before
        assert now.stamp() >= now.now
        before = now.now


@given(st.binary(max_size=40))
def test_a_state_that_cannot_be_read_is_none(value: bytes) -> None:
    found = partition_state(value)
    assert found is None or isinstance(found, PartitionState)
