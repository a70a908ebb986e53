"""The same job the plain Faust way: one agent per stage, one message at a time. The twin that `benchmarks/whole_job.py` measures ours against.

The decisions are the project's own (`streams/{intake,users,notes,lists}.py` fold the same signals into the same states), so that only the way of
running them differs. What a good engineer would tune is tuned:

- typed decoding with msgspec, msgpack inside, uvloop, hiredis, garbage collection relaxed as in our worker;
- `isolated_partitions`: the partitions of a topic wait for the store side by side, each in its own order;
- decoded states stay in memory (all of them: no eviction at this size), so that the store is read once per key, by one MGET; what an event
  changes, its timers and its place in the log are written by one pipeline, one round trip;
- facts of notes stay in memory too; messages go into the producer's batches unawaited, with a linger of 5 ms; no changelog, no web server,
  no leader topic, no logging below errors.

It is given more than it could have: no transactions, so that a crash counts twice or not at all what ours counts once; timers are written, never
fired; nothing is deduplicated. What is known before the first event (notes, lists) it reads from our own stages' keys. Run by the benchmark, not by hand: ``python -m benchmarks.plain_faust`` with the environment of a worker.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from typing import Any

import faust
import redis.asyncio
import uvloop

from config.keys import Slot, note_key
from config.records import VERSION, Facts, encode
from config.settings import load
from config.topics import full
from streams.engine import make
from streams.facts import facts_from
from streams.packing import PACKED
from streams.stage import Record

START = (0, 0, 0)


class Outbox:
    """What a fold tells on, one message a signal."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self.timers: dict[str, int] = {}
        self.messages: list[tuple[str, int, bytes]] = []

    def post(self, topic: str, partition: int, signal: Any, table: list[Any]) -> None:
        self.messages.append((topic, partition, encode(PACKED[topic](VERSION, None, 0, START, START, 0, table, [signal]))))

    def tell(self, topic: str, digest: int, signal: Any, note: Any = None) -> None:
        if note is not None:
            signal.n = 0
        self.post(topic, digest % self.twin.counts[topic], signal, [] if note is None else [note])

    def spread(self, topic: str, digests: Any, signal: Any) -> None:
        count = self.twin.counts[topic]
        for partition in dict.fromkeys([digest % count for digest in digests]):
            signal.m = sum(1 << i for i, digest in enumerate(digests) if digest % count == partition)
            self.post(topic, partition, signal, [])

    def everywhere(self, topic: str, signal: Any) -> None:
        for partition in range(self.twin.counts[topic]):
            self.post(topic, partition, signal, [])

    def publish(self, topic: str, key: bytes, value: bytes) -> None:
        self.messages.append((topic, 0, value))

    def dead(self, reason: str, message: str, index: int | None = None) -> None:
        raise SystemExit(f"{reason}: {message}")

    def timer(self, family: str, key: bytes, deadline: int | None) -> None:
        self.timers[f"{family}:{key.decode()}"] = deadline or 0

    def count(self, type: str, outcome: str) -> None: ...


class Part:
    """The partition that is folded."""

    def __init__(self) -> None:
        self.now = self.appended = self.partition = 0
        self.shared: Any = None
        self.facts: dict[int, Facts] = {}


class Twin:
    """The Faust app and its agents."""

    def __init__(self) -> None:
        self.settings = settings = load()
        kafka = settings.kafka
        self.prefix = kafka.prefix
        self.store = redis.asyncio.Redis.from_url(settings.redis.url)
        self.counts = dict.fromkeys((*PACKED, "transitions"), kafka.partitions) | {"examples": 1}
        self.app = app = faust.App(
            kafka.prefix,
            broker=f"kafka://{kafka.servers}",
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            stream_buffer_maxsize=16_384,
            broker_max_poll_records=10_000,
            stream_wait_empty=False,
            stream_publish_on_commit=False,
            producer_linger_ms=5,
            producer_max_batch_size=262_144,
            broker_commit_interval=2.8,
            broker_session_timeout=kafka.session_timeout_s,
            broker_heartbeat_interval=kafka.heartbeat_s,
            broker_rebalance_timeout=kafka.rebalance_timeout_s,
            consumer_auto_offset_reset="earliest",
        )
        self.done = {"events": 0, "by-user": 0, "by-note": 0, "by-list": 0}
        self.facts: dict[int, Facts] = {}
        self.topics = {name: self.topic(name) for name in (*PACKED, "transitions", "events")}
        for stage, names in (("intake", ("events",)), ("users", ("by-user",)), ("notes", ("by-note",)), ("lists", ("by-list",))):
            for name in names:
                self.agent(stage, name)
        app.timer(interval=0.2)(self.progress)

    def topic(self, name: str) -> Any:
        return self.app.topic(full(self.prefix, name), value_type=bytes, value_serializer="raw", key_serializer="raw")

    def agent(self, stage_name: str, topic: str) -> None:
        stage = make(stage_name, self.settings)
        states: dict[tuple[str, bytes], Any] = {}
        parts: dict[int, Part] = {}

        async def work(stream: Any) -> None:
            async for event in stream.events():
                message = event.message
                record = Record(topic, message.partition, message.offset, int(message.timestamp * 1000), None, message.value)
                part = parts.get(message.partition)
                if part is None:
                    part = parts[message.partition] = Part()
                    part.partition = message.partition
                    if stage.shared:
                        family = stage.families[stage.shared]
                        part.shared = family.load(b"", [None] * len(family.parts))
                await self.one(stage, part, states, record)
                self.done[topic] += 1

        self.app.agent(self.topics[topic], name=f"{self.prefix}.{stage_name}.{topic}", isolated_partitions=True)(work)

    async def one(self, stage: Any, part: Part, states: dict[tuple[str, bytes], Any], record: Record) -> None:
        """One message: read what is not in memory, fold, write."""
        batch, out = stage.decode(record), Outbox(self)
        part.appended = batch.appended
        families = stage.families
        for signal in batch.signals:
            keys = stage.reads(signal, batch.table)
            for family, key in keys:
                if (family, key) not in states:
                    slot = Slot("upwell", 0, stage.name, record.partition)
                    found = await self.store.mget([slot.key(p, key) for p in families[family].parts])
                    states[family, key] = families[family].load(key, found)
            for digest in stage.lookups(batch) if stage.name == "intake" else ():
                if digest not in self.facts:
                    slot = Slot("upwell", 0, "notes", digest % self.counts["by-note"])
                    value = await self.store.get(slot.key("facts", note_key(digest)))
                    if value is not None:
                        self.facts[digest] = facts_from(value)
            part.facts = self.facts
            if stage.timed and signal.t > part.now:
                part.now = signal.t
            stage.fold(part, out, signal, batch.table, *[states[key] for key in keys])
            for topic, partition, value in out.messages:
                await self.topics[topic].send(value=value, partition=partition)
            out.messages.clear()
            if not families:
                continue
            pipe = self.store.pipeline(transaction=False)
            for family, key in keys:
                for name, value in families[family].dump(key, states[family, key]).items():
                    if value is None:
                        pipe.delete(self.key(stage.name, name, key))
                    else:
                        pipe.set(self.key(stage.name, name, key), value)
            if out.timers:
                pipe.zadd(f"{self.prefix}:{stage.name}:timers", out.timers)
                out.timers = {}
            pipe.set(f"{self.prefix}:{stage.name}:{record.partition}:at", record.offset)
            await pipe.execute()

    def key(self, stage: str, part: str, key: bytes) -> bytes:
        return f"{self.prefix}:{stage}:{part}:".encode() + key

    async def progress(self) -> None:
        await self.store.set(f"{self.prefix}:progress", json.dumps(self.done))


def main() -> None:
    logging.disable(logging.WARNING)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    gc.set_threshold(50_000, 20, 100)
    twin = Twin()
    worker = faust.Worker(twin.app, loglevel="error", blocking_timeout=None)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
