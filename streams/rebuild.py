"""Rebuild: a stage's state folded again from its own log, into a new generation of keys beside the live one.

    survey ─► per stage: fold, output off ─► (lost: output on from where the logs fall silent) ─► swap in the manifest ─► old keys leave

A *live* partition has a checkpoint, and all that was told up to there was sent: the new generation is folded up to it with output off, follows
it until little is missing, and takes its place. The live owner goes on in the old generation until it finds its checkpoint gone, then begins at the
new one's; what it tells twice meanwhile, the readers' marks drop. So nothing stands still, and a rebuild that dies leaves only keys that nobody reads.

A *lost* partition has none. What it told is known from the logs it told it to (`survey`): up to the piece before the last one everything was
acknowledged, so output is off up to there and on from there to the log's end; again the marks drop what stands already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from config import metrics
from config.keys import Slot
from config.records import Position, Source
from config.security import client_security
from config.settings import Settings
from config.topics import STAGES, full
from store import manifest as manifests
from store.base import Store
from store.lag import slot_stage
from store.layout import PartitionState, checkpoint_bytes, checkpoint_from, decode_partition, encode_partition
from store.manifest import Manifest
from streams import fold, packing
from streams.engine import available, make
from streams.logs import Logs
from streams.owner import QUEUE, Owner, SendError, Stop
from streams.survey import Survey, consumer, survey
from streams.transport import Frame, LogBounds

log = structlog.get_logger("upwell.rebuild")

NEAR = 500
"""Records of a stage that may be missing at the swap: the live owners fold them again."""
GRACE_S = 5.0
"""After a swap, until the old keys leave: readers look for a new manifest every second, and finish what they began."""


class RebuildError(Exception):
    """Why a rebuild cannot be done, or was given up; the message says what to do."""


class Progress(NamedTuple):
    stage: str
    done: int
    total: int
    """records"""


Told = Callable[[Progress], None]


def nobody(_: Progress) -> None: ...


class Share:
    """One partition that is folded: where it stands, how far it may go, whether it speaks."""

    def __init__(self, old: Slot | None, new: Slot, source: Source, tp: TopicPartition) -> None:
        self.old, self.new, self.source, self.tp = old, new, source, tp
        self.limit = self.first = 0
        """offsets: records from `limit` on are not read yet; the log begins at `first`"""
        self.lost = False
        self.speaks = False
        self.epoch = 0
        self.start = 0
        self.owner: Owner

    @property
    def at(self) -> int:
        return self.owner.applied or self.first


class Reader:
    """What an owner asks of the consumer of its partition."""

    def __init__(self, feed: Feed, share: Share) -> None:
        self.feed, self.share = feed, share

    async def seek(self, offset: int) -> int | None:
        return self.feed.seek(self.share, offset)

    async def bounds(self) -> LogBounds:
        start = (await self.feed.consumer.beginning_offsets([self.share.tp]))[self.share.tp]
        end = (await self.feed.consumer.end_offsets([self.share.tp]))[self.share.tp]
        return LogBounds(start, end)

    async def identity(self) -> str:
        return self.share.source.log

    async def holds(self, offset: int) -> bool:
        return True


class Feed:
    """One consumer for all shares of a stage; hands each its frames, never beyond its limit."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer
        self.shares: dict[TopicPartition, Share] = {}
        self.paused: set[TopicPartition] = set()

    def begin(self, shares: Iterable[Share]) -> None:
        self.shares = {share.tp: share for share in shares}
        for share in self.shares.values():
            # A log is read ten times as fast as it is folded, and need not fit in memory: what does not fit in here is not read yet.
            share.owner.queue = asyncio.Queue(QUEUE)
        self.consumer.assign(list(self.shares))

    def seek(self, share: Share, offset: int) -> int:
        self.consumer.seek(share.tp, offset)
        share.start, share.epoch = offset, share.epoch + 1
        # It may have been read to its limit, and paused there, before its owner asked to begin again.
        self.allow(share, share.limit)
        return share.epoch

    def allow(self, share: Share, limit: int) -> None:
        """Its records below `limit` may be read."""
        share.limit = max(share.limit, limit)
        if share.tp in self.paused and share.start < share.limit:
            self.paused.discard(share.tp)
            self.consumer.resume(share.tp)

    def stop_at_limit(self, share: Share) -> None:
        if share.start >= share.limit and share.tp not in self.paused:
            self.paused.add(share.tp)
            self.consumer.pause(share.tp)

    async def run(self) -> None:
        while True:
            for share in self.shares.values():
                self.stop_at_limit(share)
            fetched = await self.consumer.getmany(timeout_ms=100)
            epochs = {tp: self.shares[tp].epoch for tp in fetched}
            for tp, records in fetched.items():
                share = self.shares[tp]
                if share.epoch != epochs[tp]:
                    continue  # it sought while another's queue was full: what was fetched before says nothing of what follows
                kept = [record for record in records if record.offset < share.limit]
                if len(kept) < len(records):
                    self.consumer.seek(tp, share.limit)  # what lies beyond is fetched again when it may be
                if kept or records:
                    end = kept[-1].offset + 1 if len(kept) == len(records) else share.limit
                    frame = Frame(share.start, end, share.epoch, kept, end)
                    share.start = end
                    await share.owner.queue.put(frame)


class Rebuild:
    """One system's rebuild, stage by stage."""

    def __init__(self, settings: Settings, store: Store, told: Told = nobody, *, accept_loss: bool = False) -> None:
        self.settings, self.store, self.told, self.accept_loss = settings, store, told, accept_loss
        self.prefix = settings.kafka.prefix
        self.producer: AIOKafkaProducer | None = None
        self.topics: dict[str, tuple[str, int]] = {}
        self.surveyed: Survey | None = None
        self.swept: list[tuple[str, int]] = []

    # ------------------------------------------------------------------------------------------------------------- whole

    async def run(self, stages: Iterable[str] = ()) -> list[str]:
        """Rebuilds the named stages (none: all that keep state); returns what was done, for people. Raises `RebuildError`, `Stop`."""
        logs = Logs(self.settings.kafka)
        try:
            self.topics = await asyncio.to_thread(logs.all)
        finally:
            logs.close()
        standing = await manifests.load(self.store, self.prefix)
        stateful = [name for name in available() if name != "intake"]
        chosen = [name for name in stateful if name in stages] if stages else stateful
        done = []
        try:
            if standing is None:
                if len(chosen) < len(stateful):
                    raise RebuildError("the store lost everything: run `upwell rebuild` without a stage")
                done.append(await self.anew(chosen))
            else:
                manifests.check(standing, {name: count for name, (_, count) in self.topics.items()})
                for name in chosen:
                    standing, text = await self.beside(standing, name)
                    done.append(text)
                done += await self.sources(standing)
            if self.swept:
                await asyncio.sleep(GRACE_S if standing is not None else 0)
            for name, generation in self.swept:
                await self.sweep(name, keep=generation)
        finally:
            if self.producer is not None:
                await self.producer.stop()
        return done

    async def beside(self, manifest: Manifest, name: str) -> tuple[Manifest, str]:
        """A live stage; returns the manifest that names the new generation."""
        old = manifest.generations.get(name, 0)
        new = manifest.swapped(name, old + 1)
        began = time.monotonic()
        await self.sweep(name, only=old + 1)
        records = await self.stage(name, manifest, new)
        if not await manifests.swap(self.store, manifest, new):
            raise RebuildError("the manifest changed meanwhile: is another `upwell rebuild` running? Nothing was swapped; run it again")
        # A live owner finds its checkpoint gone, and begins where the manifest says.
        (topic,) = STAGES[name]
        await self.store.delete([manifest.at(name, p).checkpoint for p in range(manifest.partitions[topic])])
        self.swept.append((name, old + 1))
        return new, f"{name}: {records:,} records in {time.monotonic() - began:.1f} s, generation {old + 1}"

    async def anew(self, names: Iterable[str]) -> str:
        """A store that lost everything: every stage, then the sources, then the manifest that lets everybody begin."""
        began = time.monotonic()
        generation = int(time.time())  # never one that a stalled worker may still believe in
        counts = {name: count for name, (_, count) in self.topics.items()}
        manifest = Manifest.new(self.prefix, counts)
        for name in STAGES:
            if name != "intake":
                manifest = manifest.swapped(name, generation)
        records = 0
        for name in names:
            records += await self.stage(name, None, manifest)
            self.swept.append((name, generation))
        await self.sources(manifest)
        for name in STAGES.keys() - set(names) - {"intake"}:  # stages that this version does not have: their logs wait
            (topic,) = STAGES[name]
            for p in range(counts[topic]):
                await self.store.commit(manifest.at(name, p), None, checkpoint_bytes(self.topics[topic][0], Position(0)), {}, {})
        await manifests.create(self.store, manifest)
        return f"everything: {records:,} records in {time.monotonic() - began:.1f} s, generation {generation}"

    async def sources(self, manifest: Manifest) -> list[str]:
        """Intake keeps nothing but where it stands; what was lost of that goes on where everything before was told."""
        done = []
        for topic in STAGES["intake"]:
            identity, count = self.topics[topic]
            slots = [manifest.at(slot_stage("intake", topic), p) for p in range(count)]
            values = await self.store.read([slot.checkpoint for slot in slots])
            for slot, value in zip(slots, values, strict=True):
                if value is None:
                    source = Source(identity, full(self.prefix, topic), slot.partition)
                    at = Position((await self.survey()).told(source.name).offset)
                    await self.store.commit(slot, None, checkpoint_bytes(identity, at), {}, {})
                    done.append(f"intake: {topic} {slot.partition} goes on at {at.offset}")
        return done

    async def survey(self) -> Survey:
        if self.surveyed is None:
            self.surveyed = await survey(self.settings, {name: count for name, (_, count) in self.topics.items()})
        return self.surveyed

    async def sweep(self, name: str, *, keep: int | None = None, only: int | None = None) -> None:
        """Drops a stage's keys: of all generations but one, or of one."""
        pattern = b"{%s.*.%s[0-9]*}:*" % (escaped(self.prefix), name.encode())
        keys = []
        async for key in self.store.scan(pattern):
            generation = generation_of(key, self.prefix, name)
            if generation is not None and (generation != keep if only is None else generation == only):
                keys.append(key)
            if len(keys) >= 10_000:
                await self.store.delete(keys)
                keys = []
        if keys:
            await self.store.delete(keys)

    # ------------------------------------------------------------------------------------------------------------- stage

    async def stage(self, name: str, live: Manifest | None, new: Manifest) -> int:
        """Folds all partitions of a stage into `new`'s generation, up to where `live` stands; returns how many records."""
        working: list[asyncio.Task[None]] = []
        async with consumer(self.settings) as reader:
            try:
                feed = Feed(reader)
                shares = await self.shares(name, live, new, feed)
                feed.begin(shares)
                for share in shares:
                    share.owner.epoch = feed.seek(share, await share.owner.begin())
                working = [asyncio.create_task(share.owner.run(), name=str(share.tp)) for share in shares]
                working.append(asyncio.create_task(feed.run(), name="feed"))
                await self.follow(name, shares, feed, working)
                for share in shares:
                    share.owner.stopping.set()
                    share.owner.wake()
                await asyncio.wait_for(asyncio.gather(*working[:-1]), 60)
                return sum(share.at - share.first for share in shares)
            finally:
                for task in working:
                    task.cancel()
                await asyncio.gather(*working, return_exceptions=True)

    async def shares(self, name: str, live: Manifest | None, new: Manifest, feed: Feed) -> list[Share]:
        """One for each partition, its first checkpoint written."""
        (topic,) = STAGES[name]
        identity, count = self.topics[topic]
        stage, engine = make(name, self.settings), self.settings.engine
        limits = fold.Limits(keys=engine.piece_keys, bytes=engine.piece_bytes, cache_bytes=engine.cache_mb * 1_000_000 // count)
        shares = []
        for p in range(count):
            tp = TopicPartition(full(self.prefix, topic), p)
            share = Share(live.at(name, p) if live is not None else None, new.at(name, p), Source(identity, tp.topic, p), tp)
            share.first = (await feed.consumer.beginning_offsets([tp]))[tp]
            if share.first > 0 and not self.accept_loss:
                raise RebuildError(
                    f"{tp.topic}/{p} begins at {share.first}: what was told before was deleted, so the state cannot be whole again. "
                    "--accept-loss folds what is kept"
                )
            skips = await self.stood(share, topic)
            values = {share.new.ledger: encode_partition(PartitionState(skips=skips))} if skips else {}
            first = checkpoint_bytes(identity, Position(share.first))
            if not await self.store.commit(share.new, None, first, values, {}):
                raise RebuildError(f"{share.new.tag.decode()} is being written by somebody else: is another `upwell rebuild` running?")
            share.owner = Owner(
                fold.Partition(stage, share.new, share.source, new.partitions, limits),
                self.store,
                Reader(feed, share),
                self.sender(share),
                None,
                full_topic=tp.topic,
                commit_every=engine.slow_commit_s if name in engine.slow_stages else 0.0,
                poison_after=engine.poison_after,
                tick_lag=engine.tick_lag_s,
            )
            shares.append(share)
        return shares

    async def stood(self, share: Share, topic: str) -> list[tuple[int, int, int]]:
        """Sets how far a share goes with output off; returns the steps that it passes over."""
        if share.old is not None:
            checkpoint, ledger = await self.store.read([share.old.checkpoint, share.old.ledger])
            if checkpoint is not None:
                share.limit = checkpoint_from(checkpoint)[1][0]
                return [] if ledger is None else decode_partition(ledger).skips
        found = await self.survey()
        share.lost, share.limit = True, found.told(share.source.name).offset
        return list(found.skips.get((topic, share.tp.partition), ()))

    def sender(self, share: Share) -> Callable[[list[packing.Outgoing]], Awaitable[None]]:
        """Silent, until the share speaks."""

        async def send(records: list[packing.Outgoing]) -> None:
            if share.speaks:
                await self.send(records)

        return send

    async def send(self, records: list[packing.Outgoing]) -> None:
        """All of them acknowledged, or `SendError`."""
        if self.producer is None:
            self.producer = AIOKafkaProducer(
                bootstrap_servers=self.settings.kafka.servers.split(","),
                acks="all",
                max_request_size=2_000_000,
                **client_security(self.settings.kafka),
            )
            await self.producer.start()
        try:
            sent = [
                await self.producer.send(full(self.prefix, r.topic), r.value, r.key, r.partition, headers=list(r.headers)) for r in records
            ]
            await asyncio.gather(*sent)
        except (KafkaError, TimeoutError) as error:
            raise SendError(f"{type(error).__name__}: {error}") from None

    async def follow(self, name: str, shares: list[Share], feed: Feed, working: list[asyncio.Task[None]]) -> None:
        """Until the live checkpoints, or the logs' ends, are reached."""
        rounds, least = 0, 1 << 62
        while True:
            ended = next((task for task in working if task.done()), None)
            if ended is not None:
                ended.result()
                raise RebuildError(f"{ended.get_name()} ended early")
            await self.raise_limits(shares, feed)
            behind = sum(max(0, share.limit - share.at) for share in shares)
            total = sum(share.limit - share.first for share in shares)
            metrics.RESTORE_REMAINING.set(behind)
            self.told(Progress(name, total - behind, total))
            if behind == 0 and all(share.speaks for share in shares if share.lost):
                return
            # A log that grows as fast as it is folded is as near as it gets when nothing is gained any more.
            rounds, least = (0, behind) if behind < least * 0.9 else (rounds + 1, least)
            if behind <= NEAR and not any(share.lost for share in shares) and rounds > 10:
                return
            await asyncio.sleep(0.05)

    async def raise_limits(self, shares: list[Share], feed: Feed) -> None:
        live = [share for share in shares if not share.lost]
        values = await self.store.read([share.old.checkpoint for share in live if share.old is not None])
        for share, value in zip(live, values, strict=True):
            if value is not None:
                feed.allow(share, checkpoint_from(value)[1][0])
        for share in shares:
            if share.lost and not share.speaks and share.at >= share.limit:
                share.speaks = True
                feed.allow(share, await self.end(share))

    async def end(self, share: Share) -> int:
        """Of the log, by a fetch: the answer to the question for it may be short."""
        async with consumer(self.settings) as reader:
            reader.assign([share.tp])
            reader.seek(share.tp, share.limit)
            while (mark := reader.highwater(share.tp)) is None:
                await reader.getmany(timeout_ms=100)
            return int(mark)


def escaped(text: str) -> bytes:
    """Of a glob: taken literally."""
    return b"".join(b"\\" + bytes((one,)) if one in b"*?[]\\^" else bytes((one,)) for one in text.encode())


def generation_of(key: bytes, prefix: str, name: str) -> int | None:
    """The generation of a key of that stage; None for another's."""
    head, _, _ = key.removeprefix(b"{").partition(b"}")
    rest = head.removeprefix(prefix.encode() + b".")
    generation, _, owner = rest.partition(b".")
    digits = owner.removeprefix(name.encode())
    return int(generation) if generation.isdigit() and digits != owner and digits.isdigit() else None


__all__ = ["Progress", "Rebuild", "RebuildError", "Stop", "Survey", "survey"]
