"""From `send` to the changed byte in an HTTP response, under a background load.

``python -m benchmarks.latency [samples] [events a second behind] [embedded|apache]``. A sample is one like by a user who has none: the event goes straight
to Kafka, then the API is asked again and again until its answer has changed: `/v1/users/{id}/interests` for the weight, `/v1/notes/{id}` for counter and
pool evidence. Weight and counter are timed by separate samples, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
from aiokafka import AIOKafkaProducer

from benchmarks.rig import NOTES, Rig, events, machine, notes, yardstick
from tools.parts import free_port

LIMITS = {"interest weight": (10.0, 40.0), "note counter and pool": (15.0, 60.0)}
SIDE_BY_SIDE = 4
"""Samples under way at once."""


async def background(producer: AIOKafkaProducer, rate: int, stop: asyncio.Event) -> None:
    """`rate` events a second, in steps of 10 ms, not acknowledged one by one."""
    step, due, source = max(1, rate // 100), time.monotonic(), events(10**9, seed=2)
    while not stop.is_set():
        for _ in range(step):
            event = next(source)
            event["timestamp"] = int(time.time() * 1000)
            await producer.send("upwell.events", json.dumps(event).encode(), event["user_id"].encode())
        due += step / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def until(look: Callable[[], Awaitable[object]], before: object, patience_s: float = 5.0) -> bool:
    """Asks until the answer is another one."""
    deadline = time.perf_counter() + patience_s
    while time.perf_counter() < deadline:
        if await look() != before:
            return True
    return False


async def sample(rig: Rig, api: str, count: int, rate: int) -> dict[str, list[float]]:
    producer = AIOKafkaProducer(bootstrap_servers=rig.broker.address, linger_ms=0)
    load = AIOKafkaProducer(bootstrap_servers=rig.broker.address, linger_ms=5)
    await producer.start()
    await load.start()
    stop = asyncio.Event()
    behind = asyncio.create_task(background(load, rate, stop))
    await asyncio.sleep(3)
    took: dict[str, list[float]] = {name: [] for name in LIMITS}
    numbers = iter(range(count))
    async with aiohttp.ClientSession() as http:

        async def ask(path: str) -> dict[str, object]:
            async with http.get(f"{api}{path}") as answer:
                found: dict[str, object] = await answer.json()
                return found

        async def one(number: int) -> None:
            name = ("interest weight", "note counter and pool")[number % 2]
            user, note = f"probe{number}", f"note{NOTES - 1 - number % 500}"

            async def weights() -> object:
                return (await ask(f"/v1/users/{user}/interests"))["interests"]

            async def likes() -> object:
                counts = (await ask(f"/v1/notes/{note}"))["counts"]
                assert isinstance(counts, dict)
                return counts["like"]

            look = weights if number % 2 == 0 else likes
            before = await look()
            event = {"type": "like", "user_id": user, "note_id": note, "event_id": f"probe-{number}"}
            start = time.perf_counter()
            await producer.send("upwell.events", json.dumps(event).encode(), user.encode())
            if await until(look, before):
                took[name].append((time.perf_counter() - start) * 1000)
            else:
                took[name].append(float("inf"))

        async def lane() -> None:
            for number in numbers:
                await one(number)

        await asyncio.gather(*(lane() for _ in range(SIDE_BY_SIDE)))
    stop.set()
    await behind
    await producer.stop()
    await load.stop()
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
        with rig.process("upwell", ["api", "--port", str(port)], port=port) as api:
            api.wait_for("", 1)
            wait_ready(port)
            took = asyncio.run(sample(rig, f"http://127.0.0.1:{port}", count, rate))
    lines = [f"| {kafka}, {rate} events/s behind | samples | p50 ms | p99 ms | wanted |", "|---|---|---|---|---|"]
    for name, values in took.items():
        p50, p99 = LIMITS[name]
        lines.append(f"| {name} | {len(values)} | {at(values, 0.5):.1f} | {at(values, 0.99):.1f} | {p50:.0f} / {p99:.0f} |")
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
    print(f"{machine()}, yardstick {yardstick():.0f} ms\n")
    print("\n".join(measure(count, rate, kafka)))


if __name__ == "__main__":
    main()
