"""Topics: created as the settings say, and compared with it."""

from __future__ import annotations

import pytest

from config import settings as config
from config.topics import TOPICS
from tests import parts
from tools import topics

KAFKA = config.load(environ={"UPWELL_KAFKA__PARTITIONS": "4"}).kafka
GOOD = topics.wanted_configs(TOPICS["events"])


@pytest.mark.parametrize(
    "name, partitions, changed, word",
    [
        ("events", 4, {}, None),
        ("examples", 1, {}, None),
        ("examples", 4, {}, "must have one"),
        ("events", 8, {}, "UPWELL_KAFKA__PARTITIONS=8"),
        ("events", 4, {"message.timestamp.type": "CreateTime"}, "LogAppendTime"),
        ("notes", 4, {"cleanup.policy": "compact"}, "compaction"),
        ("by-user", 4, {"retention.ms": "604800000"}, "kept for 7 days, want for ever"),
        ("dead", 4, {"retention.ms": "604800000"}, "want for 30 days"),
        ("dead", 4, {"retention.ms": "-1"}, None),
        ("events", 4, {"max.message.bytes": "100000"}, "large record"),
    ],
)
def test_each_difference_is_one_line_that_says_what_to_do(name: str, partitions: int, changed: dict[str, str], word: str | None) -> None:
    """A topic that differs breaks promises silently, so it is named aloud."""
    found = topics.differences(TOPICS[name], f"upwell.{name}", partitions, GOOD | changed, KAFKA)
    assert [word in line for line in found] == ([] if word is None else [True])


def test_a_replicated_topic_wants_more_than_one_broker_to_have_what_is_acknowledged() -> None:
    """With three replicas, one may be away; fewer replicas than asked for are named."""
    three = config.load(environ={"UPWELL_KAFKA__PARTITIONS": "4", "UPWELL_KAFKA__REPLICATION": "3"}).kafka
    assert topics.differences(TOPICS["events"], "e", 4, topics.wanted_configs(TOPICS["events"], 3), three, 3) == []
    [insync] = topics.differences(TOPICS["events"], "e", 4, GOOD, three, 3)
    assert "min.insync.replicas=1, want 2" in insync
    assert "has 1 replicas" in topics.differences(TOPICS["events"], "e", 4, GOOD, three, 1)[0]


def test_created_topics_are_as_they_should_be_and_creating_again_does_nothing(broker: parts.EmbeddedBroker, prefix: str) -> None:
    """On the embedded broker, which tells no configuration."""
    kafka = config.load(environ={"UPWELL_KAFKA": broker.address, "UPWELL_KAFKA__PREFIX": prefix, "UPWELL_KAFKA__PARTITIONS": "3"}).kafka
    assert all("topics create" in line for line in topics.check(kafka))
    assert topics.create(kafka) == [f"{prefix}.{name}" for name in TOPICS]
    assert topics.create(kafka) == []
    assert topics.check(kafka) == []
    assert any(
        "UPWELL_KAFKA__PARTITIONS=3" in line
        for line in topics.check(config.load(environ={"UPWELL_KAFKA": broker.address, "UPWELL_KAFKA__PREFIX": prefix}).kafka)
    )


def test_apache_kafka_keeps_what_is_asked(kafka: parts.Kafka, prefix: str) -> None:
    """LogAppendTime and retention are really set there."""
    settings = config.load(environ={"UPWELL_KAFKA": kafka.address, "UPWELL_KAFKA__PREFIX": prefix, "UPWELL_KAFKA__PARTITIONS": "2"}).kafka
    assert len(topics.create(settings)) == len(TOPICS)
    assert topics.check(settings) == []
