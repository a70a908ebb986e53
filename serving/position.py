"""Positions that `POST` hands out and `after=` waits for: read your own writes, at most 250 ms.

A position says where events stand in the public log, and which partition of the internal one they concern: so that a reader waits
for what concerns his key, and for nothing else. It is opaque to clients, and worth nothing to a forger: it only makes him wait.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from time import monotonic
from typing import Literal

import msgspec

from config.keys import Slot
from config.settings import Feed
from config.topics import STAGES, full
from serving.clock import StreamClock, partition_state
from serving.keys import Keys
from store.base import Store
from store.layout import PartitionState, checkpoint_from


class Place(msgspec.Struct, array_like=True, frozen=True):
    """A record of a public log."""

    stage: Literal["users", "notes"]
    """whose partition it concerns"""
    partition: int
    topic: str
    """short name"""
    log_partition: int
    offset: int


class BadPosition(ValueError):
    """Not one of ours."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Place]).decode
MOST = 500
OFFSET = attrgetter("offset")
WHOLE = 1 << 62
"""As an index: behind every step of a record."""

Log = tuple[str, int]
"""Short topic name and partition."""
Step = tuple[int, int, int]


def position_text(places: Iterable[Place]) -> str:
    """The newest place for each partition concerned."""
    newest: dict[tuple[str, int, str, int], Place] = {}
    for place in places:
        key = (place.stage, place.partition, place.topic, place.log_partition)
        if key not in newest or newest[key].offset < place.offset:
            newest[key] = place
    return base64.urlsafe_b64encode(_encode([newest[key] for key in sorted(newest)])).rstrip(b"=").decode()


def position_from(text: str) -> list[Place]:
    """Raises `BadPosition`."""
    try:
        places = _decode(base64.b64decode(text.encode() + b"=" * (-len(text) % 4), b"-_", validate=True))
    except (binascii.Error, UnicodeEncodeError, msgspec.DecodeError):
        raise BadPosition("after: not a position of ours") from None
    if len(places) > MOST:
        raise BadPosition("after: not a position of ours")
    return places


class Waiter:
    """Waits until the state of a partition contains a position.

    What a stage has applied of another log stands in its marks: names of sources and the end of the last range applied. What it has
    applied of its own log is its checkpoint. An event reaches notes by way of users: first its user's partition must have it, and then the
    note's partition the last that the user's had told it by then. (Not all that it had told anybody: of that the note's partition hears
    nothing, and would be waited for in vain.)
    """

    def __init__(self, store: Store, clock: StreamClock, rules: Feed, prefix: str) -> None:
        self.store, self.clock, self.prefix = store, clock, prefix
        self.longest, self.every = rules.after_ms / 1000.0, rules.poll_ms / 1000.0

    async def wait(self, keys: Keys, stage: str, digest: int, places: Sequence[Place]) -> bool:
        """Until the partition of `digest` has applied all places that concern it; False when the time was over."""
        manifest = keys.manifest
        until = monotonic() + self.longest
        own = digest % manifest.count(stage)
        direct = {
            (p.topic, p.log_partition): (p.offset, WHOLE, 0) for p in sorted(places, key=OFFSET) if p.stage == stage and p.partition == own
        }
        if direct and await self.applied(manifest.at(stage, own), stage, direct, until) is None:
            return False
        if stage != "notes":
            return True
        by_partition: dict[int, dict[Log, Step]] = {}
        for place in sorted(places, key=OFFSET):
            if place.stage == "users" and place.partition < manifest.count("users"):
                by_partition.setdefault(place.partition, {})[place.topic, place.log_partition] = (place.offset, WHOLE, 0)
        onward: dict[Log, Step] = {}
        for partition, theirs in sorted(by_partition.items()):
            state = await self.applied(manifest.at("users", partition), "users", theirs, until)
            if state is None:
                return False
            if own in state.told:
                onward["by-user", partition] = state.told[own]
        return not onward or await self.applied(manifest.at("notes", own), "notes", onward, until) is not None

    async def applied(self, slot: Slot, stage: str, steps: Mapping[Log, Step], until: float) -> PartitionState | None:
        """The partition's state once it has applied these steps and all before them; None when the time was over before."""
        own_topic = STAGES[stage][0]
        ends = {f"/{full(self.prefix, topic)}/{partition}": step for (topic, partition), step in steps.items()}
        own = ends.pop(f"/{full(self.prefix, own_topic)}/{slot.partition}", None)
        while True:
            value, checkpoint = await self.store.read([slot.ledger, slot.checkpoint])
            state = partition_state(value)
            if state is not None and checkpoint is not None:
                self.clock.saw(state.clock, state.appended)
                # A mark is the end of a range, as a checkpoint is: (offset + 1, 0, 0) once the whole record is applied.
                marks = state.marks.items()
                if (own is None or checkpoint_from(checkpoint)[1] > own) and all(
                    any(name.endswith(end) and mark > step for name, mark in marks) for end, step in ends.items()
                ):
                    return state
            if monotonic() >= until:
                return None
            await asyncio.sleep(self.every)
