"""Everything on this machine: `upwell up`.

    broker + store (one fate) ─► topics ─► worker, API ─► ready ─► town        each a process of its own, none outlives this one

A part that dies is started again. Broker and store start empty together, since one without the other is no system: what is lost then is said.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from config.settings import load
from store.lag import stages
from tools import topics
from tools.mistake import Mistake
from tools.parts import EmbeddedBroker, EmbeddedStore, Part, die_with_parent, free_port, listening
from tools.watch import Moves, Summary

PORT = 8780
READY_S = 60.0
STOP_S = 3.0
"""A child that has not ended by then is killed; with the two parts' own patience everything is gone within 5 s."""

TOLD = ("UPWELL_KAFKA", "UPWELL_REDIS", "UPWELL_KAFKA__PARTITIONS", "UPWELL_API__PORT")

EMBEDDED = {
    # Measured for the embedded broker, which answers a waiting fetch late, takes CPU by the partition, and goes through a partition's whole log
    # for each fetch that brings something and for each question where it ends.
    "UPWELL_KAFKA__PARTITIONS": "4",
    "UPWELL_KAFKA__FETCH_WAIT_MS": "20",
    "UPWELL_KAFKA__INNER_FETCH_WAIT_MS": "240",
    "UPWELL_KAFKA__ENDS_S": "5",
    "UPWELL_API__PROBE_S": "5",
}


def addresses(data_dir: Path) -> dict[str, Any] | None:
    """What a running `upwell up` wrote; None without one."""
    try:
        told: dict[str, Any] = json.loads((data_dir / "upwell.json").read_text())
        os.kill(told["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return told


def environment(data_dir: Path | None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment; a running `upwell up` in `data_dir` adds its broker and store, where nothing else names them."""
    merged = dict(environ)
    told = addresses(data_dir) if data_dir is not None and not names_parts(environ) else None
    if told:
        merged |= (
            EMBEDDED | {"UPWELL_KAFKA": told["kafka"], "UPWELL_REDIS": told["redis"]} | {k: v for k, v in environ.items() if k in EMBEDDED}
        )
    return merged


def names_parts(environ: Mapping[str, str]) -> bool:
    return any(name in environ for name in ("UPWELL_KAFKA", "UPWELL_KAFKA__SERVERS", "UPWELL_REDIS", "UPWELL_REDIS__URL", "UPWELL_CONFIG"))


class Child:
    """One of our own commands as a process, its output in a log of its own."""

    def __init__(self, name: str, arguments: list[str], environ: Mapping[str, str], data_dir: Path) -> None:
        self.name, self.arguments, self.environ = name, arguments, environ
        self.log = data_dir / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.quick_deaths = 0
        self.told = ""
        """how it last ended, while it keeps doing so"""

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "upwell", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environ),
                start_new_session=True,  # a Ctrl-C in the terminal reaches us alone, and we stop the children in order
                preexec_fn=die_with_parent(),
            )
        self.started = time.monotonic()

    @property
    def dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end(self, deadline: float) -> None:
        """Waits until `deadline` (monotonic), then kills."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        self.process.kill()
        self.process.wait()
        self.process = None

    def last_words(self) -> str:
        """The last line of the log that is not part of a traceback's body."""
        with contextlib.suppress(OSError):
            lines = [line.strip() for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
            if lines:
                return lines[-1]
        return "(no output)"


class Stopped(Exception):
    """A signal asked us to end."""


class Up:
    """The whole system. `run` returns the exit code; whatever happens, nothing is left behind."""

    def __init__(self, data_dir: Path, port: int | None, *, town: bool, found: bool = False) -> None:
        self.data_dir, self.town = data_dir.absolute(), town
        self.shown = data_dir
        self.found = found
        """commands that are started in the same folder find this system by themselves"""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Mistake(f"--data-dir {data_dir} cannot be made: {error.strerror}") from None
        running = addresses(self.data_dir)
        if running:
            raise Mistake(
                f"`upwell up` already runs on {data_dir} (pid {running['pid']}, {running['api']}): stop it, or use another --data-dir"
            )
        self.base = load()  # a wrong setting stops the start here, with one line
        environ = os.environ
        self.own_broker = self.base.kafka.servers == load(environ={}).kafka.servers and "UPWELL_KAFKA" not in environ
        self.own_store = self.base.redis.url == load(environ={}).redis.url and "UPWELL_REDIS" not in environ
        self.port = api_port(port)
        self.parts: list[Part] = []
        self.children: list[Child] = []
        self.asked_to_stop = False

    # -------------------------------------------------------------------------------------------------------- starting

    def start_parts(self) -> None:
        environ = {name: value for name, value in os.environ.items() if name not in ("UPWELL_KAFKA__SERVERS", "UPWELL_REDIS__URL")}
        kafka, redis = self.base.kafka.servers, self.base.redis.url
        if self.own_broker:
            broker = EmbeddedBroker(self.data_dir / "broker")
            self.parts.append(broker.start())
            kafka = broker.address
            environ = EMBEDDED | environ
        if self.own_store:
            store = EmbeddedStore(self.data_dir / "store")
            self.parts.append(store.start())
            redis = store.url
        self.metrics_port = free_port()
        ports = {"UPWELL_ENGINE__METRICS_PORT": str(self.metrics_port), "UPWELL_API__PORT": str(self.port), "PYTHONUNBUFFERED": "1"}
        self.environ = {"UPWELL_API__DEMO_PAGE": "true"} | environ | {"UPWELL_KAFKA": kafka, "UPWELL_REDIS": redis} | ports
        self.settings = load(environ=self.environ)
        host = self.settings.api.host
        self.api = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{self.port}"

    def start(self) -> None:
        """Everything up to a ready API."""
        self.start_parts()
        topics.create(self.settings.kafka)
        children = [Child("worker", ["worker"], self.environ, self.data_dir)]
        children += [Child("api", ["api", "--port", str(self.port)], self.environ, self.data_dir)]
        self.children = children
        for child in children:
            child.log.unlink(missing_ok=True)
            child.start()
        self.wait_until_ready()
        told = {"api": self.api, "kafka": self.environ["UPWELL_KAFKA"], "redis": self.environ["UPWELL_REDIS"], "pid": os.getpid()}
        written = self.data_dir / "upwell.json.new"
        written.write_text(json.dumps(told) + "\n")
        written.replace(self.data_dir / "upwell.json")
        if self.town:
            from tools.town import FIRST_NOTE

            child = Child("town", ["town", "--api", self.api], self.environ, self.data_dir)
            child.log.unlink(missing_ok=True)
            child.start()
            self.children.append(child)
            self.wait_for(f"/v1/notes/{FIRST_NOTE}", "the town published nothing", 30.0)

    def wait_until_ready(self) -> None:
        """The API says so, and every stage has its partitions."""
        self.wait_for("/readyz", "the API did not become ready", READY_S)
        wanted = len(stages())
        deadline = time.monotonic() + READY_S
        while Summary.total(self.metrics(), "upwell_rebalances_total") < wanted:
            self.watch_start(deadline, "the worker did not become ready")

    def wait_for(self, path: str, otherwise: str, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while not answers(self.api + path, self.settings.api.key_for("read")):
            self.watch_start(deadline, otherwise)

    def watch_start(self, deadline: float, otherwise: str) -> None:
        """One turn of waiting during the start: a child that died, a signal or the deadline ends it."""
        if self.asked_to_stop:
            raise Stopped
        for child in self.children:
            if child.dead:
                raise Mistake(f"{child.name} ended at its start: {child.last_words()} (log: {child.log})")
        if time.monotonic() > deadline:
            words = "; ".join(f"{child.name}: {child.last_words()}" for child in self.children)
            raise Mistake(f"{otherwise} within {READY_S:.0f} s ({words}; logs in {self.data_dir})")
        time.sleep(0.05)

    def metrics(self) -> str:
        return fetched(f"http://127.0.0.1:{self.metrics_port}/metrics")

    # --------------------------------------------------------------------------------------------------------- running

    def supervise(self) -> None:
        """Until asked to stop: restarts what dies, tells of promotions, sums up."""
        moves, summary = Moves(self.settings.kafka), Summary(self.settings.kafka.prefix)
        moves.start()
        next_summary = time.monotonic() + 5
        while not self.asked_to_stop:
            time.sleep(0.1)
            for line in moves.lines():
                say(line)
            dead_parts = [part for part in self.parts if not part.alive]
            if dead_parts:
                moves.stop()
                self.start_over(dead_parts)
                moves, summary = Moves(self.settings.kafka), Summary(self.settings.kafka.prefix)
                moves.start()
            for child in self.children:
                if child.dead:
                    self.restart(child)
            if time.monotonic() >= next_summary:
                next_summary = time.monotonic() + 5
                told = summary.line(self.metrics(), fetched(f"{self.api}/metrics"))
                if told:
                    say(told)
        moves.stop()

    def restart(self, child: Child) -> None:
        """After a pause that grows while it keeps dying. Broker and store stay, whatever it misses: they hold everything, and a way out that
        its last words name may need them (`upwell rebuild`)."""
        assert child.process is not None
        code = child.process.returncode
        child.quick_deaths = child.quick_deaths + 1 if time.monotonic() - child.started < 10 else 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}: {child.last_words()}"
        if how != child.told:
            say(f"{child.name} {how}; starting it again{' every few seconds' if child.quick_deaths else ''}")
        child.told = how if child.quick_deaths else ""
        self.pause(min(0.2 * 2**child.quick_deaths, 3.0) if child.quick_deaths else 0.0)
        child.start()

    def pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.asked_to_stop:
            time.sleep(0.05)

    def start_over(self, dead: list[Part]) -> None:
        """Broker and store anew, and everything on top of them."""
        names = " and ".join(part.name for part in dead)
        say(
            f"the {names} died. Broker and store keep everything in memory: all events, users, notes and pools are lost. Starting both anew"
        )
        self.stop_children(1.0)
        for part in self.parts:
            part.kill()
        self.parts.clear()
        self.start()
        say(f"ready again: {self.api}")

    # -------------------------------------------------------------------------------------------------------- stopping

    def stop_children(self, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        for child in reversed(self.children):
            child.ask_to_stop()
        for child in reversed(self.children):
            child.end(deadline)

    def stop(self) -> None:
        """Within 5 s, whatever the children do."""
        self.stop_children(STOP_S)
        for part in self.parts:
            if part.process is not None and part.alive:
                part.resume()
                part.process.terminate()
        deadline = time.monotonic() + 0.7
        while time.monotonic() < deadline and any(part.alive for part in self.parts):
            time.sleep(0.02)
        for part in self.parts:
            part.kill()
        told = addresses(self.data_dir)
        if told and told["pid"] == os.getpid():
            (self.data_dir / "upwell.json").unlink(missing_ok=True)

    def run(self) -> int:
        began = time.monotonic()
        with signals(self):
            try:
                self.start()
                self.greet(time.monotonic() - began)
                self.supervise()
            except Stopped:
                pass
            finally:
                if self.asked_to_stop:
                    say("stopping")
                self.stop()
        return 0

    def greet(self, seconds: float) -> None:
        """Addresses, and three things to try."""
        kafka, redis = self.environ["UPWELL_KAFKA"], self.environ["UPWELL_REDIS"]
        say(f"ready after {seconds:.0f} s; logs in {self.shown}; Ctrl-C stops everything")
        pages = (("a feed to try", self.settings.api.demo_page, "/"), ("how it is", self.settings.api.ops_page, "/ops"))
        say(f"  API    {self.api}   (docs: {self.api}/docs)")
        for what, shown, path in pages:
            if shown:
                say(f"         {self.api}{path:<5} {what}")
        say(f"  Kafka  {kafka}\n  Redis  {redis}\n  metrics of the worker: http://127.0.0.1:{self.metrics_port}/metrics\n")
        if self.own_broker:
            say(
                "Broker and store keep all in memory, and the broker slows down as its logs grow: for more than an hour of traffic, give it a Kafka"
            )
            say("and a Redis of your own (UPWELL_KAFKA, UPWELL_REDIS)\n")
        if not self.found:
            say("Commands in another terminal know this system by")
            say(f"  export {' '.join(f'{name}={self.environ[name]}' for name in TOLD if name in self.environ)}\n")
        say("Try, in another terminal:")
        for line in tries(self.api, town=self.town):
            say(f"  {line}")
        say("")


def tries(api: str, *, town: bool) -> list[str]:
    """Three lines to paste, with ids that exist (without a town the first line makes them)."""
    from tools.town import FIRST_NOTE, FIRST_PERSON

    post = f"curl -s {api}/v1/events -H 'content-type: application/json' -d"
    if town:
        return [
            f"curl -s '{api}/v1/feed/{FIRST_PERSON}?n=3'",
            f"""{post} '{{"type": "like", "user_id": "me", "note_id": "{FIRST_NOTE}"}}'; sleep 0.5; curl -s {api}/v1/users/me/interests""",
            f"curl -s {api}/v1/notes/{FIRST_NOTE}",
        ]
    note = '{"note_id": "n1", "author_id": "ann", "title": "Soup", "tags": ["soup", "winter"], "channel": "food"}'
    return [
        f"curl -s {api}/v1/notes -H 'content-type: application/json' -d '{note}'",
        f"""{post} '{{"type": "like", "user_id": "me", "note_id": "n1"}}'; sleep 0.5; curl -s {api}/v1/users/me/interests""",
        f"curl -s '{api}/v1/feed/you?n=3'; curl -s {api}/v1/notes/n1",
    ]


def api_port(asked: int | None) -> int:
    """8780, or a free port when that is taken and none was asked for."""
    if asked is None:
        return free_port() if listening(PORT) else PORT
    if asked == 0:
        return free_port()
    if not 0 < asked < 65_536:
        raise Mistake(f"--port {asked}: wants 1 to 65535, or 0 for a free one")
    if listening(asked):
        raise Mistake(f"port {asked} is in use: --port 0 takes a free one")
    return asked


def answers(url: str, key: str = "") -> bool:
    with contextlib.suppress(OSError):
        request = urllib.request.Request(url, headers={"X-API-Key": key} if key else {})
        with urllib.request.urlopen(request, timeout=2) as answer:
            return bool(answer.status == 200)
    return False


def fetched(url: str) -> str:
    """The text there; empty when nobody answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:
        text: str = answer.read().decode("utf-8", "replace")
        return text
    return ""


@contextlib.contextmanager
def signals(up: Up) -> Iterator[None]:
    """SIGINT and SIGTERM ask for a stop; a second one does not disturb it."""

    def asked(*_: object) -> None:
        up.asked_to_stop = True

    before = {one: signal.signal(one, asked) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def say(text: str) -> None:
    print(text, flush=True)


def run(data_dir: Path, port: int | None, *, town: bool, found: bool) -> int:
    return Up(data_dir, port, town=town, found=found).run()
