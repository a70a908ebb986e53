"""Connections to the broker that died without a word: no error ever comes of them, only an answer that does not."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests import parts
from tests.deaf import Proxy
from tests.serving.system import event, note
from tests.test_secured import System


class Advertised(parts.EmbeddedBroker):
    """Tells its clients to come by way of a proxy."""

    def __init__(self, folder: Path, proxy: Proxy) -> None:
        super().__init__(folder)
        self.proxy = proxy

    def command(self) -> list[str]:
        return [word.replace(self.address, self.proxy.address) if word.startswith("--advertised") else word for word in super().command()]


def counted(http: httpx.Client, likes: int, patience_s: float) -> bool:
    """Whether so many likes are counted in time."""
    until = time.monotonic() + patience_s
    while http.get("/v1/notes/n1").json().get("counts", {}).get("like") != likes:
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


@pytest.mark.timeout(200)
def test_a_worker_makes_connections_anew_that_say_nothing_any_more(tmp_path: Path, own_valkey: parts.EmbeddedStore) -> None:
    """Within the time a request may take and a rejoin (`kafka.request_timeout_s`), not within the clients' own minute and a half."""
    parts.need(parts.broker_program)
    with Proxy() as proxy, Advertised(tmp_path / "broker", proxy) as broker:
        proxy.to = broker.port
        environ = {
            "UPWELL_REDIS": own_valkey.url, "UPWELL_KAFKA__FETCH_WAIT_MS": "20", "UPWELL_KAFKA__REQUEST_TIMEOUT_S": "3",
            "UPWELL_KAFKA__SESSION_TIMEOUT_S": "2", "UPWELL_KAFKA__HEARTBEAT_S": "0.5", "UPWELL_KAFKA__REBALANCE_TIMEOUT_S": "1",
        }  # fmt: skip
        far = System(tmp_path / "far", {**environ, "UPWELL_KAFKA": proxy.address})
        near = System(tmp_path / "near", {**environ, "UPWELL_KAFKA": proxy.address})
        try:
            made = far.run("topics", "create")
            assert made.returncode == 0, made.stderr
            far.start("worker")
            near.start("api", "--port", str(near.port))
            near.ready(time.monotonic() + 60)
            near.http.post("/v1/notes", json=note("n1", "a1", ["t"]))
            near.http.post("/v1/events", json=event("like", "u1", "n1"))
            assert counted(near.http, 1, 30.0), far.log.read_text()[-3000:]
            near.kill()
            assert proxy.deafen() >= 6
            near.start("api", "--port", str(near.port))
            near.ready(time.monotonic() + 60)
            near.http.post("/v1/events", json=event("like", "u2", "n1"))
            assert counted(near.http, 2, 60.0), far.log.read_text()[-3000:]
        finally:
            far.close()
            near.close()
