"""Faults at random instants, and whether everything comes out exact: `python -m tests.chaos --kafka embedded --seconds 60 --seed 1 --json`.

    load (two ways: HTTP and straight to Kafka) ─► a running system ◄─ a seeded plan of faults
    observer: every acknowledged event           ─► oracle's counters = /v1/notes/{id}; each stands in the by-user log
              every acknowledged piece of garbage ─► one dead letter at least for each place, and none of anything else
    recorded logs                                ─► folds of them = the store, byte for byte; signals told = signals standing

Faults: `kill -9` of worker, store, api, broker (started again after a moment); SIGSTOP of each for longer than a session; a worker stopped
and started; a worker more for a while; the store put back to an older copy, rebuilt, emptied and rebuilt; all processes replaced one after
the other. The embedded broker itself is spared: it keeps nothing. The oracle shares no code with the project.
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import redis
import xxhash
from kafka import KafkaProducer
from kafka.errors import KafkaError

from config.settings import load
from store.open import open_store
from streams.stage import Record
from tests import exact
from tests.parts import EmbeddedBroker, EmbeddedStore, Kafka, KafkaPair, Part, RedisCluster
from tools.parts import free_port

STAGES = ("users", "notes", "lists", "neighbours", "learner")
ROOT = Path(__file__).resolve().parent.parent

KILLS = ("worker", "broker", "store", "api")
WEIGHTS = {
    "worker": 10, "store": 10, "api": 5, "broker": 4,
    "stall_worker": 0.7, "stall_api": 0.5, "stall_store": 0.5, "stall_broker": 0.5,
    "rollback": 2, "restart": 1, "scale": 0.5, "rebuild": 0.5, "flush": 0.5,
}  # fmt: skip
"""How often a random plan has which fault, relative to each other."""

GARBAGE: list[tuple[bytes, dict[int, str]]] = [
    (b"\xff\xfe\x00garbage", {0: "not_utf8"}),
    (b'{"type": "like", "user_id": "u', {0: "not_json"}),
    (b'{"type": "like", "user_id": "g"}', {0: "missing_field"}),
    (b'{"type": "served", "user_id": "g", "note_id": "n0"}', {0: "reserved_type"}),
    (b'{"type": "lick", "user_id": "g", "note_id": "n0"}', {0: "unknown_type"}),
    (
        b'[{"type": "search", "user_id": "g"}, {"type": "like"}, 7, {"type": "search", "user_id": "g"}]',
        {1: "missing_field", 2: "not_object"},
    ),
]
"""A record, and the reasons by the places of its array that must be found among the dead letters."""


class Process(Part):
    """A process of the project: a worker or an API."""

    patience_s = 60.0

    def __init__(
        self, name: str, folder: Path, arguments: Sequence[str], environment: dict[str, str], port: int | None = None, tree: Path = ROOT
    ) -> None:
        super().__init__(folder, port)
        self.name, self.arguments, self.variables, self.tree = name, list(arguments), environment, tree

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "upwell", *self.arguments]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables, "PYTHONPATH": str(self.tree)}

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


WRONG = ("wrong_counters", "lost_events", "wrong_state", "wrong_signals", "wrong_dead", "ended_by_themselves")
"""What has to be 0 in a report."""


class Upstreams:
    """The API as a client behind a load balancer sees it: a connection that fails goes to the next process, each once."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.clients = [httpx.Client(base_url=f"http://{address}", timeout=10) for address in addresses]
        self.at = 0

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Raises the last process's `httpx.HTTPError`."""
        for left in reversed(range(len(self.clients))):
            client = self.clients[self.at % len(self.clients)]
            try:
                return client.request(method, path, json=body)
            except httpx.HTTPError:
                self.at += 1
                if not left:
                    raise
        raise AssertionError("no API")


class Chaos:
    """One run."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder = arguments, folder
        self.rng = random.Random(arguments.seed)
        self.kafka = {"apache": Kafka, "pair": KafkaPair, "embedded": EmbeddedBroker}[arguments.kafka](folder / "kafka")
        self.cluster = RedisCluster(folder / "redis", durable=True) if arguments.cluster else None
        self.store = EmbeddedStore(folder / "store", durable=True)
        self.done: Counter[str] = Counter()
        self.acknowledged: list[dict[str, Any]] = []
        self.garbage: dict[tuple[str, int, int, int], str] = {}
        """(topic, partition, offset, index) -> reason, of what was acknowledged"""
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.feed_errors, self.feeds, self.worst_gap, self.worst_lag, self.failed_posts = 0, 0, 0.0, 0.0, 0
        self.worst_of_roll, self.failed_in_rolls, self.worst_failover = 0.0, 0, 0.0
        self.workers: list[Process] = []
        self.apis: list[Process] = []

    # --------------------------------------------------------------------------------------------------------- system

    def begin(self) -> None:
        self.kafka.start()
        url = self.cluster.start().url if self.cluster else self.store.start().url
        self.variables = {
            "UPWELL_KAFKA": self.kafka.address,
            "UPWELL_REDIS": url,
            "UPWELL_REDIS__CLUSTER": "true" if self.cluster else "false",
            "UPWELL_KAFKA__PARTITIONS": "4",
            "UPWELL_KAFKA__REPLICATION": "2" if self.arguments.kafka == "pair" else "1",
            "UPWELL_KAFKA__FETCH_WAIT_MS": "20" if self.arguments.kafka == "embedded" else "500",
        }
        if not self.arguments.before:  # which may not know these settings
            self.variables["UPWELL_KAFKA__INNER_FETCH_WAIT_MS"] = "100" if self.arguments.kafka == "embedded" else "500"
            # A broker that is started at once may still take long where much else runs; nobody is there to give up on it.
            self.variables["UPWELL_ENGINE__START_PATIENCE_S"] = "300"
        self.settings = load(environ=self.variables)
        created = Process("topics", self.folder / "topics", ["topics", "create"], self.variables)
        created.start()
        assert created.process is not None
        if created.process.wait(60):
            raise SystemExit(f"topics were not created: {created.last_words()}")
        tree = self.arguments.before or ROOT
        self.workers = [Process(f"worker{i}", self.folder / f"worker{i}", ["worker"], self.variables, tree=tree).start() for i in range(2)]
        for i in range(self.arguments.apis):
            port = free_port()
            words = ["api", "--port", str(port)]
            self.apis.append(Process(f"api{i}", self.folder / f"api{i}", words, self.variables, port, tree).start())
        http = self.http()
        notes = [
            {"note_id": f"n{i}", "author_id": f"a{i % 50}", "tags": [f"t{i % 20}", f"s{i % 7}"], "channel": f"c{i % 5}/x"}
            for i in range(self.arguments.notes)
        ]
        for first in range(0, len(notes), 100):
            self.post(http, "/v1/notes", notes[first : first + 100])

    def http(self) -> Upstreams:
        return Upstreams([api.address for api in self.apis])

    def post(self, http: Upstreams, path: str, body: Any) -> None:
        """Until it is acknowledged; 503 says that Kafka is away."""
        while True:
            try:
                answer = http.ask("POST", path, body)
                if answer.status_code == 202:
                    return
                if answer.status_code != 503:
                    raise SystemExit(f"{path} answered {answer.status_code}: {answer.text[:300]}")
            except httpx.HTTPError:
                pass
            self.failed_posts += 1
            time.sleep(0.1)

    # ----------------------------------------------------------------------------------------------------------- load

    def load_http(self) -> None:
        mix, http = Mix(self.arguments.seed, 300, self.arguments.notes, "h"), self.http()
        size = max(1, min(50, int(self.arguments.rate / 10)))
        while not self.stop.is_set():
            batch = [mix.event() for _ in range(size)]
            self.post(http, "/v1/events", batch)
            with self.lock:
                self.acknowledged += batch
            time.sleep(size / max(1, self.arguments.rate / 2))

    def load_kafka(self) -> None:
        mix, rng = Mix(self.arguments.seed + 1, 3_000, self.arguments.notes, "k"), random.Random(self.arguments.seed + 2)
        topic = f"{self.settings.kafka.prefix}.events"
        size = max(1, min(50, int(self.arguments.rate / 10)))
        producer: KafkaProducer | None = None
        while not self.stop.is_set():
            batch = [mix.event() for _ in range(size)]
            records = [(json.dumps(e).encode(), e["user_id"].encode()) for e in batch]
            bad = rng.choice(GARBAGE) if rng.random() < 0.05 else None
            while True:
                try:
                    producer = producer or KafkaProducer(
                        bootstrap_servers=self.kafka.address.split(","), acks="all", request_timeout_ms=15_000
                    )
                    for future in [producer.send(topic, value, key) for value, key in records]:
                        future.get(20)
                    if bad is not None:
                        written = producer.send(topic, bad[0]).get(20)
                        self.garbage |= {(topic, written.partition, written.offset, index): reason for index, reason in bad[1].items()}
                    break
                except (KafkaError, OSError):
                    if producer is not None:
                        with contextlib.suppress(KafkaError):
                            producer.close(timeout=0)
                    producer = None
                    time.sleep(0.2)
            with self.lock:
                self.acknowledged += batch
            time.sleep(size / max(1, self.arguments.rate / 2))

    def watch_feed(self) -> None:
        """What a reader of the feed sees of it all."""
        last, http = time.monotonic(), self.http()
        while not self.stop.is_set():
            try:
                self.feeds += 1
                if http.ask("GET", f"/v1/feed/h{self.feeds % 50}").status_code == 200:
                    self.worst_gap = max(self.worst_gap, time.monotonic() - last)
                    last = time.monotonic()
                else:
                    self.feed_errors += 1
            except httpx.HTTPError:
                self.feed_errors += 1
            time.sleep(0.1)

    def watch_lag(self) -> None:
        """The lag that the API reports, of whatever partition has most."""
        while not self.stop.wait(1.0):
            with contextlib.suppress(httpx.HTTPError):
                lag = self.lag()
                self.worst_lag, self.worst_of_roll = max(self.worst_lag, lag), max(self.worst_of_roll, lag)

    def lag(self) -> float:
        """Seconds, as the API reports them now. Raises `httpx.HTTPError`."""
        lines = self.http().ask("GET", "/metrics").text.splitlines()
        return max((float(line.rpartition(" ")[2]) for line in lines if line.startswith("upwell_stream_lag_seconds{")), default=0.0)

    # --------------------------------------------------------------------------------------------------------- faults

    def faults(self) -> None:
        """One after the other at random instants: those of the plan, or random ones until time is up."""
        spared = {"broker", "stall_broker"} if self.arguments.kafka == "embedded" else set()
        weights = {kind: weight for kind, weight in WEIGHTS.items() if kind not in spared}
        end = time.monotonic() + self.arguments.seconds
        self.copy, self.copied_at = None, 0.0
        plan = list(self.arguments.plan)
        while plan or (not self.arguments.plan and (time.monotonic() < end or self.kills() < self.arguments.kills)):
            if not self.cluster and time.monotonic() - self.copied_at > 6:
                self.copy, self.copied_at = self.store.keep(), time.monotonic()
            time.sleep(self.rng.uniform(*self.arguments.pause))
            self.supervise()
            kind = plan.pop(0) if plan else self.rng.choices(list(weights), list(weights.values()))[0]
            if self.arguments.verbose:
                print(f"{time.strftime('%X')} {kind}", file=sys.stderr, flush=True)
            getattr(self, f"fault_{kind}")()
            self.done[kind] += 1
        while self.arguments.plan and time.monotonic() < end:
            time.sleep(0.2)

    def kills(self) -> int:
        return sum(self.done[kind] for kind in KILLS)

    def supervise(self) -> None:
        """A process that ended by itself is started again, as any supervisor does, and counted: only a lost state is a reason to end."""
        for process in (*self.workers, *self.apis):
            if not process.alive:
                self.done["ended"] += 1
                print(f"{process.name} ended by itself: {process.last_words()}", file=sys.stderr, flush=True)
                process.start()

    def kill(self, part: Part, least: float = 0.0, most: float = 1.0) -> None:
        part.kill()
        time.sleep(self.rng.uniform(least, most))
        part.start()

    def stall(self, part: Part) -> None:
        """Longer than the session: a stalled worker is no longer the owner, and does not know it."""
        part.stall()
        time.sleep(self.settings.kafka.session_timeout_s + 2)
        part.resume()

    def fault_worker(self) -> None:
        self.kill(self.rng.choice(self.workers))

    def fault_store(self) -> None:
        self.kill(self.node(), 0.2, 2)

    def fault_api(self) -> None:
        self.kill(self.rng.choice(self.apis))

    def fault_broker(self) -> None:
        self.kill(self.broker())

    def fault_stall_worker(self) -> None:
        self.stall(self.rng.choice(self.workers))

    def fault_stall_store(self) -> None:
        self.stall(self.node())

    def fault_stall_api(self) -> None:
        self.stall(self.rng.choice(self.apis))

    def fault_stall_broker(self) -> None:
        self.stall(self.broker())

    def fault_restart(self) -> None:
        """A worker is asked to stop, and started again."""
        worker = self.rng.choice(self.workers)
        worker.stop(10)
        worker.start()

    def fault_rollback(self) -> None:
        """The store, or one master of the cluster, comes back with older data."""
        node, copy = self.node(), self.copy
        if self.cluster:
            copy = node.keep()
            time.sleep(self.rng.uniform(1, 5))
        node.put_back(copy)
        self.copied_at = 0.0

    def fault_scale(self) -> None:
        extra = Process("extra", self.folder / "extra", ["worker"], self.variables).start()
        time.sleep(self.rng.uniform(4, 8))
        extra.stop(10)

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

    def settle(self, patience_s: float = 60) -> None:
        """Returns when everything is read."""
        until = time.monotonic() + patience_s
        while self.lag() > 1 and time.monotonic() < until:
            time.sleep(1)

    def fault_lose(self) -> None:
        """With everything read, a worker is killed and stays away until others have its partitions and have read them; how late those became is
        kept apart."""
        self.settle()
        worker = self.rng.choice(self.workers)
        worker.kill()
        until, taken = time.monotonic() + 60, False
        while time.monotonic() < until and not taken:
            time.sleep(0.3)
            lag = self.lag()
            self.worst_failover = max(self.worst_failover, lag)
            taken = self.worst_failover > 2 and lag < 1
        assert taken, f"nobody took what the lost worker had: {self.worst_failover:.1f} s late at most"
        worker.start()

    def fault_roll(self) -> None:
        """With everything read, every worker and every API process is replaced, one after the other; what clients see of that is kept apart."""
        self.settle()
        failed, self.worst_of_roll = self.feed_errors + self.failed_posts, 0.0
        for process in (*self.workers, *self.apis):
            process.stop(15)
            process.tree, said = ROOT, process.log.stat().st_size
            process.start()
            # A worker answers to nobody: it says where its metrics are when its start is over.
            until = time.monotonic() + 60
            while process in self.workers and b"metrics http" not in process.log.read_bytes()[said:] and time.monotonic() < until:
                time.sleep(0.2)
            time.sleep(3)
        self.failed_in_rolls += self.feed_errors + self.failed_posts - failed

    def upwell(self, *words: str) -> None:
        """A command, waited for, that has to do what it is told."""
        if self.upwell_answers(*words):
            raise SystemExit(f"{' '.join(words)} failed: {(self.folder / words[0] / (words[0] + '.log')).read_text()[-500:]}")

    def upwell_answers(self, *words: str) -> int:
        """The exit code of a command, waited for."""
        command = Process(words[0], self.folder / words[0], words, self.variables).start()
        assert command.process is not None
        return command.process.wait(300)

    def node(self) -> EmbeddedStore:
        return self.rng.choice(self.cluster.nodes) if self.cluster else self.store

    def broker(self) -> Part:
        return self.rng.choice(self.kafka.nodes) if isinstance(self.kafka, KafkaPair) else self.kafka

    # ------------------------------------------------------------------------------------------------------ judgement

    def run(self) -> dict[str, Any]:
        try:
            self.begin()
            works = (self.load_http, self.load_kafka, self.watch_feed, self.watch_lag)
            loads = [threading.Thread(target=work, daemon=True) for work in works]
            for thread in loads:
                thread.start()
            self.faults()
            self.stop.set()
            for thread in loads:
                thread.join(60)
            return self.judge()
        finally:
            for part in (*self.workers, *self.apis, self.store, self.kafka):
                part.stop()
            if self.cluster:
                self.cluster.stop()

    def wrong_counters(self, http: Upstreams, wanted: dict[tuple[str, str], int]) -> list[str]:
        wrong = []
        for i in range(self.arguments.notes):
            counts = http.ask("GET", f"/v1/notes/n{i}").json()["counts"]
            for (note, action), n in wanted.items():
                if note == f"n{i}" and counts.get(action, 0) != n:
                    wrong.append(f"{note} {action}: {counts.get(action, 0)} is not {n}")
        return wrong

    def lost_events(self, log: Mapping[int, list[Record]]) -> list[str]:
        """Acknowledged events of which the by-user log has nothing."""
        standing = {
            signal.id
            for records in log.values()
            for record in records
            for signal in exact.decoder("by-user")(record.value).signals
            if hasattr(signal, "k") and hasattr(signal, "id")
        }
        return [f"lost: {e['event_id']}" for e in self.acknowledged if xxhash.xxh3_64_intdigest(e["event_id"].encode()) not in standing]

    def wrong_dead(self) -> list[str]:
        """Garbage without its dead letter, and dead letters of what was no garbage."""
        told: dict[tuple[str, int, int, int], str] = {}
        wrong = []
        for records in exact.recorded(self.settings, "dead").values():
            for record in records:
                headers = {name: value.decode() for name, value in record.headers}
                place = (headers["topic"], int(headers["partition"]), int(headers["offset"]), int(headers["index"]))
                told[place] = headers["reason"]
                # What was sent again, since nobody acknowledged it, may stand twice; it is garbage all the same.
                if not any(record.value == value and reasons.get(place[3]) == headers["reason"] for value, reasons in GARBAGE):
                    wrong.append(f"dead: {place} {headers['reason']}: {(record.value or b'')[:100]!r}")
        return wrong + [f"not dead: {place} {reason}" for place, reason in self.garbage.items() if told.get(place) != reason]

    def judge(self) -> dict[str, Any]:
        wanted, http = counts_of(self.acknowledged), self.http()
        started = time.monotonic()
        wrong = ["never read"]
        while wrong and time.monotonic() - started < self.arguments.drain:
            time.sleep(1)
            self.supervise()
            try:
                wrong = self.wrong_counters(http, wanted)
            except (httpx.HTTPError, KeyError, ValueError):
                continue
        drained = time.monotonic() - started
        # Its probes would go on filling the logs that are compared with the state.
        for api in self.apis:
            api.stop(10)
        while self.upwell_answers("lag", "--max-seconds", "0") and time.monotonic() - started < self.arguments.drain:
            for worker in self.workers:
                if not worker.alive:
                    self.done["ended"] += 1
                    worker.start()
            time.sleep(1)
        for worker in self.workers:
            worker.stop(10)

        async def compare() -> tuple[exact.Folds, list[str]]:
            store = open_store(self.settings)
            try:
                folds = await exact.folds(self.settings, store, STAGES)
                return folds, await exact.differences(folds, store)
            finally:
                await store.close()

        folds, differences = asyncio.run(compare())
        told, lost, dead = exact.told_once(folds), self.lost_events(folds.logs["by-user"]), self.wrong_dead()
        for line in (*wrong[:10], *differences[:20], *told[:10], *lost[:10], *dead[:10]):
            print(line, file=sys.stderr)
        return {
            "kills": {kind: self.done[kind] for kind in KILLS},
            "rollbacks": self.done["rollback"],
            "events": len(self.acknowledged),
            "wrong_counters": len(wrong),
            "lost_events": len(lost),
            "wrong_state": len(differences),
            "wrong_signals": len(told),
            "wrong_dead": len(dead),
            "ended_by_themselves": self.done["ended"],
            "feed_errors": self.feed_errors,
            "worst_feed_gap_s": round(self.worst_gap, 2),
            "worst_lag_s": round(self.worst_lag, 2),
            "stalls": {kind: self.done[f"stall_{kind}"] for kind in KILLS},
            "restarts": self.done["restart"],
            "scaled": self.done["scale"],
            "rebuilds": self.done["rebuild"],
            "flushes": self.done["flush"],
            "rolls": self.done["roll"],
            "failed_in_rolls": self.failed_in_rolls,
            "worst_failover_s": round(self.worst_failover, 2),
            "worst_lag_of_roll_s": round(self.worst_of_roll, 2),
            "garbage": len(self.garbage),
            "feeds": self.feeds,
            "failed_posts": self.failed_posts,
            "drained_s": round(drained, 2),
        }


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--kafka", choices=("embedded", "apache", "pair"), default="embedded", help="pair: Apache Kafka on two nodes")
    words.add_argument("--cluster", action="store_true", help="the store is a Redis Cluster of three masters")
    words.add_argument("--seconds", type=float, default=60)
    words.add_argument("--kills", type=int, default=0, help="go on until there were so many kills, however long it takes")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--rate", type=float, default=1_000, help="events a second")
    words.add_argument("--notes", type=int, default=200)
    words.add_argument("--pause", type=float, nargs=2, default=(1.0, 4.0), help="seconds between two faults, at least and at most")
    words.add_argument("--plan", nargs="*", default=(), help="these faults in this order instead of random ones")
    words.add_argument("--apis", type=int, default=1, help="API processes; clients try another one when one does not answer")
    words.add_argument("--before", type=Path, help="a checkout of the version before: processes are of it until they are replaced (roll)")
    words.add_argument("--keep", type=Path, help="an empty folder for data and logs, to be looked at afterwards")
    words.add_argument("--drain", type=float, default=240, help="seconds to wait for the counters at the end")
    words.add_argument("--json", action="store_true")
    words.add_argument("--verbose", action="store_true")
    return words


def main(words: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    with tempfile.TemporaryDirectory(prefix="upwell-chaos-") as folder:
        report = Chaos(arguments, arguments.keep or Path(folder)).run()
    if arguments.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name:20} {value}")
    return 0 if exactly(report) else 1


def exactly(report: dict[str, Any]) -> bool:
    """Whether nothing is wrong and nothing is missing."""
    return not any(report[what] for what in WRONG)


if __name__ == "__main__":
    raise SystemExit(main())
