"""From `send` to the changed byte in an HTTP response, under a background load.

``python -m benchmarks.latency [samples] [events a second behind] [embedded|apache]``. A sample is one like by a user who has none: the event goes straight
to Kafka, then the API is asked until its answer has changed: `/v1/users/{id}/interests` for the weight, `/v1/notes/{id}` for counter and pool evidence.
Weight and counter are timed by separate samples, one after the other, with a millisecond between two questions, so that asking does not use up the
machine that is measured. The load comes from a process of its own (`benchmarks/load.py`).
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable

from aiokafka import AIOKafkaProducer

from benchmarks.rig import NOTES, Rig, cpu, machine, notes, yardstick
from tools.parts import free_port

LIMITS = {"interest weight": (10.0, 40.0), "note counter and pool": (15.0, 60.0)}
LANES = 1
"""Samples under way at once."""
PAUSE_S = 0.001
PATIENCE_S = 5.0
LIKES = re.compile(rb'"like":(\d+)')
NO_INTERESTS = b'"interests":[]'


class Asker:
    """One connection that is kept, and no more HTTP than it takes: a client library would use more of the machine than the API."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def connect(self) -> Asker:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def body(self, path: str) -> bytes:
        self.writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        body = await self.reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{path}: {head[:40]!r} {body[:200]!r}")
        return body


def known(body: bytes) -> bytes:
    """Whether there is any interest."""
    return b"" if NO_INTERESTS in body else b"some"


def likes(body: bytes) -> bytes:
    found = LIKES.search(body)
    return found[1] if found is not None else b"0"


async def sample(rig: Rig, port: int, count: int) -> dict[str, list[float]]:
    """Milliseconds of each sample by what was asked for; infinite where nothing changed in time."""
    producer = AIOKafkaProducer(bootstrap_servers=rig.broker.address, linger_ms=0)
    await producer.start()
    took: dict[str, list[float]] = {name: [] for name in LIMITS}
    numbers = iter(range(count))

    async def one(asker: Asker, number: int) -> None:
        name = tuple(LIMITS)[number % 2]
        user, note = f"probe{number}", f"note{NOTES - 1 - number % 500}"
        path, look = (f"/v1/users/{user}/interests", known) if number % 2 == 0 else (f"/v1/notes/{note}", likes)
        before = look(await asker.body(path))
        event = json.dumps({"type": "like", "user_id": user, "note_id": note, "event_id": f"probe-{number}"}).encode()
        start = time.perf_counter()
        await producer.send("upwell.events", event, user.encode())
        took[name].append(await changed(asker, path, look, before, start))

    async def changed(asker: Asker, path: str, look: Callable[[bytes], bytes], before: bytes, start: float) -> float:
        while time.perf_counter() - start < PATIENCE_S:
            if look(await asker.body(path)) != before:
                return (time.perf_counter() - start) * 1000
            await asyncio.sleep(PAUSE_S)
        return float("inf")

    async def lane() -> None:
        asker = await Asker(port).connect()
        for number in numbers:
            await one(asker, number)
        asker.writer.close()

    await asyncio.gather(*(lane() for _ in range(LANES)))
    await producer.stop()
    return took


def at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(count: int, rate: int, kafka: str) -> list[str]:
    port = free_port()
    with Rig(kafka) as rig, rig.worker() as worker:
        worker.wait_for("upwell worker:")
        rig.publish("notes", notes(), "note_id")
        rig.watch(worker, least=NOTES)
        api = rig.process("upwell", ["api", "--port", str(port)], port=port)
        load = rig.process("benchmarks.load", [rig.broker.address, str(rate), str(rig.partitions)])
        with api, load:
            wait_ready(port)
            load.wait_for("sending")
            time.sleep(4)  # what its first users cost is over
            pids = {"worker": worker.pid, "API": api.pid, "broker": rig.broker.pid, "store": rig.store.pid, "load": load.pid}
            before, begun = {name: cpu(pid) for name, pid in pids.items()}, time.monotonic()
            took = asyncio.run(sample(rig, port, count))
            passed = time.monotonic() - begun
            used = {name: 100 * (cpu(pid) - before[name]) / passed for name, pid in pids.items()}
    lines = [f"| {kafka}, {rate} events/s behind | samples | p50 ms | p99 ms | wanted |", "|---|---|---|---|---|"]
    for name, values in took.items():
        p50, p99 = LIMITS[name]
        lines.append(f"| {name} | {len(values)} | {at(values, 0.5):.1f} | {at(values, 0.99):.1f} | {p50:.0f} / {p99:.0f} |")
    lines += ["", "Meanwhile, per cent of a core: " + ", ".join(f"{name} {share:.0f}" for name, share in used.items()) + "."]
    return lines


def wait_ready(port: int, patience_s: float = 60.0) -> None:
    from tools.up import answers

    deadline = time.monotonic() + patience_s
    while not answers(f"http://127.0.0.1:{port}/readyz"):
        if time.monotonic() > deadline:
            raise SystemExit("the API is not ready")
        time.sleep(0.1)


def main() -> None:
    words = sys.argv[1:]
    count, rate = (int(words[0]) if words else 10_000), (int(words[1]) if len(words) > 1 else 2_000)
    kafka = words[2] if len(words) > 2 else "embedded"
    print(f"{machine()}, yardstick {yardstick():.0f} ms\n", flush=True)
    print("\n".join(measure(count, rate, kafka)))


if __name__ == "__main__":
    main()
