"""`upwell lag`: both sides together, and against a real broker with every worker dead."""

from __future__ import annotations

import asyncio
import time

from kafka import KafkaProducer

from config import settings as config
from config.records import Position
from store.layout import checkpoint_bytes
from store.manifest import Manifest, create
from store.open import open_store
from store.workers import Present
from streams.logs import Logs
from tests import parts
from tests.config.test_headers import Raw
from tools import lag, topics
from tools.broker import Place
from tools.lag import Applied, Log

HERE = ("users", Place("by-user", 0))


def row(log: Log, before: int | None, after: int | None, seconds: float = 2.0) -> lag.Lag:
    def applied(at: float, offset: int | None) -> Applied:
        return Applied(at, {} if offset is None else {HERE: offset}, {HERE: "host:1"})

    [found] = lag.rows({HERE: log}, applied(100.0, before), applied(100.0 + seconds, after))
    return found


def test_lag_is_what_stood_in_the_log_and_is_not_applied() -> None:
    """At the end there is none; a log that was cut off below is not waited for; nothing that moves is never drained."""
    assert row(Log(0, 10, 10, None), 10, 10)[6:8] == (0, 0.0)
    behind = row(Log(0, 10, 4, 70.0), 4, 4)
    assert (behind.records, behind.seconds, behind.rate, behind.drain, behind.owner) == (6, 32.0, 0.0, None, "host:1")
    assert row(Log(8, 10, None, 70.0), None, None).records == 2
    moving = row(Log(0, 100, 4, 70.0), 10, 30)
    assert (moving.records, moving.rate, moving.drain) == (70, 10.0, 7.0)


def test_a_worker_that_fell_silent_owns_nothing() -> None:
    """Its line stays in the store for a while; the partition is nobody's."""
    line = Present("a", 100.0, 0.0, "host", 7, "", "1", {"intake": [0], "users": [1]})
    assert lag.owners([line], 105.0) == {("intake", Place("events", 0)): "host:7", ("users", Place("by-user", 1)): "host:7"}
    assert lag.owners([line], 100.0 + lag.OWNER_S + 1) == {}


def measured(broker: parts.EmbeddedBroker | parts.Kafka, valkey: parts.EmbeddedStore, prefix: str) -> list[lag.Lag]:
    """One batch of three records in by-user, of which one is applied."""
    environ = {"UPWELL_KAFKA": broker.address, "UPWELL_REDIS": valkey.url, "UPWELL_KAFKA__PREFIX": prefix, "UPWELL_KAFKA__PARTITIONS": "2"}
    settings = config.load(environ=environ)
    topics.create(settings.kafka)
    producer = KafkaProducer(bootstrap_servers=broker.address, acks="all", linger_ms=200)
    # A header's name may hold anything.
    for future in [producer.send(f"{prefix}.by-user", b"x", partition=1, headers=[(Raw("?"), b"1")]) for _ in range(3)]:
        future.get(10)
    producer.close()
    described = Logs(settings.kafka).all()
    manifest = Manifest.new(prefix, {name: count for name, (_, count) in described.items()})

    async def applied() -> None:
        store = open_store(settings)
        await create(store, manifest)
        await store.commit(manifest.at("users", 1), None, checkpoint_bytes(described["by-user"][0], Position(1)), {}, {})
        await store.close()

    asyncio.run(applied())
    time.sleep(1.0)
    return asyncio.run(lag.measure(settings))


def test_lag_is_right_on_a_short_end_and_without_any_worker(broker: parts.EmbeddedBroker, valkey: parts.EmbeddedStore, prefix: str) -> None:
    """The embedded broker tells an end of 1 after a batch of three; the fetch knows better."""
    rows = {(one.stage, one.topic, one.partition): one for one in measured(broker, valkey, prefix)}
    behind = rows["users", "by-user", 1]
    assert (behind.end, behind.checkpoint, behind.records, behind.owner) == (3, 1, 2, "")
    assert 1.0 <= behind.seconds < 30.0
    assert all(one.records == 0 and one.seconds == 0.0 for place, one in rows.items() if place != ("users", "by-user", 1))
