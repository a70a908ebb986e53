"""The real parts that tests run against: each a process on a free port in a folder of its own, to start, stop, kill, stall and start again.

The embedded broker and store are the product's own (`tools/parts.py`). Apache Kafka, Debian's Redis and a Redis Cluster stand beside them, since
production runs on those. A part that is not installed skips its test and says so; under CI=true it is a failure.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
import pytest
import redis

from tools.parts import (
    LOOPBACK,
    EmbeddedBroker,
    EmbeddedStore,
    Part,
    PartError,
    PartMissing,
    PortTaken,
    answers_kafka,
    broker_program,
    embedded,
    free_port,
    listening,
    store_program,
)

ROOT = Path(__file__).resolve().parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"
JARS = Path(os.environ.get("KAFKA_JARS") or ROOT / ".cache" / "kafka" / "lib")


class Broker(Protocol):
    """What a test needs of any broker; `Part` gives it."""

    @property
    def address(self) -> str: ...
    def start(self) -> Any: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> Any: ...


def missing(reason: str) -> None:
    """Skips the test that runs; where everything must be there (CI=true), fails it."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"under CI every part must be there: {reason}", pytrace=False)
    pytest.skip(reason)


def need(find: Callable[[], object]) -> None:
    """`missing` with the reason, if `find` does not find its part."""
    try:
        find()
    except PartMissing as error:
        missing(str(error))


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise PartMissing(f"{name} is not installed (Debian's package {package})")
    return found


def kafka_jars() -> Path:
    """The folder of Apache Kafka's jars; fetched once by Maven, in about 20 seconds, into a folder that git ignores."""
    java = program("java", "openjdk-17-jre-headless")
    version = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    if '"1.' in version or any(f'"{old}.' in version for old in range(9, 17)):
        raise PartMissing(f"Apache Kafka 4 needs Java 17: {version.splitlines()[0]}")
    if not any(JARS.glob("kafka_2.13-*.jar")):
        maven = program("mvn", "maven")
        # Into a folder beside, and renamed when whole: two test processes may do this at once.
        beside = JARS.with_name(f"lib.{os.getpid()}")
        pom = ROOT / "deploy" / "kafka" / "pom.xml"
        fetched = subprocess.run(
            [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={beside}"],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if fetched.returncode:
            raise PartMissing(f"Maven could not fetch Apache Kafka: {(fetched.stdout + fetched.stderr)[-300:].strip()}")
        with contextlib.suppress(OSError):
            beside.rename(JARS)
        shutil.rmtree(beside, ignore_errors=True)
    return JARS


class Kafka(Part):
    """Apache Kafka, one node in KRaft mode. Killed with -9 and started again it recovers its log, its topics and its groups."""

    name = "kafka"
    patience_s = 60.0

    def __init__(self, folder: str | Path, port: int | None = None, *, heap: str = "768m", settings: dict[str, str] | None = None) -> None:
        super().__init__(folder, port)
        self.heap = heap
        self.controller = free_port(lambda port: port == self.port or listening(port))
        self.cluster = cluster_id()
        self.settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{self.controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{LOOPBACK}:{self.controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.folder / "data"),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            # After a kill the controller waits for the old session's end before it takes the broker back: 9 s unless set.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # 50 partitions of the groups' topic are 50 files to open at each start; a test has a handful of groups.
            "offsets.topic.num.partitions": "4",
            **(settings or {}),
        }

    def java(self, *arguments: str) -> list[str]:
        # Serial collector and one compiler tier: a start takes seconds on two cores, and memory stays small.
        return [
            "java", f"-Xmx{self.heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            "-cp", str(kafka_jars() / "*"), *arguments,
        ]  # fmt: skip

    def command(self) -> Sequence[str]:
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()), "utf-8")
        if not (self.folder / "data" / "meta.properties").exists():
            # Any 16 bytes in URL-safe base64 are a cluster id; the tool that draws one costs a second of Java.
            tool = self.java("kafka.tools.StorageTool", "format", *self.formatting(), "-t", self.cluster, "-c", str(properties))
            done = subprocess.run(tool, capture_output=True, text=True, check=False, timeout=60)
            if done.returncode:
                raise PartError(f"cannot format Kafka's folder: {(done.stdout + done.stderr)[-500:]}")
        return self.java("kafka.Kafka", str(properties))

    def formatting(self) -> Sequence[str]:
        return ("--standalone",)

    def ready(self) -> bool:
        return answers_kafka(self.port)  # it listens last, when it is no longer fenced

    def wipe(self) -> None:
        """Its log is lost: the next start is another cluster."""
        self.kill()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.cluster = cluster_id()


class SecondBroker(Kafka):
    """A broker that belongs to the cluster of another node, which is its controller too."""

    name = "kafka2"

    def __init__(self, folder: str | Path, first: Kafka, *, settings: dict[str, str]) -> None:
        super().__init__(folder, heap=first.heap)
        self.cluster = first.cluster
        self.settings = first.settings | {
            "process.roles": "broker",
            "node.id": "2",
            "listeners": f"PLAINTEXT://{self.address}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "log.dirs": str(self.folder / "data"),
            **settings,
        }

    def formatting(self) -> Sequence[str]:
        return ()


class KafkaPair:
    """Two brokers, each with a replica of everything; the first is the controller too. `nodes[i]` is killed and stalled like any other part."""

    def __init__(self, folder: str | Path) -> None:
        twice = {"offsets.topic.replication.factor": "2", "min.insync.replicas": "1", "replica.lag.time.max.ms": "5000"}
        first = Kafka(Path(folder) / "node1", heap="512m", settings=twice)
        self.nodes: list[Kafka] = [first, SecondBroker(Path(folder) / "node2", first, settings=twice)]

    @property
    def address(self) -> str:
        return ",".join(node.address for node in self.nodes)

    def start(self) -> Self:
        for node in self.nodes:
            node.start()
        return self

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.stop()


def cluster_id() -> str:
    # Letters first: the formatting tool takes a leading dash for the next option, which happened once in 64 starts.
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).rstrip(b"=").decode()


class Redis(EmbeddedStore):
    """Debian's redis-server, with the embedded store's abilities."""

    name = "redis"

    def program(self) -> str:
        return program("redis-server", "redis-server")


class ClusterNode(Redis):
    """A master of a cluster."""

    def __init__(self, folder: str | Path, port: int | None = None, *, durable: bool = False) -> None:
        super().__init__(folder, port, durable=durable)
        self.bus = free_port(lambda port: port == self.port or listening(port))

    def options(self) -> Sequence[str]:
        return (
            "--cluster-enabled", "yes",
            "--cluster-config-file", "nodes.conf",
            "--cluster-port", str(self.bus),
            "--cluster-node-timeout", "2000",
            # A master that is away takes only its own slots with it.
            "--cluster-require-full-coverage", "no",
        )  # fmt: skip

    def client(self) -> redis.Redis:
        return redis.Redis(host=LOOPBACK, port=self.port, decode_responses=True)


class RedisCluster:
    """Three masters, each with a third of the slots. `nodes[i]` is killed, put back and stalled like any other part."""

    def __init__(self, folder: str | Path, masters: int = 3, *, durable: bool = False) -> None:
        self.nodes = [ClusterNode(Path(folder) / f"node{i}", durable=durable) for i in range(masters)]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def start(self) -> Self:
        for node in self.nodes:
            node.start()
        first = self.nodes[0].client()
        if int(first.cluster("info")["cluster_slots_assigned"]) == 0:
            share = 16384 / len(self.nodes)
            for i, node in enumerate(self.nodes):
                link = node.client()
                link.execute_command("CLUSTER ADDSLOTSRANGE", round(i * share), round((i + 1) * share) - 1)
                link.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
                link.close()
            for node in self.nodes[1:]:
                first.execute_command("CLUSTER MEET", LOOPBACK, node.port, node.bus)
        first.close()
        self.settle()
        return self

    def settle(self, patience_s: float = 20.0) -> None:
        """Returns when every node sees every slot served."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if all(self.sees_all(node) for node in self.nodes):
                return
            time.sleep(0.05)
        raise PartError("the Redis Cluster's masters did not find each other")

    def sees_all(self, node: ClusterNode) -> bool:
        with contextlib.closing(node.client()) as link:
            info = link.cluster("info")
        return (
            info["cluster_state"] == "ok" and int(info["cluster_slots_ok"]) == 16384 and int(info["cluster_known_nodes"]) == len(self.nodes)
        )

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextlib.contextmanager
def kafka_and_store(folder: Path) -> Iterator[tuple[Kafka, EmbeddedStore]]:
    """Apache Kafka and a durable store: what the heaviest fault test runs on."""
    with Kafka(folder / "kafka") as kafka, EmbeddedStore(folder / "store", durable=True) as store:
        yield kafka, store


class Prometheus(Part):
    """Debian's, on our own files but for the addresses."""

    name = "prometheus"
    patience_s = 30.0

    def __init__(self, folder: str | Path, api: str, workers: Sequence[str]) -> None:
        super().__init__(folder)
        self.api, self.workers = api, list(workers)

    def command(self) -> Sequence[str]:
        text = (PROMETHEUS / "scrape.yml").read_text()
        text = re.sub(r"dns_sd_configs:.*", f"static_configs:\n      - targets: {json.dumps(self.workers)}\n", text, flags=re.DOTALL)
        text = text.replace('"api:8780"', f'"{self.api}"').replace("scrape_interval: 5s", "scrape_interval: 1s")
        text = text.replace("alerts.yml", str(PROMETHEUS / "alerts.yml"))
        (self.folder / "prometheus.yml").write_text(text)
        return [
            program("prometheus", "prometheus"), f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}", f"--web.listen-address={self.address}", "--log.level=warn",
        ]  # fmt: skip

    def ready(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/-/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def ask(self, expr: str) -> list[Any]:
        """What an expression says now: samples that are numbers."""
        url = f"http://{self.address}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[Any] = json.loads(answer.read())["data"]["result"]
            return [one for one in found if one["value"][1] != "NaN"]


__all__ = [
    "PROMETHEUS",
    "Broker",
    "ClusterNode",
    "EmbeddedBroker",
    "EmbeddedStore",
    "Kafka",
    "KafkaPair",
    "Part",
    "PartError",
    "PartMissing",
    "PortTaken",
    "Prometheus",
    "Redis",
    "RedisCluster",
    "broker_program",
    "embedded",
    "free_port",
    "kafka_and_store",
    "kafka_jars",
    "missing",
    "need",
    "program",
    "store_program",
]
