"""A store that is slow, or hardly answers, or says nothing: workers wait for it and go on, and nobody takes that for standing."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests import parts
from tests.serving.system import event, note
from tests.test_secured import System

PHASES = [
    (0.9, 0.05, 15.0),  # slow: whatever is asked is answered, most of it after almost a second
    (1.6, 0.1, 30.0),  # hardly: mostly later than anybody waits, and in between at once
    (15.0, 0.0, 15.0),  # silent
]
"""(seconds stopped, seconds running, seconds in all)"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_outlives_a_store_however_slow_it_is(tmp_path: Path, own_valkey: parts.EmbeddedStore) -> None:
    """A partition that stands since its store does not answer is no reason to end; what came meanwhile is applied, by the learner too."""
    parts.need(parts.broker_program)
    with parts.EmbeddedBroker(tmp_path / "broker") as broker:
        environ = {
            "UPWELL_KAFKA": broker.address, "UPWELL_REDIS": own_valkey.url, "UPWELL_KAFKA__FETCH_WAIT_MS": "20",
            "UPWELL_REDIS__TIMEOUT_S": "1", "UPWELL_FEED__TIMEOUT_S": "1", "UPWELL_ENGINE__STALL_S": "10",
        }  # fmt: skip
        system, over = System(tmp_path / "system", environ), threading.Event()
        shown: list[str] = []

        def engage() -> None:
            """Somebody new is shown a feed and clicks on three notes, as often as the store lets him."""
            while not over.wait(0.05):
                user = f"u{len(shown)}"
                with contextlib.suppress(httpx.HTTPError, LookupError):
                    feed = system.http.get(f"/v1/feed/{user}").json()
                    first = {
                        item["note_id"]: {"request_id": feed["request_id"], "position": item["position"]} for item in feed["items"][:3]
                    }
                    acts = [event(kind, user, name, **place) for name, place in first.items() for kind in ("impression", "click")]
                    system.http.post("/v1/events", json=acts).raise_for_status()
                    shown.extend(first)

        thread = threading.Thread(target=engage)
        try:
            made = system.run("topics", "create")
            assert made.returncode == 0, made.stderr
            system.start("worker")
            [worker] = system.running
            system.start("api", "--port", str(system.port))
            system.ready(time.monotonic() + 60)
            system.http.post("/v1/notes", json=[note(f"n{i}", f"a{i}", ["t"]) for i in range(50)])
            thread.start()
            for stopped, running, seconds in PHASES:
                until = time.monotonic() + seconds
                while time.monotonic() < until and worker.poll() is None:
                    own_valkey.stall()
                    time.sleep(stopped)
                    own_valkey.resume()
                    time.sleep(running)
                assert worker.poll() is None, system.log.read_text()[-2000:]
            over.set()
            thread.join()
            until = time.monotonic() + 60
            while (lag := system.run("lag", "--max-seconds", "0")).returncode and time.monotonic() < until:
                time.sleep(0.5)
            assert lag.returncode == 0, lag.stdout + system.log.read_text()[-2000:]
            assert worker.poll() is None
            clicks = sum(system.http.get(f"/v1/notes/n{i}").json()["counts"].get("click", 0) for i in range(50))
            assert clicks >= len(shown) > 0
        finally:
            over.set()
            system.close()
