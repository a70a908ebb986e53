"""What benchmarks run on: real parts on free ports, processes of the project, their CPU from /proc, and a realistic load.

    with Rig() as rig:                       # broker, store, topics
        with rig.run("worker") as worker:    # a process of the project
            rig.publish(notes()); rig.settle()

CPU is user and system time of a process and its threads, so that neighbours on the machine disturb figures little; wall-clock figures are
given beside them for what they are worth.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import redis
from kafka import KafkaProducer

from config.settings import Settings, load
from config.topics import STAGES, full
from store import manifest as manifests
from store.layout import checkpoint_from
from tools.parts import EmbeddedBroker, EmbeddedStore, Part

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
USERS, NOTES, CHANNELS, AUTHORS = 20_000, 5_000, 20, 700
RARE = ("view", "like", "collect", "comment", "share", "hide", "follow")
"""What is left of 100 beside impressions and clicks is spread over these."""


def cpu(pid: int) -> float:
    """Seconds of user and system time of a process with all its threads."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss(pid: int) -> int:
    """Bytes of resident memory."""
    with open(f"/proc/{pid}/status", "rb") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"VmRSS"))


def machine() -> str:
    """One line about where the figures come from."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}, {platform.system()} {platform.release().split('-')[0]}"


def yardstick(rounds: int = 5) -> float:
    """Milliseconds of CPU that a million turns of a small loop take here and now: what a figure can be scaled by."""

    def turns() -> int:
        total = 0
        for i in range(1_000_000):
            total += i * i & 7
        return total

    times = []
    for _ in range(rounds):
        start = time.process_time()
        turns()
        times.append(time.process_time() - start)
    return sorted(times)[rounds // 2] * 1000


def notes(count: int = NOTES) -> Iterator[dict[str, Any]]:
    """Catalogue records: three tags, a channel, an author with some seven notes."""
    for i in range(count):
        yield {
            "note_id": f"note{i}", "author_id": f"author{i % AUTHORS}", "tags": [f"tag{i % 50}", f"topic{i % 31}", f"mood{i % 9}"],
            "channel": f"channel{i % CHANNELS}/x", "title": f"Note {i}",
        }  # fmt: skip


def events(count: int, seed: int = 1, users: int = USERS, notes: int = NOTES) -> Iterator[dict[str, Any]]:
    """78 % impressions, 14 % clicks, the rest spread; users and notes by Zipf's law."""
    rng = random.Random(seed)
    by_user = list(itertools.accumulate(1 / (i + 1) for i in range(users)))
    by_note = list(itertools.accumulate(1 / (i + 1) for i in range(notes)))
    types = ["impression"] * 78 + ["click"] * 14
    now = int(time.time() * 1000) - count * 5
    for i in range(count):
        draw = rng.randrange(100)
        note = rng.choices(range(notes), cum_weights=by_note)[0]
        event: dict[str, Any] = {
            "type": types[draw] if draw < 92 else rng.choice(RARE), "user_id": f"user{rng.choices(range(users), cum_weights=by_user)[0]}",
            "note_id": f"note{note}", "event_id": f"{seed}-{i}", "timestamp": now + i * 5,
        }  # fmt: skip
        if event["type"] == "view":
            event |= {"dwell_ms": rng.randrange(60_000), "completion": round(rng.random(), 2)}
        elif event["type"] == "comment":
            event["comment_id"] = f"c{i}"
        elif event["type"] == "follow":
            event["author_id"] = f"author{note % AUTHORS}"
        yield event


class Process(Part):
    """A process of the project, or any module of it."""

    patience_s = 60.0

    def __init__(
        self, name: str, folder: Path, module: str, arguments: Sequence[str], environment: dict[str, str], port: int | None = None
    ):
        super().__init__(folder, port)
        self.name, self.module, self.arguments, self.variables = name, module, list(arguments), environment

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", self.module, *self.arguments]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def ready(self) -> bool:
        return True

    @property
    def cpu(self) -> float:
        return cpu(self.pid)

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, text: str, patience_s: float = 60.0) -> None:
        """Until the process has printed `text`."""
        deadline = time.monotonic() + patience_s
        while text not in self.said:
            if not self.alive or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} did not say {text!r}: {self.last_words()}")
            time.sleep(0.05)


class Rig:
    """Broker, store and topics of one system in a folder of its own."""

    def __init__(self, kafka: str = "embedded", partitions: int = 4, **variables: str) -> None:
        self.temporary = tempfile.TemporaryDirectory(prefix="upwell-bench-")
        self.folder = Path(self.temporary.name)
        if kafka == "apache":
            from tests.parts import Kafka

            self.broker: Any = Kafka(self.folder / "kafka")
        else:
            self.broker = EmbeddedBroker(self.folder / "broker")
        self.store = EmbeddedStore(self.folder / "store")
        self.partitions, self.extra = partitions, variables
        self.fetch_wait = "20" if kafka == "embedded" else "500"
        self.started = 0

    def __enter__(self) -> Self:
        self.broker.start()
        self.store.start()
        self.variables = {
            "UPWELL_KAFKA": self.broker.address,
            "UPWELL_REDIS": self.store.url,
            "UPWELL_KAFKA__PARTITIONS": str(self.partitions),
            "UPWELL_KAFKA__FETCH_WAIT_MS": self.fetch_wait,
            **self.extra,
        }
        self.settings: Settings = load(environ=self.variables)
        self.create_topics()
        self.redis = redis.Redis.from_url(self.store.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.store.stop()
        self.broker.stop()
        self.temporary.cleanup()

    def process(
        self, module: str, arguments: Sequence[str], variables: Mapping[str, str] | None = None, port: int | None = None
    ) -> Process:
        """Not started; `with` starts and stops it."""
        self.started += 1
        name = arguments[0] if arguments else module.rpartition(".")[2]
        return Process(name, self.folder / f"{self.started}-{name}", module, arguments, {**self.variables, **(variables or {})}, port)

    def create_topics(self, **variables: str) -> None:
        made = self.process("upwell", ["topics", "create"], variables)
        made.start()
        assert made.process is not None
        if made.process.wait(60):
            raise SystemExit(f"topics were not created: {made.last_words()}")

    def worker(self, stages: str = "intake,users,notes,lists") -> Process:
        return self.process("upwell", ["worker", "--stages", stages])

    def publish(self, topic: str, records: Iterable[dict[str, Any]], key: str, prefix: str = "upwell") -> int:
        """Records as JSON, acknowledged; keyed, so that a key keeps its order."""
        producer = KafkaProducer(bootstrap_servers=self.broker.address, acks="all", linger_ms=20, batch_size=262_144)
        name, count = full(prefix, topic), 0
        for record in records:
            producer.send(name, json.dumps(record, separators=(",", ":")).encode(), str(record[key]).encode())
            count += 1
        producer.flush()
        producer.close()
        return count

    # ------------------------------------------------------------------------------------------------------ checkpoints

    def checkpoints(self, stages: Sequence[str] = ("intake", "users", "notes", "lists")) -> dict[tuple[str, str, int], int]:
        """(stage, topic, partition) -> offset up to which the store is true; empty before the system is founded."""
        value = self.redis.get(f"{self.settings.kafka.prefix}:manifest")
        if value is None:
            return {}
        manifest = manifests.decode(value, self.settings.kafka.prefix)
        places = [(s, t, p) for s in stages for t in STAGES[s] for p in range(manifest.partitions[t])]
        keys = [manifest.at(f"{s}.{t}" if len(STAGES[s]) > 1 else s, p).checkpoint for s, t, p in places]
        found = self.redis.mget(keys)
        return {place: checkpoint_from(v)[1][0] if v is not None else 0 for place, v in zip(places, found, strict=True)}

    def watch(self, worker: Process, least: int = 0, quiet_s: float = 3.0, patience_s: float = 300.0, pause_s: float = 0.05) -> Stretch:
        """From the last moment before a checkpoint moves to the moment after which none moves any more; `least`: public records that intake has
        to have taken by then."""
        pids = {"worker": worker.pid, "broker": self.broker.pid, "store": self.store.pid}

        def taken(at: dict[tuple[str, str, int], int]) -> int:
            return sum(offset for (stage, _, _), offset in at.items() if stage == "intake")

        before = self.checkpoints()
        begun: tuple[float, dict[str, float]] | None = None
        last = time.monotonic(), {name: cpu(pid) for name, pid in pids.items()}
        deadline = time.monotonic() + patience_s
        ended = last
        first = before
        while time.monotonic() < deadline:
            time.sleep(pause_s)
            if not worker.alive:
                raise SystemExit(f"{worker.name} ended: {worker.last_words()}")
            now = self.checkpoints()
            here = time.monotonic(), {name: cpu(pid) for name, pid in pids.items()}
            if now != before:
                begun = begun or last
                ended, before = here, now
            elif (begun is not None or least) and here[0] - ended[0] > quiet_s and taken(now) >= least:
                begun = begun or ended  # all was done before the first look
                used = {name: ended[1][name] - begun[1][name] for name in pids}
                return Stretch(ended[0] - begun[0], used, {k: now[k] - first.get(k, 0) for k in now})
            last = here
        raise SystemExit(f"not settled after {patience_s:.0f} s: {worker.last_words()}")


class Stretch:
    """A measured piece of work."""

    def __init__(self, seconds: float, cpu: dict[str, float], moved: dict[tuple[str, str, int], int]) -> None:
        self.seconds, self.cpu, self.moved = seconds, cpu, moved

    def records(self, stage: str, topic: str | None = None) -> int:
        """By how many records a stage's checkpoints moved."""
        return sum(n for (s, t, _), n in self.moved.items() if s == stage and topic in (None, t))


def printed(measure: Callable[..., list[str]], *usual: int) -> None:
    """A benchmark's `main`: its table, measured with the numbers on the command line, or the usual ones where those end."""
    words = [int(word) for word in sys.argv[1:]]
    print(f"{machine()}\n")
    print("\n".join(measure(*words, *usual[len(words) :])))
