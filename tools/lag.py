"""How far each stage stands behind its log: `upwell lag`.

The truth is the checkpoint in the store. Kafka's committed offset is told beside it, since operators' own tools show that one.
On the embedded broker an end offset may fall short by the last batch, so the lag there does too; it is never below zero.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from config.settings import Settings
from config.topics import STAGES, full, group
from store import manifest as manifests
from store.base import Store
from store.layout import checkpoint_from
from store.open import open_store
from tools import broker
from tools.broker import Place
from tools.mistake import Mistake

READ_S = 5.0
"""How long the ages of the oldest unapplied records are looked for."""


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


def stages() -> list[str]:
    """Stages that this version has. Found without `streams.engine`, which would bring all of Faust along."""
    return [name for name in STAGES if importlib.util.find_spec(f"streams.{name}") is not None]


async def checkpoints(store: Store, prefix: str) -> dict[tuple[str, Place], int]:
    """Offset up to which the store is true, by stage and partition. Raises `Mistake` without a manifest."""
    manifest = await manifests.load(store, prefix)
    if manifest is None:
        raise Mistake(f"the store knows no system {prefix!r}: start `upwell worker` first, or check UPWELL_REDIS and UPWELL_KAFKA__PREFIX")
    slots = {}
    for stage in stages():
        topics = STAGES[stage]
        for topic in topics:
            # Intake has two input topics, so its slots name the topic too.
            name = f"{stage}.{topic}" if len(topics) > 1 else stage
            for partition in range(manifest.partitions[topic]):
                slots[stage, Place(topic, partition)] = manifest.at(name, partition).checkpoint
    values = await store.read(list(slots.values()))
    return {place: checkpoint_from(value)[1][0] for place, value in zip(slots, values, strict=True) if value is not None}


async def measure(settings: Settings) -> list[Lag]:
    """Lag of every partition, in the order of the stages."""
    store = open_store(settings)
    try:
        applied = await checkpoints(store, settings.kafka.prefix)
    finally:
        await store.close()
    return told(settings, applied)


def told(settings: Settings, applied: Mapping[tuple[str, Place], int]) -> list[Lag]:
    """What the broker says about logs that are applied so far."""
    kafka = settings.kafka
    topics = sorted({topic for stage in stages() for topic in STAGES[stage]})
    # One record of each partition is asked for, not a megabyte.
    with broker.consumer(kafka, max_partition_fetch_bytes=65_536) as consumer:
        logs = broker.places(consumer, kafka, topics)
        starts, ends = consumer.beginning_offsets(list(logs)), consumer.end_offsets(list(logs))
        committed = committed_offsets(settings)
        rows = []
        for stage in stages():
            inputs = STAGES[stage]
            for tp, place in logs.items():
                if place.topic in inputs:
                    checkpoint = applied.get((stage, place))
                    records = max(0, ends[tp] - (starts[tp] if checkpoint is None else max(checkpoint, starts[tp])))
                    rows.append(Lag(stage, *place, ends[tp], checkpoint, committed.get((stage, place)), records, 0.0))
        behind = {
            TopicPartition(full(kafka.prefix, row.topic), row.partition): max(row.checkpoint or 0, starts[tp_of(kafka.prefix, row)])
            for row in rows
            if row.records
        }
        if behind:
            ages = oldest(consumer, behind)
            rows = [row._replace(seconds=ages.get(tp_of(kafka.prefix, row), 0.0)) for row in rows]
    return rows


def tp_of(prefix: str, row: Lag) -> TopicPartition:
    return TopicPartition(full(prefix, row.topic), row.partition)


def committed_offsets(settings: Settings) -> dict[tuple[str, Place], int]:
    """What the groups committed to Kafka; empty where the broker does not tell."""
    prefix, found = settings.kafka.prefix, {}
    with broker.admin(settings.kafka) as admin:
        for stage in stages():
            name, inputs = group(prefix, stage), STAGES[stage]
            try:
                offsets = admin.list_group_offsets({name: None})[name]
            except (KafkaError, KeyError, ValueError, TypeError):
                continue
            short = {full(prefix, topic): topic for topic in inputs}
            for tp, offset in offsets.items():
                if tp.topic in short and offset.offset >= 0:
                    found[stage, Place(short[tp.topic], tp.partition)] = offset.offset
    return found


def oldest(consumer: KafkaConsumer, behind: Mapping[TopicPartition, int]) -> dict[TopicPartition, float]:
    """Age in seconds of the record at each offset, as far as the broker answers in time."""
    consumer.assign(list(behind))
    for tp, offset in behind.items():
        consumer.seek(tp, offset)
    ages: dict[TopicPartition, float] = {}
    deadline = time.monotonic() + READ_S
    while len(ages) < len(behind) and time.monotonic() < deadline:
        for tp, records in consumer.poll(200, max_records=500).items():
            ages.setdefault(tp, max(0.0, time.time() - records[0].timestamp / 1000))
        consumer.pause(*ages)
    return ages


def worst(rows: list[Lag]) -> float:
    return max((row.seconds for row in rows), default=0.0)


def by_stage(rows: list[Lag]) -> list[tuple[str, str, int, int, float]]:
    """(stage, topic, partitions, records, seconds), summed over partitions."""
    sums: dict[tuple[str, str], tuple[int, int, float]] = {}
    for row in rows:
        count, records, seconds = sums.get((row.stage, row.topic), (0, 0, 0.0))
        sums[row.stage, row.topic] = (count + 1, records + row.records, max(seconds, row.seconds))
    return [(*place, *values) for place, values in sums.items()]
