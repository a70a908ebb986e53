"""The lists stage: one fold over by-list keeps bounded sorted lists of notes, and what each channel's notes have to pass.

    Score ────► the list's head, sorted ─────────────────────────────► read by the feed
    Evidence ─► the channel's recent notes ─► timer ─► Bars ─► every partition of by-note

What the lists are and what their scores mean stands in `models/lists.py`; how bars are fitted, in `models/quality.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from config.keys import hash64
from config.records import Bars, Evidence, Score, decode_list
from config.settings import Settings, SettingsError
from models import pool, quality
from models.lists import OnePerAuthor, Ranked
from streams.stage import Batch, Family, Held, Out, Part, Record, StateKey, packed_batch

encode = msgspec.msgpack.Encoder().encode
to_json = msgspec.json.Encoder().encode

CHANNEL = "channel:"


class ListFamily:
    """Lists by score alone: the head is the state."""

    name = "list"
    parts: tuple[str, ...] = ("head",)
    held = Held(100)

    def __init__(self, bound: int, pool_bound: int) -> None:
        self.bound, self.pool_bound = bound, pool_bound

    def load(self, key: bytes, values: Sequence[bytes | None]) -> Ranked:
        return Ranked(values[0] or b"", self.pool_bound if key.startswith(b"pool:") else self.bound)

    def dump(self, key: bytes, state: Ranked) -> Mapping[str, bytes | None]:
        if not state.dirty:
            return {}
        state.dirty = False
        return {"head": bytes(state.head) or None}


class HotFamily:
    """Hot lists: one note per author in the head; `rest` holds the head's authors and the notes behind them."""

    name = "hot"
    parts: tuple[str, ...] = ("head", "rest")
    held = Held(300)

    def __init__(self, bound: int) -> None:
        self.bound = bound

    def load(self, key: bytes, values: Sequence[bytes | None]) -> OnePerAuthor:
        return OnePerAuthor(values[0] or b"", values[1] or b"", self.bound)

    def dump(self, key: bytes, state: OnePerAuthor) -> Mapping[str, bytes | None]:
        if not state.dirty:
            return {}
        state.dirty = False
        return {"head": bytes(state.head) or None, "rest": state.rest or None}


class Channel(msgspec.Struct, array_like=True):
    """A channel's recent notes, and when its bars may be published next."""

    recent: quality.Recent
    published_at: int = 0
    """when the last bars left, epoch ms"""
    timer: int = 0
    """the deadline that is set, 0 none"""
    version: int = 1


class Window:
    """A channel in memory."""

    __slots__ = ("channel", "dirty")

    def __init__(self, channel: Channel) -> None:
        self.channel, self.dirty = channel, False


decode_channel = msgspec.msgpack.Decoder(Channel).decode


class ChannelFamily:
    """Channels, by name; the empty one speaks for all notes."""

    name = "channel"
    parts: tuple[str, ...] = ("window",)
    held = Held(0, 4)

    def load(self, key: bytes, values: Sequence[bytes | None]) -> Window:
        if values[0] is not None:
            return Window(decode_channel(values[0]))
        return Window(Channel(quality.Recent(key.decode())))

    def dump(self, key: bytes, state: Window) -> Mapping[str, bytes | None]:
        if not state.dirty:
            return {}
        state.dirty = False
        return {"window": encode(state.channel)}


class Lists:
    """The stage. Stateless but for settings."""

    name: ClassVar[str] = "lists"
    topics: ClassVar[tuple[str, ...]] = ("by-list",)
    shared: ClassVar[str | None] = None
    followed: ClassVar[str | None] = None
    timed: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        try:
            self.rules = pool.configured(settings)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        section = settings.lists
        self.wait_ms = int(section.bars_seconds * 1000)
        self.families: Mapping[str, Family] = {
            "list": ListFamily(section.head, section.pool_head),
            "hot": HotFamily(section.hot_head),
            "channel": ChannelFamily(),
        }
        self.settings_hash = f"{hash64(to_json((section, settings.pool))):016x}"

    def decode(self, record: Record) -> Batch:
        packed = decode_list(record.value or b"")
        return packed_batch(packed, packed.notes, packed.signals)

    def reads(self, signal: Any, table: Any) -> tuple[StateKey, ...]:
        kind = type(signal)
        if kind is Score:
            name = signal.name
            return (("hot" if name == "hot" or name.startswith("hot:") else "list", name.encode()),)
        if kind is Evidence:
            return (("channel", signal.name.removeprefix(CHANNEL).encode()),)
        return ()

    def lookups(self, batch: Batch) -> Sequence[int]:
        return ()

    def fold(self, part: Part, out: Out, signal: Any, table: Any, *states: Any) -> None:
        kind = type(signal)
        if kind is Score:
            states[0].put(signal.h, signal.score, signal.a)
            out.count("score", "applied")
        elif kind is Evidence:
            self.learn(part, out, signal, states[0])
            out.count("evidence", "applied")

    def learn(self, part: Part, out: Out, signal: Evidence, window: Window) -> None:
        """A note ended a tier: its channel's bars are fitted anew, a minute after the last ones at the earliest, and not by a few notes."""
        channel = window.channel
        channel.recent.add(signal.h, signal.tier, quality.decode_evidence(signal.body), self.rules.prior)
        window.dirty = True
        if not channel.timer and pool.ripe(channel.recent, self.rules):
            channel.timer = max(part.now + 1, channel.published_at + self.wait_ms)
            out.timer("channel", signal.name.removeprefix(CHANNEL).encode(), channel.timer)

    def fire(self, part: Part, out: Out, deadline: int, family: str, key: bytes, state: Any) -> None:
        """Bars are due."""
        channel: Channel = state.channel
        channel.timer, channel.published_at = 0, part.now
        state.dirty = True
        bars = pool.publish(channel.recent, self.rules)
        out.everywhere("by-note", Bars(channel=bars.channel, version=bars.number, t=part.now, body=quality.encode(bars)))
        out.count("bars", "published")


__all__ = ["Lists"]
