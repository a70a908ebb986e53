"""Whether a system is exact: its state against folds over its own recorded logs, its logs against each other.

Reads logs with kafka-python, so as not to share the client of what is tested. Used by the fault tests and by `tests.chaos`, after
the workers have been stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

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

STATEFUL = [stage for stage in STAGES if stage != "intake"]


def recorded(settings: Settings, topic: str, idle_ms: int = 1_500) -> dict[int, list[Record]]:
    """All records of a topic, by partition; read until nothing more comes."""
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
        while True:
            fetched = consumer.poll(timeout_ms=idle_ms, max_records=20_000)
            if not fetched:
                return read
            for tp, records in fetched.items():
                read[tp.partition] += [
                    Record(topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers or ())) for r in records
                ]
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


async def differences(settings: Settings, store: Store, stages: Iterable[str]) -> list[str]:
    """What in the live store is not what a fold over the stage's own log gives, byte for byte; empty when all is exact."""
    manifest = await load(store, settings.kafka.prefix)
    assert manifest is not None
    identities = Logs(settings.kafka).all()
    found = []
    for name in stages:
        if name == "intake":
            continue
        (topic,) = STAGES[name]
        logs = recorded(settings, topic)
        for partition, records in logs.items():
            slot = manifest.at(slot_stage(name, topic), partition)
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
            oracle = MemoryStore()
            source = Source(identities[topic][0], full(settings.kafka.prefix, topic), partition)
            await refolded(settings, name, manifest, topic, source, records, oracle)
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


async def told_once(settings: Settings, store: Store, stages: Iterable[str]) -> list[str]:
    """Every signal that a fold over a stage's log tells stands exactly once, in order, above the marks of the next log; moves as `moved_once`."""
    manifest = await load(store, settings.kafka.prefix)
    assert manifest is not None
    identities = Logs(settings.kafka).all()
    wrong = []
    logs = {topic: recorded(settings, topic) for topic in packing.PACKED}
    live = {topic: {p: kept(records, decoder(topic)) for p, records in partitions.items()} for topic, partitions in logs.items()}
    moves: list[tuple[bytes | None, bytes | None]] = []
    for name in stages:
        if name == "intake":
            continue
        (topic,) = STAGES[name]
        for partition, records in logs[topic].items():
            source = Source(identities[topic][0], full(settings.kafka.prefix, topic), partition)
            sent = await refolded(settings, name, manifest, topic, source, records, MemoryStore())
            moves += [(out.key, out.value) for out in sent if out.topic == "transitions"]
            wanted: Mapping[tuple[str, int], list[Record]] = defaultdict(list)
            for out in sent:
                if out.topic in packing.PACKED:
                    place = wanted[out.topic, out.partition or 0]
                    place.append(Record(out.topic, out.partition or 0, len(place), 0, None, out.value))
            for target, count in manifest.partitions.items():
                if target not in packing.PACKED:
                    continue
                for p in range(count):
                    expect = kept(wanted.get((target, p), ()), decoder(target)).get(source.name, [])
                    got = live[target][p].get(source.name, [])
                    a = [(position, *plain(notes, signal)) for position, notes, signal in expect]  # type: ignore[misc]
                    b = [(position, *plain(notes, signal)) for position, notes, signal in got]  # type: ignore[misc]
                    if a != b:
                        first = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
                        wrong.append(
                            f"{name}/{partition} -> {target}/{p}: {len(b)} signals stand, {len(a)} were told; first difference at {first}: "
                            f"{b[first : first + 1]} is not {a[first : first + 1]}"
                        )
    if "notes" in stages:
        wrong += moved_once(moves, [r for records in recorded(settings, "transitions").values() for r in records])
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
