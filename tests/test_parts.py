"""What docs/decisions/0001-embedded-parts.md says of brokers and stores, and what the parts promise to tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import TopicAlreadyExistsError

from tests.parts import EmbeddedBroker, EmbeddedStore, Kafka, Part, RedisCluster
from tools.parts import PartError, PortTaken

STAMPED = {"num_partitions": 1, "replication_factor": 1, "configs": {"message.timestamp.type": "LogAppendTime"}}


@pytest.fixture(params=["broker", pytest.param("kafka", marks=pytest.mark.kafka)])
def either(request: pytest.FixtureRequest) -> Part:
    part: Part = request.getfixturevalue(request.param)
    return part


@pytest.fixture
def admin(either: Part) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=either.address)
    yield client
    client.close()


def produced(address: str, topic: str, values: int, **record: object) -> None:
    """`values` records in one batch."""
    producer = KafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=False, linger_ms=50)
    sent = [producer.send(topic, value=b"%d" % n, **record) for n in range(values)]
    for one in sent:
        one.get(20)
    producer.close()


def consumed(address: str, topic: str, count: int) -> tuple[list[Any], KafkaConsumer, TopicPartition]:
    consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="none", enable_auto_commit=False, fetch_max_wait_ms=20)
    place, deadline = TopicPartition(topic, 0), time.monotonic() + 20
    read: list[Any] = []
    consumer.assign([place])
    consumer.seek(place, 0)
    while len(read) < count and time.monotonic() < deadline:
        for records in consumer.poll(200).values():
            read += records
    return read, consumer, place


def test_a_topic_has_an_identity_that_a_new_one_of_its_name_does_not_share(admin: KafkaAdminClient, prefix: str) -> None:
    """On both brokers a checkpoint can tell a topic from its namesake."""

    def identity() -> str:
        admin.create_topics({prefix: STAMPED}, wait_for_metadata=True)
        return str(admin.describe_topics([prefix])[0]["topic_id"])

    first = identity()
    with pytest.raises(TopicAlreadyExistsError):
        admin.create_topics({prefix: STAMPED})
    admin.delete_topics([prefix])
    deadline = time.monotonic() + 10
    while prefix in admin.list_topics():
        assert time.monotonic() < deadline, "the topic is still there"
        time.sleep(0.1)
    assert first not in ("None", identity())


def test_headers_come_back_as_bytes_and_the_fetch_tells_the_true_end(either: Part, admin: KafkaAdminClient, prefix: str) -> None:
    """The high watermark of a fetch is right on both brokers."""
    admin.create_topics({prefix: STAMPED}, wait_for_metadata=True)
    produced(either.address, prefix, 50, key=b"k", headers=[("h", b"\xff\x00")], timestamp_ms=1000)
    read, consumer, place = consumed(either.address, prefix, 50)
    assert [r.offset for r in read] == list(range(50))
    assert list(read[0].headers) == [("h", b"\xff\x00")]
    assert consumer.highwater(place) == 50
    consumer.close()


def test_kafka_stamps_records_and_the_embedded_broker_keeps_the_senders_time(either: Part, admin: KafkaAdminClient, prefix: str) -> None:
    """Why intake uses its own reading time on the embedded broker; when this fails, that can go."""
    admin.create_topics({prefix: STAMPED}, wait_for_metadata=True)
    produced(either.address, prefix, 1, timestamp_ms=1000)
    read, consumer, _ = consumed(either.address, prefix, 1)
    consumer.close()
    stamped = isinstance(either, Kafka)
    assert (read[0].timestamp_type, read[0].timestamp == 1000) == ((1, False) if stamped else (0, True))


def test_each_start_of_the_embedded_broker_is_another_cluster(own_broker: EmbeddedBroker) -> None:
    """It starts empty, and says so by its id."""

    def told() -> str:
        client = KafkaAdminClient(bootstrap_servers=own_broker.address)
        try:
            return str(client.describe_cluster()["cluster_id"])
        finally:
            client.close()

    first, port = told(), own_broker.port
    assert first == own_broker.cluster_id
    own_broker.restart()
    assert told() == own_broker.cluster_id != first
    assert own_broker.port == port


def test_kafka_killed_and_started_again_has_its_log(own_kafka: Kafka, prefix: str) -> None:
    """A broker's crash loses nothing that was acknowledged."""
    admin = KafkaAdminClient(bootstrap_servers=own_kafka.address)
    admin.create_topics({prefix: STAMPED}, wait_for_metadata=True)
    cluster = admin.describe_cluster()["cluster_id"]
    admin.close()
    produced(own_kafka.address, prefix, 10)
    own_kafka.restart()
    read, consumer, _ = consumed(own_kafka.address, prefix, 10)
    consumer.close()
    admin = KafkaAdminClient(bootstrap_servers=own_kafka.address)
    assert (len(read), admin.describe_cluster()["cluster_id"]) == (10, cluster)
    admin.close()


@pytest.mark.parametrize("name", ["own_valkey", pytest.param("own_redis", marks=pytest.mark.redis)])
def test_a_durable_store_keeps_everything_at_a_kill_and_goes_back_when_told(name: str, request: pytest.FixtureRequest) -> None:
    """`restart` loses nothing, `put_back` brings the older data, `put_back(None)` none."""
    part: EmbeddedStore = request.getfixturevalue(name)
    client = redis_client.Redis.from_url(part.url, retry_on_error=[redis_client.ConnectionError])
    client.set("a", "old")
    copy = part.keep()
    client.set("a", "new")
    part.restart()
    assert client.get("a") == b"new"
    part.put_back(copy)
    assert client.get("a") == b"old"
    client.set("a", "newer")
    part.restart()
    assert client.get("a") == b"newer"
    part.put_back(None)
    assert client.get("a") is None


def test_one_master_of_a_cluster_goes_back_alone(own_cluster: RedisCluster) -> None:
    """The others keep their slots and their newer data."""
    client = redis_client.RedisCluster.from_url(own_cluster.url)
    for n in range(60):
        client.set(f"k{n}", "old")
    copy = own_cluster.nodes[1].keep()
    for n in range(60):
        client.set(f"k{n}", "new")
    own_cluster.nodes[1].put_back(copy)
    own_cluster.settle()
    values = [client.get(f"k{n}") for n in range(60)]
    assert 0 < values.count(b"old") < 60
    assert values.count(b"old") + values.count(b"new") == 60


def test_a_part_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Even when that process is killed and can clean up nothing."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux kills children with their parent")
    start = f"import time; from tools.parts import EmbeddedStore; print(EmbeddedStore({str(tmp_path)!r}).start().pid, flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while running(child):
        assert time.monotonic() < deadline, "the part outlived its parent"
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_part_that_cannot_start_says_why(tmp_path: Path, valkey: EmbeddedStore) -> None:
    """A port in use is named before anything starts; a program that ends at once leaves its last words in the error."""
    with pytest.raises(PortTaken, match=str(valkey.port)):
        EmbeddedBroker(tmp_path, port=valkey.port)

    class Wrong(EmbeddedStore):
        def options(self) -> tuple[str, ...]:
            return ("--no-such-option", "1")

    with pytest.raises(PartError, match="no-such-option"):
        Wrong(tmp_path).start()
