"""What the notes stage keeps in memory, and the bytes of it: notes with what the API reads of them, their texts, and what is known of channels."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from config.keys import hash64
from models import judgement, lists, pool, quality
from models import note as notes
from models.note import UNKNOWN, Note, Tally, Text, Transition, decode_tallies
from models.scores import placement_of
from store.layout import NOTE, NOTE_VERSION, POOL_STATES
from streams.stage import Held

encode = msgspec.msgpack.Encoder().encode

STANDING = struct.Struct("<BBBBbB2sQQQQff8Qq")
"""`store.layout.NOTE` up to published_at: what only catalogue records and pool moves change."""
MOVING = struct.Struct("<q14IIIIIqq4f")
"""Up to heat: what signals change."""
JUDGED = struct.Struct("<3fff")
"""The rest: what only looks and moves change."""
assert STANDING.size + MOVING.size + JUDGED.size == NOTE.itemsize

POOL_CODE = {
    pool.OPEN: POOL_STATES.index("running"),
    pool.HELD: POOL_STATES.index("held"),
    pool.STOPPED: POOL_STATES.index("stopped"),
    pool.EXPIRED: POOL_STATES.index("expired"),
    pool.PAUSED: POOL_STATES.index("paused"),
    pool.DELETED: 0,
}
CROWD = 2**32 - 1
log2, NONE = math.log2, -math.inf


class Kept:
    """A note in memory: its state, its moves, what follows from its facts, and what must be written."""

    __slots__ = ("author", "digest", "dirty", "facts_dirty", "groups", "judged", "moves", "moves_dirty", "note", "standing", "stored")

    def __init__(self, digest: int, note: Note, moves: list[Transition], stored: bool) -> None:
        self.digest, self.note, self.moves, self.stored = digest, note, moves, stored
        self.dirty = self.facts_dirty = self.moves_dirty = False
        self.restand()

    def restand(self) -> None:
        """Facts, status or pool have changed: what follows from them is made anew when it is wanted."""
        self.standing: bytes | None = None
        self.judged: tuple[int, int, int, bytes] | None = None
        self.groups: list[tuple[tuple[str, int], ...] | None] = [None] * 4
        self.author = hash64(self.note.author) if self.note.author else 0


def stand(kept: Kept) -> bytes:
    """The standing part of the projection."""
    note, place = kept.note, kept.note.pool
    tags = [hash64(tag) for tag in note.tags[:8]]
    located = note.lat is not None and note.lon is not None
    running = place is not None and place.state in (pool.OPEN, pool.HELD, pool.STOPPED, pool.EXPIRED, pool.PAUSED)
    return STANDING.pack(
        NOTE_VERSION, note.status, note.visibility, note.media,
        place.tier if place is not None and running else -1,
        POOL_CODE[place.state] if place is not None else 0,
        note.language.lower().encode()[:2],
        kept.digest, kept.author,
        hash64(note.channel) if note.channel else 0,
        hash64(lists.cell(note.lat, note.lon)) if note.lat is not None and note.lon is not None else 0,
        note.lat if located else math.nan,
        note.lon if located else math.nan,
        *tags, *([0] * (8 - len(tags))),
        note.published_at,
    )  # fmt: skip


def project(kept: Kept, rules: notes.Rules) -> bytes:
    """The note as the API reads it by the hundred: `store.layout.NOTE`."""
    note = kept.note
    standing = kept.standing
    if standing is None:
        standing = kept.standing = stand(kept)
    judged = kept.judged
    if judged is None:
        judged = kept.judged = judge(kept, rules)
    entered, deadline, ends, tail = judged
    base, heats, half_lives = note.base - lists.EPOCH, note.heats, rules.half_lives
    organic = note.counted[0]
    paid = note.paid[0] if note.paid else 0
    left = ends - organic if ends > organic else 0
    served = max(0, note.served)
    h0, h1, h2, h3, _, _ = heats
    l0, l1, l2, l3 = half_lives
    warm = (
        log2(h0) + base / l0 if h0 > 0.0 else NONE,
        log2(h1) + base / l1 if h1 > 0.0 else NONE,
        log2(h2) + base / l2 if h2 > 0.0 else NONE,
        log2(h3) + base / l3 if h3 > 0.0 else NONE,
    )
    try:
        moving = MOVING.pack(note.engaged_at, *note.counts, organic, paid, served, left, entered, deadline, *warm)
    except struct.error:  # a counter out of range: taken back before it was counted
        counts = [min(max(n, 0), CROWD) for n in (*note.counts, organic, paid, served, left)]
        moving = MOVING.pack(note.engaged_at, *counts, entered, deadline, *warm)
    return standing + moving + tail


def judge(kept: Kept, rules: notes.Rules) -> tuple[int, int, int, bytes]:
    """What only looks and moves change: when the tier was entered and ends, at how many exposures; quality, order of placement, rate."""
    note, place = kept.note, kept.note.pool
    mean = low = high = 0.0
    if note.quality is not None:
        found = quality.Quality(*note.quality)
        mean, low, high = found.mean, found.low, found.high
    tail = JUDGED.pack(mean, low, high, placement_of(note, rules) or 0.0, note.rate)
    if place is None:
        return 0, 0, 0, tail
    return place.entered, pool.next_deadline(place) or 0, judgement.ends(place, rules.pool), tail


class NoteFamily:
    """Notes: the state, its moves, and two projections, each in a key of its own. See `models/note.py`."""

    name = "note"
    parts: tuple[str, ...] = ("state", "moves", "note", "facts")
    held = Held(3_600)

    def __init__(self, rules: notes.Rules) -> None:
        self.rules = rules

    def load(self, key: bytes, values: Sequence[bytes | None]) -> Kept:
        state, moves = values[0], values[1]
        note = notes.decode(state) if state is not None else Note()
        return Kept(int(key, 16), note, notes.decode_moves(moves) if moves is not None else [], state is not None)

    def dump(self, key: bytes, state: Kept) -> Mapping[str, bytes | None]:
        if not state.dirty:
            return {}
        note = state.note
        state.dirty = False
        if not note.since:
            state.facts_dirty = state.moves_dirty = False
            stored, state.stored = state.stored, False
            return dict.fromkeys(self.parts) if stored else {}
        values: dict[str, bytes | None] = {}
        state.stored = True
        if note.status != UNKNOWN:
            values["note"] = project(state, self.rules)
            if state.facts_dirty:
                state.facts_dirty = False
                values["facts"] = encode(notes.facts_of(note))
            if state.moves_dirty:
                state.moves_dirty = False
                values["moves"] = encode(state.moves)
        values["state"] = encode(note)
        return values


class Page:
    """A note's text in memory."""

    __slots__ = ("dirty", "text")

    def __init__(self, text: Text) -> None:
        self.text, self.dirty = text, False


class TextFamily:
    """Text, read by the API for the notes it shows, and by this stage with catalogue records only."""

    name = "text"
    parts: tuple[str, ...] = ("text",)
    held = Held(300)

    def load(self, key: bytes, values: Sequence[bytes | None]) -> Page:
        return Page(notes.decode_text(values[0]) if values[0] is not None else Text())

    def dump(self, key: bytes, state: Page) -> Mapping[str, bytes | None]:
        if not state.dirty:
            return {}
        state.dirty = False
        return {"text": encode(state.text) if state.text != Text() else None}


class Bar(msgspec.Struct, array_like=True):
    """The bars of one channel, as they came."""

    channel: str
    version: int
    body: bytes


decode_known = msgspec.msgpack.Decoder(list[Bar]).decode


class Known:
    """What a partition knows beside its notes: the channels' bars, and its part of the pools' totals."""

    def __init__(self, bars: Iterable[Bar], tallies: list[Tally], rules: notes.Rules) -> None:
        self.rules = rules
        self.first = pool.first_bars("", rules.pool)
        self.bars = {bar.channel: bar for bar in bars}
        self.tallies = tallies
        while len(tallies) < len(rules.pool.tiers):
            tallies.append(Tally())
        self.found: dict[str, tuple[quality.Bars, float]] = {}
        self.bars_dirty = self.tallies_dirty = False

    def put(self, bar: Bar, bound: int) -> None:
        """Newer bars replace older ones; beyond `bound` channels the longest silent one leaves."""
        self.bars.pop(bar.channel, None)
        self.bars[bar.channel] = bar
        if len(self.bars) > bound:
            del self.bars[next(iter(self.bars))]
        self.found.clear()
        self.bars_dirty = True

    def of(self, channel: str) -> tuple[quality.Bars, float]:
        """The bars of the channel, else of the nearest prefix, else of all notes, else those of the settings; and the log value
        of a note of which nothing else is known."""
        found = self.found.get(channel)
        if found is None:
            found = self.found[channel] = self.find(channel)
            if len(self.found) > 10_000:
                del self.found[next(iter(self.found))]
        return found

    def find(self, channel: str) -> tuple[quality.Bars, float]:
        made = self.rules.pool
        chosen = self.first
        for name in ("", *lists.channels(channel)):
            if name in self.bars:
                bars = quality.decode_bars(self.bars[name].body)
                if len(bars.cuts) == len(made.tiers):  # else they were fitted to another ladder
                    chosen = bars
        return chosen, quality.assess(quality.Evidence(), chosen, self.rules.worth).log


class KnownFamily:
    """The one shared object of a partition."""

    name = "bars"
    parts: tuple[str, ...] = ("bars", "pools")
    held = Held()

    def __init__(self, rules: notes.Rules) -> None:
        self.rules = rules

    def load(self, key: bytes, values: Sequence[bytes | None]) -> Known:
        bars, tallies = values
        return Known(
            decode_known(bars) if bars is not None else (),
            decode_tallies(tallies) if tallies is not None else [],
            self.rules,
        )

    def dump(self, key: bytes, state: Known) -> Mapping[str, bytes | None]:
        values: dict[str, bytes | None] = {}
        if state.bars_dirty:
            values["bars"] = encode(list(state.bars.values()))
        if state.tallies_dirty:
            values["pools"] = encode(state.tallies)
        state.bars_dirty = state.tallies_dirty = False
        return values
