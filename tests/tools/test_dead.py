"""Dead letters for people, on a real broker: read, excerpted, sent once more."""

from __future__ import annotations

import json

import pytest

from config import settings as config
from config.settings import Settings
from config.topics import full
from streams.dead import letter
from streams.stage import Record
from tests import parts
from tools import broker, dead, topics


@pytest.fixture
def settings(broker: parts.EmbeddedBroker, prefix: str) -> Settings:
    loaded = config.load(environ={"UPWELL_KAFKA": broker.address, "UPWELL_KAFKA__PREFIX": prefix, "UPWELL_KAFKA__PARTITIONS": "2"})
    topics.create(loaded.kafka)
    return loaded


def bury(settings: Settings, value: bytes, reason: str, offset: int, topic: str = "events", retried: bytes | None = None) -> None:
    """Writes a dead letter as a stage does."""
    name = full(settings.kafka.prefix, topic)
    headers = (("retry", retried),) if retried else ()
    key, body, told = letter(Record(topic, 1, offset, 5, b"u", value, headers), name, None, reason, f"why {offset}")
    with broker.producer(settings.kafka) as producer:
        producer.send(full(settings.kafka.prefix, "dead"), key=key, value=body, headers=list(told)).get(timeout=10)


def sent(settings: Settings) -> list[bytes]:
    with broker.consumer(settings.kafka) as consumer:
        logs = list(broker.places(consumer, settings.kafka, ["events"]))
        consumer.assign(logs)
        consumer.seek_to_beginning(*logs)
        return [record.value for _ in range(4) for records in consumer.poll(500).values() for record in records]


def test_letters_are_listed_and_picked_by_reason(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table with a sum, or as JSON; bytes that are no text are shown as far as they are."""
    bury(settings, b"\xff\x00 not text", "not_utf8", 3)
    bury(settings, b'{"type": "lick"}', "unknown_type", 4)
    dead.show(settings, "", 50, as_json=False)
    told = capsys.readouterr().out
    assert "in all: 1 not_utf8, 1 unknown_type" in told
    dead.show(settings, "unknown_type", 50, as_json=True)
    [one] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (one["reason"], one["offset"], one["value"], one["message"]) == ("unknown_type", 4, '{"type": "lick"}', "why 4")


def test_a_retry_sends_each_public_letter_once(settings: Settings) -> None:
    """Internal records need the program corrected; what was refused a second time is left."""
    bury(settings, b'{"type": "lick"}', "unknown_type", 4)
    bury(settings, b"packed", "fold_error", 5, topic="by-user")
    assert "would send 1 of 2" in dead.retry(settings, "", dry_run=True)
    assert sent(settings) == []
    told = dead.retry(settings, "", dry_run=False)
    assert "sent 1 of 2" in told
    assert "internal log" in told
    assert sent(settings) == [b'{"type": "lick"}']
    bury(settings, b'{"type": "lick"}', "unknown_type", 6, retried=b"events/1/4")
    again = dead.retry(settings, "unknown_type", dry_run=False)
    assert "sent 0 of 2" in again
    assert "it was retried, and refused again" in again


def test_an_excerpt_stays_on_its_line() -> None:
    """Whatever the bytes are."""
    assert dead.excerpt(None) == "(tombstone)"
    assert dead.excerpt(b"a\nb\tc\x1b[31m") == "a·b·c·[31m"
    assert dead.excerpt(b"x" * 100, 10) == "xxxxxxxxxx…"
