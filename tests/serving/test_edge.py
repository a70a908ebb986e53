"""What holds for every request: keys, trace ids, sizes, one form of errors, health."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from config.settings import SettingsError
from serving.app import loopback, run
from serving.feed import Feed
from serving.stages import Ask, Query, Viewer
from store.base import StoreError
from store.memory import MemoryStore
from tests.serving.system import System, event, note


class Breakable(MemoryStore):
    """Goes away when told to."""

    away = False

    async def read(self, keys, ranges=()):  # type: ignore[no-untyped-def]
        if self.away:
            raise StoreError("gone")
        return await super().read(keys, ranges)


@pytest.fixture
def guarded() -> Iterator[System]:
    made = System({"UPWELL_API__KEYS": '["one", "two"]'})
    yield made
    made.close()


def test_a_key_is_asked_where_keys_are_configured(guarded: System) -> None:
    for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "on"}, {"X-API-Key": "three"}):
        response = guarded.request("GET", "/v1/feed/u1", headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
        assert response.headers["x-request-id"]
    for key in ("one", "two"):
        assert guarded.request("GET", "/v1/feed/u1", headers={"X-API-Key": key}).status_code == 200
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        assert guarded.request("GET", path).status_code == 200


def test_without_keys_the_api_binds_to_loopback_only(system: System) -> None:
    assert loopback("127.0.0.1")
    assert loopback("::1")
    assert loopback("localhost")
    assert not loopback("0.0.0.0")
    assert not loopback("example.org")
    with pytest.raises(SettingsError, match=r"api\.keys"):
        run(system.settings, "0.0.0.0", 0)


def test_every_answer_has_a_trace_id(system: System) -> None:
    assert system.request("GET", "/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for path in ("/healthz", "/nowhere", "/v1/feed/u1?n=0"):
        assert len(system.request("GET", path).headers["x-request-id"]) == 16
    assert system.request("GET", "/healthz", headers={"X-Request-Id": "a b" * 80}).headers["x-request-id"] != "a b" * 80


def test_errors_have_one_form(system: System) -> None:
    for method, path, status, code in (
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/v1/feed/u1", 405, "method_not_allowed"),
        ("GET", "/v1/feed/u1?n=51", 422, "invalid"),
        ("GET", "/v1/feed/u1?n=x", 422, "invalid"),
        ("GET", "/v1/feed/u1?lat=91&lon=0", 422, "invalid"),
        ("GET", "/v1/feed/u1?lat=nan&lon=0", 422, "invalid"),
        ("GET", "/v1/feed/u1?lat=1", 422, "invalid"),
    ):
        response = system.request(method, path)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        body = response.json()
        assert (body["status"], body["code"]) == (status, code)
        assert body["title"]
        assert body["type"]


def test_a_request_has_a_bounded_size(system: System) -> None:
    big = b"[" + b" " * system.settings.api.body_bytes + b"]"
    response = system.request("POST", "/v1/events", content=big)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")

    async def chunks():  # type: ignore[no-untyped-def]
        for _ in range(40):
            yield b" " * 65536

    response = system.request("POST", "/v1/events", content=chunks())
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_a_client_that_goes_away_is_no_fault_of_ours(system: System) -> None:
    """In the middle of its body: counted as what it is, and no error is told."""

    async def gone() -> list[dict[str, Any]]:
        came = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return next(came)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/v1/events", "raw_path": b"/v1/events", "query_string": b"", "headers": [],
            "http_version": "1.1", "scheme": "http", "server": ("api", 80), "client": ("127.0.0.1", 1), "root_path": "",
        }  # fmt: skip
        await system.app(scope, receive, send)  # type: ignore[arg-type]
        return sent

    with capture_logs() as told:
        assert system.run(gone()) == []
    assert told == []
    assert 'upwell_http_requests_total{route="/v1/events",status="499"} 1.0' in system.request("GET", "/metrics").text


def test_not_ready_before_the_first_snapshot_nor_while_stopping(system: System) -> None:
    assert system.get("/readyz") == {"status": "ready", "reasons": []}
    system.service.stopping = True
    assert system.request("GET", "/readyz").status_code == 503
    system.service.stopping = False
    keys, system.service.snapshot.keys = system.service.snapshot.keys, None
    assert system.request("GET", "/readyz").status_code == 503
    assert system.request("GET", "/v1/notes/n1").json()["code"] == "not_ready"
    assert system.get("/v1/feed/u1")["degraded"] == "starting"
    system.service.snapshot.keys = keys
    system.producer.reason = "away"
    body = system.get("/readyz")
    assert (body["status"], body["reasons"]) == ("degraded", ["kafka: away"])


def test_a_dead_store_gives_the_last_good_hot_notes() -> None:
    """Marked degraded and counted; and the feed is itself again when the store is."""
    store = Breakable()
    system = System(store=store)
    system.publish(*(note(f"n{i}", f"a{i}", ["t"], "food" if i % 2 else "travel") for i in range(10)))
    system.send(*(event("impression", "u1", f"n{i}") for i in range(10)), *(event("like", "u1", f"n{i}") for i in range(10)))
    good = system.get("/v1/hot", n=5)
    store.away = True
    body = system.feed("u2", n=5)
    assert body["degraded"] == "store"
    assert [i["note_id"] for i in body["items"]] == [i["note_id"] for i in good["items"]]
    assert all(i["title"] for i in body["items"])
    assert {i["channel"] for i in system.feed("u2", channel="food")["items"]} == {"food"}
    assert system.request("GET", "/v1/users/u1/interests").status_code == 503
    system.run(system.service.snapshot.refresh())
    assert system.get("/readyz")["status"] == "degraded"
    store.away = False
    assert system.feed("u2", n=5)["degraded"] is None
    system.run(system.service.snapshot.refresh())
    assert system.get("/readyz")["status"] == "ready"
    system.close()


class Broken:
    name = "interest"

    def asks(self, query: Query, viewer: Viewer) -> list[Ask]:
        raise RuntimeError("broken")


def test_a_dead_source_contributes_nothing_and_is_counted(town: System) -> None:
    from config import metrics

    counter = metrics.FEED_COMPONENT_ERRORS.labels("interest")
    before = counter._value.get()
    whole = town.service.pipelines["feed"]
    town.service.pipelines = {**town.service.pipelines, "feed": whole._replace(sources=(Broken(), *whole.sources[1:]))}  # type: ignore[dict-item]
    assert len(town.feed("u1")["items"]) == 20
    assert counter._value.get() == before + 1
    assert isinstance(town.service.feed, Feed)


def test_metrics_name_the_routes(town: System) -> None:
    town.feed("u1")
    text = town.request("GET", "/metrics").text
    assert 'upwell_http_requests_total{route="/v1/feed/{user_id}",status="200"}' in text
    assert 'upwell_feed_seconds_count{surface="feed"}' in text
    assert "upwell_build_info{" in text


def test_the_documents_describe_the_api(system: System) -> None:
    paths = system.get("/openapi.json")["paths"]
    assert {
        "/v1/events",
        "/v1/notes",
        "/v1/feed/{user_id}",
        "/v1/feed/{user_id}/following",
        "/v1/feed/{user_id}/nearby",
        "/v1/hot",
        "/v1/notes/{note_id}",
        "/v1/pools",
        "/v1/users/{user_id}/interests",
        "/v1/users/{user_id}/interests/{tag}",
        "/v1/users/{user_id}/settings",
        "/v1/users/{user_id}",
        "/v1/schema/event",
        "/v1/schema/note",
        "/healthz",
        "/readyz",
        "/metrics",
    } <= set(paths)
    assert "properties" in system.get("/v1/schema/event")
    assert "properties" in system.get("/v1/schema/note")


def test_ids_may_hold_anything_even_slashes(system: System) -> None:
    """Encoded in a path, an id is what it was in the event."""
    from urllib.parse import quote

    for name in ("a/b", "a%2Fb", "ü ñ", "a?b#c", "..", "a\\b"):
        system.publish(note(f"note {name}", f"author {name}", [f"tag {name}"]))
        system.send(event("like", f"user {name}", f"note {name}"))
        path = quote(f"user {name}", safe="")
        assert f"tag {name}" in {i["value"] for i in system.get(f"/v1/users/{path}/interests")["interests"]}
        assert system.get(f"/v1/feed/{path}")["user_id"] == f"user {name}"
        assert system.get(f"/v1/notes/{quote(f'note {name}', safe='')}")["counts"]["like"] == 1
        assert system.request("DELETE", f"/v1/users/{path}/interests/{quote(f'tag {name}', safe='')}").status_code == 202
        system.pump()
        assert f"tag {name}" not in {i["value"] for i in system.get(f"/v1/users/{path}/interests")["interests"]}
