"""One stage in a worker: its Faust app, and an owner at work for each partition that is assigned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import faust
import structlog
from faust.app import BootStrategy
from faust.types import TP

from config import metrics
from config.keys import Slot
from config.records import Source
from config.settings import Kafka
from config.topics import TOPICS, full, group
from store.lag import slot_stage
from streams import fold
from streams.logs import BrokerError
from streams.owner import QUEUE, Owner, Stop
from streams.stage import Record, Stage
from streams.transport import BrokerAway, Frame, FrameConsumerThread, FrameTransport, LogBounds, Owners

if TYPE_CHECKING:
    from streams.engine import Worker

log = structlog.get_logger("upwell.worker")

LOOK_S = 0.003
"""How long a record that this worker wrote may wait for what stands before it in the log, until it is fetched."""


class NoProducer(BootStrategy):
    """Stages write through the worker's own producer; one of Faust's for each stage would be a connection and a start that may fail."""

    enable_kafka_producer = False


class FrameApp(faust.App):
    """A Faust app whose consumer tells what is assigned, and asks what has room."""

    BootStrategy: ClassVar[type[BootStrategy]] = NoProducer
    owners: Owners
    fetch_wait_ms: int


class StageApp:
    """One stage: its Faust app, and an owner for each partition that is assigned."""

    def __init__(self, worker: Worker, stage: Stage) -> None:
        self.worker, self.stage, settings = worker, stage, worker.settings
        self.owners: dict[TP, Owner] = {}
        self.tasks: dict[TP, asyncio.Task[None]] = {}
        self.looking: asyncio.TimerHandle | None = None
        """set while a look is due at whether a fetch is waited for"""
        self.member = False
        """of its group, with heartbeats, when last asked"""
        self.answered = False
        """the broker told this consumer where its logs end, when last asked"""
        kafka, prefix = settings.kafka, settings.kafka.prefix
        self.topics = {full(prefix, name): name for name in stage.topics}
        self.app = app = FrameApp(
            group(prefix, stage.name),
            broker=[f"kafka://{server}" for server in kafka.servers.split(",")],
            broker_credentials=credentials(kafka),
            datadir=worker.datadir,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            broker_max_poll_records=20_000,
            consumer_max_fetch_size=1_048_576,
            stream_buffer_maxsize=8,
            stream_wait_empty=False,
            broker_session_timeout=kafka.session_timeout_s,
            broker_heartbeat_interval=kafka.heartbeat_s,
            broker_rebalance_timeout=kafka.rebalance_timeout_s,
            # A join is answered when the rebalance is over. Faust's 90 s are as long as a connection that died without a word would stand.
            broker_request_timeout=max(kafka.request_timeout_s, 2.0 * kafka.rebalance_timeout_s, kafka.session_timeout_s),
            broker_commit_interval=3600.0,
            # A position outside the log is for `Owner.begin` to judge; the client must not jump.
            consumer_auto_offset_reset="none",
        )
        app.transport = FrameTransport(app.conf.broker_consumer, app, loop=app.loop)
        app.owners = self
        app.fetch_wait_ms = kafka.fetch_wait_ms if any(TOPICS[name].api for name in stage.topics) else kafka.inner_fetch_wait_ms
        app.on_partitions_revoked.connect(self.revoked)
        channel = app.topic(*self.topics, value_type=bytes, value_serializer="raw", key_serializer="raw")
        app.agent(channel, name=f"upwell.{stage.name}", concurrency=1)(self.nothing)
        self.resolve: fold.Resolve | None = None
        if hasattr(stage, "wants_facts"):
            from streams.facts import FactsCache

            cache = FactsCache(worker.store, settings, lambda stage, digest: worker.manifest.slot(stage, digest))

            async def resolve(hashes: Sequence[int]) -> Mapping[int, Any]:
                return await cache.resolve(hashes, time.time() * 1000)

            self.resolve = resolve

    @property
    def thread(self) -> FrameConsumerThread:
        return cast(FrameConsumerThread, cast(Any, self.app.consumer)._thread)

    async def nothing(self, stream: Any) -> None:
        """Faust reads the topics that an agent listens to. What is read goes to `deliver`."""
        async for _ in stream:
            pass

    def deliver(self, tp: TP, frame: Frame) -> None:
        """Without an owner there was no assignment yet: the seek that follows it reads this again."""
        owner = self.owners.get(tp)
        if owner is not None:
            owner.arrived(frame)

    def has(self, tp: TP, frame: Frame) -> bool:
        """Called by the consumer's thread."""
        owner = self.owners.get(tp)
        return owner is not None and owner.has(frame)

    def wrote(self, tp: TP, record: Record) -> None:
        """A record of this worker stands in the log; its reader may be here, too."""
        owner = self.owners.get(tp)
        if owner is not None and not owner.wrote(record) and self.looking is None:
            # What is missing mostly comes at once: others of this worker wrote it in the same breath.
            self.looking = asyncio.get_running_loop().call_later(LOOK_S, self.look)

    def look(self) -> None:
        self.looking = None
        if self.short():
            self.thread.look()

    def short(self) -> bool:
        return any(owner.ahead for owner in list(self.owners.values()))

    def busy(self, tp: TP) -> bool:
        """Whether enough frames wait at its owner. Called by the consumer's thread."""
        owner = self.owners.get(tp)
        return owner is not None and owner.queue.qsize() >= QUEUE

    def assigned(self, tps: Iterable[TP]) -> None:
        """After an assignment: an owner at work for each partition, which begins by standing where the store stands."""
        metrics.REBALANCES.inc()
        self.drop(list(self.tasks))
        log.info(
            "assigned",
            stage=self.stage.name,
            partitions=sorted(f"{self.topics[tp.topic]}/{tp.partition}" for tp in tps if tp.topic in self.topics),
        )
        engine = self.worker.settings.engine
        mine = sorted(tp for tp in tps if tp.topic in self.topics)
        for tp in mine:
            limits = fold.Limits(
                keys=engine.piece_keys, bytes=engine.piece_bytes, cache_bytes=engine.cache_mb * 1_000_000 // max(1, len(mine))
            )
            self.tasks[tp] = asyncio.get_running_loop().create_task(self.work(tp, limits), name=f"{self.stage.name}-{tp.partition}")
            self.tasks[tp].add_done_callback(self.ended)

    async def work(self, tp: TP, limits: fold.Limits) -> None:
        """One partition, until it is taken away or the worker stops."""
        worker, topic = self.worker, self.topics[tp.topic]
        engine = worker.settings.engine
        source = Source(await worker.identity(topic), tp.topic, tp.partition)
        self.owners[tp] = owner = Owner(
            fold.Partition(self.stage, self.slot(tp), source, worker.manifest.partitions, limits),
            worker.store,
            PartitionReader(self, tp, topic),
            worker.send,
            self.resolve,
            full_topic=tp.topic,
            commit_every=engine.slow_commit_s if self.stage.name in engine.slow_stages else 0.0,
            poison_after=engine.poison_after,
            tick_lag=engine.tick_lag_s,
            renewed=partial(self.renewed, tp),
        )
        await owner.run()

    def slot(self, tp: TP) -> Slot:
        return self.worker.manifest.at(slot_stage(self.stage.name, self.topics[tp.topic]), tp.partition)

    async def renewed(self, tp: TP, part: fold.Partition) -> fold.Partition | None:
        await self.worker.read_manifest()
        slot = self.slot(tp)
        return None if slot == part.slot else fold.Partition(part.stage, slot, part.source, part.counts, part.limits)

    def ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        if isinstance(error, (Stop, BrokerError, fold.Unreadable)):
            self.worker.fatal(str(error))
        else:
            log.error("a stage failed", stage=self.stage.name, exc_info=error)
            # When the consumer's thread has ended, what owners see of it is no more than a closed loop.
            why = self.app.crash_reason or self.thread.crash_reason or error
            self.worker.fatal(f"{self.stage.name} failed: {type(why).__name__}: {why}")

    async def revoked(self, *args: Any, revoked: Iterable[TP] = (), **_: Any) -> None:
        self.drop(args[1] if len(args) > 1 else revoked)

    def drop(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            task = self.tasks.pop(tp, None)
            if task is not None:
                task.cancel()
            owner = self.owners.pop(tp, None)
            if owner is not None:
                forget(self.labels(tp), (self.stage.name, str(tp.partition)))

    def applied(self) -> dict[TP, int]:
        """What the store holds, by partition: the offsets for Kafka's own books."""
        return {tp: offset for tp, owner in self.owners.items() if (offset := owner.applied) is not None}

    def marks(self) -> dict[TP | str, object]:
        """What moves as long as all is well, by partition, and of the group under the stage's name; None: nothing to do.

        Also what the store refuses moves it: an owner whose commits fail knows why it stands, though the store answers now and then.
        """
        owners = list(self.owners.items())
        marks: dict[TP | str, object] = {tp: (owner.part.checkpoint, owner.unanswered) if owner.behind else None for tp, owner in owners}
        ours = {tp for tp in self.thread.assignment() if tp.topic in self.topics}
        settled = (
            self.member and self.answered and ours == set(self.tasks) and all(tp in self.owners and self.owners[tp].stands for tp in ours)
        )
        marks[self.stage.name] = None if settled else sum(owner.unanswered for _, owner in owners)
        return marks

    def state(self, what: TP | str) -> str:
        """For whoever reads why a worker ended."""
        if isinstance(what, TP):
            owner = self.owners[what]
            return f"{what.topic}/{what.partition} stands at {owner.applied} of {owner.highwater}"
        return (
            f"group {group(self.worker.settings.kafka.prefix, self.stage.name)}: "
            f"{'a member' if self.member else 'no member'}, {'answered' if self.answered else 'not answered'} by the broker, assigned {sorted(tp.partition for tp in self.thread.assignment())}, "
            f"at work on {sorted(tp.partition for tp, owner in self.owners.items() if owner.stands)}"
        )

    def labels(self, tp: TP) -> tuple[str, str, str]:
        return group(self.worker.settings.kafka.prefix, self.stage.name), tp.topic, str(tp.partition)

    def measure(self) -> None:
        """The gauges of every partition that is owned here."""
        for tp, owner in self.owners.items():
            applied = owner.applied
            if applied is not None:
                records, seconds = owner.lag()
                labels = self.labels(tp)
                metrics.CHECKPOINT_OFFSET.labels(*labels).set(applied)
                metrics.LOG_END_OFFSET.labels(*labels).set(max(owner.highwater, applied))
                metrics.LAG_RECORDS.labels(*labels).set(records)
                metrics.LAG_SECONDS.labels(*labels).set(seconds)
                if owner.part.timed:
                    metrics.WATERMARK.labels(self.stage.name, str(tp.partition)).set(owner.part.state.clock / 1000)

    async def finish(self) -> None:
        """The piece in hand, and no more."""
        for owner in self.owners.values():
            owner.stopping.set()
            owner.wake()
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=5)


def forget(labels: tuple[str, str, str], clock: tuple[str, str]) -> None:
    """A partition that went elsewhere: what this process last said of it must not stand."""
    for gauge in (metrics.CHECKPOINT_OFFSET, metrics.LOG_END_OFFSET, metrics.LAG_RECORDS, metrics.LAG_SECONDS):
        gauge.remove(*labels)
    metrics.WATERMARK.remove(*clock)


class PartitionReader:
    """What an owner asks of its consumer."""

    def __init__(self, stage_app: StageApp, tp: TP, topic: str) -> None:
        self.stage_app, self.tp, self.topic = stage_app, tp, topic

    async def seek(self, offset: int) -> int | None:
        return await self.stage_app.thread.rewind(self.tp, offset)

    async def bounds(self) -> LogBounds:
        while True:
            try:
                return await self.stage_app.thread.bounds(self.tp)
            except BrokerAway as error:
                await self.broker_away(error)

    async def identity(self) -> str:
        return await self.stage_app.worker.identity(self.topic)

    async def holds(self, offset: int) -> bool:
        while True:
            try:
                return await self.stage_app.worker.logs.ask(lambda logs: logs.holds(self.topic, self.tp.partition, offset))
            except BrokerError as error:
                await self.broker_away(error)

    async def broker_away(self, error: Exception) -> None:
        log.warning("broker away", topic=self.tp.topic, error=str(error))
        await asyncio.sleep(0.5)


def credentials(kafka: Kafka) -> Any:
    """Faust's form of the security settings."""
    import ssl

    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = ssl.create_default_context(cafile=kafka.ssl_cafile or None) if kafka.security_protocol.endswith("SSL") else None
    if kafka.security_protocol == "SSL":
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=kafka.sasl_username, password=kafka.sasl_password, mechanism=kafka.sasl_mechanism, ssl_context=context
    )
