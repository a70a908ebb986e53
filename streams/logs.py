"""What the broker says of its logs: identity and partition counts. Synchronous (kafka-python), for starts and assignments only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch

from config.lenient import Lenient
from config.settings import Kafka
from config.topics import TOPICS, full

NO_ID = "00000000-0000-0000-0000-000000000000"

ANSWER_S = 10.0
"""What an answer may take. The client blocks its thread for as long as it waits, and has no limit of its own over all of it."""

Answer = TypeVar("Answer")


class Batch(DefaultRecordBatch):
    """Reads on, leniently, where a header's name is no UTF-8 (`config/lenient.py`)."""

    _buffer: bytearray

    def _read_msg(self, *more: Any) -> Any:
        try:
            return super()._read_msg(*more)
        except UnicodeDecodeError:  # the place in the batch moves only when a record was read
            self._buffer = Lenient(self._buffer)
            return super()._read_msg(*more)


memory_records.DefaultRecordBatch = Batch
"""Of every consumer of this process, the tools' too, which come here for their settings."""


class BrokerError(Exception):
    """The broker does not answer, or not yet; the message says what to do."""


class TopicsMissing(BrokerError):
    """The broker does not know a topic: waiting does not help."""


UNKNOWN_TOPIC = 3
"""Kafka's error code; any other one of a topic's metadata passes, such as a leader that is still being chosen after a restart."""


def client_settings(kafka: Kafka) -> dict[str, Any]:
    """The security part of a kafka-python client's arguments."""
    settings: dict[str, Any] = {"bootstrap_servers": kafka.servers.split(","), "security_protocol": kafka.security_protocol}
    if kafka.security_protocol.startswith("SASL"):
        settings |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password,
        }
    if kafka.security_protocol.endswith("SSL") and kafka.ssl_cafile:
        settings["ssl_cafile"] = kafka.ssl_cafile
    return settings


class Logs:
    """A connection that is kept, and made anew when it fails. One caller at a time."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.admin: KafkaAdminClient | None = None

    def describe(self, names: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Short topic name -> (identity of the log, partitions). Raises `BrokerError`."""
        prefix = self.kafka.prefix
        wanted = {full(prefix, name): name for name in names}
        for last in (False, True):
            try:
                if self.admin is None:
                    self.admin = KafkaAdminClient(**client_settings(self.kafka), client_id=f"{prefix}-logs", bootstrap_timeout_ms=5_000)
                described = self.admin.describe_topics(list(wanted))
                break
            except (KafkaError, OSError, ValueError) as error:
                self.close()
                if last:
                    raise BrokerError(
                        f"Kafka at {self.kafka.servers} does not answer ({error}): is it running? UPWELL_KAFKA names it"
                    ) from None
        missing = [topic["name"] for topic in described if topic["error_code"] == UNKNOWN_TOPIC]
        unready = [topic["name"] for topic in described if topic["error_code"] not in (0, UNKNOWN_TOPIC)]
        if unready:
            raise BrokerError(f"Kafka at {self.kafka.servers} is not ready for {', '.join(unready)}")
        if missing:
            raise TopicsMissing(f"topics missing on {self.kafka.servers}: {', '.join(missing)}; run `upwell topics create`")
        found = {}
        for topic in described:
            identity = topic.get("topic_id")
            if not identity or str(identity) == NO_ID:
                assert self.admin is not None
                identity = f"{self.admin.describe_cluster()['cluster_id']}:{topic['name']}"
            found[wanted[topic["name"]]] = (str(identity), len(topic["partitions"]))
        return found

    def all(self) -> dict[str, tuple[str, int]]:
        """Every topic of the system."""
        return self.describe(TOPICS)

    def ends(self, names: Iterable[str]) -> dict[tuple[str, int], tuple[int, int]]:
        """(short topic, partition) -> (first offset, end offset). Raises `BrokerError`."""
        consumer = None
        try:
            consumer = KafkaConsumer(**client_settings(self.kafka))
            counts = {name: count for name, (_, count) in self.describe(names).items()}
            places = {TopicPartition(full(self.kafka.prefix, name), p): (name, p) for name, count in counts.items() for p in range(count)}
            first, last = (consumer.beginning_offsets(list(places)), consumer.end_offsets(list(places)))
            return {place: (first[tp], last[tp]) for tp, place in places.items()}
        except (KafkaError, OSError) as error:
            raise BrokerError(f"Kafka at {self.kafka.servers} does not answer ({error})") from None
        finally:
            if consumer is not None:
                consumer.close()

    def holds(self, name: str, partition: int, offset: int) -> bool:
        """Whether a record stands at `offset` or beyond: an end offset may be short (the embedded broker's is its last batch's first).

        Raises `BrokerError`: a broker that does not answer has not said no.
        """
        consumer = None
        try:
            consumer = KafkaConsumer(**client_settings(self.kafka), fetch_max_wait_ms=200)
            tp = TopicPartition(full(self.kafka.prefix, name), partition)
            consumer.assign([tp])
            consumer.seek(tp, max(0, offset))
            return any(record.offset >= offset for records in consumer.poll(timeout_ms=2_000).values() for record in records)
        except (KafkaError, OSError) as error:
            raise BrokerError(f"Kafka at {self.kafka.servers} does not answer ({error})") from None
        finally:
            if consumer is not None:
                consumer.close()

    def close(self) -> None:
        if self.admin is not None:
            try:
                self.admin.close()
            finally:
                self.admin = None


class LogsAside:
    """`Logs` on a thread of its own, each question with a time limit: one that is never answered is left behind with its thread and
    connection, and holds up nobody who asks after it."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.lock = asyncio.Lock()
        self.thread: ThreadPoolExecutor | None = None
        self.logs: Logs

    async def ask(self, question: Callable[[Logs], Answer], patience_s: float = ANSWER_S) -> Answer:
        """One at a time. Raises `BrokerError`."""
        async with self.lock:
            if self.thread is None:
                self.logs, self.thread = Logs(self.kafka), ThreadPoolExecutor(1, "logs")
            answer = asyncio.get_running_loop().run_in_executor(self.thread, question, self.logs)
            try:
                async with asyncio.timeout(patience_s):
                    return await answer
            except TimeoutError:
                self.thread.shutdown(wait=False)
                self.thread = None
                raise BrokerError(f"Kafka at {self.kafka.servers} did not answer within {patience_s:g} s") from None
