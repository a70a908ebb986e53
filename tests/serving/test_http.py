"""The API as a process over real parts: reads its writes, degrades when a part dies, recovers, and stops when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from config import settings
from store.open import open_store
from tests import parts
from tests.serving.conftest import TAGS
from tests.serving.system import System, event, note
from tools.parts import free_port

PATIENCE = 60.0


class Running:
    """A worker and an API, each a process of its own."""

    def __init__(self, broker: parts.EmbeddedBroker, store: parts.EmbeddedStore, folder: Path) -> None:
        self.broker, self.store = broker, store
        self.environ = {
            **os.environ,
            "UPWELL_KAFKA": broker.address,
            "UPWELL_REDIS": store.url,
            "UPWELL_KAFKA__PARTITIONS": "2",
            "UPWELL_KAFKA__FETCH_WAIT_MS": "20",
            "UPWELL_API__PRODUCE_TIMEOUT_S": "2",
            "UPWELL_FEED__AFTER_MS": "10000",  # a busy machine is slow, never wrong
        }
        port = free_port()
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20.0)
        self.log = (folder / "processes.log").open("wb")
        self.upwell("topics", "create").wait(60)
        self.processes = [self.upwell("worker"), self.upwell("api", "--port", str(port))]
        self.until(lambda: self.api.get("/readyz").json()["status"] == "ready")

    def upwell(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "upwell", *arguments], env=self.environ, stdout=self.log, stderr=self.log)

    def until(self, true: object) -> None:
        assert callable(true)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if true():
                    return
            except (httpx.HTTPError, KeyError, ValueError):
                pass
            assert time.monotonic() < end, Path(self.log.name).read_text()[-3000:]
            time.sleep(0.05)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.api.close()
        self.log.close()


@pytest.fixture
def running(own_broker: parts.EmbeddedBroker, own_valkey: parts.EmbeddedStore, tmp_path: Path) -> Iterator[Running]:
    made = Running(own_broker, own_valkey, tmp_path)
    yield made
    made.close()


@pytest.mark.timeout(300)
def test_an_event_is_seen_by_the_next_request_that_waits_for_it(running: Running) -> None:
    """And then: slates reach the log, a dead broker and a dead store degrade and come back, SIGTERM ends it."""
    api = running.api
    names = list(TAGS)
    published = [note(f"n{i}", f"a{i % 7}", [names[i % 4]], TAGS[names[i % 4]]) for i in range(40)]
    position = api.post("/v1/notes", json=published).json()["position"]
    paths = [f"/v1/notes/{one['note_id']}" for one in published]  # in all partitions: an action on what nobody knows yet moves no weights
    running.until(lambda: all(api.get(path, params={"after": position}).status_code == 200 for path in paths))

    position = api.post("/v1/events", json=event("like", "u1", "n0")).json()["position"]
    running.until(lambda: api.get("/v1/users/u1/interests").json()["interests"])  # the first one may meet a rebalance
    for i in range(4, 40, 4):
        position = api.post("/v1/events", json=event("like", "u1", f"n{i}")).json()["position"]
        assert api.get(f"/v1/notes/n{i}", params={"after": position}).json()["counts"]["like"] == 1
        recent = api.get("/v1/users/u1/interests", params={"after": position}).json()["interests"]
        assert recent[0]["moved_by"]["note_id"] == f"n{i}"

    feed = api.get("/v1/feed/u1", params={"n": 5}).json()
    assert feed["degraded"] is None
    assert len(feed["items"]) == 5
    shown = feed["items"][0]["note_id"]
    seen = event("impression", "u1", shown, request_id=feed["request_id"], position=0)
    position = api.post("/v1/events", json=seen).json()["position"]
    told = api.get(f"/v1/notes/{shown}", params={"after": position}).json()
    assert told["exposures"]["organic"] == 1
    assert told["exposures"]["by_source"] == {feed["items"][0]["source"]: 1} or "elsewhere" not in told["exposures"]["by_source"]

    running.store.kill()
    assert api.get("/v1/feed/u1").json()["degraded"] == "store"
    assert api.get("/v1/users/u1/interests").status_code == 503
    running.store.restart()
    running.until(lambda: api.get("/v1/feed/u1").json()["degraded"] is None)

    running.broker.kill()
    response = api.post("/v1/events", json=event("like", "u1", "n1"))
    assert (response.status_code, response.json()["code"]) == (503, "not_acknowledged")
    assert api.get("/v1/feed/u1").status_code == 200
    assert api.get("/readyz").json()["status"] == "degraded"

    process = running.processes[1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("part", ["valkey", "cluster"])
def test_deciding_takes_four_round_trips_on_a_real_store(part: str, prefix: str, request: pytest.FixtureRequest) -> None:
    """However many nodes there are, and the answer is the one that memory gives."""
    server = request.getfixturevalue(part)
    environ = {"UPWELL_KAFKA__PREFIX": prefix, "UPWELL_REDIS": server.url, "UPWELL_REDIS__CLUSTER": str(part == "cluster").lower()}
    made = System({"UPWELL_KAFKA__PREFIX": prefix}, partitions=4)
    real = System(environ, partitions=4, store=open_store(settings.load(environ=environ)))
    names = list(TAGS)
    for system in (made, real):
        system.publish(*(note(f"n{i}", f"a{i % 20}", [names[i % 4]], TAGS[names[i % 4]]) for i in range(60)))
        system.send(*(event("like", f"u{i % 3}", f"n{i}") for i in range(30)), event("follow", "u1", author_id="a3"))
    plain, _ = made.service.query("u1", "feed", 20, None, "", "", None, None, [], False)
    answers = [system.run(system.service.answer(plain)) for system in (made, real)]
    assert [f.id for f in answers[0].facts] == [f.id for f in answers[1].facts]
    before = real.local.store.round_trips
    body = real.feed("u1", n=30)
    assert real.local.store.round_trips - before == 4
    assert body["degraded"] is None
    real.run(real.local.store.close())
    for system in (made, real):
        system.close()
