"""Fixtures: the real parts, one of each per test process where tests can share it, and one per test (`own_…`) for those that kill it.

Tests that share a part take a prefix of their own for topics and keys (`prefix`), so that order and parallel runs do not matter.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import parts

# No example has a deadline: how long one takes says how busy the machine is, not whether the rule holds.
hypothesis.settings.register_profile("upwell", deadline=None)
hypothesis.settings.load_profile("upwell")

MARKS = {
    "kafka": {"kafka", "own_kafka"},
    "redis": {"redis", "own_redis"},
    "cluster": {"cluster", "own_cluster"},
    "chromium": {"chromium"},
}

SHARED = ("kafka", "cluster", "chromium")
HEAVY = (*SHARED, "chaos", "slow")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses a part carries its mark (`-m "not kafka"` leaves Java out) and runs where that part runs already.

    In parallel runs the heavy parts stand in one process each, a fault test with parts of its own where there is room; all other tests stay
    together by file, which shares what a file builds up.
    The heavy ones begin: a long group that begins last would run alone at the end, one core idle beside it.
    """
    for item in items:
        for mark, fixtures in MARKS.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(mark)
        if item.get_closest_marker("xdist_group") is None:
            heavy = next((mark for mark in HEAVY if item.get_closest_marker(mark)), None)
            # What a fault test kills is its own: it shares nothing, and each takes minutes.
            group = item.name if heavy == "chaos" else heavy if heavy in SHARED else item.path.name
            item.add_marker(pytest.mark.xdist_group(group))
    first = ("chaos", *HEAVY)
    items.sort(key=lambda item: next((place for place, mark in enumerate(first) if item.get_closest_marker(mark)), len(first)))


@pytest.fixture
def prefix() -> str:
    """A name nobody else has, for topics, groups and keys."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="session")
def broker(folder: Path) -> Iterator[parts.EmbeddedBroker]:
    """The embedded broker, shared: do not kill it."""
    parts.need(parts.broker_program)
    with parts.EmbeddedBroker(folder / "broker") as part:
        yield part


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[parts.EmbeddedBroker]:
    parts.need(parts.broker_program)
    with parts.EmbeddedBroker(tmp_path / "broker") as part:
        yield part


@pytest.fixture(scope="session")
def valkey(folder: Path) -> Iterator[parts.EmbeddedStore]:
    """The embedded store, shared: do not kill it, do not flush it."""
    parts.need(parts.store_program)
    with parts.EmbeddedStore(folder / "valkey") as part:
        yield part


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[parts.EmbeddedStore]:
    """Durable: `restart` loses nothing, `put_back` does."""
    parts.need(parts.store_program)
    with parts.EmbeddedStore(tmp_path / "valkey", durable=True) as part:
        yield part


@pytest.fixture(scope="session")
def redis(folder: Path) -> Iterator[parts.Redis]:
    """Debian's Redis, shared."""
    parts.need(lambda: parts.program("redis-server", "redis-server"))
    with parts.Redis(folder / "redis") as part:
        yield part


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[parts.Redis]:
    parts.need(lambda: parts.program("redis-server", "redis-server"))
    with parts.Redis(tmp_path / "redis", durable=True) as part:
        yield part


@pytest.fixture(scope="session")
def cluster(folder: Path) -> Iterator[parts.RedisCluster]:
    """A Redis Cluster of three masters, shared."""
    parts.need(lambda: parts.program("redis-server", "redis-server"))
    with parts.RedisCluster(folder / "cluster") as part:
        yield part


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[parts.RedisCluster]:
    parts.need(lambda: parts.program("redis-server", "redis-server"))
    with parts.RedisCluster(tmp_path / "cluster", durable=True) as part:
        yield part


@pytest.fixture(scope="session")
def kafka(folder: Path) -> Iterator[parts.Kafka]:
    """Apache Kafka, shared."""
    parts.need(parts.kafka_jars)
    with parts.Kafka(folder / "kafka") as part:
        yield part


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[parts.Kafka]:
    parts.need(parts.kafka_jars)
    with parts.Kafka(tmp_path / "kafka") as part:
        yield part


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser; its driver is `chromedriver`."""
    parts.need(lambda: (parts.program("chromium", "chromium"), parts.program("chromedriver", "chromium-driver")))
    return parts.program("chromium", "chromium")
