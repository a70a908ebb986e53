"""What time it is, for a feed: the stream's, never the wall's.

The clock of a partition is the highest effective time it has applied. The highest of all partitions is *now* for whatever reads the
state: ages, decays, windows. A replayed log stays in its own time.

What the API itself appends (`served`, settings, forget, erase) needs an effective time of its own. By the contract's rule that is at
most its append time; so in a stream that is live (append times close to effective times, or nothing in it yet) it is the time of
appending, which lies after everything that happened before, however quiet the stream was: an erasure covers what is still on its way,
and a slate served after a silent night does not end before it is seen. In a replay it is the stream's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from store.layout import PartitionState, decode_partition


class StreamClock:
    """The newest times seen in the store; only ever moves forward.

    Parameters
    ----------
    wall
        seconds since the epoch; injected, so that tests and evaluation have their own
    live_s
        how far append times may be ahead of effective times in a stream that counts as live
    """

    def __init__(self, wall: Callable[[], float], live_s: float) -> None:
        self.wall, self.live_ms = wall, live_s * 1000.0
        self.now = 0
        """epoch ms; 0 before anything was applied"""
        self.appended = 0

    def saw(self, clock: int, appended: int) -> None:
        if clock > self.now:
            self.now = clock
        if appended > self.appended:
            self.appended = appended

    def read(self, values: Iterable[bytes | None]) -> None:
        """Partitions' own parts, as they stand in the store."""
        for value in values:
            state = partition_state(value)
            if state is not None:
                self.saw(state.clock, state.appended)

    @property
    def live(self) -> bool:
        return self.appended - self.now < self.live_ms

    def stamp(self) -> int:
        """Effective time of what is appended now."""
        return max(self.now, int(self.wall() * 1000.0)) if self.live else self.now


def partition_state(value: bytes | None) -> PartitionState | None:
    """None for a partition that has no state yet, or one of another version."""
    if value is None:
        return None
    try:
        return decode_partition(value)
    except msgspec.DecodeError:
        return None
