"""Frames beside Faust: what one fetch brought for a partition goes to its owner in one piece.

Faust moves about 12 thousand messages a second through its conductor; and what it moves takes half a dozen turns of the worker's loop, each of which
waits for whatever else is folded then. So nothing goes that way. Everything else stays Faust's: group membership, assignment, rebalancing,
supervision. The consumer thread is the one place that changes:

- `_fetch_records` makes frames of what the fetcher returned and hands them over in one turn of the worker's loop, of those partitions only whose
  owner stands where the store stands and has room: a partition that waits for its store holds up no other. Faust is told that nothing came;
- what this worker wrote itself its owners have before it is fetched (`Owner.wrote`): as long as a fetch brings nothing else, the next one waits a little;
- `seek_to_committed` tells the app what is assigned, and returns at once: each partition's owner reads its checkpoint and seeks by itself.
  Faust calls it during every rebalance, also twice at a time, and gives up for good when it takes 90 seconds: it may not wait for a store;
- offsets are committed to Kafka by `commit_checkpoints`, for operators' tools only; nothing here ever reads them, and neither does the client:
  a partition that is assigned stands still until its owner seeks (`stand_still`);
- what the group's coordinator raises is taken from it (`check`): it waits for that, without heartbeats, and Faust never asks it;
- what the app asks of the broker through this thread is a task of its own with a time limit: no question waits for another.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalStateError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from config.headers import read_leniently
from streams.stage import Record
from streams.unpack import Fetched

log = structlog.get_logger("upwell.transport")
read_leniently()

Answer = TypeVar("Answer")

ASK_S = 5.0
"""What the broker's answer to one question may take; whoever asks asks again."""


class Frame(NamedTuple):
    """Records of one partition that follow each other in the log."""

    start: int | None
    """where reading stood before: records from here to `end` that are not in the frame do not exist (compaction, transaction markers)"""
    end: int
    epoch: int
    """seeks of this partition before it: a frame fetched before a seek says nothing about what follows"""
    records: list[Record]
    highwater: int


class LogBounds(NamedTuple):
    start: int
    end: int


class BrokerAway(Exception):
    """A question to the broker that it did not answer; the next one may be."""


class GroupLost(Exception):
    """The group is closed to this worker for good; the message has the broker's reason."""


FOR_GOOD = (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
)
"""Answers of a group's coordinator that asking again does not change."""


class Owners(Protocol):
    """What a consumer's thread asks of those it reads for, and tells them."""

    def assigned(self, tps: Iterable[TP]) -> None: ...

    def busy(self, tp: TP) -> bool:
        """Whether enough frames wait at its owner. On the consumer's thread."""

    def has(self, tp: TP, frame: Frame) -> bool:
        """Whether its owner got all of it already. On the consumer's thread."""

    def short(self) -> bool:
        """Whether one of them waits for what only a fetch brings. On the consumer's thread."""

    def deliver(self, tp: TP, frame: Frame) -> None:
        """On the worker's loop."""


AGAIN_S = 1.0
"""After which a broker that was away is tried again."""

LOOK_AGAIN_S = 0.02
"""How long a fetch waits at most while a partition is left out of it."""

CALM_S, CALMEST_S = 0.005, 0.04
"""Between two fetches of what the owners have already, since this worker wrote it: the first pause, and the longest."""

HANDED = 32
"""Frames on their way to the worker's loop before no more are fetched."""


class FrameConsumerThread(driver.AIOKafkaConsumerThread):
    """The consumer thread that hands over frames and starts where the store stands."""

    owners: Owners
    fetch_wait_ms = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        self.handed: deque[tuple[TP, Frame]] = deque()
        """frames on their way: this thread appends, the worker's loop takes"""
        self.wanted = asyncio.Event()
        """somebody waits for what only a fetch brings"""
        self.calm = CALM_S
        self.starts: dict[TP, int] = {}
        self.epochs: dict[TP, int] = {}
        self.sought: set[TP] = set()

    async def on_start(self) -> None:
        while True:
            try:
                await super().on_start()
                break
            except KafkaConnectionError as error:
                # It answered a moment ago: a broker that restarts.
                log.warning("broker away", error=str(error))
                await self._ensure_consumer().stop()
                await asyncio.sleep(AGAIN_S)
        consumer = self._ensure_consumer()
        # The driver fixes 1500 ms; how long a waiting fetch may be held is a setting.
        consumer._fetcher._fetch_max_wait_ms = self.fetch_wait_ms
        consumer._fetcher._records = Fetched()
        stand_still(consumer._subscription)

    async def ask(self, question: Coroutine[Any, Any, Answer], patience_s: float | None = ASK_S) -> Answer:
        """Runs on the consumer's loop, beside whatever else runs there. Raises `BrokerAway`."""

        async def limited() -> Answer:
            async with asyncio.timeout(patience_s):
                return await question

        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(limited(), self.thread_loop))
        except (KafkaError, TimeoutError, AssertionError) as error:  # the client asserts what a closed connection breaks
            raise BrokerAway(f"{type(error).__name__}: {error}") from None

    async def _fetch_records(self, consumer: Any, active_partitions: Any, timeout: Any = None, max_records: Any = None) -> Any:
        """Fetches and hands over for `timeout` seconds, or until Faust stops the flow; returns nothing."""
        until = time.monotonic() + (timeout or 0.0)
        while self.consumer.flow_active and (left := until - time.monotonic()) > 0:
            active = tuple(active_partitions)  # the worker's loop may change it meanwhile
            ready = {tp for tp in active if TP(tp.topic, tp.partition) in self.sought and not self.owners.busy(TP(tp.topic, tp.partition))}
            if not ready or len(self.handed) >= HANDED:
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            if len(ready) < len(active):
                left = min(left, LOOK_AGAIN_S)
            try:
                fetched = await super()._fetch_records(consumer, ready, timeout=left, max_records=max_records)
            except KafkaError as error:
                # Of a partition that a rebalance has just taken or given (no offset, out of range): its owner's next seek sets it right.
                log.warning("fetch failed", error=repr(error))
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            if self.hand_over(fetched):
                self.calm = CALM_S
            elif fetched and not self.owners.short():
                self.wanted.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.calm):
                        await self.wanted.wait()
                self.calm = min(2 * self.calm, CALMEST_S)
        return {}

    def hand_over(self, fetched: Mapping[Any, list[Record]]) -> bool:
        """All frames of a fetch in one turn of the worker's loop; False when there is nothing new among them."""
        frames = [(TP(tp.topic, tp.partition), records) for tp, records in fetched.items() if records]
        new = [(tp, frame) for tp, frame in [(tp, self.frame(tp, records)) for tp, records in frames] if not self.owners.has(tp, frame)]
        self.handed.extend(new)
        if new:
            self.parent_loop.call_soon_threadsafe(self.take_over)
        return bool(new)

    def look(self) -> None:
        """From the worker's loop: a fetch is waited for."""
        with suppress(RuntimeError):  # the thread has just ended
            self.thread_loop.call_soon_threadsafe(self.wanted.set)

    def take_over(self) -> None:
        """On the worker's loop; what another call for it has taken is gone."""
        handed = self.handed
        while handed:
            self.owners.deliver(*handed.popleft())

    def frame(self, tp: TP, records: list[Record]) -> Frame:
        """One frame that carries them all."""
        end = records[-1].offset + 1
        frame = Frame(self.starts.get(tp), end, self.epochs.get(tp, 0), records, max(self.highwater(tp), end))
        self.starts[tp] = end
        return frame

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Where the store stands is where reading resumes: the owners will seek there."""
        await self.ask(self.forget_seeks(), None)
        self.owners.assigned({TP(tp.topic, tp.partition) for tp in self.assignment()})
        return {}

    async def forget_seeks(self) -> None:
        self.sought.clear()

    async def rewind(self, tp: TP, offset: int) -> int | None:
        """Read on from `offset`; the epoch of the frames that will follow, None while the partition is not ours."""

        async def go() -> int | None:
            consumer, ours = self._ensure_consumer(), driver.ensure_aiokafka_TP(tp)
            try:
                consumer.seek(ours, offset)
                consumer.resume(ours)
            except IllegalStateError:
                return None
            self.starts[tp] = offset
            self.epochs[tp] = epoch = self.epochs.get(tp, 0) + 1
            self.sought.add(tp)
            return epoch

        return await self.ask(go(), None)

    async def bounds(self, tp: TP) -> LogBounds:
        """The log's first offset and its end. Raises `BrokerAway`."""

        async def go() -> LogBounds:
            consumer, ours = self._ensure_consumer(), driver.ensure_aiokafka_TP(tp)
            start = (await consumer.beginning_offsets([ours]))[ours]
            end = (await consumer.end_offsets([ours]))[ours]
            return LogBounds(start, end)

        return await self.ask(go())

    async def ends(self, tps: Iterable[TP]) -> Mapping[TP, int]:
        """Where the logs' records end. Raises `BrokerAway`.

        When the client has read past the last record, what follows it are transaction markers, which nobody is handed.
        """
        asked = [driver.ensure_aiokafka_TP(tp) for tp in tps]

        async def go() -> Mapping[TP, int]:
            consumer = self._ensure_consumer()
            found = {TP(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(asked)).items()}
            assignment = consumer._subscription.subscription.assignment
            for tp in self.sought & found.keys():
                state = assignment.state_value(driver.ensure_aiokafka_TP(tp)) if assignment is not None else None
                if state is not None and not state.paused and state.has_valid_position and state.position >= found[tp]:
                    found[tp] = min(found[tp], self.starts[tp])
            return found

        return await self.ask(go())

    async def commit_checkpoints(self, offsets: Mapping[TP, int]) -> None:
        """For the lag tools of operators. A commit that fails is tried again with the next one."""

        async def go() -> None:
            mine = {TP(tp.topic, tp.partition) for tp in self.assignment()}
            kept = {driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if tp in mine}
            if kept:
                await self._ensure_consumer().commit(kept)

        try:
            await self.ask(go())
        except BrokerAway as error:
            log.debug("offsets not committed", error=str(error))

    async def check(self) -> bool:
        """`take_errors`, on the consumer's loop; asked once a second. Raises `BrokerAway` when that loop stands."""
        return await self.ask(take_errors(self._ensure_consumer()))

    def highwater(self, tp: TP) -> int:
        """0: not known, or the partition has just gone elsewhere; the client asserts that it has not."""
        try:
            return super().highwater(tp) or 0
        except (AssertionError, IllegalStateError):
            return 0

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's watchdog over its own commits; ours are the store's."""

    def verify_recovery_event_path(self, now: float, tp: TP) -> None: ...


async def take_errors(consumer: Any) -> bool:
    """Whether it is a member of its group. Raises `GroupLost`, and what ended a part of the client.

    What the client's coordinator cannot answer by itself it hands to whoever reads, and waits until it is taken: the group's rebalances go on
    without it, and after the next one it owns nothing. Faust reads past the coordinator. So it is taken here, and the group joined anew.
    """
    coordinator = consumer._coordinator
    for part in (coordinator._coordination_task, consumer._fetcher._fetch_task):
        if part.done() and not part.cancelled() and not consumer._closed:
            raise RuntimeError(f"the client's {part.get_coro().__qualname__} ended") from part.exception()
    try:
        coordinator.check_errors()
    except FOR_GOOD as error:
        raise GroupLost(f"group {coordinator.group_id}: {error}") from None
    except KafkaError as error:
        log.warning("group joined anew", group=coordinator.group_id, error=repr(error))
        coordinator.request_rejoin()
    beating = coordinator._heartbeat_task
    return coordinator.generation >= 0 and beating is not None and not beating.done()


def stand_still(subscriptions: Any) -> None:
    """From now on a partition that is assigned has a place (any) and is paused, until its owner seeks.

    Left alone the client asks the group's coordinator where each partition stands. After a broker's restart the answer may be an error that
    nobody takes; then it fetches nothing more from that broker, for ever, while its heartbeats go on.
    """
    assign = subscriptions.assign_from_subscribed

    def assigned(partitions: Any) -> None:
        assign(partitions)
        for tp in partitions:
            state = subscriptions.subscription.assignment.state_value(tp)
            state.seek(0)
            state.pause()

    subscriptions.assign_from_subscribed = assigned


class FrameConsumer(driver.Consumer):
    """Consumer whose thread makes frames."""

    def _new_consumer_thread(self) -> FrameConsumerThread:
        thread = FrameConsumerThread(self, loop=self.loop, beacon=self.beacon)
        app: Any = self.app
        thread.owners, thread.fetch_wait_ms = app.owners, app.fetch_wait_ms
        return thread


class FrameTransport(driver.Transport):
    """`kafka://` names the stock driver; an app takes any transport object."""

    Consumer = FrameConsumer
