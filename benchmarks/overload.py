"""Five times what one API process carries: what is accepted is answered soon, the rest is turned away, and afterwards all is as before.

    python -m benchmarks.overload                 capacity, overload, and the time after
    python -m benchmarks.overload --times 10 --seconds 10
    python -m benchmarks.overload --open          the same without bounds: what they are for

The world, the broker and the store are those of `feed_http.py`. Capacity is what a few connections get who ask again as soon as they are
answered. Then an open loop: requests come at a fixed rate whatever becomes of them, and latency counts from when one was due.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import uvloop

from benchmarks.feed_http import copied, ready, world
from config import settings as config
from store.open import open_store
from tools.parts import EmbeddedBroker, EmbeddedStore, free_port

USERS = 2_000


class Told(NamedTuple):
    """What became of requests."""

    rate: float
    """asked a second"""
    accepted: list[float]
    """seconds from due to answered, of 200s"""
    shed: list[float]
    """the same of 503s"""
    other: int
    seconds: float

    def row(self, what: str) -> str:
        good, bad = np.array(self.accepted or [0.0]) * 1000, np.array(self.shed or [0.0]) * 1000
        return (
            f"| {what} | {self.rate:.0f} | {len(self.accepted) / self.seconds:.0f} | {np.percentile(good, 50):.1f} | {np.percentile(good, 99):.1f} "
            f"| {good.max():.1f} | {len(self.shed) / self.seconds:.0f} | {np.percentile(bad, 99):.1f} | {self.other} |"
        )


class Client(asyncio.Protocol):
    """One connection: the least that can be done for a request, so that the generator is not what is measured."""

    def __init__(self) -> None:
        self.buffer = b""
        self.done: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if found and len(rest) >= int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
            status = int(head[9:12])
            self.buffer = b""
            if self.done is not None and not self.done.done():
                self.done.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(0)

    def ask(self, user: int) -> asyncio.Future[int]:
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(b"GET /v1/feed/u%d?n=20 HTTP/1.1\r\nhost: x\r\n\r\n" % user)
        return self.done


async def connected(port: int, count: int) -> list[Client]:
    """Connections that are in use already: what it costs to open hundreds of them at once is no matter of overload."""
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(count)]
    await asyncio.gather(*(client.ask(0) for client in clients))
    return clients


async def closed(port: int, seconds: float, connections: int) -> Told:
    """Each connection asks again as soon as it is answered."""
    rng, took, shed, other = random.Random(3), [], [], 0
    began = perf_counter()

    async def one(client: Client) -> None:
        nonlocal other
        while perf_counter() - began < seconds:
            at = perf_counter()
            status = await client.ask(rng.randrange(USERS))
            if status == 200:
                took.append(perf_counter() - at)
            elif status == 503:
                shed.append(perf_counter() - at)
            else:
                other += 1

    await asyncio.gather(*(one(client) for client in await connected(port, connections)))
    spent = perf_counter() - began
    return Told(len(took) / spent, took, shed, other, spent)


async def opened(port: int, rate: float, seconds: float, connections: int) -> Told:
    """Requests at a fixed rate; one for which no connection is free waits, and its time counts."""
    rng, took, shed, others = random.Random(5), [], [], [0]
    idle, due = await connected(port, connections), deque()  # the last one back is the next one out: the rest may fall idle and be closed
    under_way: set[asyncio.Future[int]] = set()
    began = perf_counter()

    def start(client: Client, at: float) -> None:
        future = client.ask(rng.randrange(USERS))
        under_way.add(future)
        future.add_done_callback(lambda future: ended(client, at, future))

    def ended(client: Client, at: float, future: asyncio.Future[int]) -> None:
        under_way.discard(future)
        status = future.result()
        if status == 200:
            took.append(perf_counter() - at)
        elif status == 503:
            shed.append(perf_counter() - at)
        else:
            others[0] += 1
            return
        if due:
            start(client, due.popleft())
        else:
            idle.append(client)

    sent, count = 0, int(rate * seconds)
    while sent < count:
        now = perf_counter()
        while sent < count and (at := began + sent / rate) <= now:
            sent += 1
            while idle and idle[-1].transport.is_closing():
                idle.pop()
            if idle:
                start(idle.pop(), at)
            else:
                due.append(at)
        await asyncio.sleep(0.001)
    spent = perf_counter() - began
    until = perf_counter() + 10
    while under_way and perf_counter() < until:
        await asyncio.wait(list(under_way), timeout=1.0)
    return Told(rate, took, shed, others[0], spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=5.0, help="of capacity")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=512)
    parser.add_argument("--open", action="store_true", help="without bounds")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedBroker(Path(folder) / "broker") as broker,
        EmbeddedStore(Path(folder) / "s") as store,
    ):
        env = {"UPWELL_KAFKA": broker.address, "UPWELL_REDIS": store.url, "UPWELL_KAFKA__PARTITIONS": "4"}
        if asked.open:
            env |= {"UPWELL_API__READS_AT_ONCE": "100000", "UPWELL_API__AT_ONCE_MOST": "100000"}
        settings = config.load(environ=env)
        asyncio.run(copied(world(settings, 5_000, USERS, 40_000, 4).store, open_store(settings)))  # type: ignore[arg-type]
        upwell = [sys.executable, "-m", "upwell"]
        subprocess.run([*upwell, "topics", "create"], env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL)
        port = free_port()
        api = subprocess.Popen(
            [*upwell, "api", "--port", str(port)], env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            ready(port)
            uvloop.run(closed(port, 2.0, 4))
            alone = uvloop.run(closed(port, asked.seconds / 2, 8))
            capacity = alone.rate
            print("| load | asked/s | accepted/s | p50 ms | p99 ms | max ms | turned away/s | p99 ms | other |")
            print("|---|---|---|---|---|---|---|---|---|")
            print(alone.row("8 connections, closed loop"))
            print(uvloop.run(opened(port, capacity / 2, asked.seconds / 2, asked.connections)).row("half of that"))
            print(uvloop.run(opened(port, capacity * asked.times, asked.seconds, asked.connections)).row(f"{asked.times:g} times"))
            print(uvloop.run(opened(port, capacity / 2, asked.seconds / 2, asked.connections)).row("half again, at once"))
        finally:
            api.terminate()
            api.wait(10)


if __name__ == "__main__":
    main()
