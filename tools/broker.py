"""Kafka for the synchronous tools: kafka-python clients whose errors are one line, and the places of a system's logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaConfigurationError, KafkaError

from config.settings import Kafka
from config.topics import full
from streams.logs import BrokerError, Logs, client_settings

PATIENCE_MS = 5_000


class Place(NamedTuple):
    """One partition of one log, by its short topic name."""

    topic: str
    partition: int


@contextmanager
def answered(kafka: Kafka) -> Iterator[None]:
    """Errors of the client inside become one `BrokerError`."""
    try:
        yield
    except KafkaConfigurationError:
        raise  # a mistake of ours
    except KafkaError as error:
        what = str(error) or type(error).__name__
        raise BrokerError(f"Kafka at {kafka.servers} does not answer ({what}): is it running? UPWELL_KAFKA names it") from None


@contextmanager
def consumer(kafka: Kafka, **more: Any) -> Iterator[KafkaConsumer]:
    """Without a group: what a tool reads moves nobody's offsets."""
    with answered(kafka):
        client = KafkaConsumer(
            **client_settings(kafka),
            bootstrap_timeout_ms=PATIENCE_MS,
            fetch_max_wait_ms=kafka.fetch_wait_ms,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            **more,
        )
        try:
            yield client
        finally:
            client.close()


@contextmanager
def producer(kafka: Kafka) -> Iterator[KafkaProducer]:
    """Acknowledged by all replicas and in order. Not idempotent: what a tool sends may be repeated."""
    with answered(kafka):
        client = KafkaProducer(
            **client_settings(kafka),
            bootstrap_timeout_ms=PATIENCE_MS,
            acks="all",
            enable_idempotence=False,
            allow_auto_create_topics=False,
            max_in_flight_requests_per_connection=1,
            request_timeout_ms=10_000,
            delivery_timeout_ms=30_000,
            linger_ms=2,
            max_request_size=2 * 1024 * 1024,
        )
        try:
            yield client
        finally:
            client.close(timeout=5)


@contextmanager
def admin(kafka: Kafka) -> Iterator[KafkaAdminClient]:
    with answered(kafka):
        client = KafkaAdminClient(**client_settings(kafka), bootstrap_timeout_ms=PATIENCE_MS)
        try:
            yield client
        finally:
            client.close()


def counts(kafka: Kafka, names: Iterable[str]) -> dict[str, int]:
    """Partitions by short topic name. Raises `BrokerError` when a topic is missing: a tool never makes one by asking for it."""
    logs = Logs(kafka)
    try:
        return {name: count for name, (_, count) in logs.describe(names).items()}
    finally:
        logs.close()


def places(client: KafkaConsumer, kafka: Kafka, names: Iterable[str]) -> dict[TopicPartition, Place]:
    """Every partition of the named topics. Raises `BrokerError` when one is missing."""
    found, missing = {}, []
    for name in names:
        topic = full(kafka.prefix, name)
        partitions = client.partitions_for_topic(topic)
        if not partitions:
            missing.append(topic)
        for partition in sorted(partitions or ()):
            found[TopicPartition(topic, partition)] = Place(name, partition)
    if missing:
        raise BrokerError(f"topics missing on {kafka.servers}: {', '.join(missing)}; run `upwell topics create`")
    return found
