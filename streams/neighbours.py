"""The neighbours stage: one fold over by-pair keeps what is engaged with together, around each note.

    Link ─► slots (what is stored, only this stage reads it)
            └─► head (the best of them) ─────────────────────► read by the feed and by /v1/notes/{id}/similar

What a neighbour gathers and which of them stay stands in `models/neighbours.py`. A link is told to each partition that owns one of its
notes; each moves the notes that it owns, both ways between the new one and those before it. State is large and much of it changes, so that this stage commits every second or so: the same notes
come again within it, and are written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from config.keys import hash64, note_key
from config.records import Link, decode_pair
from config.settings import Settings, SettingsError
from models import neighbours
from models.neighbours import Around
from models.user import RECENT_ROW
from streams.stage import Batch, Family, Held, Out, Part, Record, StateKey, packed_batch

FAMILY = "around"
WIDTH = RECENT_ROW.size


class AroundFamily:
    """A note's neighbours by the note's key. Every signal that touches them changes both parts."""

    name = FAMILY
    parts: tuple[str, ...] = ("slots", "head")
    held = Held(600, 2)

    def __init__(self, model: neighbours.Neighbours) -> None:
        self.model = model

    def load(self, key: bytes, values: Sequence[bytes | None]) -> Around:
        return Around.decode(values[0])

    def dump(self, key: bytes, state: Around) -> Mapping[str, bytes | None]:
        if not len(state):
            return {"slots": None, "head": None}
        return {"slots": state.encode(), "head": self.model.head(state)}


class Neighbours:
    """The stage. Stateless but for settings."""

    name: ClassVar[str] = "neighbours"
    topics: ClassVar[tuple[str, ...]] = ("by-pair",)
    shared: ClassVar[str | None] = None
    followed: ClassVar[str | None] = None
    timed: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        model = made(settings)
        self.learn = model.learn
        self.families: Mapping[str, Family] = {FAMILY: AroundFamily(model)}
        self.settings_hash = f"{hash64(msgspec.json.encode(settings.neighbours)):016x}"

    def decode(self, record: Record) -> Batch:
        packed = decode_pair(record.value or b"")
        return packed_batch(packed, packed.notes, packed.signals)

    def reads(self, signal: Any, table: Any) -> tuple[StateKey, ...]:
        """The notes of this partition, the new one first, then from the newest before it on."""
        if type(signal) is not Link:
            return ()
        mask, rows = signal.m, signal.rows
        keys = [(FAMILY, note_key(signal.h))] if mask & 1 else []
        at, bit = len(rows) - WIDTH, 2
        while at >= 0:
            if mask & bit:
                keys.append((FAMILY, b"%016x" % int.from_bytes(rows[at : at + 8], "little")))
            at -= WIDTH
            bit <<= 1
        return tuple(keys)

    def lookups(self, batch: Batch) -> Sequence[int]:
        return ()

    def fold(self, part: Part, out: Out, signal: Any, table: Any, *states: Any) -> None:
        if not states:
            return
        learn, h, t, engaged, mask = self.learn, signal.h, signal.t, signal.engaged, signal.m
        before = list(RECENT_ROW.iter_unpack(signal.rows))
        d = at = len(before)
        if mask & 1:
            around = states[0]
            for other, when, _, count in before:
                learn(around, other, d, t, t - when, engaged, count)
                d -= 1
        own = iter(states[1:] if mask & 1 else states)
        for d in range(1, at + 1):
            if mask >> d & 1:
                _, when, _, count = before[at - d]
                learn(next(own), h, -d, t, t - when, count, engaged)
        out.count("link", "applied")

    def fire(self, part: Part, out: Out, deadline: int, family: str, key: bytes, state: Any) -> None:
        """Nothing here waits for a time."""


def made(settings: Settings) -> neighbours.Neighbours:
    """The neighbours of the settings. Raises `SettingsError`."""
    rules = settings.neighbours
    try:
        return neighbours.Neighbours(
            rules.slots,
            rules.head,
            rules.batch,
            rules.youth,
            rules.shrink,
            int(rules.near_seconds * 1000),
            rules.half_life_days * 86_400_000.0,
        )
    except ValueError as error:
        raise SettingsError(f"settings [neighbours]: {error}") from None


__all__ = ["Neighbours"]
