"""aiokafka, brought to read header names that are no UTF-8 (`config/lenient.py`): one such record would stop every consumer of its
partition for good. A batch is read as ever, and only when that raises once more, in Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

from config.lenient import Lenient


class Batch:
    """A batch of aiokafka's, which iterates whatever its headers are."""

    def __init__(self, batch: Any, raw: bytes, place: int) -> None:
        self.batch, self.raw, self.place = batch, raw, place

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batch, name)

    def __next__(self) -> Any:
        return next(self.batch)

    def __iter__(self) -> Iterator[Any]:
        given = 0
        try:
            for record in self.batch:
                yield record
                given += 1
        except UnicodeDecodeError:
            yield from islice(lenient(self.raw, self.place), given, None)


def lenient(raw: bytes, place: int) -> Iterator[Any]:
    """Records of the batch at `place` of a fetched partition."""
    records = _MemoryRecordsPy(raw)
    for _ in range(place):
        records.next_batch()
    data: Any = records._next_slice
    batch = _DefaultRecordBatchPy(data)
    batch._maybe_uncompress()
    batch._buffer = Lenient(batch._buffer)
    return iter(batch)


class Records:
    """What a fetch brought of a partition, batch by batch; aiokafka's `MemoryRecords`, with `Batch` for its batches."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.native, self.place = raw, MemoryRecords(raw), 0
        self.has_next, self.size_in_bytes = self.native.has_next, self.native.size_in_bytes

    def next_batch(self) -> Batch | None:
        batch = self.native.next_batch()
        self.place += 1
        return None if batch is None else Batch(batch, self.raw, self.place - 1)


def read_leniently() -> None:
    """From now on every consumer of this process."""
    fetcher.MemoryRecords = Records
