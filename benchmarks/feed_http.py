"""The feed over HTTP: CPU and latency of one API process with 500 candidates, real store and broker, a load generator of its own.

    python benchmarks/feed_http.py              the table: CPU per feed, latency at 300/s, the most one process carries
    python benchmarks/feed_http.py --profile    where one feed's time goes, in process, without HTTP
    python benchmarks/feed_http.py --seconds 5 --rates 300
    python benchmarks/feed_http.py --processes 2      the same with two API processes, each asked every other time

The world is folded by the stages themselves, all six: 5,000 notes, 2,000 users with some 30 events each, who have a place, follow three authors
and were shown slates from which the learned ranker has learned enough to rank; so every source brings notes. Open loop: latency counts from the
moment a request was due, so that a queue cannot hide, and of feeds that were answered: what is turned away (503) is counted beside. CPU is the API
processes' own, divided by the feeds answered; what turning away costs is in it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import orjson
import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))

from config import settings as config
from config.settings import Settings
from store.memory import MemoryStore
from streams.local import Local

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))  # a table is no place for what is new

START = 1_700_000_000_000
TAGS = [f"tag{i}" for i in range(80)]
CHANNELS = [f"{top}/{sub}" for top in ("food", "travel", "beauty", "sport", "home") for sub in ("a", "b", "c", "d")]
MIX = ("impression",) * 78 + ("click",) * 14 + ("like",) * 4 + ("collect",) * 2 + ("comment", "share")


def world(settings: Settings, notes: int, users: int, events: int, partitions: int, seed: int = 1) -> Local:
    """A system in memory that has lived a little."""
    rng = random.Random(seed)
    local = Local(settings, partitions=partitions)
    local.now = START
    batch: list[bytes] = []

    def flush(topic: str) -> None:
        if batch:
            local.append(topic, b"[" + b",".join(batch) + b"]", None, 0)
            batch.clear()

    about = []
    for i in range(notes):
        tags = [TAGS[int(rng.paretovariate(0.8)) % 80] for _ in range(3)]
        about.append({
            "note_id": f"n{i}", "author_id": f"a{i % 600}", "title": f"Note number {i}", "tags": tags, "channel": CHANNELS[i % 20],
            "timestamp": START - 86_400_000 + i * 15_000, "cover_url": f"https://img.example/{i}.jpg", "media": "image",
            "lat": 48.0 + rng.random(), "lon": 11.0 + rng.random(),
        })  # fmt: skip
        batch.append(orjson.dumps(about[-1]))
        if len(batch) == 500:
            flush("notes")
    flush("notes")
    asyncio.run(pumped(local))
    weights = np.arange(1, notes + 1) ** -0.8
    popular = rng.choices(range(notes), weights=weights.tolist(), k=events)
    for i in range(users):
        at = {"lat": 48.0 + rng.random(), "lon": 11.0 + rng.random()}
        batch.append(orjson.dumps({"type": "locate", "user_id": f"u{i}", "timestamp": START, **at}))
        for _ in range(3):
            batch.append(orjson.dumps({"type": "follow", "user_id": f"u{i}", "author_id": f"a{rng.randrange(600)}", "timestamp": START}))
        if len(batch) > 490:
            flush("events")
    for i in range(events):
        local.now = START + i * 20
        user, note = f"u{rng.randrange(users)}" if i % 20 else f"a{rng.randrange(600)}", popular[i]
        batch.append(orjson.dumps({"type": MIX[rng.randrange(100)], "user_id": user, "note_id": f"n{note}", "timestamp": local.now}))
        if len(batch) == 500:
            flush("events")
    flush("events")
    asyncio.run(taught(local, settings, users, rng))
    return local


async def pumped(local: Local) -> None:
    await local.pump()


async def taught(local: Local, settings: Settings, users: int, rng: random.Random) -> None:
    """Slates are shown and two notes of each are liked, until the learned ranker is trusted."""
    from serving.service import Service

    await local.pump()
    service = Service(settings, local.store, IntoLogs(local), wall=lambda: local.now / 1000.0)  # type: ignore[arg-type]
    for round_ in range(5):
        await service.snapshot.refresh()
        acts = []
        for _ in range(settings.learner.trusted // 4):
            user = f"u{rng.randrange(users)}"
            local.now += 1_000
            query, _ = service.query(user, "feed", 20, None, "", "", None, None, [], False)
            answer = await service.answer(query)
            service.log_slate(answer)
            for note, kind in zip(answer.facts, ("like", "click", *["impression"] * 18), strict=False):
                acts.append({"type": kind, "user_id": user, "note_id": note.id, "request_id": query.request_id, "timestamp": local.now})
        await local.pump()
        for at in range(0, len(acts), 500):
            local.append("events", orjson.dumps(acts[at : at + 500]), None, round_ % local.counts["events"])
        await local.pump()


class IntoLogs:
    """A producer whose slates stand in the logs at once."""

    reason = None

    def __init__(self, local: Local) -> None:
        self.local = local

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def send(self, *_: object, **__: object) -> None: ...
    def hand(self, topic: str, key: bytes, value: bytes, partition: int, *_: object) -> None:
        self.local.append(topic, value, key, partition)


# --------------------------------------------------------------------------------------------------------------- in process


class Nowhere:
    """A producer that takes everything."""

    reason = None

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def send(self, *_: object, **__: object) -> None: ...
    def hand(self, *_: object) -> None: ...


def profile(settings: Settings, count: int) -> None:
    """CPU of one feed from query to bytes, without HTTP and with the store in memory; and where it goes."""
    from serving.response import feed_body
    from serving.service import Service

    local = world(settings, 5_000, 500, 40_000, 4)
    service = Service(settings, local.store, Nowhere())  # type: ignore[arg-type]

    async def feeds(n: int) -> int:
        candidates = 0
        for i in range(n):
            query, scope = service.query(f"u{i % 500}", "feed", 20, None, "", "", None, None, [], False)
            decided = await service.answer(query)
            candidates += decided.page.candidates.hashes.size
            service.log_slate(decided)
            orjson.dumps(feed_body(decided, service.next_cursor(decided, scope)))
        return candidates

    async def whole() -> None:
        await service.snapshot.refresh()
        await feeds(200)
        spent, candidates = [], 0
        for _ in range(count // 20):
            began = time.process_time()
            candidates += await feeds(20)
            spent.append((time.process_time() - began) / 20 * 1000)
        print(
            f"{service.pipelines['feed'].scorer.version}; CPU a feed in process: best {min(spent):.3f}, median {np.median(spent):.3f} ms; {candidates / len(spent) / 20:.0f} candidates"
        )
        profiler = cProfile.Profile()
        profiler.enable()
        await feeds(count)
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(38)

    asyncio.run(whole())


# ----------------------------------------------------------------------------------------------------------------- over HTTP


async def load(ports: Sequence[int], rate: float, seconds: float, users: int, connections: int = 64) -> dict[str, float]:
    """Requests at a fixed rate over keep-alive connections, to the ports in turns; latency from when each was due."""
    took: list[float] = []
    queues: list[asyncio.Queue[tuple[float, str] | None]] = [asyncio.Queue() for _ in ports]
    sizes: list[int] = []
    failed = 0
    rng = random.Random(7)

    async def client(port: int, due: asyncio.Queue[tuple[float, str] | None]) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (job := await due.get()) is not None:
            at, user = job
            writer.write(b"GET /v1/feed/%s?n=20 HTTP/1.1\r\nHost: x\r\n\r\n" % user.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if head.startswith(b"HTTP/1.1 200") and b'"degraded":null' in body:
                took.append(perf_counter() - at)
                sizes.append(length)
            else:
                failed += 1
        writer.close()

    def clock() -> None:
        for i in range(int(rate * seconds)):
            at = began + i / rate
            if (wait := at - perf_counter()) > 0:
                time.sleep(wait)
            loop.call_soon_threadsafe(queues[i % len(queues)].put_nowait, (at, f"u{rng.randrange(users)}"))

    clients = [asyncio.create_task(client(port, due)) for port, due in zip(ports, queues, strict=True) for _ in range(connections)]
    loop, began = asyncio.get_running_loop(), perf_counter()
    await asyncio.to_thread(clock)  # a loop's own timers are late by up to a ms, which would count as the API's
    for due in queues:
        for _ in range(connections):
            due.put_nowait(None)
    await asyncio.gather(*clients)
    spent = perf_counter() - began
    ms = np.array(took) * 1000.0
    return {
        "rate": len(took) / spent, "answered": len(took), "p50": float(np.percentile(ms, 50)), "p99": float(np.percentile(ms, 99)), "max": float(ms.max()),
        "failed": failed, "bytes": float(np.mean(sizes)),
    }  # fmt: skip


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def over_http(environ: Mapping[str, str], rates: list[float], seconds: float, processes: int) -> None:
    from store.open import open_store
    from tools.parts import EmbeddedBroker, EmbeddedStore, free_port

    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedBroker(Path(folder) / "broker") as broker,
        EmbeddedStore(Path(folder) / "s") as store,
    ):
        env = {**environ, "UPWELL_KAFKA": broker.address, "UPWELL_REDIS": store.url, "UPWELL_KAFKA__PARTITIONS": "4"}
        settings = config.load(environ=env)
        local = world(settings, 5_000, 2_000, 40_000, 4)
        asyncio.run(copied(local.store, open_store(settings)))  # type: ignore[arg-type]
        subprocess.run(
            [sys.executable, "-m", "upwell", "topics", "create"], env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL
        )
        ports, apis = [free_port() for _ in range(processes)], []
        try:
            for port in ports:
                command = [sys.executable, "-m", "upwell", "api", "--port", str(port)]
                apis.append(subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL))
            for port in ports:
                ready(port)
            asyncio.run(load(ports, 100, 2, 2_000))
            print("| asked/s | answered/s | turned away | p50 ms | p99 ms | max ms | CPU ms a feed | feeds/s per core | bytes |")
            print("|---|---|---|---|---|---|---|---|---|")
            for rate in rates:
                before = sum(cpu_of(api.pid) for api in apis)
                got = asyncio.run(load(ports, rate, seconds, 2_000))
                cpu = (sum(cpu_of(api.pid) for api in apis) - before) / got["answered"]
                print(
                    f"| {rate:.0f} | {got['rate']:.0f} | {got['failed']:.0f} | {got['p50']:.2f} | {got['p99']:.2f} | {got['max']:.1f} "
                    f"| {cpu * 1000:.2f} | {1 / cpu:.0f} | {got['bytes']:.0f} |"
                )
        finally:
            for api in apis:
                api.terminate()
            for api in apis:
                api.wait(10)


async def copied(memory: MemoryStore, store: object) -> None:
    """All values of a store in memory, into a real one."""
    for key, value in memory.values.items():
        await store.put(key, value)  # type: ignore[attr-defined]
    await store.close()  # type: ignore[attr-defined]


def ready(port: int) -> None:
    import urllib.request

    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the API did not get ready")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rates", default="100,300,600,900")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.profile:
        profile(config.load(), arguments.count)
    else:
        over_http({}, [float(r) for r in arguments.rates.split(",")], arguments.seconds, arguments.processes)
