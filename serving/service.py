"""What the routes share: one object per application, made at its start."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import structlog

from config.events import EventRules
from config.keys import hash64
from config.records import Signal
from config.settings import Settings, digest
from serving.build import build
from serving.clock import StreamClock
from serving.cursor import BadCursor, Cursor, Cursors
from serving.feed import Answer, Feed
from serving.filters.seen import SeenFilter
from serving.gate import Gate
from serving.keys import Keys
from serving.model import Models
from serving.position import BadPosition, Place, Waiter, position_from, position_text
from serving.problems import Problem
from serving.producer import NotAcknowledged, Producer
from serving.slate import packed, served
from serving.snapshot import Snapshot
from serving.stages import Query
from store.base import Store, StoreError

log = structlog.get_logger("serving")

NOTHING_SHOWN = np.empty(0, np.uint32)
LAST_POSITION = 10_000
"""No cursor leads further: nobody scrolls there, and positions stay small numbers in slates."""


class Service:
    """Store, producer, snapshot, clock and pipelines, and the few things that several routes do with them."""

    def __init__(self, settings: Settings, store: Store, producer: Producer, wall: Callable[[], float] = time.time) -> None:
        self.settings, self.store, self.producer, self.wall = settings, store, producer, wall
        self.clock = StreamClock(wall, settings.engine.tick_lag_s)
        self.snapshot = Snapshot(store, settings, self.clock)
        self.pipelines = build(settings)
        self.snapshot.swapped = self.swap
        self.feed = Feed(store, self.snapshot, self.clock, settings)
        rules = settings.feed
        self.waiter = Waiter(store, self.clock, rules, settings.kafka.prefix)
        secret = "\0".join((settings.kafka.prefix, *sorted(key.key for key in settings.api.named_keys()))).encode()
        self.cursors = Cursors(secret, int(rules.cursor_hours * 3_600_000), rules.cursor_shown)
        self.event_rules = EventRules(settings.events.aliases, settings.events.max_record_bytes)
        self.settings_hash = digest(settings.feed, settings.interest)
        self.reads = Gate(settings.api.reads_at_once, settings.api.at_once_most)
        """room for requests that ask; see `serving.gate`"""
        self.stopping = False
        self.background: list[Callable[[], Coroutine[Any, Any, None]]] = [self.snapshot.run]
        """runs as long as the service does"""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await asyncio.gather(self.producer.start(), self.snapshot.refresh())
        self._tasks = [asyncio.get_running_loop().create_task(work()) for work in self.background]

    async def stop(self) -> None:
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.producer.stop()
        await self.store.close()

    @property
    def keys(self) -> Keys:
        """Raises a 503 before the first snapshot."""
        keys = self.snapshot.keys
        if keys is None:
            raise Problem(503, "not_ready", "; ".join(f"{k}: {v}" for k, v in sorted(self.snapshot.reasons.items())), {"Retry-After": "1"})
        return keys

    async def wait(self, after: str | None, stage: str, digest: int) -> None:
        """`after=`: until the state of that partition contains the position, or its time is over."""
        if not after:
            return
        try:
            places = position_from(after)
        except BadPosition as error:
            raise Problem(422, "bad_position", str(error)) from None
        keys = self.snapshot.keys
        if keys is not None:
            try:
                with self.reads.waiting():
                    await self.waiter.wait(keys, stage, digest, places)
            except StoreError:
                return  # the read that follows says so in its own way

    async def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """For routes that cannot do without. Raises a 503."""
        try:
            return await self.store.read(keys)
        except StoreError as error:
            raise Problem(503, "store_unavailable", str(error), {"Retry-After": "1"}) from None

    # --------------------------------------------------------------------------------------------------------- feeds

    def query(
        self,
        user_id: str,
        surface: str,
        n: int,
        cursor: str | None,
        channel: str,
        city: str,
        lat: float | None,
        lon: float | None,
        exclude: Sequence[str],
        explain: bool,
    ) -> tuple[Query, tuple[str, ...]]:
        """A query, and what a cursor is bound to. Raises a 400 for a bad cursor."""
        rules = self.settings.feed
        if (lat is None) != (lon is None):
            raise Problem(422, "invalid", "lat and lon come together")
        if n > rules.n_max:
            raise Problem(422, "invalid", f"n: at most {rules.n_max}")
        if len(exclude) > rules.exclude_max:
            raise Problem(422, "invalid", f"exclude: at most {rules.exclude_max} notes")
        channel = channel.strip("/")
        scope = (user_id, surface, channel, city)
        before = Cursor(0, 0, NOTHING_SHOWN)
        if cursor:
            try:
                before = self.cursors.read(cursor, scope, self.clock.now)
            except BadCursor as error:
                raise Problem(400, "bad_cursor", str(error)) from None
        request_id = secrets.token_urlsafe(16)
        query = Query(
            user_id,
            hash64(user_id),
            surface,
            n,
            request_id,
            hash64(request_id),
            channel,
            city,
            lat,
            lon,
            np.sort(np.array([hash64(note) for note in exclude], np.uint64)) if exclude else None,
            before.shown if before.shown.size else None,
            before.start,
            before.author,
            explain,
        )
        return query, scope

    def swap(self, models: Models) -> None:
        """From the next request on another model ranks; those under way keep theirs."""
        self.pipelines = build(self.settings, models.model, models.version)

    async def answer(self, query: Query) -> Answer:
        return await self.feed.answer(query, self.pipelines[query.surface])

    def next_cursor(self, answer: Answer, scope: tuple[str, ...]) -> str | None:
        """None when there is nothing left to show, or more was shown than a cursor can hold and the user's record does not."""
        page = answer.page
        query = page.query
        start = query.start + len(page.placed)
        if len(page.placed) < query.n or start > LAST_POSITION:
            return None
        before = NOTHING_SHOWN if query.shown is None else query.shown
        if before.size and any(early.name == SeenFilter.name for early in self.pipelines[query.surface].early):
            before = before[~np.isin(before, page.viewer.seen.astype(np.uint32))]
        rows = [placed.row for placed in page.placed]
        shown = np.concatenate([before, page.candidates.hashes[rows].astype(np.uint32)])
        return self.cursors.make(scope, self.clock.now, Cursor(start, int(page.notes["author"][rows[-1]]), shown))

    def log_slate(self, answer: Answer) -> None:
        """Hands the slate to the producer; a slate of nothing or for nobody is none."""
        page = answer.page
        keys = self.snapshot.keys
        if not page.placed or not page.query.user_id or keys is None:
            return
        now_ms = int(self.wall() * 1000)
        value = served(page, self.settings_hash, self.clock.stamp(), now_ms)
        then = self.snapshot.underway.handed(page.query.seed)
        self.producer.hand("by-user", page.query.user_id.encode(), value, page.query.user % keys.users, then)

    # ------------------------------------------------------------------------------------------------------- the user's say

    async def tell_user(self, user_id: str, digest: int, signal: Signal) -> str:
        """Appends a signal of the API's own to by-user; returns its position. Raises a 503 when it was not acknowledged."""
        partition = digest % self.keys.users
        try:
            ack = await self.producer.send("by-user", user_id.encode(), packed(signal, int(self.wall() * 1000)), partition)
        except NotAcknowledged as error:
            raise not_acknowledged(error) from None
        return position_text([Place("users", partition, "by-user", ack.partition, ack.offset)])


def not_acknowledged(error: Exception) -> Problem:
    return Problem(503, "not_acknowledged", f"Kafka did not acknowledge: {error}", {"Retry-After": "1"})
