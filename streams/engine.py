"""A worker: any number of stages in one process, each a Faust app and a consumer group of its own.

    Faust app (assignment, rebalancing): frames ─► Owner per partition ─► producer, store

The mechanism is `fold.py` (what a piece is), `owner.py` (one partition at work) and `transport.py` (frames out of Faust). Here they are
put together: a stage's app, the producer, the store, ticks for quiet partitions, offsets for operators' tools, metrics, and the stop.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faust.types import TP
from prometheus_client import start_http_server

from config.log import configure
from config.records import VERSION, Position, Tick, encode
from config.security import client_security
from config.settings import Settings
from config.topics import STAGES, TOPICS, full
from store import manifest as manifests
from store.base import Store, StoreError
from store.lag import slot_stage
from store.layout import checkpoint_bytes
from store.manifest import Manifest, ManifestError
from store.open import open_store
from streams import packing
from streams.logs import BrokerError, Logs, LogsAside, TopicsMissing
from streams.owner import SendError, Stop
from streams.presence import Presence
from streams.stage import Record, Stage
from streams.stage_app import StageApp
from streams.standing import Standing
from streams.transport import BrokerAway, GroupLost
from streams.unpack import LOG_APPEND_TIME

log = structlog.get_logger("upwell.worker")

ASK_AFTER = 5
"""Seconds that something stands before it is asked whether what it waits for is away."""


CLASSES = {
    "intake": "streams.intake:Intake",
    "users": "streams.users:Users",
    "notes": "streams.notes:Notes",
    "lists": "streams.lists:Lists",
    "neighbours": "streams.neighbours:Neighbours",
    "learner": "streams.learner:Learner",
}


def available() -> list[str]:
    """Stages that this version has."""
    return [name for name, place in CLASSES.items() if importlib.util.find_spec(place.partition(":")[0])]


def make(name: str, settings: Settings) -> Stage:
    """The stage of that name."""
    module, _, attribute = CLASSES[name].partition(":")
    stage: Stage = getattr(importlib.import_module(module), attribute)(settings)
    return stage


def outputs(stages: Iterable[str]) -> set[str]:
    """Internal topics: empty as long as a system is new."""
    return {topic for stage in stages for topic in STAGES[stage] if stage != "intake"}


async def found(store: Store, logs: LogsAside, prefix: str) -> Manifest:
    """The manifest; a new system gets one, and a first checkpoint for every partition of every stage.

    With output in the internal logs and no manifest, the store's state is lost: `Stop`.
    """
    topics = await logs.ask(Logs.all)
    standing = await manifests.load(store, prefix)
    if standing is None:
        ends = await logs.ask(lambda logs: logs.ends(sorted(outputs(STAGES))))
        written = sorted({full(prefix, topic) for (topic, _), (first, end) in ends.items() if end > first})
        if written:
            raise Stop(
                f"the store knows no system {prefix!r}, but {', '.join(written)} hold its records: the state is lost. "
                "Run `upwell rebuild`, or give the store its data back, or use a new prefix (UPWELL_KAFKA__PREFIX)."
            )
        begins = await logs.ask(lambda logs: logs.ends(["events", "notes"]))
        new = Manifest.new(prefix, {name: count for name, (_, count) in topics.items()})
        for stage, inputs in STAGES.items():
            for topic in inputs:
                identity, count = topics[topic]
                for partition in range(count):
                    slot = new.at(slot_stage(stage, topic), partition)
                    first = begins.get((topic, partition), (0, 0))[0]
                    await store.commit(slot, None, checkpoint_bytes(identity, Position(first)), {}, {})
        standing = await manifests.create(store, new)
    manifests.check(standing, {name: count for name, (_, count) in topics.items()})
    return standing


class Worker:
    """Everything of one worker process. `datadir`: a folder that Faust wants; nothing in it counts."""

    def __init__(self, settings: Settings, stages: Sequence[str], datadir: str) -> None:
        self.settings, self.names = settings, stages
        self.store = open_store(settings)
        self.logs = LogsAside(settings.kafka)
        self.known_lock = asyncio.Lock()
        self.known: tuple[float, dict[str, tuple[str, int]]] = (0.0, {})
        self.ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.apps: list[StageApp] = []
        self.readers: dict[str, StageApp] = {}
        """by internal topic, where its reader works here and commits every frame"""
        self.datadir = datadir
        self.manifest: Manifest

    def fatal(self, message: str) -> None:
        """Stop the whole process: only an operator can go on from here."""
        if not self.ended.done():
            self.ended.set_result(message)

    def chore_ended(self, chore: asyncio.Task[None]) -> None:
        """A worker that no longer measures itself is no worker."""
        if not chore.cancelled() and (error := chore.exception()) is not None:
            log.error("a chore failed", exc_info=error)
            self.fatal(f"{type(error).__name__}: {error}")

    def asked_to_stop(self) -> None:
        """SIGTERM or SIGINT."""
        if not self.ended.done():
            self.ended.set_result(None)

    async def read_manifest(self) -> None:
        """As it stands in the store; one that is gone is for the owners to find out. Raises `StoreError`."""
        standing = await manifests.load(self.store, self.settings.kafka.prefix)
        if standing is not None:
            self.manifest = standing

    async def follow_manifest(self) -> None:
        """Once a second: a stage that was rebuilt goes on in its new generation, also where nothing comes."""
        while True:
            await asyncio.sleep(1.0)
            try:
                await self.read_manifest()
            except StoreError:
                continue
            except ManifestError as error:
                self.fatal(str(error))
                return
            for stage_app in self.apps:
                for tp, owner in list(stage_app.owners.items()):
                    if owner.part.slot != stage_app.slot(tp):
                        owner.outdate()

    async def identity(self, topic: str) -> str:
        """Of the log as it is now (asked at most every two seconds); waits for a broker that is away."""
        async with self.known_lock:
            while time.monotonic() - self.known[0] > 2.0:
                try:
                    self.known = (time.monotonic(), await self.logs.ask(Logs.all))
                except TopicsMissing:
                    raise
                except BrokerError as error:
                    log.warning("broker away", error=str(error))
                    await asyncio.sleep(0.5)
        return self.known[1][topic][0]

    async def send(self, records: list[packing.Outgoing]) -> None:
        """All of them acknowledged, or `SendError`. Repeats are dropped by the readers' marks, so the producer needs no idempotence."""
        prefix = self.settings.kafka.prefix
        try:
            sent = [await self.producer.send(full(prefix, r.topic), r.value, r.key, r.partition, headers=list(r.headers)) for r in records]
            written = await asyncio.gather(*sent)
        except (KafkaError, TimeoutError) as error:
            raise SendError(f"{type(error).__name__}: {error}") from None
        now = int(time.time() * 1000)
        for record, at in zip(records, written, strict=True):
            reader = self.readers.get(record.topic)
            if reader is not None:
                stamp = at.timestamp if at.timestamp_type == LOG_APPEND_TIME else now
                reader.wrote(
                    TP(at.topic, at.partition),
                    Record(record.topic, at.partition, at.offset, stamp, record.key, record.value, record.headers),
                )

    async def start(self) -> None:
        settings = self.settings
        give_up = time.monotonic() + settings.engine.start_patience_s
        while True:
            try:
                self.manifest = await found(self.store, self.logs, settings.kafka.prefix)
                break
            except StoreError as error:
                log.warning("store away", error=str(error))
                await asyncio.sleep(1.0)
            except BrokerError as error:
                # A broker that restarts is back within seconds; one that was never there is the operator's to name.
                if isinstance(error, TopicsMissing) or time.monotonic() > give_up:
                    raise
                log.warning("broker away", error=str(error))
                await asyncio.sleep(1.0)
        self.producer = await self.connected(time.monotonic() + settings.engine.start_patience_s)
        self.apps = [StageApp(self, make(name, settings)) for name in self.names]
        # Not of stages that commit every second or two: what comes to them in larger frames costs less.
        quick = [app for app in self.apps if app.stage.name not in settings.engine.slow_stages]
        self.readers = {topic: app for app in quick for topic in app.stage.topics if topic in packing.PACKED}
        for stage_app in self.apps:
            stage_app.app.finalize()
        # Side by side: a group's first join waits for half its rebalance timeout.
        await asyncio.gather(*(stage_app.app.start() for stage_app in self.apps))

    async def connected(self, give_up: float) -> AIOKafkaProducer:
        """The producer. Raises `BrokerError` when the broker is away until `give_up` (monotonic)."""
        kafka = self.settings.kafka
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=kafka.servers.split(","),
                acks="all",
                linger_ms=0,
                max_request_size=2_000_000,
                request_timeout_ms=int(kafka.request_timeout_s * 1000),
                **client_security(kafka),
            )
            try:
                await producer.start()
                return producer
            except KafkaError as error:
                await producer.stop()
                if time.monotonic() > give_up:
                    raise BrokerError(f"Kafka at {kafka.servers} does not answer ({error})") from None
                log.warning("broker away", error=str(error))
                await asyncio.sleep(1.0)

    async def housekeeping(self) -> None:
        """Once a second: offsets for operators' tools, gauges, ticks for quiet partitions, and whether an app died."""
        while True:
            await asyncio.sleep(1.0)
            for stage_app in self.apps:
                if stage_app.app.crashed:
                    self.fatal(f"the consumer of {stage_app.stage.name} failed: {stage_app.app.crash_reason!r}")
                    return
                offsets = stage_app.applied()
                stage_app.measure()
                for tp, owner in list(stage_app.owners.items()):
                    if owner.tick_due:
                        await self.tick(stage_app.topics[tp.topic], tp.partition)
                await stage_app.thread.commit_checkpoints(offsets)

    async def watch_ends(self) -> None:
        """Every so often: where the logs end, asked apart from reading them. A broker that is away is asked again."""
        while True:
            await asyncio.sleep(self.settings.kafka.ends_s)
            for stage_app in self.apps:
                owners = dict(stage_app.owners)
                try:
                    ends = await stage_app.thread.ends(owners) if owners else {}
                except BrokerAway as error:
                    if stage_app.answered:
                        log.warning("ends not told", stage=stage_app.stage.name, error=str(error))
                    stage_app.answered = False
                    continue
                stage_app.answered = True
                for tp, end in ends.items():
                    owners[tp].ends_at(end)

    async def watch_progress(self) -> None:
        """Once a second: a partition or a group that stands, though store and broker answer for it, ends the worker."""
        patience = self.settings.engine.stall_s
        standing: Standing[tuple[int, TP | str]] = Standing()
        while True:
            await asyncio.sleep(1.0)
            marks: dict[tuple[int, TP | str], object] = {}
            for number, stage_app in enumerate(self.apps):
                try:
                    stage_app.member = await stage_app.thread.check()
                except GroupLost as error:
                    self.fatal(str(error))
                    return
                except BrokerAway:
                    stage_app.member = False
                marks |= {(number, what): mark for what, mark in stage_app.marks().items()}
            standing.look(marks)
            stood = standing.stood(ASK_AFTER)
            if stood and standing.looks[stood[0]] % ASK_AFTER == 0 and await self.something_away():
                for key in stood:
                    standing.excuse(key)
            for number, what in standing.stood(patience):
                self.fatal(
                    f"{self.apps[number].state(what)}, for {patience} s, though store and broker answer. This is a bug: please report it "
                    "with this worker's log. It ends, so that its supervisor starts it anew; nothing is lost."
                )
                return

    async def something_away(self) -> bool:
        """Whether a part of the store or of the logs does not answer; asked of all, since an owner waits for other partitions too."""
        slots = [
            self.manifest.at(slot_stage(s, t), p)
            for s, topics in STAGES.items()
            for t in topics
            for p in range(self.manifest.partitions[t])
        ]
        try:
            await self.store.read([slot.checkpoint for slot in slots])
            await self.logs.ask(lambda logs: logs.ends(TOPICS))
        except (StoreError, BrokerError):
            return True
        return False

    async def tick(self, topic: str, partition: int) -> None:
        now = int(time.time() * 1000)
        record = packing.PACKED[topic](VERSION, None, 0, (0, 0, 0), (0, 0, 0), now, [], [Tick(t=now)])
        try:
            await self.send([packing.Outgoing(topic, partition, None, encode(record))])
        except SendError as error:
            log.warning("broker away", error=str(error))

    def held(self) -> dict[str, list[int]]:
        """Stage -> partitions owned here; of intake's two inputs the first."""
        return {a.stage.name: [tp.partition for tp in a.owners if a.topics[tp.topic] == a.stage.topics[0]] for a in self.apps}

    async def stop(self) -> None:
        """Finish the piece in hand, tell Kafka, leave the groups."""
        await asyncio.gather(*(stage_app.finish() for stage_app in self.apps))
        for stage_app in self.apps:
            await stage_app.thread.commit_checkpoints(stage_app.applied())
        await asyncio.gather(*(stage_app.app.stop() for stage_app in self.apps))
        await self.producer.stop()
        await self.store.close()


async def serve(settings: Settings, stages: Sequence[str], datadir: str) -> int:
    """Run until a signal or a fatal error; the exit code."""
    host = settings.engine.metrics_host
    try:
        server, _ = start_http_server(settings.engine.metrics_port, addr=host)
    except (OSError, OverflowError) as error:
        return complain(
            f"metrics cannot be had on {host}:{settings.engine.metrics_port} ({error}): engine.metrics_port names another, 0 a free one"
        )
    loop = asyncio.get_running_loop()
    worker = Worker(settings, stages, datadir)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.asked_to_stop)
    starting = asyncio.create_task(worker.start())
    either: set[asyncio.Future[Any]] = {starting, worker.ended}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        return complain(worker.ended.result())
    try:
        starting.result()
    except (BrokerError, ManifestError, Stop) as error:
        return complain(str(error))
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()  # what others can reach
    sys.stdout.write(f"upwell worker: {', '.join(stages)}; metrics http://{host}:{server.server_port}/metrics\n")
    sys.stdout.flush()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    presence = Presence(worker.store, settings.kafka.prefix, f"http://{host}:{server.server_port}/metrics", worker.held)
    works = (worker.housekeeping, worker.watch_ends, worker.watch_progress, worker.follow_manifest, presence.run)
    chores = [asyncio.create_task(work()) for work in works]
    for chore in chores:
        chore.add_done_callback(worker.chore_ended)
    message = await worker.ended
    for chore in chores:
        chore.cancel()
    try:
        async with asyncio.timeout(8):
            await presence.stop()
            await worker.stop()
    except TimeoutError:
        log.warning("stopped without leaving the groups: their session timeout frees the partitions")
    return complain(message)


def complain(message: str | None) -> int:
    """One line for an operator, and the exit code."""
    if message is not None:
        sys.stderr.write(f"upwell worker: {message}\n")
    return 0 if message is None else 1


def run(settings: Settings, stages: Sequence[str] | None = None) -> None:
    """Run `stages` (None: all that this version has) until SIGTERM, and exit."""
    configure(settings.log)
    # A waiting thread gets the interpreter after 1 ms instead of 5: the consumers' threads hold up no piece.
    sys.setswitchinterval(0.001)
    with tempfile.TemporaryDirectory(prefix="upwell-", ignore_cleanup_errors=True) as datadir:
        code = uvloop.run(serve(settings, stages or available(), datadir))
    sys.stdout.flush()
    sys.stderr.flush()
    # The consumers' threads are daemons that may still wait in a poll; everything that counts is written.
    os._exit(code)
