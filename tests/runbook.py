"""The runbook tried out: `python -m tests.runbook` provokes alerts in a running system, sees each on `/ops`, and takes the way out it names.

    Apache Kafka, Redis with an append-only file, two workers, an API ─► a fault ─► its alert on /ops ─► what docs/operations.md says ─► gone

A Prometheus with our own rules scrapes them, and the last four sections wait for it too. All take about forty minutes, since alerts wait before
they speak (`python -m tests.runbook api_down conflicts` tries these two), and are no part of `make test`. One line a section: what was done,
after how many seconds the alert stood there, and how long after the remedy it was gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import redis
from kafka import KafkaProducer

from tests.parts import Kafka, Prometheus, Redis
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

HANGING = """
import sys, time
from config import metrics
from upwell import main
metrics.REBALANCES.collect = lambda: time.sleep(60) or []
sys.argv = ["upwell", "worker"]
main()
"""
"""A worker that works, and whose metrics nobody can read."""

CROWD = 100
"""Notes of the section of the promise."""


class Trial:
    """A system, and what is done to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kafka, self.store = Kafka(folder / "kafka"), Redis(folder / "redis", durable=True)
        self.port = free_port()
        self.environ = {
            **os.environ, "UPWELL_KAFKA": self.kafka.address, "UPWELL_REDIS": self.store.url, "UPWELL_KAFKA__PARTITIONS": "8",
            "UPWELL_API__OPS_PAGE": "true", "UPWELL_OPS__MODEL_AGE_S": "20", "UPWELL_LEARNER__TRUSTED": "1",
        }  # fmt: skip
        self.http = httpx.Client(base_url=f"http://{LOOPBACK}:{self.port}", timeout=15)
        self.log = (folder / "processes.log").open("ab")
        self.workers: list[subprocess.Popen[bytes]] = []
        self.ports = [free_port() for _ in range(2)]
        self.prometheus = Prometheus(folder / "prometheus", f"{LOOPBACK}:{self.port}", [f"{LOOPBACK}:{port}" for port in self.ports])
        self.api: subprocess.Popen[bytes]
        self.likes = self.people = 0

    # ------------------------------------------------------------------------------------------------------- processes

    def start(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *words], env={**self.environ, **more}, stdout=self.log, stderr=self.log)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of ours to its end."""
        run = [sys.executable, "-m", "upwell", *words]
        return subprocess.run(run, env=self.environ, capture_output=True, text=True, timeout=200, check=False)

    def set_workers(self, count: int, *words: str) -> None:
        """So many workers, those before killed."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        run = words or ("-m", "upwell", "worker")
        self.workers = [self.start(*run, UPWELL_ENGINE__METRICS_PORT=str(port)) for port in self.ports[:count]]

    def start_api(self) -> None:
        self.api = self.start("-m", "upwell", "api", "--port", str(self.port))
        self.until("ready", lambda: self.reached("/readyz").get("status") == "ready")

    def kill_api(self) -> None:
        self.api.kill()
        self.api.wait()

    def run_anew(self) -> None:
        """Workers and API, with the settings as they are now."""
        self.kill_api()
        self.set_workers(2)
        self.start_api()

    def __enter__(self) -> Trial:
        self.kafka.start()
        self.store.start()
        assert self.command("topics", "create").returncode == 0
        self.set_workers(2)
        self.start_api()
        self.prometheus.start()
        self.http.post("/v1/notes", json=[note(f"n{i}", f"a{i}", ["t"]) for i in range(30)])
        self.like()
        self.until("two workers on /ops", lambda: [w["wrong"] for w in self.reached("/ops/data").get("workers", [])] == [None, None])
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.api):
            process.kill()
            process.wait()
        self.prometheus.stop()
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

    def red(self, name: str, patience_s: float = 120.0) -> float:
        return self.until(name, lambda: name in self.alerts(), patience_s)

    def fires(self, name: str) -> bool:
        return bool(self.prometheus.ask(f'ALERTS{{alertname="{name}", alertstate="firing"}}'))

    def both(self, name: str, patience_s: float = 120.0) -> tuple[float, float]:
        """Seconds until it is on `/ops`, and until Prometheus fires it."""
        page = self.red(name, patience_s)
        return page, page + self.until(f"{name} fires", lambda: self.fires(name), patience_s)

    def silent(self, name: str, patience_s: float = 180.0) -> float:
        """Seconds until neither tells it."""
        return self.until(f"{name} gone", lambda: name not in self.alerts() and not self.fires(name), patience_s)

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

    def worker_metrics(self) -> None:
        self.set_workers(1, "-c", HANGING)
        page, pager = self.both("UpwellWorkerMetrics")
        self.like()
        self.until("it works all the same", self.counted)
        assert "UpwellNoWorker" not in self.alerts()
        self.set_workers(2)
        self.told_both(
            "UpwellWorkerMetrics", "a worker whose metrics page hangs", page, pager, "restart it", self.silent("UpwellWorkerMetrics")
        )

    def api_down(self) -> None:
        self.kill_api()
        pager = self.until("UpwellApiDown", lambda: self.fires("UpwellApiDown"))
        self.start_api()
        gone = self.until("UpwellApiDown gone", lambda: not self.fires("UpwellApiDown"))
        self.told_both("UpwellApiDown", "the only API killed", None, pager, "restart it", gone)

    def conflicts(self) -> None:
        """Workers that stand still for longer than their session, as on a host that gives them no time."""

        def total() -> int:
            faults: list[dict[str, Any]] = self.reached("/ops/data").get("faults", [])
            return sum(row["total"] for row in faults if row["fault"] == "checkpoint conflicts")

        def stall(turn: int) -> None:
            worker = self.workers[turn % 2]
            worker.send_signal(signal.SIGSTOP)
            time.sleep(9)
            worker.send_signal(signal.SIGCONT)
            time.sleep(9)

        def somebody() -> None:
            self.people += 10
            some = range(self.people, self.people + 10)
            self.http.post("/v1/events", json=[event("impression", f"c{i}", f"n{i % 30}") for i in some])

        began, turns = time.monotonic(), 0
        with self.busy(somebody):
            while not (stood := "UpwellConflicts" in self.alerts()) or not self.fires("UpwellConflicts"):
                if not stood:
                    page = time.monotonic() - began
                assert turns < 60, f"{total()} conflicts in {turns} stalls"
                stall(turns)
                turns += 1
            pager = time.monotonic() - began
            refused = total()
            self.environ["UPWELL_KAFKA__SESSION_TIMEOUT_S"], self.environ["UPWELL_KAFKA__HEARTBEAT_S"] = "30", "3"
            self.set_workers(2)
            remedied = time.monotonic()
            self.until(
                "every partition has a worker",
                lambda: self.reached("/ops/data").get("lag", []) != [] and not self.alerts().get("UpwellNoWorker"),
            )
            time.sleep(30)
            before = total()
            for turn in range(turns):
                stall(turn)
            after = total()
        self.like()
        self.until("counted", self.counted)
        self.silent("UpwellConflicts", 700)
        print(
            f"{refused} conflicts in {turns} stalls of 9 s; {after - before} in as many with a session of 30 s", file=sys.stderr, flush=True
        )
        self.told_both(
            "UpwellConflicts", f"workers stopped for 9 s in turn, {turns} times", page, pager, f"`kafka.session_timeout_s` 30: {after - before} in as many",
            time.monotonic() - remedied,
        )  # fmt: skip

    def promise(self) -> None:
        """Fewer feeds than the promise takes: here the base is due after three minutes."""
        self.environ["UPWELL_POOL__DELIVER_HOURS"] = "0.05"
        self.run_anew()
        self.http.post("/v1/notes", json=[note(f"p{i}", f"b{i}", ["p"]) for i in range(CROWD)]).raise_for_status()

        def somebody() -> None:
            self.people += 1
            user = f"p{self.people}"
            feed = self.http.get(f"/v1/feed/{user}?n=10").json()
            shown = [
                event("impression", user, item["note_id"], request_id=feed["request_id"], position=item["position"])
                for item in feed["items"]
            ]
            if shown:
                self.http.post("/v1/events", json=shown)

        with self.busy(somebody, lambda: time.sleep(2)):
            page, pager = self.both("UpwellPromise", 1_200)
        told = [json.loads(line) for line in self.command("pools", "--json", "--api", str(self.http.base_url)).stdout.splitlines()]
        with self.busy(somebody):
            gone = self.silent("UpwellPromise", 1_200)
        print(f"pools told: {told}", file=sys.stderr, flush=True)
        self.told_both(
            "UpwellPromise (the base is due after 3 minutes here)", f"{CROWD + 30} notes, and a feed of 10 every two seconds", page, pager,
            "more feeds: ten a second", gone,
        )  # fmt: skip

    def told_both(self, name: str, did: str, page: float | None, pager: float, remedy: str, gone: float) -> None:
        seen = f"Prometheus: {pager:.0f} s" if page is None else f"{page:.0f} s (Prometheus: {pager:.0f} s)"
        print(f"| {name} | {did} | {seen} | {remedy} | {gone:.0f} s |", flush=True)

    def run(self, names: Sequence[str]) -> None:
        """Those sections, or all, in turn."""
        print("| alert | what was done | on /ops after | the way out | gone after |\n|---|---|---|---|---|", flush=True)
        for section in (
            self.no_worker, self.dead_letters, self.fold_error, self.store_errors, self.lost_state, self.broker_away, self.slow_feed, self.model_old,
            self.worker_metrics, self.api_down, self.promise, self.conflicts,
        ):  # fmt: skip
            if not names or section.__name__ in names:
                section()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="upwell-runbook-") as place, Trial(Path(place)) as trial:
        trial.run(sys.argv[1:])
