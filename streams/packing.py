"""What a fold tells, gathered by the partitions that will read it, and packed: a record for each of them holds all that a piece tells it.

A record carries the range of its source that it speaks of; its reader's mark moves there, and drops what comes again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from config.records import (
    MAX_BYTES,
    MAX_SIGNALS,
    VERSION,
    ExampleRecord,
    ListRecord,
    NoteRecord,
    PairRecord,
    Position,
    Source,
    UserRecord,
    encode,
)
from streams.dead import letter

if TYPE_CHECKING:
    from streams.fold import Partition

PACKED: dict[str, Any] = {
    "by-user": UserRecord,
    "by-note": NoteRecord,
    "by-list": ListRecord,
    "by-pair": PairRecord,
    "examples": ExampleRecord,
}


class Outgoing(NamedTuple):
    """One record to send. `partition` None: chosen by key."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Bucket:
    """Signals on their way to one partition of one topic, packed into records."""

    __slots__ = ("first", "partition", "places", "ready", "signals", "table", "topic")

    def __init__(self, topic: str, partition: int, first: Position) -> None:
        self.topic, self.partition, self.first = topic, partition, first
        self.ready: list[tuple[Position, Position, list[Any], list[Any]]] = []
        self.clear()

    def clear(self) -> None:
        self.signals: list[Any] = []
        self.table: list[Any] = []
        self.places: dict[Any, int] = {}

    def close(self, end: Position) -> None:
        if self.signals:
            self.ready.append((self.first, end, self.table, self.signals))
            self.clear()
        self.first = end


class Collector:
    """`stage.Out`: what the fold tells on, stamped with the step under work."""

    def __init__(self, part: Partition) -> None:
        self.part = part
        self.counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.o = 0
        """offset of the record under work, relative to the piece's base"""
        self.clear()

    def clear(self) -> None:
        self.buckets: dict[str, list[Bucket | None]] = {}
        """by topic and partition"""
        self.public: list[Outgoing] = []
        self.timers: dict[bytes, int | None] = {}

    def bucket(self, topic: str, partition: int) -> Bucket:
        """Where signals for that partition gather: a new one, or one that is full and closed between two steps."""
        part = self.part
        buckets = self.buckets.get(topic)
        if buckets is None:
            buckets = self.buckets[topic] = [None] * part.counts[topic]
        bucket = buckets[partition]
        if bucket is None:
            bucket = buckets[partition] = Bucket(topic, partition, part.piece_first)
        elif len(bucket.signals) >= MAX_SIGNALS:
            last = bucket.signals[-1]
            # A range ends between steps, so that a mark never cuts one in two.
            if (last.o, last.i, last.s) != (self.o, part.index, part.step):
                bucket.close(Position(part.offset, part.index, part.step))
        return bucket

    def tell(self, topic: str, digest: int, signal: Any, note: Any = None) -> None:
        part = self.part
        buckets = self.buckets.get(topic)
        bucket = buckets[digest % len(buckets)] if buckets is not None else None
        if bucket is None or len(bucket.signals) >= MAX_SIGNALS:
            bucket = self.bucket(topic, digest % part.counts[topic])
        signal.o, signal.i, signal.s = self.o, part.index, part.step
        if note is not None:
            name = note if type(note) is str else note.id
            place = bucket.places.get(name)
            if place is None:
                place = bucket.places[name] = len(bucket.table)
                bucket.table.append(note)
            signal.n = place
        bucket.signals.append(signal)

    def spread(self, topic: str, digests: Sequence[int], signal: Any) -> None:
        part = self.part
        signal.o, signal.i, signal.s = self.o, part.index, part.step
        count, bit = part.counts[topic], 1
        masks: dict[int, int] = {}
        for digest in digests:
            partition = digest % count
            masks[partition] = masks.get(partition, 0) | bit
            bit <<= 1
        for partition, mask in masks.items():
            copied = copy(signal)
            copied.m = mask
            self.bucket(topic, partition).signals.append(copied)

    def everywhere(self, topic: str, signal: Any) -> None:
        part = self.part
        signal.o, signal.i, signal.s = self.o, part.index, part.step
        for partition in range(part.counts[topic]):
            self.bucket(topic, partition).signals.append(signal)

    def publish(self, topic: str, key: bytes, value: bytes) -> None:
        self.public.append(Outgoing(topic, None, key, value))

    def dead(self, reason: str, message: str, index: int | None = None, step: int | None = None) -> None:
        part = self.part
        assert part.record is not None
        key, value, headers = letter(part.record, part.source.topic, part.index if index is None else index, reason, message)
        if step is not None:
            headers = (*headers, ("step", b"%d" % step))
        self.public.append(Outgoing("dead", None, key, value, headers))
        self.count("dead", reason)

    def timer(self, family: str, key: bytes, deadline: int | None) -> None:
        self.part.set_timer(family.encode() + b":" + key, deadline)

    def count(self, type: str, outcome: str) -> None:
        self.counts[type, outcome] += 1

    def last_told(self, topic: str, base: int) -> dict[int, tuple[int, int, int]]:
        """Partition of `topic` -> the last step of the piece that told it anything."""
        last = {}
        for bucket in self.buckets.get(topic, ()):
            if bucket is not None and (signals := bucket.signals or (bucket.ready[-1][3] if bucket.ready else [])):
                last[bucket.partition] = (base + signals[-1].o, signals[-1].i, signals[-1].s)
        return last

    def packed(self, source: Source, base: int, end: Position, appended: int) -> list[Outgoing]:
        """All records of the piece, whole."""
        out = self.public
        for buckets in self.buckets.values():
            for bucket in buckets:
                if bucket is None:
                    continue
                bucket.close(end)
                for first, last, table, signals in bucket.ready:
                    out.extend(pack(bucket, source, base, first, last, appended, table, signals))
        return out


def pack(
    bucket: Bucket, source: Source, base: int, first: Position, end: Position, appended: int, table: list[Any], signals: list[Any]
) -> list[Outgoing]:
    """One record, or several where it would be too large: cut between steps, each with its own part of the table."""
    value = encode(PACKED[bucket.topic](VERSION, source, base, first, end, appended, table, signals))
    if len(value) > MAX_BYTES:
        middle = len(signals) // 2
        for cut in (*range(middle, len(signals)), *range(middle - 1, 0, -1)):
            before, after = signals[cut - 1], signals[cut]
            if cut and (before.o, before.i, before.s) != (after.o, after.i, after.s):
                place = Position(base + after.o, after.i, after.s)
                left, right = signals[:cut], signals[cut:]
                return [
                    *pack(bucket, source, base, first, place, appended, named(table, left), left),
                    *pack(bucket, source, base, place, end, appended, named(table, right), right),
                ]
    return [Outgoing(bucket.topic, bucket.partition, None, value)]


def named(table: list[Any], signals: list[Any]) -> list[Any]:
    """What these signals name of the table, which they name by its new place from now on."""
    places: dict[int, int] = {}
    for signal in signals if table else ():
        place = getattr(signal, "n", -1)
        if place >= 0:
            signal.n = places.setdefault(place, len(places))
    return [table[place] for place in places]
