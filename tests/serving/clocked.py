"""Two API processes, the stages and many people in one process, by a clock of its own: no hour takes an hour, and no machine is too slow.

An event loop whose clock jumps to whatever comes next, so that production's own objects, which wait, time out and refresh by the loop's clock,
do so at the pace of the simulation:

    people ──► Service of one API or the other ──► slate ──► by-user ─► users stage ─► by-note ─► notes stage ─┐
      │  each at a distance from the store, so that            ▲                                               │
      │  feeds overlap and decide by what was so        acknowledged late                                      ▼
      └─ look at the page a second later ──► POST /v1/events ──► intake ──► …                   records, ledgers ─► Snapshot.run, feeds

A worker is killed by ending its stages wherever they wait: between what they sent and what they wrote, too. Its successor begins where the
store stands.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from config import settings as config
from serving.app import create_app
from serving.producer import Ack, Then
from serving.service import Service
from serving.slots import POOL
from store.base import Range
from store.layout import POOL_STATES
from store.memory import MemoryStore
from streams import fold
from streams.local import Local, Log
from tests.serving.system import START, LocalProducer
from tools.simulate_live import MORE
from tools.worlds.world import World

RUNNING = POOL_STATES.index("running")
LOOKS_S = 1.0
"""after which a page is looked at"""


class Skipping(selectors.SelectSelector):
    """Does not wait: the time until something is due is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0.0:
            self.now += timeout
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop of its own time, in seconds since it was made."""

    def __init__(self) -> None:
        self.skipping = Skipping()
        super().__init__(self.skipping)

    def time(self) -> float:
        return self.skipping.now


class Distant(MemoryStore):
    """A store at a distance: an answer says what was so when it was given, and arrives later."""

    def __init__(self, near: MemoryStore, rng: np.random.Generator, mean_s: float) -> None:
        super().__init__()
        self.values, self.timers, self.rng, self.mean_s = near.values, near.timers, rng, mean_s

    async def read(self, keys: Sequence[bytes], ranges: Sequence[Range] = ()) -> list[bytes | None]:
        values = await super().read(keys, ranges)
        await asyncio.sleep(self.rng.exponential(self.mean_s))
        return values

    async def commit(self, *what: Any, **more: Any) -> bool:
        await asyncio.sleep(self.rng.exponential(self.mean_s))
        done = await super().commit(*what, **more)
        await asyncio.sleep(self.rng.exponential(self.mean_s))
        return done


class LateProducer(LocalProducer):
    """Appends a little later, and hears of it later still."""

    def __init__(self, local: Local, partitions: int, rng: np.random.Generator) -> None:
        super().__init__(local, partitions)
        self.rng = rng

    def hand(self, topic: str, key: bytes, value: bytes, partition: int, then: Then | None = None) -> None:
        loop = asyncio.get_running_loop()

        def append() -> None:
            ack = Ack(partition, self.local.append(topic, value, key, partition))
            if then is not None:
                loop.call_later(self.rng.exponential(0.01), then, ack)

        loop.call_later(self.rng.exponential(0.005), append)


class Given:
    """Places given to notes in tiers, by note and tier."""

    def __init__(self) -> None:
        self.all: Counter[tuple[int, int]] = Counter()
        self.pooled: Counter[tuple[int, int]] = Counter()
        self.beyond: Counter[tuple[int, int]] = Counter()
        """of the pools' places those that were given after places of all kinds had used the quota up"""

    def saw(self, what: tuple[int, int], pooled: bool, quota: int) -> None:
        """One place more."""
        if pooled:
            self.pooled[what] += 1
            self.beyond[what] += self.all[what] >= quota
        self.all[what] += 1


class Clocked:
    """The whole system. `frame_s`: how often a stage folds what has come, which is how late the state is, stage after stage."""

    def __init__(self, environ: Mapping[str, str], seed: int, apis: int = 2, frame_s: float = 0.15, partitions: int = 2) -> None:
        self.settings = config.load(environ=dict(environ))
        self.rng = np.random.default_rng(seed)
        self.loop, near = Loop(), MemoryStore()
        self.local, self.frame_s = Timed(self.settings, near, partitions, self.loop), frame_s
        self.stages_store = Distant(near, self.rng, 0.002)
        self.local.store = self.stages_store
        self.tasks: list[asyncio.Task[None]] = []
        self.services: list[Service] = []
        self.clients: list[httpx.AsyncClient] = []
        for _ in range(apis):
            producer = LateProducer(self.local, partitions, self.rng)
            app = create_app(self.settings, Distant(near, self.rng, 0.004), producer, wall=self.wall)
            self.services.append(app.state.service)
            self.clients.append(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api"))
        self.given = Given()
        self.feeds = self.seen = 0

    def wall(self) -> float:
        return START / 1000.0 + self.loop.time()

    # --------------------------------------------------------------------------------------------------------- the worker

    async def start_worker(self) -> None:
        self.local.parts.clear()
        self.local.read.clear()
        await self.local.begin()
        self.tasks = [asyncio.create_task(self.follow(log, part)) for log, part in self.local.parts]

    async def follow(self, log: Log, part: fold.Partition) -> None:
        """One stage's partition: folds what is there, waits a frame."""
        read = part.offset
        while True:
            part.feed(log[read:])
            read = len(log)
            while part.waiting:
                await fold.step(part, self.stages_store, self.local.resolve)
                if part.full:
                    await fold.commit(part, self.stages_store, self.local.send)
            if part.uncut:
                await fold.commit(part, self.stages_store, self.local.send)
            await asyncio.sleep(self.frame_s * self.rng.uniform(0.5, 1.5))

    async def kill_worker(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    # --------------------------------------------------------------------------------------------------------- the people

    async def visit(self, k: int, places: int, world: World) -> None:
        """One feed, looked at a second later."""
        service, user = self.services[k % len(self.services)], f"v{k}"
        query, _ = service.query(user, "feed", places, None, "", "", None, None, (), False)
        answer = await service.answer(query)
        page, quotas = answer.page, [tier.quota for tier in self.settings.pool.tiers]
        assert not page.degraded, (page.degraded, service.snapshot.reasons)
        for placed in page.placed:
            record = page.notes[placed.row]
            if record["pool"] == RUNNING:
                tier = int(record["tier"])
                self.given.saw((int(page.candidates.hashes[placed.row]), tier), placed.slot == POOL, quotas[tier])
        service.log_slate(answer)
        self.feeds += 1
        await asyncio.sleep(LOOKS_S)
        where = {"user_id": user, "request_id": query.request_id, "timestamp": int(self.wall() * 1000)}
        shown = [(facts.id, query.start + i) for i, facts in enumerate(answer.facts)]
        events: list[dict[str, Any]] = [{"type": "impression", "items": [{"note_id": n, "position": p} for n, p in shown]} | where]
        for name, position in shown:
            about = {"note_id": name, "position": position} | where
            events += [{"type": a} | MORE.get(a, {}) | about for a in world.meet(int(name[1:])) if a != "follow"]
        (await self.clients[k % len(self.clients)].post("/v1/events", json=events)).raise_for_status()
        self.seen += len(shown)

    async def run(self, world: World, rate: float, seconds: float, places: int, kill_at: float, away_s: float) -> None:
        """All notes are published, then people come at a fixed rate; `kill_at` (below zero: never) seconds later the worker dies for a while."""
        await self.start_worker()
        await asyncio.gather(*(service.snapshot.refresh() for service in self.services))
        snapshots = [asyncio.create_task(service.snapshot.run()) for service in self.services]
        notes = [{"note_id": f"n{i}", "author_id": f"a{i}", "channel": "world", "title": f"Note {i}"} for i in range(world.spec.notes)]
        for at in range(0, len(notes), 500):
            (await self.clients[0].post("/v1/notes", json=notes[at : at + 500])).raise_for_status()
        await asyncio.sleep(5.0)
        dying = asyncio.create_task(self.dies(kill_at, away_s)) if kill_at >= 0.0 else None
        visits = []
        for k in range(int(rate * seconds)):
            visits.append(asyncio.create_task(self.visit(k, places, world)))
            await asyncio.sleep(1.0 / rate)
        await asyncio.gather(*visits)
        if dying is not None:
            await dying
        await asyncio.sleep(10.0)  # what is under way arrives
        await self.kill_worker()
        for task in snapshots:
            task.cancel()
        await asyncio.gather(*snapshots, return_exceptions=True)

    async def dies(self, kill_at: float, away_s: float) -> None:
        await asyncio.sleep(kill_at)
        await self.kill_worker()
        await asyncio.sleep(away_s)
        await self.start_worker()

    # ------------------------------------------------------------------------------------------------------------- the end

    async def counted_wrong(self, world: World) -> int:
        """Notes whose exposures are not as many as people saw."""
        wrong = 0
        for note in range(world.spec.notes):
            told = (await self.clients[0].get(f"/v1/notes/n{note}")).json()
            wrong += told["counts"]["impression"] != int(world.exposures[note])
        return wrong

    def close(self) -> None:
        async def end() -> None:
            await asyncio.gather(*(client.aclose() for client in self.clients))

        self.loop.run_until_complete(end())
        self.loop.close()


class Timed(Local):
    """Appends carry the loop's time."""

    def __init__(self, settings: config.Settings, store: MemoryStore, partitions: int, loop: Loop) -> None:
        super().__init__(settings, store=store, partitions=partitions)
        self.loop = loop

    def append(self, topic: str, value: bytes | None, key: bytes | None = None, partition: int = 0, headers: Any = ()) -> int:
        self.now = START + int(self.loop.time() * 1000)
        return super().append(topic, value, key, partition, headers)
