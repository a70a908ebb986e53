"""Facts of notes for intake: read from the notes stage's state through a bounded cache, and briefly waited for.

An event may overtake the publication of its note. A note that is not known is therefore waited for: all unknown notes of a frame
together, at most [events] unknown_note_wait_ms, and a note at most once a minute. Whatever is found is written into the log, so that no replay
depends on what a cache held.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from config.keys import Slot, note_key
from config.records import Facts
from config.settings import Settings
from store.base import Store

WAIT_AGAIN_MS = 60_000
FIRST_PAUSE_S = 0.002
"""Between two looks; each pause is half as long again as the one before, so that a long wait costs few reads."""

_decode = msgspec.msgpack.Decoder(Facts).decode


class FactsCache:
    """Note hash -> `Facts`. Shared by all partitions of a worker's intake.

    Entries are dropped in the order in which they were read; since each is read again after its TTL, that is near enough to least recently used.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        slot: Callable[[str, int], Slot],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        events = settings.events
        self.store, self.slot, self.sleep, self.clock = store, slot, sleep, clock
        self.size, self.ttl_ms, self.wait_s = events.facts_cache, events.facts_ttl_s * 1_000, events.unknown_note_wait_ms / 1_000
        self.cache: OrderedDict[int, tuple[Facts, float]] = OrderedDict()
        self.waited: OrderedDict[int, float] = OrderedDict()
        """note hash -> wall time (ms) from which it may be waited for again"""

    async def resolve(self, hashes: Iterable[int], wall_ms: float) -> Mapping[int, Facts]:
        """The facts of those notes that are known. Raises `StoreError`."""
        found: dict[int, Facts] = {}
        asked: dict[int, None] = {}
        cache = self.cache
        for digest in hashes:
            entry = cache.get(digest)
            if entry is not None and entry[1] > wall_ms:
                found[digest] = entry[0]
            else:
                asked[digest] = None
        if asked:
            await self.read(asked, found, wall_ms)
            unknown = [digest for digest in asked if digest not in found and self.waited.get(digest, 0) <= wall_ms]
            if unknown:
                await self.wait(unknown, found, wall_ms)
        return found

    async def read(self, asked: Iterable[int], found: dict[int, Facts], wall_ms: float) -> None:
        """Look once, in one round trip."""
        asked, cache = list(asked), self.cache
        values = await self.store.read([self.slot("notes", digest).key("facts", note_key(digest)) for digest in asked])
        for digest, value in zip(asked, values, strict=True):
            cache.pop(digest, None)
            if value is not None:
                found[digest] = facts = facts_from(value)
                cache[digest] = facts, wall_ms + self.ttl_ms
        while len(cache) > self.size:
            cache.popitem(last=False)

    async def wait(self, unknown: list[int], found: dict[int, Facts], wall_ms: float) -> None:
        """Look again until all are there or the time is over."""
        waited = self.waited
        for digest in unknown:
            waited.pop(digest, None)
            waited[digest] = wall_ms + WAIT_AGAIN_MS
        while len(waited) > self.size:
            waited.popitem(last=False)
        end, pause = self.clock() + self.wait_s, FIRST_PAUSE_S
        while unknown and (left := end - self.clock()) > 0:
            await self.sleep(min(pause, left))
            pause *= 1.5
            await self.read(unknown, found, wall_ms)
            unknown = [digest for digest in unknown if digest not in found]


def facts_from(value: bytes) -> Facts:
    """Facts as the notes stage wrote them; names that many notes share are kept once."""
    facts = _decode(value)
    facts.channel = sys.intern(facts.channel)
    facts.tags = tuple([sys.intern(tag) for tag in facts.tags])
    return facts
