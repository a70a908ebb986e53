"""Frames out of Faust: what one fetch brought for a partition is handed over as one message.

Faust moves about 12 thousand messages a second through its conductor, and half a million when a message is a frame. Everything else stays
Faust's: group membership, assignment, rebalancing, supervision. The consumer thread is the one place that changes:

- `_fetch_records` wraps what the fetcher returned into frames, of those partitions only whose owner stands where the store stands and has
  room: a partition that waits for its store holds up no other;
- `seek_to_committed` tells the app what is assigned, and returns at once: each partition's owner reads its checkpoint and seeks by itself.
  Faust calls it during every rebalance, also twice at a time, and gives up for good when it takes 90 seconds: it may not wait for a store;
- offsets are committed to Kafka by `commit_checkpoints`, for operators' tools only; nothing here ever reads them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import structlog
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.stage import Record
from streams.unpack import LOG_APPEND_TIME, Fetched

log = structlog.get_logger("upwell.transport")

ENDS_S = 5.0
"""What asking for the logs' ends may take; it is asked once a second."""


class Frame(NamedTuple):
    """Records of one partition that follow each other in the log."""

    start: int | None
    """where reading stood before: records from here to `end` that are not in the frame do not exist (compaction, transaction markers)"""
    end: int
    epoch: int
    """seeks of this partition before it: a frame fetched before a seek says nothing about what follows"""
    records: list[Record]
    highwater: int


class LogBounds(NamedTuple):
    start: int
    end: int


Assigned = Callable[[Iterable[TP]], None]

Busy = Callable[[TP], bool]

LOOK_AGAIN_S = 0.02
"""How long a fetch waits at most while a partition is left out of it."""


class FrameConsumerThread(driver.AIOKafkaConsumerThread):
    """The consumer thread that hands over frames and starts where the store stands."""

    assigned: Assigned
    busy: Busy
    fetch_wait_ms = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        self.starts: dict[TP, int] = {}
        self.epochs: dict[TP, int] = {}
        self.sought: set[TP] = set()

    async def on_start(self) -> None:
        await super().on_start()
        fetcher = self._ensure_consumer()._fetcher
        # The driver fixes 1500 ms; how long a waiting fetch may be held is a setting.
        fetcher._fetch_max_wait_ms = self.fetch_wait_ms
        fetcher._records = Fetched()

    async def _fetch_records(self, consumer: Any, active_partitions: Any, timeout: Any = None, max_records: Any = None) -> Any:
        ready = {tp for tp in active_partitions if TP(tp.topic, tp.partition) in self.sought and not self.busy(TP(tp.topic, tp.partition))}
        if not ready:
            await asyncio.sleep(LOOK_AGAIN_S)
            return {}
        if len(ready) < len(active_partitions):
            timeout = LOOK_AGAIN_S
        try:
            fetched = await super()._fetch_records(consumer, ready, timeout=timeout, max_records=max_records)
        except KafkaError as error:
            # Of a partition that a rebalance has just taken or given (no offset, out of range): its owner's next seek sets it right.
            log.warning("fetch failed", error=repr(error))
            await asyncio.sleep(LOOK_AGAIN_S)
            return {}
        return {tp: [self.frame(tp, records)] for tp, records in fetched.items() if records}

    def frame(self, tp: Any, records: list[Record]) -> Carrier:
        """One message that carries them all, at the offset of the last."""
        tp = TP(tp.topic, tp.partition)
        end = records[-1].offset + 1
        frame = Frame(self.starts.get(tp), end, self.epochs.get(tp, 0), records, self.highwater(tp) or end)
        self.starts[tp] = end
        return Carrier(tp, records[-1], frame)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Where the store stands is where reading resumes: the owners will seek there."""
        await self.call_thread(self.forget_seeks)
        self.assigned({TP(tp.topic, tp.partition) for tp in self.assignment()})
        return {}

    async def forget_seeks(self) -> None:
        self.sought.clear()

    async def rewind(self, tp: TP, offset: int) -> int | None:
        """Read on from `offset`; the epoch of the frames that will follow, None while the partition is not ours."""

        async def go() -> int | None:
            try:
                self._ensure_consumer().seek(driver.ensure_aiokafka_TP(tp), offset)
            except IllegalStateError:
                return None
            self.starts[tp] = offset
            self.epochs[tp] = epoch = self.epochs.get(tp, 0) + 1
            self.sought.add(tp)
            return epoch

        return await self.call_thread(go)

    async def bounds(self, tp: TP) -> LogBounds:
        """The log's first offset and its end."""

        async def go() -> LogBounds:
            consumer, ours = self._ensure_consumer(), driver.ensure_aiokafka_TP(tp)
            start = (await consumer.beginning_offsets([ours]))[ours]
            end = (await consumer.end_offsets([ours]))[ours]
            return LogBounds(start, end)

        return await self.call_thread(go)

    async def ends(self, tps: Iterable[TP]) -> Mapping[TP, int]:
        """Where the logs end. Raises `KafkaError`, `TimeoutError`."""
        asked = [driver.ensure_aiokafka_TP(tp) for tp in tps]

        async def go() -> Mapping[TP, int]:
            async with asyncio.timeout(ENDS_S):
                found = await self._ensure_consumer().end_offsets(asked)
            return {TP(tp.topic, tp.partition): end for tp, end in found.items()}

        return await self.call_thread(go)

    async def commit_checkpoints(self, offsets: Mapping[TP, int]) -> None:
        """For the lag tools of operators. A commit that fails is tried again with the next one."""

        async def go() -> None:
            mine = {TP(tp.topic, tp.partition) for tp in self.assignment()}
            kept = {driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if tp in mine}
            if kept:
                try:
                    await self._ensure_consumer().commit(kept)
                except (KafkaError, AssertionError) as error:
                    log.debug("offsets not committed", error=str(error))

        await self.call_thread(go)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's watchdog over its own commits; ours are the store's."""

    def verify_recovery_event_path(self, now: float, tp: TP) -> None: ...


class Carrier:
    """What the driver takes for a record: the frame as its value."""

    __slots__ = ("checksum", "headers", "key", "offset", "partition", "serialized_key_size", "serialized_value_size", "timestamp", "timestamp_type", "topic", "value")  # fmt: skip

    def __init__(self, tp: TP, last: Record, frame: Frame) -> None:
        self.topic, self.partition, self.offset = (tp.topic, tp.partition, last.offset)
        self.timestamp, self.timestamp_type = last.timestamp, LOG_APPEND_TIME
        self.headers, self.key, self.value, self.checksum = (), None, frame, None
        self.serialized_key_size = self.serialized_value_size = 0


class Unread(dict[TP, int | None]):
    """Faust drops what lies before the last message it read, and so what is read again after a seek; owners know better."""

    def __getitem__(self, tp: TP) -> int | None:
        return None


class FrameConsumer(driver.Consumer):
    """Consumer whose thread makes frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._read_offset = Unread()

    def _new_consumer_thread(self) -> FrameConsumerThread:
        thread = FrameConsumerThread(self, loop=self.loop, beacon=self.beacon)
        app: Any = self.app
        thread.assigned, thread.busy = app.assigned, app.busy
        thread.fetch_wait_ms = app.fetch_wait_ms
        return thread


class FrameTransport(driver.Transport):
    """`kafka://` names the stock driver; an app takes any transport object."""

    Consumer = FrameConsumer
