"""Quotas at speed: pool places given by two API processes at a fixed rate, and what notes were given beyond their quotas.

python -m benchmarks.quota            300 feeds a second, two places each
python -m benchmarks.quota --kill 40            the worker killed with SIGKILL after 40 s, while quotas are being used up
python -m benchmarks.quota --clock --kill 40    the same objects in one process, by a clock of its own: 300 a second whatever the machine

`upwell up` without the town (broker, store, worker, API) and a second API on the same store; `--notes` notes whose quality is hidden, all in
the base tier at once, and people who look at each page a second after they asked for it and act as in `tools/worlds/low.json`. Everything
is production's default but `feed.pool_share`, so that each place is one the pools give. What was given is read from the slates in the log
afterwards, in the order in which they came: a quota is used up when places of all kinds have used it up, and what the pools give the note in that
tier from then on is beyond it. As many notes as the rate uses up within the run: each process may hold `feed.pool_ahead` of a quota unseen for as long
as the state is late, so that no quota can be used up in less than about 40 s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import aiohttp
import msgspec
from kafka import KafkaConsumer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rig import cpu
from config.records import SLOTS, Served, SlateItem, decode_user
from config.settings import PoolTier, load
from config.topics import full
from streams.logs import client_settings
from tests.serving.clocked import Clocked, Given
from tools import simulate_live
from tools.simulate_live import MORE, Running
from tools.worlds.world import World, read

LOOKS_S = 1.0
"""after which a page is looked at"""
WORLD = Path(__file__).parents[1] / "tools" / "worlds" / "low.json"


class Crowd:
    """Asks at a fixed rate, one API after the other, and does what people do."""

    def __init__(self, running: Running, world: World, rate: float, places: int) -> None:
        self.apis, self.world, self.rate, self.places = running.apis, world, rate, places
        self.feeds = self.refused = self.seen = 0
        self.took: list[float] = []
        self.shown: deque[tuple[float, str, str, list[tuple[int, int]]]] = deque()
        self.begun = asyncio.Event()

    async def run(self, seconds: float) -> float:
        """Feeds a second that were answered."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as self.http:
            await self.publish()
            self.begun.set()
            looking = asyncio.create_task(self.look())
            asking: set[asyncio.Task[None]] = set()
            began, sent = perf_counter(), 0
            while perf_counter() - began < seconds:
                while sent < (perf_counter() - began) * self.rate:
                    task = asyncio.create_task(self.ask(sent))
                    asking.add(task)
                    task.add_done_callback(asking.discard)
                    sent += 1
                await asyncio.sleep(0.002)
            if asking:
                await asyncio.wait(asking)
            passed = perf_counter() - began
            await asyncio.sleep(LOOKS_S + 0.5)
            looking.cancel()
            return self.feeds / passed

    async def publish(self) -> None:
        notes = [{"note_id": f"n{i}", "author_id": f"a{i}", "channel": "world", "title": f"Note {i}"} for i in range(self.world.spec.notes)]
        for at in range(0, len(notes), 500):
            async with self.http.post(f"{self.apis[0]}/v1/notes", json=notes[at : at + 500]) as answer:
                answer.raise_for_status()
        for _ in range(600):
            async with self.http.get(f"{self.apis[0]}/v1/pools") as answer:
                if (await answer.json())["tiers"][0]["notes"] == len(notes):
                    return
            await asyncio.sleep(0.1)
        raise SystemExit("the notes did not enter the base tier within a minute")

    async def ask(self, n: int) -> None:
        user, at = f"v{n % 50_000}", perf_counter()
        async with self.http.get(f"{self.apis[n % len(self.apis)]}/v1/feed/{user}?n={self.places}") as answer:
            body = await answer.read()
            if answer.status != 200:
                self.refused += 1
                return
        self.feeds += 1
        self.took.append(perf_counter() - at)
        feed = json.loads(body)
        items = [(int(item["note_id"][1:]), item["position"]) for item in feed["items"]]
        self.shown.append((perf_counter() + LOOKS_S, user, feed["request_id"], items))

    async def look(self) -> None:
        """Pages that were asked for a second ago, many people's in one request."""
        while True:
            events = []
            while self.shown and self.shown[0][0] <= perf_counter() and len(events) < 300:
                _, user, request, items = self.shown.popleft()
                where = {"user_id": user, "request_id": request}
                events.append({"type": "impression", "items": [{"note_id": f"n{i}", "position": p} for i, p in items]} | where)
                for note, position in items:
                    about = {"note_id": f"n{note}", "position": position} | where
                    acts = [a for a in self.world.meet(note) if a != "follow"]
                    events += [{"type": action} | MORE.get(action, {}) | about for action in acts]
                self.seen += len(items)
            if events:
                async with self.http.post(f"{self.apis[self.feeds % 2]}/v1/events", json=events) as answer:
                    if answer.status != 202:
                        self.refused += 1
            await asyncio.sleep(0.05)


def given(running: Running) -> Given:
    """What stands in all slates so far, in the order in which they were appended."""
    settings = load(environ=running.environ)
    topic = full(settings.kafka.prefix, "by-user")
    slates: list[tuple[int, int, list[SlateItem]]] = []
    with contextlib.closing(KafkaConsumer(**client_settings(settings.kafka), enable_auto_commit=False)) as consumer:
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)  # probes go on coming
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for records in consumer.poll(timeout_ms=500, max_records=20_000).values():
                for record in records:
                    for told in decode_user(record.value).signals:
                        if isinstance(told, Served) and told.slate is not None:
                            slates.append((record.timestamp, len(slates), told.slate.items))
    found = Given()
    for _, _, items in sorted(slates, key=lambda slate: slate[:2]):
        for item in items:
            if item.tier >= 0:
                found.saw((item.h, item.tier), SLOTS[item.slot] == "pool", settings.pool.tiers[item.tier].quota)
    return found


def spent(running: Running) -> Counter[str]:
    """CPU seconds so far, by kind of process."""
    found: Counter[str] = Counter({"these people": time.process_time()})
    for parent in (running.pid, os.getpid()):
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            kind = next((word for word in ("api", "worker", "broker") if word in words), "store" if "valkey" in words[0] else "")
            if kind:
                found[kind] += cpu(int(pid))
    return found


async def crowd(running: Running, asked: argparse.Namespace) -> tuple[Crowd, float]:
    spec = msgspec.structs.replace(read(WORLD), notes=asked.notes, arrival_rounds=1)
    people = Crowd(running, World(spec, 1), asked.rate, asked.places)
    run = asyncio.create_task(people.run(asked.seconds))
    if asked.kill >= 0:
        await people.begun.wait()
        await asyncio.sleep(asked.kill)
        worker = simulate_live.child_named(running.pid, b"worker")
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
    return people, await run


def clocked(asked: argparse.Namespace) -> tuple[Clocked, int]:
    """The same by a clock of its own; and how many notes were counted wrong in the end."""
    spec = msgspec.structs.replace(read(WORLD), notes=asked.notes, arrival_rounds=1)
    world, system = World(spec, 1), Clocked({"UPWELL_FEED__POOL_SHARE": "1.0"}, 1)
    system.loop.run_until_complete(system.run(world, asked.rate, asked.seconds, asked.places, asked.kill, asked.away))
    wrong = system.loop.run_until_complete(system.counted_wrong(world))
    system.close()
    return system, wrong


def table(given: Given, tiers: Sequence[PoolTier]) -> str:
    rows = ["| tier | notes given to | places of the pools | quotas used up | most beyond | mean beyond |", "|---|---|---|---|---|---|"]
    for tier in sorted({tier for _, tier in given.all}):
        quota, mine = tiers[tier].quota, [what for what in given.all if what[1] == tier]
        over = [given.beyond[what] / quota for what in mine if given.all[what] >= quota]
        pooled = sum(given.pooled[what] for what in mine)
        most, mean = max(over, default=0.0), sum(over) / max(1, len(over))
        rows.append(f"| {tiers[tier].name} | {len(mine)} | {pooled} | {len(over)} | {most:.1%} | {mean:.2%} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--places", type=int, default=2, help="of a page, all of them the pools'")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--notes", type=int, default=300)
    parser.add_argument("--kill", type=float, default=-1.0)
    parser.add_argument("--clock", action="store_true", help="in one process, by a clock of its own")
    parser.add_argument("--away", type=float, default=6.0, help="with --clock: seconds until another worker comes")
    asked = parser.parse_args()
    tiers = load(environ={}).pool.tiers
    if asked.clock:
        driven, wrong = clocked(asked)
        print(
            f"{asked.rate:.0f} feeds/s by the clock of the run: {driven.feeds} feeds, {driven.seen} places seen, {wrong} notes counted wrong\n"
        )
        print(table(driven.given, tiers))
        return
    with simulate_live.running({"UPWELL_FEED__POOL_SHARE": "1.0"}) as system:
        before = spent(system)
        people, rate = asyncio.run(crowd(system, asked))
        after = spent(system)
        counts = given(system)
        ms = sorted(1000.0 * t for t in people.took)
        print("| feeds/s | p50 ms | p99 ms | refused |", "|---|---|---|---|", sep="\n")
        print(f"| {rate:.0f} | {ms[len(ms) // 2]:.1f} | {ms[len(ms) * 99 // 100]:.1f} | {people.refused} |\n")
        print(table(counts, tiers))
        print(f"\nplaces seen: {people.seen}; CPU seconds: " + ", ".join(f"{kind} {after[kind] - before[kind]:.0f}" for kind in after))


if __name__ == "__main__":
    main()
