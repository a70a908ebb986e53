"""A whole system in one process: the API over production's own stages, with logs in lists and the store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import httpx

from config import settings as config
from config.keys import hash64
from config.records import UserRecord, decode_user
from config.settings import Settings
from serving.app import create_app
from serving.producer import Ack, Headers, NotAcknowledged, Then
from serving.service import Service
from store.base import Store
from streams.local import Local

T = TypeVar("T")
START = 1_700_000_000_000
"""Where the wall's clock of these tests begins, epoch ms."""


class LocalProducer:
    """The API's way into the logs of a `Local` system."""

    def __init__(self, local: Local, partitions: int) -> None:
        self.local, self.count = local, partitions
        self.away = False
        self.reason: str | None = None
        self.headers: list[Headers] = []

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        return None

    async def send(self, topic: str, key: bytes, value: bytes, partition: int | None = None, headers: Headers = ()) -> Ack:
        if self.away:
            self.reason = "away"
            raise NotAcknowledged("the broker is away")
        self.headers.append(headers)
        p = hash64(key) % self.count if partition is None else partition
        return Ack(p, self.local.append(topic, value, key, p))

    async def partitions(self, topic: str) -> int:
        return self.count

    def hand(self, topic: str, key: bytes, value: bytes, partition: int, then: Then | None = None) -> None:
        ack = None if self.away else Ack(partition, self.local.append(topic, value, key, partition))
        if then is not None:
            then(ack)


class System:
    """Send, pump, ask. `clock` is the wall's, in ms; nothing moves it but the test."""

    def __init__(self, environ: dict[str, str] | None = None, partitions: int = 2, store: Store | None = None) -> None:
        self.settings: Settings = config.load(environ=environ or {})
        self.clock = START
        self.loop = asyncio.new_event_loop()
        self.local = Local(self.settings, store=store, partitions=partitions)
        self.producer = LocalProducer(self.local, partitions)
        self.app = create_app(self.settings, self.local.store, self.producer, wall=lambda: self.clock / 1000.0)
        self.service: Service = self.app.state.service
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://api")
        self.pump()
        self.run(self.service.snapshot.refresh())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def pump(self) -> None:
        """All stages fold all there is; the snapshot follows."""
        self.local.now = self.clock
        self.run(self.local.pump())
        self.service.snapshot._fallback_due = 0.0
        self.run(self.service.snapshot.refresh())

    def close(self) -> None:
        self.run(self.client.aclose())
        self.loop.close()

    # ------------------------------------------------------------------------------------------------------------- talking

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        self.local.now = self.clock
        return self.run(self.client.request(method, path, **more))

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of a 200."""
        response = self.request("GET", path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def send(self, *events: dict[str, Any]) -> str:
        """Events, half a second apart, applied at once; returns the position."""
        for event in events:
            self.clock += 500
            event.setdefault("timestamp", self.clock)
        position = ""
        for i in range(0, len(events), 500):
            self.local.now = self.clock
            response = self.request("POST", "/v1/events", json=list(events[i : i + 500]))
            assert response.status_code == 202, response.text
            position = response.json()["position"]
        self.pump()
        return position

    def publish(self, *notes: dict[str, Any]) -> None:
        """Notes, applied at once."""
        for note in notes:
            self.clock += 500
            note.setdefault("timestamp", self.clock)
        for i in range(0, len(notes), 500):
            self.local.now = self.clock
            response = self.request("POST", "/v1/notes", json=list(notes[i : i + 500]))
            assert response.status_code == 202, response.text
        self.pump()

    def feed(self, user: str, **params: Any) -> Any:
        return self.get(f"/v1/feed/{user}", **params)

    def ids(self, user: str, **params: Any) -> list[str]:
        return [item["note_id"] for item in self.feed(user, **params)["items"]]

    def logged(self) -> list[UserRecord]:
        """All records of by-user."""
        count = self.local.counts["by-user"]
        return [decode_user(record.value or b"") for p in range(count) for record in self.local.logs["by-user", p]]


def note(name: str, author: str, tags: Sequence[str] = (), channel: str = "", **more: Any) -> dict[str, Any]:
    """A note to publish."""
    return {
        "note_id": name,
        "author_id": author,
        "title": f"About {name}",
        "tags": list(tags),
        **({"channel": channel} if channel else {}),
        **more,
    }


def event(type: str, user: str, note_id: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": type, "user_id": user, **({"note_id": note_id} if note_id else {}), **more}
