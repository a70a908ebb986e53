"""`upwell simulate --live`: a world's notes and people on a running system: broker, store, worker, and two API processes.

    world ──► POST /v1/notes ─────────────────────────────────────► pools of production
      ▲  ▲                                                            │
      │  └── what a person does: POST /v1/events ◄── pool places ◄── GET /v1/feed, from one API or the other
      └───── figures as of the simulation, overshoot of quotas, counters that must agree

An hour of the world lasts as long as its exposures take; events carry the world's time, which lies in the past, so the stream lives in a time of
its own (`serving/clock.py`). All places of a feed are the pools' here (`feed.pool_share = 1`) and nobody looks at any other, so that capacity
means what it means in the simulation; everything else is production's default, but for how often the API looks at the state.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from config.settings import Settings, load
from models.pool import HOUR
from tools import up
from tools.mistake import Mistake
from tools.parts import die_with_parent, free_port
from tools.worlds.world import Spec, World, sigmoid

AHEAD = 0.05
"""Share of a quota that one of two processes may give unseen: the overshoot is (2 - 1) times this at most."""
ENVIRON = {
    "UPWELL_FEED__POOL_SHARE": "1.0",
    "UPWELL_FEED__POOL_AHEAD": str(AHEAD),
    "UPWELL_FEED__SNAPSHOT_S": "0.1",  # an hour lasts seconds here, so what was given must be known soon …
    "UPWELL_FEED__TIMEOUT_S": "0.3",  # … and it counts as unseen for as long as a feed may take
}
PAGE = 4
"""places of a page: as many as are the pools' of a page of 20. What the pools leave is filled by rank, and since nobody here looks at that, it stays
under way for half an hour of the world: longer pages would close notes by it"""
VISITORS = 12
"""at once"""
PEOPLE = 20_000
IDLE_S = 1.2
"""without a pool place, after which visitors wait for the state: longer than a process waits for the state to show what it gave"""
READY_S = 90.0
SETTLE_S = 180.0


class Live:
    """One run. The shell of a `World`: what is shown is decided by the system, what people do by the world.

    Parameters
    ----------
    apis
        addresses; visits go to them in turn.
    begin
        epoch ms of the world's first hour.
    """

    def __init__(self, world: World, apis: Sequence[str], settings: Settings, begin: int) -> None:
        self.world, self.apis, self.settings, self.begin = world, apis, settings, begin
        self.base = settings.pool.tiers[0].quota
        self.given: Counter[tuple[int, int]] = Counter()
        """pool places by note and tier"""
        self.left = self.used = self.feeds = self.page = 0
        self.busy_s = self.given_at = self.began = 0.0
        self.last = 0

    @property
    def now(self) -> int:
        """The world's time, epoch ms: an hour passes with its exposures, and where there are none, three minutes a second."""
        share = self.used / max(1, self.world.spec.exposures_per_round) + (time.monotonic() - self.began) / 20.0
        return self.begin + int((self.world.round + min(share, 0.999)) * HOUR)

    async def run(self) -> None:
        import aiohttp

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as self.http:
            while self.world.round < self.world.spec.rounds:
                self.began = time.monotonic()
                await self.publish()
                self.left, self.used, before = self.world.spec.exposures_per_round, 0, -1
                while self.left > 0 and self.used > before:  # until a state that knows all has nothing more to give
                    before, self.given_at = self.used, time.monotonic()
                    await asyncio.gather(*(self.visitor(n == 0) for n in range(VISITORS)))
                    await self.settled()
                self.busy_s += time.monotonic() - self.began
                self.world.turn(self.base)
                print(f"hour {self.world.round} of {self.world.spec.rounds}: {self.used} exposures", file=sys.stderr, flush=True)

    async def publish(self) -> None:
        """The notes of this hour."""
        notes = [i for i, hour in enumerate(self.world.arrival.tolist()) if hour == self.world.round]
        body = [
            {
                "note_id": f"n{i}",
                "author_id": f"a{i}",
                "channel": "world",
                "title": f"Note {i}",
                "timestamp": self.now,
                "status": "published",
            }
            for i in notes
        ]
        for at in range(0, len(body), 500):
            await self.post("/v1/notes", body[at : at + 500])
        if notes:
            await self.until(f"/v1/notes/n{notes[-1]}", lambda told: told["pool"] is not None, "a note that was published is not there")
            if self.world.round == 0:
                await asyncio.sleep(1.0)  # both APIs have read the stream's clock: before that they would stamp slates with the wall's

    async def visitor(self, first: bool) -> None:
        """Feeds, one after the other, while the hour has exposures left that pools want."""
        while self.left > 0 and time.monotonic() - self.given_at < IDLE_S:
            wanted = min(PAGE, self.left)
            self.left -= wanted
            seen = await self.visit(wanted)
            self.left += wanted - seen
            self.used += seen
            if seen:
                self.given_at = time.monotonic()
            else:  # one looks now and then, the others wait: other places than the pools' are under way too, and nobody looks at them
                await asyncio.sleep(IDLE_S / 4 if first else IDLE_S / 2)

    async def visit(self, wanted: int) -> int:
        """One person looks at one feed's pool places; how many there were."""
        import aiohttp

        user, self.page = f"v{self.page % PEOPLE}", self.page + 1  # in turn: nobody has two feeds at once
        at = self.page % len(self.apis)
        try:
            async with self.http.get(f"{self.apis[at]}/v1/feed/{user}", params={"n": str(wanted), "explain": "true"}) as answer:
                if answer.status != 200:
                    return 0
                feed = await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return 0
        self.feeds += 1
        places = [item for item in feed["items"] if item["explain"]["slot"] == "pool"]
        if not places:  # time goes on for the stream too, so that slates which nobody looked at are settled
            await self.post("/v1/events", [{"type": "search", "user_id": user, "query": "anything", "timestamp": self.now}])
            return 0
        where = {"user_id": user, "request_id": feed["request_id"], "timestamp": self.now, "surface": "feed"}
        shown = [{"note_id": item["note_id"], "position": item["position"]} for item in places]
        events: list[dict[str, Any]] = [{"type": "impression", "items": shown} | where]
        for item in places:
            note = int(item["note_id"][1:])
            self.last = note
            if item["pool"] is not None:
                self.given[note, item["pool"]] += 1
            about = {"note_id": item["note_id"], "position": item["position"]}
            events += [{"type": action} | MORE.get(action, {}) | about | where for action in self.world.meet(note)]
            if events[-1]["type"] == "follow":
                events[-1]["author_id"] = f"a{note}"
        await self.post("/v1/events", events, at)
        return len(places)

    async def post(self, path: str, body: Sequence[Mapping[str, Any]], at: int = 0) -> None:
        """Until it is accepted: to send again is safe. `at`: the API to begin with; who looks at a page in no time tells the one that gave it, which
        sends the page's slate before."""
        import aiohttp

        for turn in range(200):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.http.post(self.apis[(at + turn) % len(self.apis)] + path, json=body) as answer:
                    if answer.status == 202 and not (await answer.json())["rejected"]:
                        return
                    if answer.status == 422:
                        raise Mistake(f"{path}: {(await answer.text())[:300]}")
            await asyncio.sleep(0.1)
        raise Mistake(f"{path} was not accepted for 20 s")

    async def until(self, path: str, true: Any, otherwise: str) -> Any:
        """Asks until the answer is so."""
        import aiohttp

        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.http.get(self.apis[0] + path) as answer:
                    if answer.status == 200 and true(told := await answer.json()):
                        return told
            await asyncio.sleep(0.01)
        raise Mistake(f"{otherwise} after {SETTLE_S:.0f} s: see `upwell lag`")

    async def settled(self) -> None:
        """The note shown last has all its exposures: the stages are not behind by more than a little."""
        if self.used:
            exposures = int(self.world.exposures[self.last])
            await self.until(
                f"/v1/notes/n{self.last}", lambda told: told["counts"]["impression"] >= exposures, "what was shown is not counted"
            )

    async def counted(self) -> int:
        """Notes whose counters differ from what people did, once everything had time to arrive."""
        import aiohttp

        wrong = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as self.http:
            for note in range(self.world.spec.notes):
                did = dict(zip(self.world.spec.actions, self.world.actions[note].tolist(), strict=True))
                expected = {"impression": self.world.exposures[note]} | {name: n for name, n in did.items() if name != "follow"}

                def equal(told: Any, expected: Mapping[str, float] = expected) -> bool:
                    return all(told["counts"][name] == n for name, n in expected.items())

                try:
                    await self.until(f"/v1/notes/n{note}", equal, "")
                except Mistake:
                    wrong += 1
        return wrong

    def figures(self) -> dict[str, float]:
        """As the simulation reports them; and by how much quotas were overshot, at most and on average over those that were used up."""
        quotas = [tier.quota for tier in self.settings.pool.tiers]
        over = [(n - quotas[tier]) / quotas[tier] for (_, tier), n in self.given.items() if n >= quotas[tier]]
        return self.world.report(self.base) | {
            "overshoot_most": max(over, default=0.0),
            "overshoot_mean": sum(over) / max(1, len(over)),
            "feeds_per_second": self.feeds / max(self.busy_s, 1e-9),
        }


MORE: dict[str, dict[str, Any]] = {"comment": {"comment_id": "c"}}
"""What an action needs beside user and note; one comment a person and note."""


def environ(spec: Spec) -> dict[str, str]:
    """Settings of a run. The scorer expects of an average note what it earns here, as it would after a while, and as the simulation has it:
    no note's own quality is told by that. Begun with rates of another world it would change what it expects in the middle of the run."""
    prior = load(environ={}).pool.prior
    click = sigmoid(np.array(spec.click[0])) if spec.click else 1.0
    rates = {name: float(click * sigmoid(np.array(mean))) for name, (mean, _) in spec.actions.items()}
    if spec.click:
        rates["click"] = float(click)
    told = msgspec.structs.replace(prior, rates=prior.rates | rates)
    return ENVIRON | {"UPWELL_POOL__PRIOR": msgspec.json.encode(told).decode()}


def smaller(spec: Spec, notes: int) -> Spec:
    """The same world with fewer notes, and as many exposures for each."""
    return msgspec.structs.replace(spec, notes=notes, exposures_per_round=max(1, spec.exposures_per_round * notes // spec.notes))


class Running(NamedTuple):
    """A system that was started for a run."""

    apis: list[str]
    """addresses of two API processes over one store"""
    environ: dict[str, str]
    """settings by which it is reached"""
    pid: int
    """of `upwell up`, whose children the worker and the others are"""


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """A folder that is gone afterwards. Where a run fails in it, its logs stay in another one, which the error names."""
    with tempfile.TemporaryDirectory(prefix="upwell-live-") as name:
        try:
            yield Path(name)
        except Exception as error:
            kept = Path(tempfile.mkdtemp(prefix="upwell-live-failed-"))
            for log in Path(name).rglob("*.log"):
                copy = kept / log.relative_to(name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(log, copy)
            where = f"the run's logs are in {kept}"
            if isinstance(error, Mistake):
                raise Mistake(f"{error}; {where}") from error
            error.add_note(where)
            raise


@contextlib.contextmanager
def running(settings: dict[str, str]) -> Iterator[Running]:
    """`upwell up` without the town and a second API, with these settings and no others; stopped in the end."""
    with run_folder() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "upwell", "up", "--no-town", "--port", "0", "--data-dir", str(folder / "up")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=clean(os.environ) | settings,
            preexec_fn=die_with_parent(),
            start_new_session=True,
        )
        second: up.Child | None = None
        try:
            told = ready(process, folder / "up")
            environ = up.environment(folder / "up", clean(os.environ)) | settings
            port = free_port()
            second = up.Child("second", ["api", "--port", str(port)], environ, folder / "up")
            second.start()
            apis = [told["api"], f"http://127.0.0.1:{port}"]
            deadline = time.monotonic() + READY_S
            while not up.answers(f"{apis[1]}/readyz"):
                if time.monotonic() > deadline or second.dead:
                    raise Mistake(f"the second API did not become ready: {second.last_words()}")
                time.sleep(0.1)
            yield Running(apis, environ, process.pid)
        finally:
            if second is not None:
                second.ask_to_stop()
                second.end(time.monotonic() + 5.0)
            process.send_signal(signal.SIGINT)
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()


def simulate(spec: Spec, seed: int, kill: int | None = None) -> dict[str, Any]:
    """A system is started, the world lives in it, and it is stopped again. `kill`: the hour in which the worker is killed."""
    with running(environ(spec)) as system:
        begin = int(time.time() * 1000) - (spec.rounds + 24) * HOUR
        live = Live(World(spec, seed), system.apis, load(environ=system.environ), begin // HOUR * HOUR)
        asyncio.run(lived(live, system.pid, kill))
        wrong = asyncio.run(live.counted())
        return live.figures() | {"counters_wrong": wrong}


async def lived(live: Live, parent: int, kill: int | None) -> None:
    run = asyncio.create_task(live.run())
    while kill is not None and not run.done():
        if live.world.round >= kill:
            worker = child_named(parent, b"worker")
            if worker is None:
                raise Mistake("there is no worker to kill")
            os.kill(worker, signal.SIGKILL)
            kill = None
        await asyncio.sleep(0.05)
    await run


def child_named(parent: int, word: bytes) -> int | None:
    """A child process that has this argument (Linux)."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return int(pid)
    return None


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Without settings: what is measured are the defaults."""
    return {name: value for name, value in environ.items() if not name.startswith("UPWELL_")}


def ready(process: subprocess.Popen[str], folder: Path) -> dict[str, str]:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        told = up.addresses(folder)
        if told:
            return told
        if process.poll() is not None:
            assert process.stderr is not None
            raise Mistake((process.stderr.read().strip() or "`upwell up` ended").removeprefix("upwell: "))
        time.sleep(0.1)
    raise Mistake(f"`upwell up` was not ready within {READY_S:.0f} s")
