"""What the API writes to Kafka: public events and notes, acknowledged by all replicas; slates, handed over in groups and not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from config import metrics
from config.security import client_security
from config.settings import Settings
from config.topics import full

log = structlog.get_logger("serving.producer")


Headers = Sequence[tuple[str, bytes]]


class NotAcknowledged(Exception):
    """Kafka did not say that it has the record; it may have it."""


class Ack(NamedTuple):
    partition: int
    offset: int


Then = Callable[[Ack | None], None]
"""What is done with an acknowledgement; None: there is none."""


class Producer(Protocol):
    """The API's way into the logs."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """After what was handed over has left, or the time for it is over."""

    @property
    def reason(self) -> str | None:
        """What is wrong with it now; None when nothing is."""

    async def send(self, topic: str, key: bytes, value: bytes, partition: int | None = None, headers: Headers = ()) -> Ack:
        """Appends to a topic (short name) and waits for the acknowledgement. Raises `NotAcknowledged`."""

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises `NotAcknowledged`."""

    def hand(self, topic: str, key: bytes, value: bytes, partition: int, then: Then | None = None) -> None:
        """Appends without waiting; what does not arrive is counted. `then` hears of the acknowledgement, or that there is none."""


class Record(NamedTuple):
    """One that is handed over."""

    topic: str
    """short name"""
    key: bytes
    value: bytes
    partition: int
    then: Then | None = None


class Handed:
    """What nobody waits for: sent in groups, counted, bounded.

    A request to the broker and its answer cost a tenth of a feed, however many records it carries: so what is handed over within `wait_s` leaves
    together.

    Parameters
    ----------
    send
        appends records and waits; returns what it heard of each, None: nothing
    most
        records that are waited for; beyond that they are lost at once
    wait_s
        how long a record waits for others
    """

    def __init__(self, send: Callable[[Sequence[Record]], Coroutine[Any, Any, Sequence[Ack | None]]], most: int, wait_s: float) -> None:
        self.send, self.most, self.wait_s = send, most, wait_s
        self.waiting: list[Record] = []
        """not sent yet"""
        self.count = 0
        """handed over, and nothing heard of them yet"""
        self.tasks: set[asyncio.Task[Sequence[Ack | None]]] = set()

    def add(self, record: Record) -> None:
        self.count += 1
        if self.count > self.most:
            self.heard(record, None)
            return
        if not self.waiting:
            asyncio.get_running_loop().call_later(self.wait_s, self.leave)
        self.waiting.append(record)

    def leave(self) -> None:
        """Sends what waits."""
        group, self.waiting = self.waiting, []
        if group:
            task = asyncio.get_running_loop().create_task(self.send(group))
            self.tasks.add(task)
            task.add_done_callback(partial(self.done, group))

    def done(self, group: Sequence[Record], task: asyncio.Task[Sequence[Ack | None]]) -> None:
        self.tasks.discard(task)
        arrived = not task.cancelled() and task.exception() is None
        for record, ack in zip(group, task.result() if arrived else [None] * len(group), strict=True):
            self.heard(record, ack)

    def heard(self, record: Record, ack: Ack | None) -> None:
        self.count -= 1
        if ack is None:
            metrics.SLATES_LOST.inc()
        if record.then is not None:
            record.then(ack)

    async def drain(self, seconds: float) -> None:
        """Sends all, and waits so long for it."""
        self.leave()
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class KafkaProducer:
    """aiokafka with acks=all. A broker that is away at the start is looked for in the background; sending fails until it is there."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.prefix = settings.kafka.prefix
        self.timeout_s = settings.api.produce_timeout_s
        self.handed = Handed(self.send_together, settings.api.slates_in_flight, settings.api.slates_wait_ms / 1000.0)
        self._producer: AIOKafkaProducer | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reason: str | None = "not connected yet"

    @property
    def reason(self) -> str | None:
        return self._reason

    def _make(self) -> AIOKafkaProducer:
        kafka = self.settings.kafka
        return AIOKafkaProducer(
            bootstrap_servers=kafka.servers,
            client_id="upwell-api",
            acks="all",
            linger_ms=0,
            max_request_size=max(self.settings.events.max_record_bytes + 4096, 1_048_576),
            request_timeout_ms=int(self.timeout_s * 1000),
            **client_security(kafka),
        )

    async def start(self) -> None:
        """One try now, so that a healthy start is ready at once; then in the background."""
        if not await self._connect():
            self._connecting = asyncio.get_running_loop().create_task(self._keep_trying())

    async def _connect(self) -> bool:
        producer = self._make()
        try:
            await asyncio.wait_for(producer.start(), self.timeout_s)
        except (KafkaError, OSError, TimeoutError) as error:
            await producer.stop()
            reason = f"{self.settings.kafka.servers} does not answer ({type(error).__name__})"
            if reason != self._reason:
                log.warning("kafka is away", reason=reason)
            self._reason = reason
            return False
        self._producer, self._reason = producer, None
        return True

    async def _keep_trying(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if await self._connect():
                log.info("kafka is there")
                return

    async def stop(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        await self.handed.drain(self.settings.api.drain_s)
        producer, self._producer = self._producer, None
        self._reason = "stopped"
        if producer is not None:
            try:
                await asyncio.wait_for(producer.stop(), self.settings.api.drain_s)
            except TimeoutError:
                log.warning("kafka did not take all that was left")

    async def send(self, topic: str, key: bytes, value: bytes, partition: int | None = None, headers: Headers = ()) -> Ack:
        producer = self._producer
        if producer is None:
            raise NotAcknowledged(self._reason or "stopped")
        self.handed.leave()  # what is sent may tell of a slate, and must not arrive long before it
        try:
            async with asyncio.timeout(self.timeout_s):
                sent = await producer.send_and_wait(full(self.prefix, topic), value, key, partition, headers=headers or None)
        except (KafkaError, OSError, TimeoutError) as error:
            self._reason = self.fault(error)
            raise NotAcknowledged(str(error) or type(error).__name__) from error
        self._reason = None
        return Ack(sent.partition, sent.offset)

    async def send_together(self, records: Sequence[Record]) -> list[Ack | None]:
        """Appends, and waits for the acknowledgement of each; None: there is none. What cannot be appended keeps what is behind it out, too."""
        producer, sent, acks = self._producer, list[asyncio.Future[Any]](), list[Ack | None]()
        if producer is None:
            return [None] * len(records)
        failure: BaseException | None = None
        try:
            async with asyncio.timeout(self.timeout_s):
                for record in records:
                    sent.append(await producer.send(full(self.prefix, record.topic), record.value, record.key, record.partition))
                await asyncio.wait(sent)
        except (KafkaError, OSError, TimeoutError) as error:
            failure = error
        for future in sent:
            if future.done() and (error_ := future.exception()) is None:
                acks.append(Ack(future.result().partition, future.result().offset))
            else:
                failure = error_ if future.done() else failure
                future.cancel()
                acks.append(None)
        self._reason = None if failure is None else self.fault(failure)
        return acks + [None] * (len(records) - len(sent))

    def fault(self, error: BaseException) -> str:
        return f"{self.settings.kafka.servers}: {type(error).__name__}"

    async def partitions(self, topic: str) -> int:
        producer = self._producer
        if producer is None:
            raise NotAcknowledged(self._reason or "stopped")
        try:
            async with asyncio.timeout(self.timeout_s):
                return len(await producer.partitions_for(full(self.prefix, topic)))
        except (KafkaError, OSError, TimeoutError) as error:
            raise NotAcknowledged(str(error) or type(error).__name__) from error

    def hand(self, topic: str, key: bytes, value: bytes, partition: int, then: Then | None = None) -> None:
        self.handed.add(Record(topic, key, value, partition, then))
