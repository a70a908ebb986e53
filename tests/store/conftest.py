"""Every implementation of the store, empty, over servers of this folder's own (the shared ones are not for emptying)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from config import settings as config
from store.base import Store
from store.memory import MemoryStore
from store.redis import RedisStore
from tests import parts

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Server(parts.EmbeddedStore):
    """An embedded store with further options, or another program."""

    def __init__(self, folder: Path, options: Sequence[str] = (), port: int | None = None, binary: str = "") -> None:
        super().__init__(folder, port)
        self.more, self.binary = options, binary

    def program(self) -> str:
        return self.binary or super().program()

    def options(self) -> Sequence[str]:
        return self.more

    def ready(self) -> bool:
        return self.ask(b"PING").startswith((b"+PONG", b"-NOAUTH"))


@contextmanager
def server(*options: str, port: int | None = None, binary: str = "") -> Iterator[Server]:
    parts.need(parts.store_program)
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder), options, port, binary) as part:
        yield part


@contextmanager
def cluster_of_three() -> Iterator[parts.RedisCluster]:
    parts.need(lambda: parts.program("redis-server", "redis-server"))
    with tempfile.TemporaryDirectory() as folder, parts.RedisCluster(folder) as cluster:
        yield cluster


def redis_settings(port: int, **other: Any) -> config.Redis:
    values: dict[str, Any] = {"url": f"redis://127.0.0.1:{port}/0", "cluster": False, "timeout_s": 5.0, "ssl_cafile": ""}
    return config.Redis(**(values | other))


@pytest.fixture(scope="session")
def emptied_valkey() -> Iterator[int]:
    with server() as part:
        yield part.port


@pytest.fixture(scope="session")
def emptied_cluster() -> Iterator[int]:
    with cluster_of_three() as cluster:
        yield cluster.nodes[1].port


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """Runs a coroutine in the one event loop of these tests (connections belong to a loop)."""
    with asyncio.Runner() as runner:
        yield runner.run


async def emptied(store: Store) -> Store:
    keys = [key async for key in store.scan(b"*")]
    await store.delete(keys)
    return store


KINDS = ["memory", "valkey", pytest.param("cluster", marks=pytest.mark.cluster)]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, run: Run) -> Iterator[Store]:
    """Each implementation, empty."""
    opened: Store
    match request.param:
        case "memory":
            opened = MemoryStore()
        case "valkey":
            opened = RedisStore(redis_settings(request.getfixturevalue("emptied_valkey")))
        case _:
            opened = RedisStore(redis_settings(request.getfixturevalue("emptied_cluster"), cluster=True))
    yield run(emptied(opened))
    run(opened.close())
