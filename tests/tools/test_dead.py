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
from tests.config.test_headers import Raw
from tools import broker, dead, topics
from tools.mistake import Mistake


@pytest.fixture
def settings(broker: parts.EmbeddedBroker, prefix: str) -> Settings:
    loaded = config.load(environ={"UPWELL_KAFKA": broker.address, "UPWELL_KAFKA__PREFIX": prefix, "UPWELL_KAFKA__PARTITIONS": "2"})
    topics.create(loaded.kafka)
    return loaded


def bury(
    settings: Settings, value: bytes, reason: str, offset: int, topic: str = "events", retried: bytes | None = None, of: bytes | None = b"u"
) -> None:
    """Writes a dead letter as a stage does; `of`: the record's key."""
    name = full(settings.kafka.prefix, topic)
    headers = (("retry", retried),) if retried else ()
    key, body, told = letter(Record(topic, 1, offset, 5, of, value, headers), name, None, reason, f"why {offset}")
    with broker.producer(settings.kafka) as producer:
        foreign = (Raw("?"), b"anything")
        producer.send(full(settings.kafka.prefix, "dead"), key=key, value=body, headers=[*told, foreign]).get(timeout=10)


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
    dead.show(settings, dead.Wanted(), 50, as_json=False)
    told = capsys.readouterr().out
    assert "in all: 1 not_utf8, 1 unknown_type" in told
    dead.show(settings, dead.Wanted("unknown_type"), 50, as_json=True)
    [one] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (one["reason"], one["offset"], one["value"], one["message"]) == ("unknown_type", 4, '{"type": "lick"}', "why 4")


def test_a_retry_sends_each_public_letter_once(settings: Settings) -> None:
    """Internal records need the program corrected; what was refused a second time is left."""
    bury(settings, b'{"type": "lick"}', "unknown_type", 4)
    bury(settings, b"packed", "fold_error", 5, topic="by-user")
    assert "would send 1 of 2" in dead.retry(settings, dead.Wanted(), dry_run=True)
    assert sent(settings) == []
    told = dead.retry(settings, dead.Wanted(), dry_run=False)
    assert "sent 1 of 2" in told
    assert "internal log" in told
    assert sent(settings) == [b'{"type": "lick"}']
    assert "left 1: it was retried" in dead.retry(settings, dead.Wanted(), dry_run=False)
    assert len(sent(settings)) == 1
    bury(settings, b'{"type": "lick"}', "unknown_type", 6, retried=b"events/1/4")
    again = dead.retry(settings, dead.Wanted("unknown_type"), dry_run=False)
    assert "sent 0 of 2" in again
    assert "it was retried, and refused again" in again


def test_a_record_without_a_key_is_sent_again_without_one(settings: Settings) -> None:
    """Public topics may be written with any key, or none."""
    bury(settings, b'{"type": "lick"}', "unknown_type", 4, of=None)
    assert "sent 1 of 1" in dead.retry(settings, dead.Wanted(), dry_run=False)
    assert sent(settings) == [b'{"type": "lick"}']
    assert "left 1: it was retried" in dead.retry(settings, dead.Wanted(), dry_run=False)


def test_a_letter_that_was_written_twice_is_one(settings: Settings) -> None:
    """A stage that repeats a piece repeats its letters."""
    for _ in range(2):
        bury(settings, b'{"type": "lick"}', "unknown_type", 4)
    assert len(dead.opened(settings).letters) == 1
    assert "sent 1 of 1" in dead.retry(settings, dead.Wanted(), dry_run=False)
    assert len(sent(settings)) == 1


def test_letters_are_picked_by_topic_and_time(settings: Settings) -> None:
    """By where the record came from, and when its letter was written."""
    bury(settings, b'{"type": "lick"}', "unknown_type", 4)
    bury(settings, b"{}", "missing_field", 5, topic="notes")
    [(at, one)] = dead.opened(settings, dead.picked("", "up.notes", "1h", "")).letters
    assert (one.offset, one.reason) == (5, "missing_field")
    assert dead.opened(settings, dead.Wanted(until_ms=at - 60_000)).letters == []


@pytest.mark.parametrize(
    "text, ms",
    [("90s", 910_000), ("1.5h", -4_400_000), ("2d", -171_800_000), ("1970-01-01T00:10:00Z", 600_000), ("1970-01-01T01:00", 3_600_000)],
)
def test_times_are_ago_or_dates(text: str, ms: int) -> None:
    """A date without a zone is UTC."""
    assert dead.moment(text, 1_000.0) == ms


@pytest.mark.parametrize("word", ["yesterday", "h", "1w", ""])
def test_what_is_no_time_is_a_mistake(word: str) -> None:
    """In one line."""
    with pytest.raises(Mistake, match="no time"):
        dead.moment(word, 0.0)


def test_a_reason_that_does_not_exist_is_a_mistake() -> None:
    """Else nothing would be found, and all would seem well."""
    with pytest.raises(Mistake, match="bad_feild"):
        dead.picked("bad_feild", "", "", "")


def test_an_excerpt_stays_on_its_line() -> None:
    """Whatever the bytes are."""
    assert dead.excerpt(None) == "(tombstone)"
    assert dead.excerpt(b"a\nb\tc\x1b[31m") == "a·b·c·[31m"
    assert dead.excerpt(b"x" * 100, 10) == "xxxxxxxxxx…"
