"""Who comes in, how much at once, and what of it is told: keys and roles, room, time, browsers, secrets."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from config import log as logs
from config import settings as config
from config.settings import ROLES, ApiKey, SettingsError
from serving.gate import PULSE_S, Bodies, Gate, Pulse
from serving.guard import Guard
from tests.serving.system import System, event, note
from tools.parts import free_port, listening

KEYS = [{"name": role, "key": f"key-to-{role}", "roles": [role]} for role in ROLES]
BY_ROLE = [
    ("read", "GET", "/v1/feed/u1"),
    ("read", "GET", "/v1/users/u1/interests"),
    ("read", "GET", "/v1/notes/n1"),
    ("read", "GET", "/v1/pools"),
    ("read", "GET", "/v1/schema/event"),
    ("read", "GET", "/nowhere"),
    ("produce", "POST", "/v1/events"),
    ("produce", "POST", "/v1/notes"),
    ("produce", "PUT", "/v1/users/u1/settings"),
    ("produce", "DELETE", "/v1/users/u1"),
    ("produce", "DELETE", "/v1/users/u1/interests/t"),
    ("operate", "GET", "/ops/data"),
]


@pytest.fixture(scope="module")
def guarded() -> Iterator[System]:
    made = System({"UPWELL_API__KEYS": json.dumps([*KEYS, "all"])})
    yield made
    made.close()


class TestKeys:
    @pytest.mark.parametrize("role, method, path", BY_ROLE)
    def test_a_key_opens_what_its_roles_say_and_nothing_else(self, guarded: System, role: str, method: str, path: str) -> None:
        for other in ROLES:
            status = guarded.request(method, path, headers={"X-API-Key": f"key-to-{other}"}).status_code
            assert (status in (401, 403)) == (other != role), (other, status)
        assert guarded.request(method, path, headers={"X-API-Key": "all"}).status_code not in (401, 403)
        refused = guarded.request(method, path, headers={"X-API-Key": f"key-to-{ROLES[ROLES.index(role) - 1]}"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert role in refused.json()["detail"]

    def test_every_route_asks_for_a_key_but_probes_documents_and_pages(self, guarded: System) -> None:
        paths = guarded.get("/openapi.json")["paths"]
        open_ones = {"/healthz", "/readyz", "/metrics"}
        for path, methods in paths.items():
            for method in methods:
                status = guarded.request(method.upper(), path.replace("{", "").replace("}", "")).status_code
                assert (status == 401) == (path not in open_ones), (method, path)

    @pytest.mark.parametrize(
        "keys",
        [
            '[""]',
            '["a", "a"]',
            '[" a"]',
            '["ü"]',
            '[{"name": "", "key": "a", "roles": ["read"]}]',
            '[{"name": "a", "key": "a", "roles": []}]',
        ],
    )
    def test_a_key_that_cannot_be_used_stops_the_start(self, keys: str) -> None:
        """An empty one would let everybody in who sends none."""
        with pytest.raises(SettingsError, match=r"api\.keys"):
            Guard(config.load(environ={"UPWELL_API__KEYS": keys}).api.named_keys())

    def test_an_unknown_role_is_named(self) -> None:
        with pytest.raises(SettingsError, match="write"):
            config.load(environ={"UPWELL_API__KEYS": '[{"name": "a", "key": "a", "roles": ["write"]}]'})

    def test_every_key_is_compared_whichever_is_right(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Digests of one length: timing tells neither which nor how far."""
        seen: list[tuple[int, int]] = []
        compare = __import__("hmac").compare_digest

        def counting(a: bytes, b: bytes) -> bool:
            seen.append((len(a), len(b)))
            return bool(compare(a, b))

        guard = Guard([ApiKey(f"k{i}", "x" * (i + 1), ("read",)) for i in range(3)])
        monkeypatch.setattr("serving.guard.hmac.compare_digest", counting)
        for given in (b"", b"x", b"xxx", b"x" * 999):
            seen.clear()
            guard.who(given)
            assert seen == [(32, 32)] * 3

    def test_our_own_commands_take_the_first_key_that_may(self) -> None:
        api = config.load(environ={"UPWELL_API__KEYS": json.dumps(KEYS)}).api
        assert (api.key_for("read"), api.key_for("operate"), api.key_for("read", "produce")) == ("key-to-read", "key-to-operate", "")


class TestBrowsers:
    def test_other_origins_are_told_nothing_unless_set(self, system: System) -> None:
        answer = system.request("GET", "/healthz", headers={"Origin": "https://app.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        assert system.request("OPTIONS", "/v1/events", headers=asked).status_code == 405

    def test_an_origin_that_is_set_may_call_also_without_a_key_in_its_preflight(self) -> None:
        made = System({"UPWELL_API__ORIGINS": '["https://app.example"]', "UPWELL_API__KEYS": '["k"]'})
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        answer = made.request("OPTIONS", "/v1/events", headers=asked)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "https://app.example")
        assert "X-API-Key" in answer.headers["access-control-allow-headers"]
        refused = made.request("GET", "/v1/feed/u1", headers={"Origin": "https://app.example"})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://app.example")
        other = made.request("GET", "/healthz", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        assert other.headers["vary"] == "Origin"
        made.close()

    def test_no_answer_is_taken_for_another_type(self, system: System) -> None:
        for path in ("/healthz", "/nowhere", "/ops", "/web/ops.js", "/docs", "/v1/feed/u1"):
            assert system.request("GET", path).headers["x-content-type-options"] == "nosniff"
        for header in ("content-security-policy", "referrer-policy", "cross-origin-opener-policy"):
            assert header in system.request("GET", "/ops").headers


class TestRoom:
    def test_what_has_no_room_is_told_to_come_back(self, town: System) -> None:
        """And who watches over it still gets an answer."""
        from config import metrics

        before = metrics.HTTP_SHED.labels("reads")._value.get()
        gate = town.service.reads
        while gate.enter():
            pass
        answer = town.request("GET", "/v1/feed/u1")
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")
        assert metrics.HTTP_SHED.labels("reads")._value.get() == before + 1
        for path in ("/healthz", "/readyz", "/metrics", "/ops"):
            assert town.request("GET", path).status_code == 200
        assert town.request("POST", "/v1/events", json=event("like", "u1", "n1")).status_code == 202
        gate.leave()
        assert town.request("GET", "/v1/feed/u1").status_code == 200

    def test_what_only_waits_leaves_its_place_to_others(self, town: System) -> None:
        """`after=` waits up to 250 ms for a state, and takes no time of anybody."""
        position = town.request("POST", "/v1/events", json=event("like", "u1", "n1")).json()["position"]
        gate = town.service.reads

        async def both() -> tuple[int, int]:
            async with asyncio.TaskGroup() as group:
                waiting = [group.create_task(town.client.get("/v1/feed/u1", params={"after": position})) for _ in range(gate.least)]
                await asyncio.sleep(0.05)
                assert (gate.inside, gate.aside) == (0, gate.least)
                other = await town.client.get("/v1/feed/u2")
            return other.status_code, sum(one.result().status_code == 200 for one in waiting)

        assert town.run(both()) == (200, gate.least)
        assert (gate.inside, gate.aside) == (0, 0)

    def test_the_bound_grows_where_there_is_time_to_spare_and_shrinks_where_there_is_none(self) -> None:
        gate = Gate(4, 40)
        assert [gate.enter() for _ in range(5)] == [True] * 4 + [False]
        gate.adjust(busy=True)
        assert gate.bound == 4
        for _ in range(20):
            while gate.enter():
                pass
            gate.adjust(busy=False)
        assert (gate.bound, gate.inside) == (40, 40)
        for _ in range(20):
            gate.adjust(busy=True)
        assert gate.bound == 4
        gate.adjust(busy=False)
        assert gate.bound == 4, "nobody was kept out"

    def test_the_pulse_tells_waiting_from_working(self) -> None:
        """Timers that fire in time, and little work between them: there is time to spare. Work all the time, or timers that are late: none."""
        assert not any(Pulse([]).busy(PULSE_S * 1.05, PULSE_S * 0.5) for _ in range(50))
        assert Pulse([]).busy(PULSE_S, PULSE_S * 0.9)
        late = Pulse([])
        assert [late.busy(PULSE_S * 1.5, 0.0) for _ in range(10)][-3:] == [True] * 3
        assert [late.busy(PULSE_S, 0.0) for _ in range(10)][-3:] == [False] * 3, "it is in time again"

    def test_the_pulse_measures_this_process_at_work(self) -> None:
        """One that sleeps is seen at work for next to nothing, whoever else keeps the processor; one that computes is told busy."""

        class Kept(Pulse):
            worked = 0.0

            def busy(self, took: float, worked: float) -> bool:
                self.worked += worked
                return super().busy(took, worked)

        gate = Gate(4, 40)
        told: list[bool] = []
        gate.adjust = told.append  # type: ignore[method-assign]

        async def look(work: float) -> float:
            told.clear()
            pulse = Kept([gate])
            running = asyncio.create_task(pulse.run())
            for _ in range(30):
                until = time.thread_time() + work
                while time.thread_time() < until:
                    pass
                await asyncio.sleep(0.0 if work else 0.01)
            running.cancel()
            return pulse.worked

        assert asyncio.run(look(0.02)) > 0.3
        assert all(told[3:])
        assert asyncio.run(look(0.0)) < 0.1

    def test_bodies_have_room_together(self, system: System) -> None:
        """Told before any of the body is read."""
        room: Bodies = next(m for m in system.app.user_middleware).kwargs["bodies"]
        taken = room.most - 100
        assert room.take(taken)
        answer = system.request("POST", "/v1/events", content=b" " * 200)
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")

        async def chunks() -> AsyncIterator[bytes]:
            yield b"[]"

        assert system.request("POST", "/v1/events", content=chunks()).status_code == 503, "a body of unknown length counts as the longest"
        room.give(taken)
        assert system.request("POST", "/v1/events", json=event("like", "u", "n")).status_code == 202
        assert room.held == 0

    def test_a_request_has_a_bounded_time(self) -> None:
        """Whoever does not send his body gets a 408; whose answer does not come, a 503."""
        made = System({"UPWELL_API__REQUEST_S": "0.1"})

        async def never() -> AsyncIterator[bytes]:
            yield b"["
            await asyncio.sleep(5)

        late = made.request("POST", "/v1/events", content=never())
        assert (late.status_code, late.json()["code"]) == (408, "request_timeout")

        async def hang(*_: Any, **__: Any) -> Any:
            await asyncio.sleep(5)

        made.producer.send = hang  # type: ignore[method-assign]
        answer = made.request("POST", "/v1/events", json=event("like", "u", "n"))
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "timeout", "1")
        made.close()


class TestTold:
    @pytest.fixture
    def told(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
        stream = io.StringIO()
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure(config.load(environ={}).log)
        yield stream
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()

    def test_a_bug_is_one_line_with_the_requests_id_and_no_value_of_a_variable(self, told: io.StringIO) -> None:
        """And nothing of it goes to the client but the id."""
        made = System({"UPWELL_API__KEYS": '["s3cret-key"]'})

        async def broken(*_: Any) -> Any:
            password = "s3cret-local"
            raise RuntimeError(f"broken after {len(password)}")

        made.service.answer = broken  # type: ignore[method-assign]
        answer = made.request("GET", "/v1/feed/somebody", headers={"X-API-Key": "s3cret-key", "X-Request-Id": "trace-1"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (500, "trace-1")
        assert answer.json()["code"] == "internal"
        assert "broken" not in answer.text
        [line] = [json.loads(one) for one in told.getvalue().splitlines() if "unhandled" in one]
        assert (line["level"], line["request_id"], line["route"], line["logger"]) == ("error", "trace-1", "/v1/feed/{user_id}", "serving")
        assert "RuntimeError: broken after 12" in line["exception"]
        assert "s3cret" not in told.getvalue().replace('password = "s3cret-local"', "")
        made.close()

    def test_all_is_quiet_when_all_is_well(self, told: io.StringIO) -> None:
        made = System()
        made.publish(note("n1", "a1", ["t"]))
        made.send(event("like", "u1", "n1"))
        made.feed("u1")
        made.request("GET", "/nowhere")
        lines = [json.loads(line) for line in told.getvalue().splitlines()]
        assert [line["event"] for line in lines if line["level"] != "info"] == []
        made.close()

    def test_a_line_for_people_stays_one_line(self) -> None:
        line = {"at": "t", "level": "info", "event": "e", "logger": "l", "reason": "a\nb", "request_id": "r"}
        assert logs.one_line(None, "info", line) == "t info     e  [l] reason=a\\nb request_id=r"


class Alone:
    """An API process with a store in memory and no broker: enough for whoever stands before the door."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.port = free_port()
        self.log = folder / "api.log"
        environ = {
            **os.environ, "UPWELL_REDIS": "memory://", "UPWELL_KAFKA": "127.0.0.1:1", "UPWELL_API__PRODUCE_TIMEOUT_S": "0.5", **more,
        }  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "upwell", "api", "--port", str(self.port)], env=environ, stdout=log, stderr=log
            )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)
        until = time.monotonic() + 30
        while not listening(self.port):
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def rss(self) -> int:
        return (
            next(
                int(line.split()[1])
                for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
                if line.startswith("VmRSS")
            )
            * 1024
        )

    def close(self) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Alone]:
    made = Alone(tmp_path, UPWELL_API__REQUEST_S="2", UPWELL_API__CONNECTIONS="300")
    yield made
    made.close()


def received(link: socket.socket) -> bytes:
    """All until the other side closes."""
    found = b""
    while chunk := link.recv(65_536):
        found += chunk
    return found


def test_a_head_is_bounded_in_size_and_in_time(alone: Alone) -> None:
    """Before there is a request there is nothing else that would bound it."""
    with alone.connect() as link:
        link.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")
        with pytest.raises(OSError):  # noqa: PT012 - closed under the sender
            for _ in range(200):
                link.sendall(b"x-more: " + b"a" * 4_000 + b"\r\n")
                time.sleep(0.005)
    for first in (b"", b"GET / HTTP/1.1\r\nhost: x\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET"):
        with alone.connect() as link:
            link.sendall(first)
            assert b"HTTP/1.1 408" in received(link)
    assert alone.http.get("/healthz").status_code == 200


def test_what_is_no_http_has_the_form_of_every_error(alone: Alone) -> None:
    """Also what never became a request is told as a problem, and has a trace id."""
    for raw, status in (
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET", 408),
    ):
        with alone.connect() as link:
            link.sendall(raw)
            head, _, body = received(link).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"content-type: application/problem+json" in head
        assert b"x-request-id: " in head
        assert json.loads(body)["status"] == status


def test_connections_are_bounded_and_one_that_ends_makes_room(alone: Alone) -> None:
    links = [alone.connect() for _ in range(310)]
    time.sleep(0.3)
    with pytest.raises(httpx.TransportError):
        alone.http.get("/healthz")
    for link in links:
        link.close()
    time.sleep(0.3)
    assert alone.http.get("/healthz").status_code == 200


def test_a_flood_of_bodies_takes_a_bounded_amount_of_memory(alone: Alone) -> None:
    """250 bodies of 2 MB, sent at once and never ended, are 500 MB; the process holds what `api.bodies_bytes` says, and is itself afterwards."""
    alone.http.get("/healthz")
    before, size = alone.rss(), 2_000_000
    links = [alone.connect() for _ in range(250)]
    body = b" " * 65_536
    for link in links:
        link.sendall(b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
        link.setblocking(False)
    most, until = 0, time.monotonic() + 1.5
    while time.monotonic() < until:
        for link in links:
            with contextlib.suppress(OSError):
                link.send(body)
        most = max(most, alone.rss())
    room = config.load(environ={}).api.bodies_bytes
    print(f"grew by {(most - before) / 1e6:.0f} MB; room for bodies {room / 1e6:.0f} MB")
    assert most - before < 2.5 * room + 250 * 262_144
    for link in links:
        link.close()
    until = time.monotonic() + 15
    while alone.http.post("/v1/events", json=event("like", "u", "n")).json()["code"] != "not_acknowledged":
        assert time.monotonic() < until
        time.sleep(0.1)


SECRETS = ("s3cret-key-1", "s3cret-key-2", "s3cret-redis", "s3cret-sasl", "s3cret-query")


def test_no_secret_is_told_to_anybody(tmp_path: Path) -> None:
    """Neither by the log at its loudest, nor by an answer, nor by what commands print, with everything they need away."""
    keys = json.dumps([{"name": "app", "key": SECRETS[0], "roles": list(ROLES)}, SECRETS[1]])
    environ = {
        "UPWELL_API__KEYS": keys, "UPWELL_REDIS": f"redis://user:{SECRETS[2]}@127.0.0.1:1/0?password={SECRETS[4]}", "UPWELL_KAFKA": "127.0.0.1:1",
        "UPWELL_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT", "UPWELL_KAFKA__SASL_USERNAME": "u", "UPWELL_KAFKA__SASL_PASSWORD": SECRETS[3],
        "UPWELL_LOG__LEVEL": "debug",
    }  # fmt: skip
    api = Alone(tmp_path, **environ)
    told = ""
    for key in ("", SECRETS[0], "wrong"):
        for _, method, path in [
            *BY_ROLE,
            ("", "GET", "/readyz"),
            ("", "GET", "/metrics"),
            ("", "GET", "/ops"),
            ("", "GET", "/openapi.json"),
        ]:
            answer = api.http.request(
                method,
                path,
                headers={"X-API-Key": key},
                json={"type": "like", "user_id": "u", "note_id": "n"} if method == "POST" else None,
            )
            told += f"{answer.headers}".replace(f"'x-api-key': '{key}'", "") + answer.text
    api.close()
    told += api.log.read_text()
    wrong = {"UPWELL_API__KEYS": SECRETS[0], "UPWELL_REDIS": f"http://{SECRETS[2]}@h", "UPWELL_REDIS__CLUSTER": "x"}
    commands = [(words, {}) for words in (["config"], ["doctor"], ["worker"], ["lag"], ["topics", "check"], ["dead", "list"])]
    commands += [(["doctor"], {name: value}) for name, value in wrong.items()]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "upwell", *words],
            env={**os.environ, **environ, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for words, more in commands
    ]
    for process in running:
        try:
            told += process.communicate(timeout=15)[0].decode()
        except subprocess.TimeoutExpired:  # a worker waits for its broker
            process.kill()
            told += process.communicate()[0].decode()
    assert len(told) > 10_000
    assert not [secret for secret in SECRETS if secret in told]
