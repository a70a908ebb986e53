"""One partition of one stage at work: a task that takes frames, folds them, and lets the store catch up.

    frames ─► queue ─► feed ─► step … step ─► commit (send, acknowledge, write) ─► next

A frame is either applied or read again; there is no third way. On a hole, a conflict, an error of store or broker, the owner believes the
store: it forgets what it holds, reads the checkpoint, seeks there, and ignores frames fetched before the seek. An assignment is the first
of these occasions, so that there is one way of beginning; no frame is read for an owner that has not sought.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import structlog

from config import metrics
from config.records import Position
from store.base import Store, StoreError
from store.lag import Trail
from store.layout import checkpoint_from
from streams import fold
from streams.packing import PACKED
from streams.stage import Record, Unusable
from streams.transport import Frame, LogBounds

log = structlog.get_logger("upwell.owner")

QUEUE = 4
"""Frames that may wait at an owner before no more are fetched for it."""
AHEAD = 64
"""Offsets beyond what came up to which records are kept that this worker wrote: the fetch is about to bring what lies further on."""
SEEK_AGAIN_S = 0.1
GONE_S = 5.0
"""How long records of an internal log must be missing before they are taken to be gone: nobody compacts it, nobody writes to it in transactions."""
STILL_S = 10.0
"""An owner to whom nothing comes for so long, though its log goes on, seeks again."""
UNUSABLE_S = 5.0
"""How often a state that cannot be used is looked at again."""


class Stop(Exception):
    """Something only an operator can decide; the message says what is wrong and what the ways out are."""


class SendError(Exception):
    """The broker did not acknowledge a record."""


class Reader(Protocol):
    """What an owner asks of the consumer of its partition."""

    async def seek(self, offset: int) -> int | None:
        """The epoch of the frames that follow; None while the partition is not ours."""

    async def bounds(self) -> LogBounds: ...

    async def identity(self) -> str:
        """Of the log, as it is now."""

    async def holds(self, offset: int) -> bool:
        """Whether the log has a record at `offset` or beyond."""


Renewed = Callable[[fold.Partition], Awaitable[fold.Partition | None]]
"""The partition of the generation that the manifest names; None when that is the given one's. Raises `StoreError`."""


def counter(stage: str, type: str, outcome: str) -> Any:
    """Where a stage's `count` is counted: dead letters and pool moves have metrics of their own."""
    if type == "dead":
        return metrics.DEAD.labels(outcome)
    if type == "move":
        return metrics.POOL_MOVES.labels(*outcome.split(">"))
    return metrics.EVENTS.labels(stage, type, outcome)


class Owner:
    """Runs one `fold.Partition` until it is cancelled."""

    def __init__(
        self,
        part: fold.Partition,
        store: Store,
        reader: Reader,
        send: fold.Send,
        resolve: fold.Resolve | None,
        *,
        full_topic: str,
        commit_every: float = 0.0,
        poison_after: int = 3,
        tick_lag: float = 10.0,
        wall: Callable[[], float] = time.time,
        renewed: Renewed | None = None,
    ) -> None:
        self.part, self.store, self.reader, self.send, self.resolve = (part, store, reader, send, resolve)
        self.stage, self.full_topic = part.stage.name, full_topic
        self.commit_every, self.poison_after, self.tick_lag, self.wall = (commit_every, poison_after, tick_lag, wall)
        self.queue: asyncio.Queue[Frame] = asyncio.Queue()
        self.epoch = 0
        self.fed = 0
        self.highwater = 0
        self.stopping = asyncio.Event()
        self.renewed, self.outdated = renewed, False
        self.waits = False
        """for a frame"""
        self.owed: tuple[int, float] | None = None
        """what was fed when the log was first seen to go on beyond it, and that time, monotonic"""
        self.still = False
        self.begun = False
        self.stands = False
        """where the store stands, and is handed what follows"""
        self.unanswered = 0
        """times the store did not do what it was asked, or held what cannot be used"""
        self.gapless = full_topic.rpartition(".")[2] in PACKED
        self.missing: tuple[int, float] | None = None
        """offset from which records are missing, and since when, monotonic"""
        self.read_end = 0
        """of what came since the last seek"""
        self.ahead: dict[int, Record] = {}
        """what this worker itself wrote to the log, by offset, as long as records before it have not come"""
        self.failures: Counter[tuple[Position, str]] = Counter()
        self.pause = 0.05
        self.last_commit = 0.0
        self.seconds = {part: metrics.FRAME_SECONDS.labels(self.stage, part) for part in ("fold", "commit")}
        # At 0 from the start: an increase is only seen of what was there before.
        metrics.STORE_ERRORS.labels(self.stage)
        metrics.DEAD.labels("fold_error")
        self.to_state = metrics.EVENT_TO_STATE.labels(self.stage)
        self.arrivals: deque[tuple[int, int, int]] = deque()
        """first offset, end, and the first record's time stamp (ms) of each frame that is not wholly applied"""
        self.trail = Trail()
        self.counted: dict[tuple[str, str], Any] = {}

    # -------------------------------------------------------------------------------------------------------- beginning

    async def begin(self) -> int:
        """Stand where the store stands, having checked that this log is the checkpoint's; returns the offset to read from."""
        first: bytes | None = None
        while True:
            try:
                await self.renew()
                first = await fold.begin(self.part, self.store)
                # A rebuild names the new generation before it takes the old one's checkpoints away.
                if first is not None or not await self.renew():
                    break
            except StoreError as error:
                await self.store_away(error)
            except Unusable as error:
                await self.unusable(error)
        name = f"{self.full_topic}/{self.part.partition}"
        if first is None:
            raise Stop(
                f"{name}: the store has no checkpoint, though the system exists: its state is lost. "
                f"Run `upwell rebuild{'' if self.stage == 'intake' else f' {self.stage}'}`, or give the store its data back."
            )
        known, (offset, *_) = checkpoint_from(first)
        identity, bounds = await self.reader.identity(), await self.reader.bounds()
        if known != identity:
            raise Stop(
                f"{name}: the checkpoint belongs to log {known}, the broker has log {identity}: the topic was made anew or this is another "
                "cluster. Point UPWELL_KAFKA at the right one, or use a new prefix (UPWELL_KAFKA__PREFIX)."
            )
        if offset < bounds.start:
            raise Stop(
                f"{name}: the checkpoint is at {offset}, the log begins at {bounds.start}: records were deleted before they were applied. "
                "Use a new prefix fed from what is kept, or restore the log; raise retention (`upwell topics check`)."
            )
        if offset > bounds.end and await self.beyond_end(offset):
            raise Stop(
                f"{name}: the checkpoint is at {offset}, the log ends at {bounds.end}: the broker lost records that were applied. "
                "Restore the log, or use a new prefix (UPWELL_KAFKA__PREFIX)."
            )
        self.fed = offset
        self.begun = True
        self.last_commit = self.wall()
        return offset

    async def renew(self) -> bool:
        """Whether the manifest names another generation by now; then it is the one to work on."""
        self.outdated = False
        part = await self.renewed(self.part) if self.renewed is not None else None
        if part is not None:
            log.info("generation", stage=self.stage, partition=part.partition, generation=part.slot.generation)
            part.condemned, part.max_steps = self.part.condemned, self.part.max_steps
            # Nothing is known of where it stands before `fold.begin` has read that.
            self.part, self.begun = part, False
        return part is not None

    def outdate(self) -> None:
        """There is another generation: the owner goes there before it does anything else."""
        self.outdated = True
        self.wake()

    def wake(self) -> None:
        """An owner that waits for a frame gets an empty one of another epoch, which it ignores."""
        if self.queue.empty():
            self.queue.put_nowait(Frame(None, 0, -1, [], 0))

    async def beyond_end(self, offset: int) -> bool:
        """An end offset may be short, or come late after a broker's restart; a log that does not hold what was applied lost it."""
        for _ in range(5):
            if (await self.reader.bounds()).end >= offset or await self.reader.holds(offset - 1):
                return False
            await asyncio.sleep(1)
        return True

    async def store_away(self, error: Exception) -> None:
        self.unanswered += 1
        metrics.STORE_ERRORS.labels(self.stage).inc()
        log.warning("store away", stage=self.stage, partition=self.part.partition, error=str(error))
        await asyncio.sleep(self.pause)
        self.pause = min(self.pause * 2, 1.0)

    async def unusable(self, error: Unusable) -> None:
        """Only this partition stands, and says so again and again; `begin` goes on as soon as a rebuild has made another generation."""
        self.unanswered += 1
        log.error("state cannot be used", stage=self.stage, partition=self.part.partition, error=str(error))
        await asyncio.sleep(UNUSABLE_S)

    async def rewind(self, why: str) -> None:
        """Believe the store."""
        metrics.REWINDS.inc()
        log.info("rewind", stage=self.stage, partition=self.part.partition, why=why)
        await self.stand()

    async def stand(self) -> None:
        """Where the store stands, and read on from there."""
        self.stands, self.owed = False, None
        offset = await self.begin()
        while True:
            epoch = await self.reader.seek(offset)
            if epoch is not None:
                # In this order: the consumer's thread asks `has`.
                self.read_end = offset
                self.epoch, self.still, self.stands = epoch, False, True
                log.debug("reads on", stage=self.stage, partition=self.part.partition, offset=offset)
                self.ahead.clear()
                return
            # In the middle of a rebalance nothing is ours: what comes of it either lets this owner go on or cancels it.
            await asyncio.sleep(SEEK_AGAIN_S)

    # -------------------------------------------------------------------------------------------------------------- lag

    def arrived(self, frame: Frame) -> None:
        """Queue a frame: from now on it is known how old its records are."""
        if self.has(frame):
            return
        if frame.records:
            first, arrivals = frame.records[0], self.arrivals
            while arrivals and arrivals[-1][0] >= first.offset:
                arrivals.pop()
            arrivals.append((first.offset, frame.end, first.timestamp))
            self.highwater = max(frame.highwater, frame.end)
        if frame.epoch == self.epoch:
            self.came_to(frame.end)
        self.queue.put_nowait(frame)

    def came_to(self, end: int) -> None:
        self.read_end = max(self.read_end, end)
        for offset in [offset for offset in self.ahead if offset < end]:
            del self.ahead[offset]

    def has(self, frame: Frame) -> bool:
        """Whether all of it came already. Called by the consumer's thread, too."""
        return frame.epoch == self.epoch and frame.end <= self.read_end

    def wrote(self, record: Record) -> bool:
        """The log has a record of this very worker's: one that follows on what came needs no fetch. False when others stand in between."""
        if not self.stands or record.offset < self.read_end or self.queue.qsize() >= QUEUE:
            return True
        ahead, end = self.ahead, self.read_end
        if record.offset >= end + AHEAD:
            return True
        ahead[record.offset] = record
        if end not in ahead:
            return False
        records: list[Record] = []
        while (follows := ahead.pop(end, None)) is not None:
            records.append(follows)
            end += 1
        self.arrived(Frame(records[0].offset, end, self.epoch, records, self.highwater))
        return True

    def ends_at(self, end: int) -> None:
        """The broker was asked where the log's last record ends: so that a consumer that is stuck shows."""
        self.trail.saw(end, self.wall())
        self.highwater = max(self.read_end, end)
        if end <= self.fed:
            self.owed = None
        elif self.owed is None or self.owed[0] != self.fed:
            self.owed = (self.fed, time.monotonic())
        elif self.waits and time.monotonic() - self.owed[1] > STILL_S:
            self.still = True
            self.wake()

    @property
    def applied(self) -> int | None:
        """Offset up to which the store is true; None before the beginning."""
        return checkpoint_from(self.part.checkpoint)[1][0] if self.begun and self.part.checkpoint else None

    @property
    def behind(self) -> bool:
        """Whether the log has what the store does not."""
        applied = self.applied
        return applied is not None and applied < self.highwater

    def lag(self) -> tuple[int, float]:
        """Records that are not applied, and the age in seconds of the oldest of them (of its frame's first)."""
        applied, arrivals = self.applied, self.arrivals
        if applied is None or applied >= self.highwater:
            return 0, 0.0
        while arrivals and arrivals[0][1] <= applied:
            arrivals.popleft()
        self.trail.applied(applied)
        now = self.wall()
        age = max(0.0, now - arrivals[0][2] / 1000) if arrivals else self.trail.oldest(applied, now)
        return self.highwater - applied, age

    # ------------------------------------------------------------------------------------------------------------ work

    async def run(self) -> None:
        """Stand where the store stands, then take frames until stopped. Raises `Stop` and what is a bug."""
        await self.stand()
        while not self.stopping.is_set():
            frame = await self.next_frame()
            if self.outdated:
                await self.guarded(partial(self.rewind, "another generation"))
            elif self.still:
                await self.guarded(partial(self.rewind, f"nothing comes for {STILL_S:.0f} s, though the log goes on to {self.highwater}"))
            elif frame is None:
                if self.part.uncut:
                    await self.guarded(self.commit)
            else:
                await self.guarded(partial(self.take, frame))
        if self.part.uncut:
            await self.guarded(self.commit)

    async def next_frame(self) -> Frame | None:
        """The next frame; None when it is time to commit what was folded, or to stop."""
        if self.queue.empty():
            wait = max(0.0, self.last_commit + self.commit_every - self.wall()) if self.part.uncut else None
            if wait is None:
                self.waits = True
            try:
                async with asyncio.timeout(wait):
                    return await self.queue.get()
            except TimeoutError:
                return None
            finally:
                self.waits = False
        return self.queue.get_nowait()

    async def guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """`work`, and what follows when it fails: the store is believed."""
        try:
            await work()
            self.pause = 0.05
        except fold.Conflict:
            metrics.CHECKPOINT_CONFLICTS.inc()
            await self.rewind("the store's checkpoint is another one")
        except StoreError as error:
            await self.store_away(error)
            await self.rewind("the store failed")
        except SendError as error:
            log.warning("broker away", stage=self.stage, partition=self.part.partition, error=str(error))
            await self.rewind("the broker did not acknowledge")
        except fold.FoldError as error:
            self.suspect(error)
            await self.rewind(f"fold failed: {error}")

    def suspect(self, error: fold.FoldError) -> None:
        """The same exception at the same step, often enough, condemns the step; pieces shrink until the step stands alone."""
        part = self.part
        part.max_steps = max(1, min(part.max_steps, part.uncut or 1) // 2)
        key = (error.position, f"{type(error.cause).__name__}: {error.cause}")
        self.failures[key] += 1
        if self.failures[key] >= self.poison_after and (part.max_steps == 1 or error.position != part.piece_first):
            log.error(
                "poison", stage=self.stage, topic=self.full_topic, partition=part.partition, position=tuple(error.position), error=key[1]
            )
            part.condemned[error.position] = key[1]
            del self.failures[key]

    def feed(self, frame: Frame) -> bool:
        """Hand the fold what is new to it; False at a hole."""
        fed = self.fed
        if frame.epoch != self.epoch or frame.end <= fed:
            return True
        if frame.start is None or frame.start > fed:
            return False
        records = frame.records if frame.start == fed else [r for r in frame.records if r.offset >= fed]
        if self.gapless and len(records) != frame.end - fed and not self.gone(frame, records):
            return False
        self.came_to(frame.end)
        self.part.feed(records)
        self.fed = frame.end
        metrics.FRAME_RECORDS.observe(len(frame.records))
        return True

    def gone(self, frame: Frame, records: list[Record]) -> bool:
        """Whether offsets that a frame of an internal log leaves out are to be believed not to exist: they were out for `GONE_S`."""
        now = time.monotonic()
        there = [record.offset for record in records[:10]]
        what = {
            "topic": self.full_topic,
            "partition": self.part.partition,
            "at": self.fed,
            "start": frame.start,
            "end": frame.end,
            "there": there,
        }
        if self.missing is None or self.missing[0] != self.fed:
            self.missing = (self.fed, now)
            log.warning("records missing", **what)
        gone = now - self.missing[1] >= GONE_S
        if gone:
            log.error("records gone", **what)
        return gone

    async def take(self, frame: Frame) -> None:
        """Apply a frame, and with it all that came since: one piece costs less than two."""
        part = self.part
        while True:
            if not self.feed(frame):
                await self.rewind(f"a hole: {self.fed} is applied, reading stood at {frame.start}")
                return
            if self.queue.empty() or self.outdated or self.still:
                break
            frame = self.queue.get_nowait()
        while part.waiting:
            started = time.perf_counter()
            await fold.step(part, self.store, self.resolve)
            self.seconds["fold"].observe(time.perf_counter() - started)
            if part.full or (part.uncut and self.wall() - self.last_commit >= self.commit_every):
                await self.commit()
            if self.stopping.is_set():
                return

    async def commit(self) -> None:
        """Let the store catch up."""
        started = time.perf_counter()
        piece = await fold.commit(self.part, self.store, self.send)
        now = self.wall()
        self.last_commit = now
        self.seconds["commit"].observe(time.perf_counter() - started)
        for appended, times in Counter(piece.appended).items():  # records of one batch share their stamp
            metrics.observe(self.to_state, max(0.0, now - appended / 1000), times)
        self.export_counts()

    def export_counts(self) -> None:
        counts = self.part.out.counts
        for (type, outcome), n in counts.items():
            child = self.counted.get((type, outcome))
            if child is None:
                child = self.counted[type, outcome] = counter(self.stage, type, outcome)
            child.inc(n)
        counts.clear()

    @property
    def live(self) -> bool:
        """Effective times are close to append times: this is the present, not a replay."""
        state = self.part.state
        return state.clock > 0 and state.appended - state.clock < self.tick_lag * 1000

    @property
    def tick_due(self) -> bool:
        """Nothing comes, a deadline has passed on the wall's clock: the partition's own log needs a tick."""
        part = self.part
        if not self.begun or not self.live or part.waiting or part.uncut or not self.queue.empty():
            return False
        deadline = part.next_deadline
        return deadline is not None and deadline <= self.wall() * 1000
