"""A background load that costs little itself: events made beforehand, sent in batches of its own making, from a process of its own.

``python -m benchmarks.load SERVERS RATE PARTITIONS`` until it is ended. What a key-by-key producer in Python uses for 2,000 events a second (a third of a
core, with the making of the events) would be taken from the system that is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiokafka import AIOKafkaProducer

from benchmarks.rig import events

STEP_S = 0.01
MADE = 400_000
"""Different events; sent again and again. They carry neither id nor time: each is told apart by its place in the log."""


def made() -> list[bytes]:
    found = []
    for event in events(MADE, seed=2):
        del event["event_id"], event["timestamp"]
        found.append(json.dumps(event, separators=(",", ":")).encode())
    return found


async def run(servers: str, rate: int, partitions: int) -> None:
    values, at, partition = made(), 0, 0
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=0)
    await producer.start()
    sys.stdout.write("sending\n")
    sys.stdout.flush()
    begun, sent = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - begun) * rate) - sent
        while due > 0:
            batch = producer.create_batch()
            for _ in range(min(due, 100)):
                batch.append(key=None, value=values[at], timestamp=None)
                at = (at + 1) % MADE
            count = batch.record_count()
            batch.close()
            await producer.send_batch(batch, "upwell.events", partition=partition)
            partition, sent, due = (partition + 1) % partitions, sent + count, due - count
        await asyncio.sleep(STEP_S)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
