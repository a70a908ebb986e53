"""The records of a fetch, made as the owners want them, as far as the log is whole.

aiokafka makes a frozen dataclass of eleven fields for every record, which costs more than the folding of some. Its walk over the batches
(checksums, aborted transactions, control records) is kept; only the last step is another one.

A broker may show a batch before the one in front of it: the embedded one gives two producers their offsets first and stores their batches
afterwards. To a reader that looks like offsets that do not exist (compaction leaves such), and what it passes over is never read again. So a fetch
ends where its batches do not follow each other, the rest is fetched again, and a hole is believed when it has been seen for `BELIEVED_S`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import structlog
from aiokafka.record.default_records import DefaultRecordBatch

from streams.stage import Record

log = structlog.get_logger("upwell.unpack")

LOG_APPEND_TIME = 1
"""A record's time stamp is the broker's."""

BELIEVED_S = 2.0
"""How long offsets must be missing between two batches before they are taken not to exist: far longer than a broker needs to store a batch."""

new = tuple.__new__
"""A named tuple's own constructor takes twice as long."""

Holes = dict[int, float]
"""First missing offset -> when it was first seen to be missing, monotonic seconds."""


class Following:
    """The batches of one fetch up to the first hole that is not believed; stands where aiokafka's `MemoryRecords` stood."""

    def __init__(self, batches: Any, offset: int, holes: Holes, name: str) -> None:
        """`offset`: where the fetch began. `holes`: of this partition, kept from fetch to fetch."""
        self.batches, self.offset, self.holes, self.name = batches, offset, holes, name
        self.ahead: Any = None
        for passed in [hole for hole in holes if hole < offset]:
            del holes[passed]

    def has_next(self) -> bool:
        if self.ahead is None and self.batches is not None:
            self.look_ahead()
        return self.ahead is not None

    def next_batch(self) -> Any:
        batch = self.ahead if self.has_next() else None
        self.ahead = None
        return batch

    def look_ahead(self) -> None:
        batch = self.batches.next_batch() if self.batches.has_next() else None
        if batch is None:
            self.batches = None
            return
        # Formats before the second do not say where a batch begins.
        if isinstance(batch, DefaultRecordBatch):
            if batch.base_offset > self.offset and not self.believed(self.offset, batch.base_offset):
                self.note_the_rest(batch)
                self.batches = None
                return
            self.offset = batch.next_offset
        self.ahead = batch

    def believed(self, offset: int, follows: int) -> bool:
        now = time.monotonic()
        first = self.holes.setdefault(offset, now)
        if first == now:
            log.info("hole", log=self.name, offset=offset, follows=follows)
        return now - first >= BELIEVED_S

    def note_the_rest(self, batch: Any) -> None:
        """All holes of a fetch are waited for at once: a log that was compacted has many."""
        now = time.monotonic()
        while batch is not None:
            end = batch.next_offset
            batch = self.batches.next_batch() if self.batches.has_next() else None
            if isinstance(batch, DefaultRecordBatch) and batch.base_offset > end:
                self.holes.setdefault(end, now)


class Whole(OrderedDict[Any, Any]):
    """Topic partition -> what was fetched of it and not taken yet: a fetcher's own table, in which each result ends at the first hole."""

    def __init__(self) -> None:
        super().__init__()
        self.holes: dict[Any, Holes] = {}

    def __setitem__(self, tp: Any, result: Any) -> None:
        records = getattr(result, "_partition_records", None)
        if records is not None:
            self.prepare(tp, records)
        super().__setitem__(tp, result)

    def prepare(self, tp: Any, records: Any) -> None:
        holes = self.holes.setdefault(tp, {})
        records._records = Following(records._records, records.next_fetch_offset, holes, f"{tp.topic}/{tp.partition}")


class Fetched(Whole):
    """And in which each result learns how to make records."""

    def prepare(self, tp: Any, records: Any) -> None:
        super().prepare(tp, records)
        records._consumer_record = maker(tp.topic, tp.partition)


def maker(topic: str, partition: int) -> Callable[[Any, Any], Record]:
    """How records of one fetch are made: short name of the topic, and the time of reading where the broker does not stamp."""
    name, read_at = topic.rpartition(".")[2], int(time.time() * 1000)

    def record(_: Any, r: Any) -> Record:
        stamp = r.timestamp if r.timestamp_type == LOG_APPEND_TIME else read_at
        return new(Record, (name, partition, r.offset, stamp, r.key, r.value, tuple(r.headers)))

    return record
