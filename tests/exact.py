"""Whether a system is exact: its state against folds over its own recorded logs, its logs against each other.

Reads logs with kafka-python, so as not to share the client of what is tested. Used by the fault tests and by `tests.chaos`, after
the workers have been stopped.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaConsumer, TopicPartition

from config.records import Position, Source
from config.settings import Settings
from config.topics import STAGES, full
from store.base import Store
from store.lag import slot_stage
from store.layout import checkpoint_from
from store.manifest import Manifest, load
from store.memory import MemoryStore
from streams import packing
from streams.engine import make
from streams.logs import Logs, client_settings
from streams.stage import Record


def recorded(settings: Settings, topic: str, patience_s: float = 60.0) -> dict[int, list[Record]]:
    """All records of a topic, by partition, to the high watermark that the fetches tell: who waits until nothing more comes may wait too shortly."""
    name = full(settings.kafka.prefix, topic)
    consumer = KafkaConsumer(
        **client_settings(settings.kafka), auto_offset_reset="earliest", enable_auto_commit=False, fetch_max_wait_ms=200
    )
    try:
        partitions = sorted(consumer.partitions_for_topic(name) or ())
        tps = [TopicPartition(name, p) for p in partitions]
        consumer.assign(tps)
        consumer.seek_to_beginning(*tps)
        read: dict[int, list[Record]] = {p: [] for p in partitions}
        until = time.monotonic() + patience_s
        while any((mark := consumer.highwater(tp)) is None or consumer.position(tp) < mark for tp in tps):
            assert time.monotonic() < until, f"{name} was not read to its end"
            for tp, records in consumer.poll(timeout_ms=200, max_records=20_000).items():
                read[tp.partition] += [
                    Record(topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers or ())) for r in records
                ]
        return read
    finally:
        consumer.close()


async def state_of(store: Store, tag: bytes) -> dict[bytes, bytes | None]:
    """Every value of a slot, but its timers."""
    escaped = tag.replace(b"[", b"\\[")
    keys = sorted([key async for key in store.scan(escaped + b":*") if not key.endswith(b":timers:")])
    return dict(zip(keys, await store.read(keys), strict=True)) if keys else {}


async def timers_of(store: Store, slot: Any) -> list[tuple[int, bytes]]:
    timers: list[tuple[int, bytes]] = []
    while more := await store.due(slot, 5_000, timers[-1] if timers else None):
        timers += more
    return timers


class Fold(NamedTuple):
    """What a fold over one recorded partition gives."""

    stage: str
    source: Source
    records: list[Record]
    store: MemoryStore
    sent: list[packing.Outgoing]


class Folds(NamedTuple):
    """The logs as they stand, and each stage folded over its own; read and folded once for everything that is compared with them."""

    manifest: Manifest
    logs: dict[str, dict[int, list[Record]]]
    """by topic and partition"""
    parts: list[Fold]


async def folds(settings: Settings, store: Store, stages: Iterable[str]) -> Folds:
    """Of stages that have a state (not intake)."""
    manifest = await load(store, settings.kafka.prefix)
    assert manifest is not None
    identities = Logs(settings.kafka).all()
    logs = {topic: recorded(settings, topic) for topic in (*packing.PACKED, "transitions")}
    parts = []
    for name in stages:
        (topic,) = STAGES[name]
        for partition, records in logs[topic].items():
            source, oracle = Source(identities[topic][0], full(settings.kafka.prefix, topic), partition), MemoryStore()
            sent = await refolded(settings, name, manifest, topic, source, records, oracle)
            parts.append(Fold(name, source, records, oracle, sent))
    return Folds(manifest, logs, parts)


async def differences(folds: Folds, store: Store) -> list[str]:
    """What in the live store is not what a fold over the stage's own log gives, byte for byte; empty when all is exact."""
    found = []
    for part in folds.parts:
        (topic,), records, oracle = STAGES[part.stage], part.records, part.store
        slot = folds.manifest.at(slot_stage(part.stage, topic), part.source.partition)
        live = await state_of(store, slot.tag)
        checkpoint = live.get(slot.checkpoint)
        if checkpoint is None:
            found.append(f"{slot.tag.decode()}: no checkpoint")
            continue
        _identity, (offset, index, step) = checkpoint_from(checkpoint)
        end = records[-1].offset + 1 if records else 0
        if (offset, index, step) != (end, 0, 0):
            found.append(f"{slot.tag.decode()}: stands at {offset}.{index}.{step}, the log ends at {end}")
            continue
        wanted = await state_of(oracle, slot.tag)
        wrong = sorted(key for key in wanted.keys() | live.keys() if wanted.get(key) != live.get(key))
        found += [f"{key.decode(errors='replace')}: {shown(live.get(key))} is not {shown(wanted.get(key))}" for key in wrong[:5]]
        if len(wrong) > 5:
            found.append(f"{slot.tag.decode()}: {len(wrong)} of {len(wanted)} keys differ")
        if await timers_of(store, slot) != await timers_of(oracle, slot):
            found.append(f"{slot.tag.decode()}: timers differ")
    return found


def shown(value: bytes | None) -> str:
    if value is None:
        return "nothing"
    try:
        return str(msgspec.msgpack.decode(value))[:200]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return value[:60].hex()


async def refolded(
    settings: Settings, name: str, manifest: Manifest, topic: str, source: Source, records: list[Record], store: MemoryStore
) -> list[packing.Outgoing]:
    """Fold one recorded partition again, with the positions that were dead-lettered as poison passed over; returns what it sent."""
    from streams.local import refold

    return await refold(make(name, settings), manifest, topic, source, records, store)


def kept(records: Iterable[Record], decode: Any) -> dict[str, list[tuple[Position, Any]]]:
    """Per source: the signals of a log that a reader's marks let through, in order."""
    marks: dict[str, Position] = {}
    passed: dict[str, list[tuple[Position, Any]]] = defaultdict(list)
    for record in records:
        packed = decode(record.value)
        if packed.source is None:
            continue
        name, end = packed.source.name, Position(*packed.end)
        mark = marks.get(name, Position(0))
        for signal in packed.signals:
            position = Position(packed.base + signal.o, signal.i, signal.s)
            if position >= mark:
                passed[name].append((position, packed.notes, signal))  # type: ignore[arg-type]
        marks[name] = max(mark, end)
    return passed


def plain(notes: list[Any], signal: Any) -> Any:
    """A signal without what depends on packing: its place in the table and the base of its offset."""
    fields = msgspec.structs.asdict(signal)
    place = fields.pop("n", -1)
    fields.pop("o")
    return type(signal).__name__, notes[place] if 0 <= place < len(notes) else None, tuple(sorted((k, str(v)) for k, v in fields.items()))


def told_once(folds: Folds) -> list[str]:
    """Every signal that a fold over a stage's log tells stands exactly once, in order, above the marks of the next log; moves as `moved_once`."""
    wrong = []
    live = {topic: {p: kept(records, decoder(topic)) for p, records in folds.logs[topic].items()} for topic in packing.PACKED}
    moves: list[tuple[bytes | None, bytes | None]] = []
    for part in folds.parts:
        moves += [(out.key, out.value) for out in part.sent if out.topic == "transitions"]
        wanted: Mapping[tuple[str, int], list[Record]] = defaultdict(list)
        for out in part.sent:
            if out.topic in packing.PACKED:
                place = wanted[out.topic, out.partition or 0]
                place.append(Record(out.topic, out.partition or 0, len(place), 0, None, out.value))
        for target, count in folds.manifest.partitions.items():
            if target not in packing.PACKED:
                continue
            for p in range(count):
                expect = kept(wanted.get((target, p), ()), decoder(target)).get(part.source.name, [])
                got = live[target][p].get(part.source.name, [])
                a = [(position, *plain(notes, signal)) for position, notes, signal in expect]  # type: ignore[misc]
                b = [(position, *plain(notes, signal)) for position, notes, signal in got]  # type: ignore[misc]
                if a != b:
                    first = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
                    wrong.append(
                        f"{part.stage}/{part.source.partition} -> {target}/{p}: {len(b)} signals stand, {len(a)} were told; first difference at {first}: "
                        f"{b[first : first + 1]} is not {a[first : first + 1]}"
                    )
    wrong += moved_once(moves, [r for records in folds.logs["transitions"].values() for r in records])
    return wrong


def moved_once(told: Iterable[tuple[bytes | None, bytes | None]], standing: Iterable[Record]) -> list[str]:
    """What is wrong in `upwell.transitions`: a note's numbers have no gap in the order of their first records, a repeat is its first byte
    for byte, and what stands is what a fold over the log tells.
    """
    first: dict[tuple[bytes | None, int], bytes | None] = {}
    last: dict[bytes | None, int] = defaultdict(int)
    wrong = []
    for record in standing:
        seq = msgspec.json.decode(record.value or b"")["seq"]
        if (known := first.setdefault((record.key, seq), record.value)) != record.value:
            wrong.append(f"transitions of {record.key!r}: {record.value!r} repeats {known!r}")
        elif seq > last[record.key]:
            if seq != last[record.key] + 1:
                wrong.append(f"transitions of {record.key!r}: {seq} follows {last[record.key]}")
            last[record.key] = seq
    wanted = {(key, msgspec.json.decode(value or b"")["seq"]): value for key, value in told}
    wrong += [
        f"transitions: {first.get(k)!r} is not {wanted.get(k)!r}" for k in first.keys() | wanted.keys() if first.get(k) != wanted.get(k)
    ]
    return wrong


def decoder(topic: str) -> Any:
    return msgspec.msgpack.Decoder(packing.PACKED[topic]).decode
