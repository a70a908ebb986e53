"""The topics of a system: created as `config/topics.py` and the settings say, and compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError

from config.settings import Kafka
from config.topics import TOPICS, Topic, full
from tools import broker

DAY_MS = 86_400_000
LARGEST = 1_048_588
"""Bytes of the largest batch that is written: a record of the default limit, or a dead letter."""


def wanted_partitions(topic: Topic, kafka: Kafka) -> int:
    return 1 if topic.single else kafka.partitions


def wanted_insync(replication: int) -> int:
    """Replicas that must have a record before it is acknowledged: one may be away. (With two, both would have to live for anything to be written.)"""
    return max(1, replication - 1)


def wanted_configs(topic: Topic, replication: int = 1) -> dict[str, str]:
    """Append time is the broker's stamp; nothing is ever compacted, since public records are partial and internal ones are the truth."""
    return {
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
        "retention.ms": str(topic.retention_days * DAY_MS if topic.retention_days > 0 else -1),
        "retention.bytes": "-1",
        "max.message.bytes": str(2 * 1024 * 1024),
        "min.insync.replicas": str(wanted_insync(replication)),
    }


def create(kafka: Kafka) -> list[str]:
    """Creates what is missing and returns its names; what exists is left as it is."""
    with broker.admin(kafka) as admin:
        standing = set(admin.list_topics())
        missing = [topic for topic in TOPICS.values() if full(kafka.prefix, topic.name) not in standing]
        made = []
        for topic in missing:
            name = full(kafka.prefix, topic.name)
            options = {
                "num_partitions": wanted_partitions(topic, kafka),
                "replication_factor": kafka.replication,
                "configs": wanted_configs(topic, kafka.replication),
            }
            try:
                admin.create_topics({name: options}, timeout_ms=15_000, wait_for_metadata=True)
                made.append(name)
            except TopicAlreadyExistsError:
                continue  # somebody else made it meanwhile
        return made


def check(kafka: Kafka) -> list[str]:
    """What differs from what this program would create, one line each, with what to do; empty when all is well."""
    with broker.admin(kafka) as admin:
        described = {topic["name"]: topic for topic in admin.describe_topics([full(kafka.prefix, name) for name in TOPICS])}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name, topic in described.items() if not topic["error_code"]]
        try:
            configs = admin.describe_configs(resources, config_filter="all") if resources else {}
        except (KafkaError, NotImplementedError):  # the embedded broker knows no such request
            configs = {}
    by_name: Mapping[str, Any] = next(iter(configs.values()), {}) if configs else {}
    problems = []
    for topic in TOPICS.values():
        name = full(kafka.prefix, topic.name)
        found = described.get(name)
        if found is None or found["error_code"]:
            problems.append(f"{name} is missing: run `upwell topics create`")
            continue
        replicas = min((len(one.get("replica_nodes") or one.get("replicas") or ()) for one in found["partitions"]), default=0)
        problems += differences(topic, name, len(found["partitions"]), values(by_name.get(name, {})), kafka, replicas)
    return problems


def values(config: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(one["value"] if isinstance(one, Mapping) else one) for key, one in config.items()}


def differences(topic: Topic, name: str, partitions: int, config: Mapping[str, str], kafka: Kafka, replicas: int = 0) -> list[str]:
    """Pure: what a topic's partitions, replicas (0: not told) and configuration lack."""
    found = []
    if 0 < replicas < kafka.replication:
        found.append(
            f"{name} has {replicas} replicas, the settings say {kafka.replication}: a broker that is lost takes records along; "
            "add some with kafka-reassign-partitions"
        )
    if topic.single and partitions != 1:
        found.append(f"{name} has {partitions} partitions and must have one: use a new prefix")
    elif not topic.single and partitions != kafka.partitions:
        found.append(
            f"{name} has {partitions} partitions, the settings say {kafka.partitions}: set UPWELL_KAFKA__PARTITIONS={partitions}, "
            "or use a new prefix fed from events and notes (a key's partition never moves)"
        )
    change = f"change it with kafka-configs --alter --entity-type topics --entity-name {name}"
    stamp = config.get("message.timestamp.type")
    if stamp is not None and stamp != "LogAppendTime":
        found.append(f"{name} has message.timestamp.type={stamp}, want LogAppendTime: append times would be the senders'; {change}")
    policy = config.get("cleanup.policy")
    if policy is not None and policy != "delete":
        found.append(f"{name} has cleanup.policy={policy}, want delete: compaction drops records that are needed; {change}")
    insync = config.get("min.insync.replicas")
    if insync is not None and int(insync) < wanted_insync(kafka.replication):
        found.append(
            f"{name} has min.insync.replicas={insync}, want {wanted_insync(kafka.replication)}: what is acknowledged could stand on one broker only; {change}"
        )
    largest = config.get("max.message.bytes")
    if largest is not None and int(largest) < LARGEST:
        found.append(f"{name} has max.message.bytes={largest}, want at least {LARGEST}: a large record could not be written; {change}")
    kept = config.get("retention.ms")
    if kept is not None:
        want = topic.retention_days * DAY_MS if topic.retention_days > 0 else -1
        if int(kept) != -1 and (want == -1 or int(kept) < want):
            days = "for ever" if want == -1 else f"for {topic.retention_days} days"
            found.append(f"{name} is kept for {int(kept) / DAY_MS:g} days, want {days}: state could not be rebuilt from it; {change}")
    return found
