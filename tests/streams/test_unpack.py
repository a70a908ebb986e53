"""A reader is never handed what follows on a record that it was not handed, whatever a broker shows first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from streams import unpack
from streams.unpack import BELIEVED_S, Fetched, Whole

TP = TopicPartition("upwell.by-user", 0)


def batch(first: int, count: int) -> bytes:
    """As a broker stores it: its place is written over what the producer sent."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=100_000
    )
    for i in range(count):
        builder.append(i, timestamp=1_700_000_000_000, key=None, value=b"%d" % (first + i), headers=[])
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


def fetched(table: Whole, batches: Sequence[bytes], offset: int) -> tuple[list[Any], int]:
    """What a fetch from `offset` hands over of what the broker shows, and where the next one begins."""
    records = PartitionRecords(TP, MemoryRecords(b"".join(batches)), [], offset, None, None, True, 0)
    table[TP] = SimpleNamespace(_partition_records=records)
    return list(records), records.next_fetch_offset


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.data())
def test_batches_that_show_in_any_order_are_handed_over_in_that_of_the_log(counts: list[int], data: st.DataObject) -> None:
    """Nothing is passed over, nothing comes twice."""
    firsts = [sum(counts[:i]) for i in range(len(counts))]
    log = [batch(first, count) for first, count in zip(firsts, counts, strict=True)]
    shown: set[int] = set()
    table, at, read = Fetched(), 0, []
    for i in data.draw(st.permutations(range(len(log)))):
        shown.add(i)
        records, at = fetched(table, [log[j] for j in sorted(shown) if firsts[j] + counts[j] > at], at)
        read += records
        assert [record.offset for record in read] == list(range(at))
    assert [record.value for record in read] == [b"%d" % n for n in range(sum(counts))]


def test_a_fetch_that_begins_within_a_batch_has_no_hole() -> None:
    records, at = fetched(Fetched(), [batch(10, 5), batch(15, 1)], 12)
    assert ([record.offset for record in records], at) == ([12, 13, 14, 15], 16)


def test_holes_that_stay_are_believed_after_a_while_all_at_once(monkeypatch: Any) -> None:
    """Those of a log that was compacted, say: of all in one fetch together, or reading it would take for ever."""
    now = 100.0
    monkeypatch.setattr(unpack, "time", SimpleNamespace(time=time.time, monotonic=lambda: now))
    table, log = Whole(), [batch(0, 2), batch(5, 1), batch(8, 1)]
    records, at = fetched(table, log, 0)
    assert ([record.offset for record in records], at) == ([0, 1], 2)
    now += BELIEVED_S / 2
    assert fetched(table, log[1:], 2) == ([], 2)
    now += BELIEVED_S / 2
    records, at = fetched(table, log[1:], 2)
    assert ([record.offset for record in records], at) == ([5, 8], 9)
    assert fetched(table, [], 9) == ([], 9)
    assert fetched(table, [batch(9, 1)], 9)[1] == 10
    assert table.holes[TP] == {}


def test_records_without_a_stamp_of_the_broker_bear_the_time_of_reading(monkeypatch: Any) -> None:
    monkeypatch.setattr(unpack, "time", SimpleNamespace(time=lambda: 5.0, monotonic=lambda: 0.0))
    (record,), _ = fetched(Fetched(), [batch(0, 1)], 0)
    assert (record.topic, record.timestamp, record.value) == ("by-user", 5_000, b"0")
