"""The runbook tried out: `python -m tests.runbook` provokes alerts in a running system, sees each on `/ops`, and takes the way out it names.

    Apache Kafka, Redis with an append-only file, two workers, an API ─► a fault ─► its alert on /ops ─► what docs/operations.md says ─► gone

It takes about ten minutes, since alerts wait before they speak, and is no part of `make test`. One line a section: what was done, after how
many seconds the alert stood there, and how long after the remedy it was gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import redis
from kafka import KafkaProducer

from tests.parts import Kafka, Redis
from tests.serving.system import event, note
from tools.parts import LOOPBACK, free_port

FAULTY = """
import sys
from streams import users
from upwell import main
folds = users.Users.fold
def fold(self, part, out, signal, *states):
    if getattr(signal, "u", "") == "poison":
        raise RuntimeError("a bug of ours")
    folds(self, part, out, signal, *states)
users.Users.fold = fold
sys.argv = ["upwell", "worker"]
main()
"""
"""A worker with a bug in it."""


class Trial:
    """A system, and what is done to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kafka, self.store = Kafka(folder / "kafka"), Redis(folder / "redis", durable=True)
        self.port = free_port()
        self.environ = {
            **os.environ, "UPWELL_KAFKA": self.kafka.address, "UPWELL_REDIS": self.store.url, "UPWELL_KAFKA__PARTITIONS": "2",
            "UPWELL_API__OPS_PAGE": "true", "UPWELL_OPS__MODEL_AGE_S": "20", "UPWELL_LEARNER__TRUSTED": "1",
        }  # fmt: skip
        self.http = httpx.Client(base_url=f"http://{LOOPBACK}:{self.port}", timeout=15)
        self.log = (folder / "processes.log").open("ab")
        self.workers: list[subprocess.Popen[bytes]] = []
        self.api: subprocess.Popen[bytes]
        self.likes = 0

    # ------------------------------------------------------------------------------------------------------- processes

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *words], env=self.environ, stdout=self.log, stderr=self.log)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of ours to its end."""
        run = [sys.executable, "-m", "upwell", *words]
        return subprocess.run(run, env=self.environ, capture_output=True, text=True, timeout=200, check=False)

    def set_workers(self, count: int, *words: str) -> None:
        """So many workers, those before killed."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.workers = [self.start(*(words or ("-m", "upwell", "worker"))) for _ in range(count)]

    def __enter__(self) -> Trial:
        self.kafka.start()
        self.store.start()
        assert self.command("topics", "create").returncode == 0
        self.set_workers(2)
        self.api = self.start("-m", "upwell", "api", "--port", str(self.port))
        self.until("ready", lambda: self.reached("/readyz").get("status") == "ready")
        self.http.post("/v1/notes", json=[note(f"n{i}", f"a{i}", ["t"]) for i in range(30)])
        self.like()
        self.until("two workers on /ops", lambda: [w["wrong"] for w in self.reached("/ops/data").get("workers", [])] == [None, None])
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.api):
            process.kill()
            process.wait()
        self.store.stop()
        self.kafka.stop()

    # ------------------------------------------------------------------------------------------------------------ seeing

    def reached(self, path: str) -> dict[str, Any]:
        try:
            answer = self.http.get(path)
            told: dict[str, Any] = answer.json()
            return told
        except (httpx.HTTPError, ValueError):
            return {}

    def alerts(self) -> dict[str, str]:
        """Name -> text of what is red."""
        return {alert["name"]: alert["text"] for alert in self.reached("/ops/data").get("alerts", [])}

    @staticmethod
    def until(what: str, true: Callable[[], bool], patience_s: float = 120.0) -> float:
        """Seconds until it is true. Raises `AssertionError` when it never is."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < patience_s, f"{what}: not within {patience_s:.0f} s"
            time.sleep(0.5)
        return time.monotonic() - began

    def like(self) -> None:
        """One more like of n0, by somebody new."""
        self.likes += 1
        self.http.post("/v1/events", json=event("like", f"u{self.likes}", "n0")).raise_for_status()

    def counted(self) -> bool:
        return bool(self.reached("/v1/notes/n0").get("counts", {}).get("like") == self.likes)

    @contextlib.contextmanager
    def busy(self, *asks: Callable[[], object]) -> Iterator[None]:
        """Meanwhile somebody asks, ten times a second."""
        over = threading.Event()

        def ask() -> None:
            while not over.wait(0.1):
                for one in asks:
                    with contextlib.suppress(httpx.HTTPError):
                        one()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def told(self, name: str, did: str, seen: float, remedy: str, gone: float) -> None:
        print(f"| {name} | {did} | {seen:.0f} s | {remedy} | {gone:.0f} s |", flush=True)

    def gone(self, *names: str, patience_s: float = 180.0) -> float:
        return self.until(f"{names} gone", lambda: not self.alerts().keys() & set(names), patience_s)

    def red(self, name: str) -> float:
        return self.until(name, lambda: name in self.alerts())

    # ---------------------------------------------------------------------------------------------------------- sections

    def no_worker(self) -> None:
        self.set_workers(0)
        self.like()
        seen = {name: self.red(name) for name in ("UpwellLag", "UpwellStale", "UpwellNoWorker")}
        late = self.command("lag", "--json", "--max-seconds", "5")
        assert late.returncode == 1
        assert {json.loads(line)["owner"] for line in late.stdout.splitlines()} <= {None, ""}
        self.set_workers(2)
        gone = self.gone(*seen)
        assert self.counted()
        self.told("UpwellNoWorker, UpwellLag, UpwellStale", "both workers killed", max(seen.values()), "start workers", gone)

    def dead_letters(self) -> None:
        producer = KafkaProducer(bootstrap_servers=self.kafka.address)
        for i in range(60):
            body = {"type": "heart", "user_id": f"d{i}", "note_id": "n1"}
            producer.send("upwell.events", key=b"d%d" % i, value=json.dumps(body).encode()).get(10)
        producer.close()
        seen = self.red("UpwellDeadLetters")
        listed = self.command("dead", "list", "--reason", "unknown_type", "--since", "1h", "--limit", "100", "--json")
        assert len(listed.stdout.splitlines()) == 60, listed.stdout + listed.stderr
        self.environ["UPWELL_EVENTS__ALIASES"] = '{"heart": "like"}'
        self.set_workers(2)
        retried = self.command("dead", "retry", "--reason", "unknown_type", "--since", "1h")
        assert retried.returncode == 0, retried.stderr
        self.until("retried", lambda: self.reached("/v1/notes/n1").get("counts", {}).get("like") == 60)
        self.told(
            "UpwellDeadLetters",
            "60 events of a type `heart`",
            seen,
            "an alias, new workers, `dead retry`: all 60 count",
            self.gone("UpwellDeadLetters"),
        )

    def fold_error(self) -> None:
        self.set_workers(1, "-c", FAULTY)
        self.http.post("/v1/events", json=event("like", "poison", "n2"))
        seen = self.red("UpwellFoldError")
        listed = self.command("dead", "list", "--reason", "fold_error", "--json")
        assert "a bug of ours" in listed.stdout
        self.set_workers(2)
        self.like()
        gone = self.until("it goes on", self.counted)
        self.told(
            "UpwellFoldError",
            "a worker whose fold raises",
            seen,
            "workers without the bug: the stream goes on (the letter stays for an hour)",
            gone,
        )

    def store_errors(self) -> None:
        with self.busy(lambda: self.http.get("/v1/feed/u1")):
            self.store.kill()
            seen = max(self.red("UpwellStoreErrors"), self.red("UpwellFeedDegraded"))
            self.store.start()
            gone = self.gone("UpwellStoreErrors", "UpwellFeedDegraded")
        assert self.counted()
        self.told("UpwellStoreErrors, UpwellFeedDegraded", "the store killed", seen, "bring it back", gone)

    def lost_state(self) -> None:
        redis.Redis.from_url(self.store.url).flushall()
        self.until("workers end", lambda: all(worker.poll() is not None for worker in self.workers))
        doctor = self.command("doctor")
        assert "rebuild" in doctor.stdout + doctor.stderr
        rebuilt = self.command("rebuild")
        assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
        self.set_workers(2)
        began = time.monotonic()
        self.until("counted again", self.counted)
        self.told(
            "(the state is lost)",
            "FLUSHALL: workers end and say so",
            0.0,
            "`upwell rebuild`, then workers: every count is back",
            time.monotonic() - began,
        )

    def broker_away(self) -> None:
        asks = (lambda: self.http.get("/v1/feed/u1"), lambda: self.http.post("/v1/events", json=event("impression", "u1", "n3")))
        with self.busy(*asks):
            self.kafka.kill()
            seen = max(self.red("UpwellSlatesLost"), self.red("UpwellErrors"))
        self.kafka.start()
        with self.busy(*asks):
            gone = self.gone("UpwellErrors", "UpwellStale", "UpwellLag")
        self.like()
        self.until("counted", self.counted)
        self.told("UpwellSlatesLost, UpwellErrors", "Kafka killed", seen, "bring it back (lost slates are told for ten minutes)", gone)

    def slow_feed(self) -> None:
        over = threading.Event()

        def slowed() -> None:
            client = redis.Redis.from_url(self.store.url)
            while not over.wait(0.3):
                client.eval("local i = 0 while i < 10000000 do i = i + 1 end", 0)

        thread = threading.Thread(target=slowed)
        thread.start()
        try:
            with self.busy(lambda: self.http.get("/v1/feed/u1")):
                seen = self.red("UpwellFeedSlow")
                slow = redis.Redis.from_url(self.store.url).slowlog_get(5)
                assert any(entry["command"].startswith(b"EVAL") for entry in slow)
        finally:
            over.set()
            thread.join()
        self.told(
            "UpwellFeedSlow",
            "somebody's slow commands on the same Redis",
            seen,
            "its SLOWLOG names them; stop them",
            self.gone("UpwellFeedSlow"),
        )

    def model_old(self) -> None:
        def learned_from() -> None:
            feed = self.http.get("/v1/feed/m1").json()
            shown = {"request_id": feed["request_id"], "position": 0}
            for kind in ("impression", "click"):
                self.http.post("/v1/events", json=event(kind, "m1", feed["items"][0]["note_id"], **shown))

        def age() -> float | None:
            found: float | None = self.reached("/ops/data").get("model", {}).get("age_s")
            return found

        learned_from()
        self.until("a model", lambda: age() is not None)
        with self.busy(self.like):
            seen = self.red("UpwellModelOld")
            learned_from()
            gone = self.gone("UpwellModelOld")
        self.told("UpwellModelOld (20 s here)", "likes, but none of what feeds showed", seen, "engage with what a feed showed", gone)

    def run(self) -> None:
        """Every section in turn."""
        print("| alert | what was done | on /ops after | the way out | gone after |\n|---|---|---|---|---|", flush=True)
        for section in (
            self.no_worker, self.dead_letters, self.fold_error, self.store_errors, self.lost_state, self.broker_away, self.slow_feed, self.model_old,
        ):  # fmt: skip
            section()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="upwell-runbook-") as place, Trial(Path(place)) as trial:
        trial.run()
