"""What the API writes to Kafka: public events and notes, acknowledged by all replicas; slates, handed over and not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
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


class Handed:
    """Tasks that nobody waits for: kept alive, counted, bounded."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tasks: set[asyncio.Task[Ack]] = set()

    def add(self, work: Coroutine[Any, Any, Ack], then: Then | None = None) -> None:
        if len(self.tasks) >= self.most:
            work.close()
            metrics.SLATES_LOST.inc()
            if then is not None:
                then(None)
            return
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(lambda task: self.done(task, then))

    def done(self, task: asyncio.Task[Ack], then: Then | None) -> None:
        self.tasks.discard(task)
        arrived = not task.cancelled() and task.exception() is None
        if not task.cancelled() and not arrived:
            metrics.SLATES_LOST.inc()
        if then is not None:
            then(task.result() if arrived else None)

    async def drain(self, seconds: float) -> None:
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=seconds)
            for task in late:
                task.cancel()
                metrics.SLATES_LOST.inc()


class KafkaProducer:
    """aiokafka with acks=all. A broker that is away at the start is looked for in the background; sending fails until it is there."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.prefix = settings.kafka.prefix
        self.timeout_s = settings.api.produce_timeout_s
        self.handed = Handed(settings.api.slates_in_flight)
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
        try:
            async with asyncio.timeout(self.timeout_s):
                sent = await producer.send_and_wait(full(self.prefix, topic), value, key, partition, headers=headers or None)
        except (KafkaError, OSError, TimeoutError) as error:
            self._reason = f"{self.settings.kafka.servers}: {type(error).__name__}"
            raise NotAcknowledged(str(error) or type(error).__name__) from error
        self._reason = None
        return Ack(sent.partition, sent.offset)

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
        self.handed.add(self.send(topic, key, value, partition), then)
