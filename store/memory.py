"""The store in this process's memory: for tests, evaluation and the oracle that rebuilds are compared with."""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Mapping, Sequence

from config.keys import Slot
from store.base import Names, Range, checked_growth, each, laid

BUCKET_BITS = 16
"""Timers are kept sorted within buckets of 65.5 s, so that one more costs little however many there are."""


class Timers:
    """Deadlines of one slot in (deadline, member) order."""

    def __init__(self) -> None:
        self.deadlines: dict[bytes, int] = {}
        self._buckets: dict[int, list[tuple[int, bytes]]] = {}
        self._order: list[int] = []

    def set(self, member: bytes, deadline: int | None) -> None:
        """Sets, moves or (None) removes the deadline of `member`."""
        old = self.deadlines.get(member)
        if old == deadline:
            return
        if old is not None:
            self._drop(old, member)
        if deadline is None:
            del self.deadlines[member]
            return
        self.deadlines[member] = deadline
        number = deadline >> BUCKET_BITS
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = []
            insort(self._order, number)
        insort(bucket, (deadline, member))

    def _drop(self, deadline: int, member: bytes) -> None:
        number = deadline >> BUCKET_BITS
        bucket = self._buckets[number]
        del bucket[bisect_right(bucket, (deadline, member)) - 1]
        if not bucket:
            del self._buckets[number]
            del self._order[bisect_right(self._order, number) - 1]

    def first(self, limit: int, after: tuple[int, bytes] | None) -> list[tuple[int, bytes]]:
        """The first `limit` beyond `after`."""
        found: list[tuple[int, bytes]] = []
        start = 0 if after is None else max(bisect_right(self._order, after[0] >> BUCKET_BITS) - 1, 0)
        for place in range(start, len(self._order)):
            bucket = self._buckets[self._order[place]]
            begin = 0 if after is None else bisect_right(bucket, after)
            found += bucket[begin : begin + limit - len(found)]
            if len(found) >= limit:
                break
        return found


class MemoryStore:
    """A dictionary. A caller gets and gives immutable bytes, so nothing is copied.

    `values` and `timers` are public: a test looks into them, and sets them to put the store back to an older state.
    """

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.timers: dict[bytes, Timers] = {}
        self.round_trips = 0

    async def read(self, keys: Sequence[bytes], ranges: Sequence[Range] = ()) -> list[bytes | None]:
        self.round_trips += 1
        get = self.values.get
        values: list[bytes | None] = [get(key) for key in keys]
        if ranges:
            values += [get(key, b"")[first : last + 1] or None for key, first, last in ranges]
        return values

    async def table(self, keys: Names, size: int) -> bytes:
        return laid(await self.read(each(keys)), size)

    async def commit(
        self,
        slot: Slot,
        expected: bytes | None,
        checkpoint: bytes,
        values: Mapping[bytes, bytes | None],
        timers: Mapping[bytes, int | None] | None = None,
    ) -> bool:
        checked_growth(expected, checkpoint)
        held = self.values
        if held.get(slot.checkpoint) != expected:
            return False
        for key, value in values.items():
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
        held[slot.checkpoint] = checkpoint
        if timers:
            index = self.timers.get(slot.timers)
            if index is None:
                index = self.timers[slot.timers] = Timers()
            for member, deadline in timers.items():
                index.set(member, deadline)
            if not index.deadlines:
                del self.timers[slot.timers]
        return True

    async def due(self, slot: Slot, limit: int, after: tuple[int, bytes] | None = None) -> list[tuple[int, bytes]]:
        index = self.timers.get(slot.timers)
        return [] if index is None or limit <= 0 else index.first(limit, after)

    async def put(self, key: bytes, value: bytes | None, expected: bytes | None = None, check: bool = False) -> bool:
        if check and self.values.get(key) != expected:
            return False
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value
        return True

    async def scan(self, pattern: bytes) -> AsyncIterator[bytes]:
        matches = glob(pattern).fullmatch
        for key in [*self.values, *self.timers]:
            if matches(key):
                yield key

    async def delete(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.values.pop(key, None)
            self.timers.pop(key, None)

    async def ping(self) -> None:
        """Memory always answers."""

    async def close(self) -> None:
        """Nothing to let go of: the values stay, as a server's would."""


def glob(pattern: bytes) -> re.Pattern[bytes]:
    """Redis's glob as a regular expression: ``* ? [a-z] [^a]`` and a backslash before what is meant literally."""
    out, place = b"", 0
    while place < len(pattern):
        one = pattern[place : place + 1]
        place += 1
        if one == b"*":
            out += b".*"
        elif one == b"?":
            out += b"."
        elif one == b"[" and (end := pattern.find(b"]", place)) > place:
            out += b"[" + pattern[place:end] + b"]"
            place = end + 1
        else:
            if one == b"\\" and place < len(pattern):
                one = pattern[place : place + 1]
                place += 1
            out += re.escape(one)
    return re.compile(out, re.DOTALL)
