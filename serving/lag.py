"""How far the stages stand behind their logs, as the API sees it: so that it is known when no worker lives.

    broker: where the logs end ──┐
    store: checkpoints, clocks ──┴─► gauges, and whether what is sent now is still applied

What of a log was appended before this process first looked is dated by reading one record, a few partitions at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from config import metrics
from config.headers import read_leniently
from config.security import client_security
from config.settings import Kafka, Settings
from config.topics import full
from serving.snapshot import Snapshot
from store.base import Store, StoreError
from store.lag import Input, Standing, Trail, inputs, standing

log = structlog.get_logger("serving.lag")
read_leniently()

EVERY_S = 1.0
ANSWER_S = 5.0
"""What the broker may take for one question."""
READS = 16
"""Partitions whose oldest record is read in one round."""

Place = tuple[str, int]
"""Short topic name and partition."""


class Logs(Protocol):
    """What is asked of the broker."""

    async def ends(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """Where the logs end. Raises `KafkaError`, `OSError`, `TimeoutError`."""

    async def dated(self, offsets: Mapping[Place, int]) -> Mapping[Place, float]:
        """Append time (epoch seconds) of the record at each offset, or of the first one kept; those that could be read in time."""

    async def close(self) -> None: ...


class KafkaLogs:
    """aiokafka, in no group: what is read here moves nobody's offsets."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self._consumer: AIOKafkaConsumer | None = None

    async def consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            made = AIOKafkaConsumer(
                bootstrap_servers=self.kafka.servers,
                client_id="upwell-api-lag",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                # One record of each partition is asked for, not a megabyte.
                max_partition_fetch_bytes=65_536,
                fetch_max_wait_ms=100,
                request_timeout_ms=int(ANSWER_S * 1000),
                **client_security(self.kafka),
            )
            try:
                await made.start()
            except BaseException:
                await made.stop()
                raise
            self._consumer = made
        return self._consumer

    def tp(self, place: Place) -> TopicPartition:
        return TopicPartition(full(self.kafka.prefix, place[0]), place[1])

    async def ends(self, places: Iterable[Place]) -> Mapping[Place, int]:
        async with asyncio.timeout(ANSWER_S):
            consumer = await self.consumer()
            tps = {self.tp(place): place for place in places}
            found = await consumer.end_offsets(list(tps))
        return {tps[tp]: end for tp, end in found.items()}

    async def dated(self, offsets: Mapping[Place, int]) -> Mapping[Place, float]:
        consumer = await self.consumer()
        tps = {self.tp(place): place for place in offsets}
        found: dict[Place, float] = {}
        consumer.assign(list(tps))
        try:
            for tp, place in tps.items():
                consumer.seek(tp, offsets[place])
            until = time.monotonic() + ANSWER_S / 2
            while len(found) < len(tps) and time.monotonic() < until:
                for tp, records in (await consumer.getmany(timeout_ms=200, max_records=1)).items():
                    found[tps[tp]] = records[0].timestamp / 1000
                    consumer.pause(tp)
        finally:
            consumer.unsubscribe()
        return found

    async def close(self) -> None:
        made, self._consumer = self._consumer, None
        if made is not None:
            await made.stop()


class Lag:
    """One look a second; see the module's docstring."""

    def __init__(self, settings: Settings, store: Store, snapshot: Snapshot, logs: Logs, wall: Callable[[], float] = time.time) -> None:
        self.store, self.snapshot, self.logs, self.wall = store, snapshot, logs, wall
        self.patience_s, self.stale_s = settings.redis.timeout_s, settings.api.stale_s if settings.api.probe_s > 0 else float("inf")
        self.began = wall()
        self.trails: dict[Place, Trail] = {}
        self.standings: dict[Input, Standing] = {}
        self.probed: dict[int, int] = {}
        """users partition -> sending time of the newest probe applied, epoch ms"""
        self.turn = 0
        self.rounds, self.ends_every = 0, max(1, round(settings.kafka.ends_s / EVERY_S))

    async def run(self) -> None:
        """Looks for ever."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(EVERY_S)
        finally:
            await self.logs.close()

    async def look(self) -> None:
        """One round. What does not answer is taken as it was: ages grow on."""
        keys = self.snapshot.keys
        if keys is None:
            return
        every = list(inputs(keys.manifest))
        # Ends first: what was appended while the store was read is not behind.
        if self.rounds % self.ends_every == 0:
            await self.look_at_ends([(one.topic, one.partition) for one in every])
        self.rounds += 1
        try:
            async with asyncio.timeout(self.patience_s):
                values = await self.store.read([key for one in every for key in (one.slot.checkpoint, one.slot.ledger)])
            self.standings = {one: standing(values[2 * i], values[2 * i + 1]) for i, one in enumerate(every)}
            self.probed.update({one.partition: stands.probed for one, stands in self.standings.items() if one.stage == "users"})
        except (StoreError, TimeoutError, ValueError, msgspec.DecodeError):
            pass  # the snapshot tells of it
        await self.date()
        self.export()

    async def look_at_ends(self, places: list[Place]) -> None:
        try:
            ends = await self.logs.ends(places)
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("ends not told", error=str(error))
            return
        now = self.wall()
        for place, end in ends.items():
            self.trails.setdefault(place, Trail()).saw(end, now)

    async def date(self) -> None:
        """Reads the oldest records that no trail reaches, some of them in each round."""
        now = self.wall()
        wanted = {}
        for one, stands in self.standings.items():
            trail = self.trails.get((one.topic, one.partition))
            if trail is not None and trail.age(stands.offset or 0, now) is None:
                wanted[one.topic, one.partition] = stands.offset or 0
        if not wanted:
            return
        order = list(wanted)
        self.turn = (self.turn + READS) % len(order) if len(order) > READS else 0
        chosen = (order[self.turn :] + order[: self.turn])[:READS]
        try:
            found = await self.logs.dated({place: wanted[place] for place in chosen})
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("records not dated", error=str(error))
            return
        for place, appended in found.items():
            self.trails[place].knows(wanted[place], appended)

    def export(self) -> None:
        """The gauges, and in `/readyz` whether anything is applied at all."""
        now, oldest, where = self.wall(), 0.0, ""
        for one, stands in self.standings.items():
            offset = stands.offset or 0
            trail = self.trails.get((one.topic, one.partition))
            if trail is not None:
                trail.applied(offset)
                metrics.CHECKPOINT_OFFSET.labels(*one.labels).set(offset)
                metrics.LOG_END_OFFSET.labels(*one.labels).set(max(trail.end, offset))
                metrics.LAG_RECORDS.labels(*one.labels).set(max(0, trail.end - offset))
                metrics.LAG_SECONDS.labels(*one.labels).set(trail.oldest(offset, now))
            if one.stage in ("users", "notes"):
                partition = str(one.partition)
                metrics.WATERMARK.labels(one.stage, partition).set(stands.clock / 1000)
                age = max(0.0, now - max(stands.probed / 1000, self.began))
                metrics.PROBE_AGE.labels(one.stage, partition).set(age)
                if age > oldest:
                    oldest, where = age, f"{one.stage} {partition}"
        if oldest > self.stale_s:
            self.snapshot.wrong(
                "state", f"nothing sent in the last {oldest:.0f} s is applied yet ({where}): `upwell lag` says where it waits"
            )
        else:
            self.snapshot.reasons.pop("state", None)
