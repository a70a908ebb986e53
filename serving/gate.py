"""How much is answered at once, so that what is accepted is answered soon; the rest is told to come back.

A request that waits behind too many others is served late, and so are all behind it: past capacity every answer is late, and none is gained.
So a gate lets in only so many. How many is right depends on what they wait for. Where it is this process's own time, each one more makes all
others slower by its share, and the bound is small: `least`. Where they wait for somebody else (a broker that acknowledges late, a distant
store), the process has time for more, and the bound grows to `most` while it does. `Pulse` tells which it is: it looks how late a
timer fires, which is how long anything waits for this process, and how much of the time the process was at work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

PULSE_S = 0.02
LATE_S = 0.004
"""A timer that fires so much later on average: the process has no time to spare."""
BUSY = 0.85
"""Nor has it when it was at work for this share of the time."""


class Gate:
    """Counts what is under way.

    Parameters
    ----------
    least, most
        the bound's own bounds
    """

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, max(least, most)
        self.bound = float(least)
        self.inside = self.aside = 0
        """at work; waiting for something that is not work"""
        self.touched = False
        """the bound was reached since the last look"""

    def enter(self) -> bool:
        """Whether one more may come in; then `leave` follows."""
        if self.inside + 1 >= self.bound:
            self.touched = True
        if self.inside >= int(self.bound) or self.inside + self.aside >= self.most:
            return False
        self.inside += 1
        return True

    def leave(self) -> None:
        self.inside -= 1

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For a request inside that only waits now (`after=`): another may use its place."""
        self.inside -= 1
        self.aside += 1
        try:
            yield
        finally:
            self.inside += 1
            self.aside -= 1

    def adjust(self, busy: bool) -> None:
        """After a look: back towards `least` while there is no time to spare, else up if the bound was what kept requests out."""
        if busy:
            self.bound = max(float(self.least), self.bound * 0.7)
        elif self.touched:
            self.bound = min(float(self.most), self.bound * 1.2 + 1.0)
        self.touched = False


class Bodies:
    """Bytes of request bodies that may lie in memory, of all requests together."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def take(self, size: int) -> bool:
        """Whether there is room; then `give` back as much."""
        if self.held + size > self.most:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        self.held -= size


class Pulse:
    """Looks whether this process has time to spare, and adjusts the gates."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = gates
        self.late = 0.0
        """smoothed, seconds"""

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            began, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(PULSE_S)
            busy = self.busy(time.perf_counter() - began, time.thread_time() - worked)
            for gate in self.gates:
                gate.adjust(busy)

    def busy(self, took: float, worked: float) -> bool:
        """Whether there was no time to spare: a sleep of `PULSE_S` took `took` seconds, for `worked` of which this thread was at work."""
        self.late += 0.3 * (max(0.0, took - PULSE_S) - self.late)
        return self.late > LATE_S or worked / took > BUSY
