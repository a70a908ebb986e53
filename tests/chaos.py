"""Faults at random instants, and whether everything comes out exact: `python -m tests.chaos --kafka embedded --seconds 60 --seed 1 --json`.

    load (two ways: HTTP and straight to Kafka) ─► a running system ◄─ a seeded plan of faults
    observer: every acknowledged event          ─► oracle's counters = /v1/notes/{id}
    recorded logs                                ─► folds of them = the store, byte for byte; signals told = signals standing

The embedded broker itself is spared: it keeps nothing. The oracle shares no code with the project.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import redis
from kafka import KafkaProducer
from kafka.errors import KafkaError

from config.settings import load
from store.open import open_store
from tests import exact
from tests.parts import EmbeddedBroker, EmbeddedStore, Kafka, Part, RedisCluster
from tools.parts import free_port

STAGES = ("users", "notes", "lists", "neighbours", "learner")


class Process(Part):
    """A process of the project: a worker or an API."""

    patience_s = 60.0

    def __init__(self, name: str, folder: Path, arguments: Sequence[str], environment: dict[str, str], port: int | None = None) -> None:
        super().__init__(folder, port)
        self.name, self.arguments, self.variables = name, list(arguments), environment

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "upwell", *self.arguments]

    def environment(self) -> dict[str, str]:
        root = str(Path(__file__).resolve().parent.parent)
        return {**os.environ, **self.variables, "PYTHONPATH": root}

    def ready(self) -> bool:
        if "api" not in self.arguments:
            return True
        try:
            return httpx.get(f"http://{self.address}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


class Mix:
    """Events of a realistic mix: most are impressions, some clicks, few of each other kind; users in order, ids given."""

    TYPES = ["impression"] * 78 + ["click"] * 14 + ["like"] * 3 + ["unlike", "collect", "uncollect", "comment", "share", "view", "view"]

    def __init__(self, seed: int, users: int, notes: int, name: str) -> None:
        self.rng, self.users, self.notes, self.name, self.n = random.Random(seed), users, notes, name, 0

    def event(self) -> dict[str, Any]:
        rng = self.rng
        self.n += 1
        type = rng.choice(self.TYPES)
        event = {
            "type": type, "user_id": f"{self.name}{int(rng.paretovariate(1.2)) % self.users}", "note_id": f"n{rng.randrange(self.notes)}",
            "event_id": f"{self.name}-{self.n}",
        }  # fmt: skip
        if type == "view":
            event |= {"completion": rng.choice([0.2, 0.95]), "dwell_ms": rng.randrange(20_000)}
        if type == "comment":
            event["comment_id"] = f"c{self.n}"
        return event


def counts_of(events: Sequence[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """The oracle: distinct users by note and action, likes and collects taken back."""
    who: dict[tuple[str, str], set[str]] = defaultdict(set)
    for e in events:
        type, note, user = e["type"], e["note_id"], e["user_id"]
        if type.startswith("un"):
            who[note, type[2:]].discard(user)
        else:
            who[note, type].add(user)
        if type == "view" and e["completion"] >= 0.9:
            who[note, "finish"].add(user)
    return {key: len(users) for key, users in who.items()}


class Chaos:
    """One run."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder = arguments, folder
        self.rng = random.Random(arguments.seed)
        self.kafka = Kafka(folder / "kafka") if arguments.kafka == "apache" else EmbeddedBroker(folder / "broker")
        self.cluster = RedisCluster(folder / "redis", durable=True) if arguments.cluster else None
        self.store = EmbeddedStore(folder / "store", durable=True)
        self.done: Counter[str] = Counter()
        self.acknowledged: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.feed_errors, self.feeds, self.worst_gap, self.worst_lag = 0, 0, 0.0, 0.0

    # --------------------------------------------------------------------------------------------------------- system

    def begin(self) -> None:
        self.kafka.start()
        url = self.cluster.start().url if self.cluster else self.store.start().url
        self.variables = {
            "UPWELL_KAFKA": self.kafka.address,
            "UPWELL_REDIS": url,
            "UPWELL_REDIS__CLUSTER": "true" if self.cluster else "false",
            "UPWELL_KAFKA__PARTITIONS": "4",
            "UPWELL_KAFKA__FETCH_WAIT_MS": "20" if self.arguments.kafka == "embedded" else "500",
        }
        self.settings = load(environ=self.variables)
        created = Process("topics", self.folder / "topics", ["topics", "create"], self.variables)
        created.start()
        assert created.process is not None
        if created.process.wait(30):
            raise SystemExit(f"topics were not created: {created.last_words()}")
        self.workers = [Process(f"worker{i}", self.folder / f"worker{i}", ["worker"], self.variables).start() for i in range(2)]
        port = free_port()
        self.api = Process("api", self.folder / "api", ["api", "--port", str(port)], self.variables, port).start()
        self.http = httpx.Client(base_url=f"http://{self.api.address}", timeout=5)
        for i in range(self.arguments.notes):
            self.post(
                "/v1/notes", {"note_id": f"n{i}", "author_id": f"a{i % 50}", "tags": [f"t{i % 20}", f"s{i % 7}"], "channel": f"c{i % 5}/x"}
            )

    def post(self, path: str, body: Any) -> None:
        """Until it is acknowledged."""
        while True:
            try:
                answer = self.http.post(path, json=body)
                if answer.status_code == 202:
                    return
                if answer.status_code != 503:
                    raise SystemExit(f"{path} answered {answer.status_code}: {answer.text[:300]}")
            except httpx.HTTPError:
                pass
            time.sleep(0.1)

    # ----------------------------------------------------------------------------------------------------------- load

    def load_http(self) -> None:
        mix = Mix(self.arguments.seed, 300, self.arguments.notes, "h")
        while not self.stop.is_set():
            batch = [mix.event() for _ in range(50)]
            self.post("/v1/events", batch)
            with self.lock:
                self.acknowledged += batch
            time.sleep(50 / max(1, self.arguments.rate / 2))

    def load_kafka(self) -> None:
        mix = Mix(self.arguments.seed + 1, 3_000, self.arguments.notes, "k")
        topic = f"{self.settings.kafka.prefix}.events"
        producer: KafkaProducer | None = None
        while not self.stop.is_set():
            batch = [mix.event() for _ in range(50)]
            while True:
                try:
                    producer = producer or KafkaProducer(bootstrap_servers=self.kafka.address, acks="all", request_timeout_ms=15_000)
                    for future in [producer.send(topic, json.dumps(e).encode(), e["user_id"].encode()) for e in batch]:
                        future.get(20)
                    break
                except (KafkaError, OSError):
                    producer = None
                    time.sleep(0.2)
            with self.lock:
                self.acknowledged += batch
            if self.rng.random() < 0.02 and producer is not None:
                self.done["garbage"] += 1
                producer.send(topic, os.urandom(40))
            time.sleep(50 / max(1, self.arguments.rate / 2))

    def watch_feed(self) -> None:
        """What a reader of the feed sees of it all."""
        last = time.monotonic()
        with httpx.Client(base_url=f"http://{self.api.address}", timeout=5) as http:
            while not self.stop.is_set():
                try:
                    self.feeds += 1
                    if http.get(f"/v1/feed/h{self.feeds % 50}").status_code == 200:
                        self.worst_gap = max(self.worst_gap, time.monotonic() - last)
                        last = time.monotonic()
                    else:
                        self.feed_errors += 1
                except httpx.HTTPError:
                    self.feed_errors += 1
                time.sleep(0.05)

    # --------------------------------------------------------------------------------------------------------- faults

    def faults(self) -> None:
        """One after the other at random instants: those of the plan, or random ones until time is up."""
        kinds = ["worker"] * 6 + ["store"] * 2 + ["rollback", "stall", "api", "api", "scale"]
        if self.arguments.kafka == "apache":
            kinds += ["broker"] * 2
        end = time.monotonic() + self.arguments.seconds
        self.copy, self.copied_at = None, 0.0
        plan = list(self.arguments.plan)
        while plan or (not self.arguments.plan and time.monotonic() < end):
            if not self.cluster and time.monotonic() - self.copied_at > 6:
                self.copy, self.copied_at = self.store.keep(), time.monotonic()
            time.sleep(self.rng.uniform(*self.arguments.pause))
            self.supervise()
            kind = plan.pop(0) if plan else self.rng.choice(kinds)
            if self.arguments.verbose:
                print(f"{time.strftime('%X')} {kind}", file=sys.stderr, flush=True)
            getattr(self, f"fault_{kind}")()
            self.done[kind] += 1
        while self.arguments.plan and time.monotonic() < end:
            time.sleep(0.2)

    def supervise(self) -> None:
        """A worker that ended by itself is started again, as any supervisor does, and counted: only a lost state is a reason to end."""
        for worker in self.workers:
            if not worker.alive:
                self.done["ended"] += 1
                print(f"{worker.name} ended by itself: {worker.last_words()}", file=sys.stderr, flush=True)
                worker.start()

    def fault_worker(self) -> None:
        worker = self.rng.choice(self.workers)
        worker.kill()
        time.sleep(self.rng.uniform(0, 1))
        worker.start()

    def fault_store(self) -> None:
        node = self.node()
        node.kill()
        time.sleep(self.rng.uniform(0.2, 2))
        node.start()

    def fault_rollback(self) -> None:
        """The store, or one master of the cluster, comes back with older data."""
        node, copy = self.node(), self.copy
        if self.cluster:
            copy = node.keep()
            time.sleep(self.rng.uniform(1, 5))
        node.put_back(copy)
        self.copied_at = 0.0

    def fault_stall(self) -> None:
        """Longer than the session: the stalled worker is no longer the owner, and does not know it."""
        worker = self.rng.choice(self.workers)
        worker.stall()
        time.sleep(self.settings.kafka.session_timeout_s + 2)
        worker.resume()

    def fault_api(self) -> None:
        self.api.restart()

    def fault_scale(self) -> None:
        extra = Process("extra", self.folder / "extra", ["worker"], self.variables).start()
        time.sleep(self.rng.uniform(4, 8))
        extra.stop(10)

    def fault_broker(self) -> None:
        self.kafka.restart()

    def fault_rebuild(self) -> None:
        """Every stage is folded again beside the live one, and takes its place."""
        self.upwell("rebuild")
        self.copied_at = 0.0

    def fault_flush(self) -> None:
        """The store, or one master of the cluster, loses everything; workers stop and say so, and a rebuild brings it back."""
        with contextlib.closing(redis.Redis.from_url(self.node().url)) as client:
            client.flushall()
        time.sleep(self.rng.uniform(0.5, 3))
        self.upwell("rebuild")
        for worker in self.workers:
            worker.kill()
            worker.start()
        self.copied_at = 0.0

    def upwell(self, *words: str) -> None:
        """A command, waited for, that has to do what it is told."""
        if self.upwell_answers(*words):
            raise SystemExit(f"{' '.join(words)} failed: {(self.folder / words[0] / (words[0] + '.log')).read_text()[-500:]}")

    def upwell_answers(self, *words: str) -> int:
        """The exit code of a command, waited for."""
        command = Process(words[0], self.folder / words[0], words, self.variables).start()
        assert command.process is not None
        return command.process.wait(120)

    def node(self) -> EmbeddedStore:
        return self.rng.choice(self.cluster.nodes) if self.cluster else self.store

    # ------------------------------------------------------------------------------------------------------ judgement

    def run(self) -> dict[str, Any]:
        try:
            self.begin()
            loads = [threading.Thread(target=work, daemon=True) for work in (self.load_http, self.load_kafka, self.watch_feed)]
            for thread in loads:
                thread.start()
            self.faults()
            self.stop.set()
            for thread in loads:
                thread.join(60)
            return self.judge()
        finally:
            for part in (*getattr(self, "workers", ()), *([self.api] if hasattr(self, "api") else ()), self.store, self.kafka):
                part.stop()
            if self.cluster:
                self.cluster.stop()

    def wrong_counters(self, wanted: dict[tuple[str, str], int]) -> list[str]:
        wrong = []
        for i in range(self.arguments.notes):
            counts = self.http.get(f"/v1/notes/n{i}").json()["counts"]
            for (note, action), n in wanted.items():
                if note == f"n{i}" and counts.get(action, 0) != n:
                    wrong.append(f"{note} {action}: {counts.get(action, 0)} is not {n}")
        return wrong

    def judge(self) -> dict[str, Any]:
        wanted = counts_of(self.acknowledged)
        started = time.monotonic()
        wrong = ["never read"]
        while wrong and time.monotonic() - started < self.arguments.drain:
            time.sleep(1)
            self.supervise()
            try:
                wrong = self.wrong_counters(wanted)
            except (httpx.HTTPError, KeyError, ValueError):
                continue
        self.worst_lag = time.monotonic() - started
        # Its probes would go on filling the logs that are compared with the state.
        self.api.stop(10)
        while self.upwell_answers("lag", "--max-seconds", "0") and time.monotonic() - started < self.arguments.drain:
            self.supervise()
            time.sleep(1)
        for worker in self.workers:
            worker.stop(10)

        async def compare() -> tuple[list[str], list[str]]:
            store = open_store(self.settings)
            try:
                return await exact.differences(self.settings, store, STAGES), await exact.told_once(self.settings, store, STAGES)
            finally:
                await store.close()

        differences, told = asyncio.run(compare())
        for line in (*wrong[:10], *differences[:20], *told[:10]):
            print(line, file=sys.stderr)
        return {
            "kills": {kind: self.done[kind] for kind in ("worker", "broker", "store", "api")},
            "rollbacks": self.done["rollback"],
            "stalls": self.done["stall"],
            "scaled": self.done["scale"],
            "rebuilds": self.done["rebuild"],
            "flushes": self.done["flush"],
            "garbage": self.done["garbage"],
            "ended_by_themselves": self.done["ended"],
            "events": len(self.acknowledged),
            "wrong_counters": len(wrong),
            "lost_events": len(told),
            "wrong_state": len(differences),
            "feeds": self.feeds,
            "feed_errors": self.feed_errors,
            "worst_feed_gap_s": round(self.worst_gap, 2),
            "worst_lag_s": round(self.worst_lag, 2),
        }


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--kafka", choices=("embedded", "apache"), default="embedded")
    words.add_argument("--cluster", action="store_true", help="the store is a Redis Cluster of three masters")
    words.add_argument("--seconds", type=float, default=60)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--rate", type=float, default=1_000, help="events a second")
    words.add_argument("--notes", type=int, default=200)
    words.add_argument("--pause", type=float, nargs=2, default=(1.0, 4.0), help="seconds between two faults, at least and at most")
    words.add_argument("--plan", nargs="*", default=(), help="these faults in this order instead of random ones")
    words.add_argument("--drain", type=float, default=240, help="seconds to wait for the counters at the end")
    words.add_argument("--json", action="store_true")
    words.add_argument("--verbose", action="store_true")
    return words


def main(words: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    with tempfile.TemporaryDirectory(prefix="upwell-chaos-") as folder:
        report = Chaos(arguments, Path(folder)).run()
    if arguments.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name:18} {value}")
    return 1 if report["wrong_counters"] or report["lost_events"] or report["wrong_state"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
