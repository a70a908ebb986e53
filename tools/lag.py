"""How far each stage stands behind its log: `upwell lag`.

The truth is the checkpoint in the store. Kafka's committed offset is told beside it, since operators' own tools show that one. Where a log ends is
what a fetch says (its high watermark), since the embedded broker's answer to the question for offsets falls short by the last batch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from config.settings import Settings
from config.topics import STAGES, full, group
from store import manifest as manifests
from store.base import Store
from store.lag import Input, inputs, stages, standing
from store.open import open_store
from store.workers import Present, present
from tools import broker
from tools.broker import Place
from tools.mistake import Mistake

READ_S = 5.0
"""How long ends and the ages of the oldest unapplied records are looked for."""

OWNER_S = 20.0
"""A worker that said nothing for so long owns nothing."""


class Lag(NamedTuple):
    """One partition of one stage's input."""

    stage: str
    topic: str
    partition: int
    end: int
    checkpoint: int | None
    committed: int | None
    records: int
    seconds: float
    """age of the oldest unapplied record; 0 when there is none"""
    owner: str = ""
    """host:pid of the worker that says it has the partition"""
    rate: float = 0.0
    """records applied a second, while this was measured"""

    @property
    def drain(self) -> float | None:
        """Seconds until all is applied at this rate, if nothing came any more; None when nothing moves."""
        return 0.0 if not self.records else self.records / self.rate if self.rate > 0 else None


class Applied(NamedTuple):
    """What the store says, at one moment."""

    at: float
    offsets: dict[tuple[str, Place], int]
    owners: dict[tuple[str, Place], str]


async def applied(store: Store, prefix: str) -> Applied:
    """Raises `Mistake` without a manifest."""
    manifest = await manifests.load(store, prefix)
    if manifest is None:
        raise Mistake(f"the store knows no system {prefix!r}: start `upwell worker` first, or check UPWELL_REDIS and UPWELL_KAFKA__PREFIX")
    every = list(inputs(manifest))
    values = await store.read([one.slot.checkpoint for one in every])
    offsets = {place_of(one): standing(value, None).offset for one, value in zip(every, values, strict=True)}
    known = {place: offset for place, offset in offsets.items() if offset is not None}
    now = time.time()
    return Applied(now, known, owners(await present(store, prefix), now))


def place_of(one: Input) -> tuple[str, Place]:
    return one.stage, Place(one.topic, one.partition)


def owners(lines: Sequence[Present], now: float) -> dict[tuple[str, Place], str]:
    """Who says it has which partition; pure."""
    found = {}
    for line in lines:
        if now - line.at <= OWNER_S:
            for stage, partitions in line.partitions.items():
                for partition in partitions:
                    found[stage, Place(STAGES[stage][0], partition)] = f"{line.host}:{line.pid}"
    return found


async def measure(settings: Settings) -> list[Lag]:
    """Lag of every partition, in the order of the stages."""
    store = open_store(settings)
    try:
        before = await applied(store, settings.kafka.prefix)
        logs = asked(settings, before.offsets)
        after = await applied(store, settings.kafka.prefix)
    finally:
        await store.close()
    return rows(logs, before, after)


class Log(NamedTuple):
    """What the broker says of one input of one stage."""

    start: int
    end: int
    committed: int | None
    appended: float | None
    """append time (epoch seconds) of the record at the checkpoint; None where there is none, or it was not read in time"""


def rows(logs: Mapping[tuple[str, Place], Log], before: Applied, after: Applied) -> list[Lag]:
    """Both sides together; pure. What was appended since the broker was asked is not behind; where a partition moved meanwhile, the age is that
    of the record it stood at before: at least the true one."""
    found = []
    for (stage, place), log in logs.items():
        stood, checkpoint = before.offsets.get((stage, place), log.start), after.offsets.get((stage, place))
        records = max(0, log.end - max(checkpoint or 0, log.start))
        seconds = max(0.0, after.at - log.appended) if records and log.appended is not None else 0.0
        moved = (log.start if checkpoint is None else checkpoint) - stood
        rate = max(0.0, moved / (after.at - before.at)) if after.at > before.at else 0.0
        owner = after.owners.get((stage, place), after.owners.get((stage, Place(STAGES[stage][0], place.partition)), ""))
        found.append(Lag(stage, *place, log.end, checkpoint, log.committed, records, seconds, owner, rate))
    return found


def asked(settings: Settings, offsets: Mapping[tuple[str, Place], int]) -> dict[tuple[str, Place], Log]:
    """What the broker says about logs that are applied up to `offsets`."""
    # Ends come with answers to fetches; those at the end of a log are held for as long as this.
    kafka = msgspec.structs.replace(settings.kafka, fetch_wait_ms=50)
    names = stages()
    # One record of each partition is asked for, not a megabyte.
    with broker.consumer(kafka, max_partition_fetch_bytes=65_536, auto_offset_reset="earliest") as consumer:
        logs = broker.places(consumer, kafka, sorted({topic for stage in names for topic in STAGES[stage]}))
        readers = {(stage, place): tp for stage in names for tp, place in logs.items() if place.topic in STAGES[stage]}
        starts, ends = consumer.beginning_offsets(list(logs)), consumer.end_offsets(list(logs))
        committed = committed_offsets(settings)
        # A log has one reader, so one place to look at.
        at = {tp: max(offsets.get(reader, 0), starts[tp]) for reader, tp in readers.items()}
        times, marks = oldest(consumer, at)
        return {
            reader: Log(starts[tp], max(ends[tp], marks.get(tp, 0)), committed.get(reader), times.get(tp))
            for reader, tp in readers.items()
        }  # fmt: skip


def oldest(consumer: KafkaConsumer, at: Mapping[TopicPartition, int]) -> tuple[dict[TopicPartition, float], dict[TopicPartition, int]]:
    """Append time of the record at each offset, and high watermarks, as far as the broker answers in time."""
    consumer.assign(list(at))
    for tp, offset in at.items():
        consumer.seek(tp, offset)
    times: dict[TopicPartition, float] = {}
    marks: dict[TopicPartition, int] = {}
    deadline = time.monotonic() + READ_S
    while time.monotonic() < deadline:
        for tp, records in consumer.poll(100, max_records=500).items():
            times.setdefault(tp, records[0].timestamp / 1000)
            consumer.pause(tp)
        for tp in at.keys() - marks.keys():
            mark = consumer.highwater(tp)
            if mark is not None:
                marks[tp] = mark
                if mark <= at[tp]:
                    consumer.pause(tp)
        if all(tp in marks and (tp in times or marks[tp] <= offset) for tp, offset in at.items()):
            break
    return times, marks


def committed_offsets(settings: Settings) -> dict[tuple[str, Place], int]:
    """What the groups committed to Kafka; empty where the broker does not tell."""
    prefix, found = settings.kafka.prefix, {}
    with broker.admin(settings.kafka) as admin:
        for stage in stages():
            name, topics = group(prefix, stage), STAGES[stage]
            try:
                offsets = admin.list_group_offsets({name: None})[name]
            except (KafkaError, KeyError, ValueError, TypeError):
                continue
            short = {full(prefix, topic): topic for topic in topics}
            for tp, offset in offsets.items():
                if tp.topic in short and offset.offset >= 0:
                    found[stage, Place(short[tp.topic], tp.partition)] = offset.offset
    return found


def worst(rows: list[Lag]) -> float:
    return max((row.seconds for row in rows), default=0.0)


def by_stage(rows: list[Lag]) -> list[tuple[str, str, int, int, float]]:
    """(stage, topic, partitions, records, seconds), summed over partitions."""
    sums: dict[tuple[str, str], tuple[int, int, float]] = {}
    for row in rows:
        count, records, seconds = sums.get((row.stage, row.topic), (0, 0, 0.0))
        sums[row.stage, row.topic] = (count + 1, records + row.records, max(seconds, row.seconds))
    return [(*place, *values) for place, values in sums.items()]
