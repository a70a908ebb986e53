"""The facts of notes: read once, bounded, and waited for briefly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from config import settings as configuration
from config.keys import Slot, hash64, note_key
from config.records import Facts, encode
from store.memory import MemoryStore
from streams.facts import FactsCache

WALL = 1_700_000_000_000.0
SETTINGS = configuration.load(environ={"UPWELL_EVENTS__FACTS_CACHE": "3"})
WAIT_S = SETTINGS.events.unknown_note_wait_ms / 1_000


def slot(stage: str, digest: int) -> Slot:
    return Slot("t", 0, stage, digest % 4)


class World:
    """A store, a clock that only sleeping moves, and notes that appear at set times."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = 0.0
        self.pauses: list[float] = []
        self.coming: list[tuple[float, str]] = []
        self.cache = FactsCache(self.store, SETTINGS, slot, self.sleep, lambda: self.now)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        for at, name in self.coming:
            if at <= self.now:
                await self.publish(name)

    async def publish(self, name: str, **fields: Any) -> None:
        digest = hash64(name)
        await self.store.put(slot("notes", digest).key("facts", note_key(digest)), encode(Facts(name, True, **fields)))

    async def names(self, names: Sequence[str], wall: float = WALL) -> list[str]:
        """The ids of those that are known."""
        found = await self.cache.resolve([hash64(name) for name in names], wall)
        return [found[hash64(name)].id for name in names if hash64(name) in found]


def test_known_notes_are_read_in_one_round_trip_and_kept() -> None:
    """A frame costs one scatter; the next within the TTL none."""

    async def run() -> None:
        world = World()
        for name in "ab":
            await world.publish(name, author="w", tags=("x", "y"), engaged=3)
        before = world.store.round_trips
        assert await world.names("aba") == ["a", "b", "a"]
        assert await world.names("ba") == ["b", "a"]
        assert world.store.round_trips == before + 1
        assert world.pauses == []
        facts = (await world.cache.resolve([hash64("a")], WALL))[hash64("a")]
        assert facts == Facts("a", True, "w", tags=("x", "y"), engaged=3)

    asyncio.run(run())


def test_facts_are_read_again_after_their_ttl() -> None:
    """An edit of a note shows within the TTL."""

    async def run() -> None:
        world = World()
        await world.publish("a", channel="old")
        await world.names("a")
        await world.publish("a", channel="new")
        later = WALL + SETTINGS.events.facts_ttl_s * 1_000
        assert (await world.cache.resolve([hash64("a")], later - 1))[hash64("a")].channel == "old"
        assert (await world.cache.resolve([hash64("a")], later))[hash64("a")].channel == "new"

    asyncio.run(run())


def test_an_unknown_note_is_waited_for_until_it_comes() -> None:
    """An event may overtake its note by some milliseconds."""

    async def run() -> None:
        world = World()
        await world.publish("a")
        world.coming = [(0.02, "b")]
        assert await world.names("ab") == ["a", "b"]
        assert 0.02 <= world.now < 0.05

    asyncio.run(run())


def test_the_wait_is_bounded_and_repeated_once_a_minute() -> None:
    """A frame waits at most the setting, and not again for the same note within a minute; it is still looked for."""

    async def run() -> None:
        world = World()
        assert await world.names(["x", "y"]) == []
        assert abs(world.now - WAIT_S) < 1e-9
        looks = len(world.pauses)
        assert looks < 12
        assert await world.names(["x", "y"], WALL + 59_999) == []
        assert len(world.pauses) == looks
        await world.publish("x")
        assert await world.names(["x", "y"], WALL + 59_999) == ["x"]
        assert len(world.pauses) == looks
        await world.names(["y"], WALL + 60_000)
        assert len(world.pauses) > looks

    asyncio.run(run())


def test_the_cache_is_bounded() -> None:
    """The oldest entry goes first; what went is read again, and a flood of unknown ids is bounded too."""

    async def run() -> None:
        world = World()
        for name in "abcde":
            await world.publish(name)
        assert await world.names("abcde") == list("abcde")
        assert list(world.cache.cache) == [hash64(name) for name in "cde"]
        assert await world.names("a") == ["a"]
        await world.names([f"x{i}" for i in range(50)])
        assert len(world.cache.waited) == 3

    asyncio.run(run())
