"""Intake: where the outside ends. Public records in; valid, split, dated acts and changes out; the rest to the dead letters.

Keeps no state. What a later stage must not look up is added here, once: effective times, ids that were not given, the facts of
the note. A place of a record that is not valid is a signal too, in its own position, so that positions do not depend on what comes of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from config import probe
from config.decode import AHEAD_MS, Rejected
from config.events import TRAFFIC, TYPES, Event, EventRules, decode_events, id_of, user_of
from config.keys import hash64
from config.notes import Note, decode_notes, deleted_note, patch_of
from config.notes import id_of as note_change_id
from config.records import Act, Extra, Facts, NoteChange, Personalize, Probe
from config.settings import Settings, digest
from streams.dead import first_try
from streams.stage import Batch, Family, Out, Part, Record, StateKey

IMPRESSION, SETTINGS = TYPES.index("impression"), TYPES.index("settings")
TRAFFIC_INDEX: dict[str | None, int] = {None: 0, **{name: index for index, name in enumerate(TRAFFIC)}}
TYPE_NAMES = frozenset(TYPES)


new = tuple.__new__
"""A named tuple's own constructor takes twice as long."""
digest_of = lru_cache(65_536)(hash64)
"""Cached: the same users and notes come all the time."""


class Arrival(msgspec.Struct, gc=False):
    """A valid act on its way, before its note's facts are known."""

    t: int
    act: Act
    note: str = ""
    h: int = 0
    """note hash"""
    index: int = 0
    """place in the record's array"""


class Switch(msgspec.Struct, gc=False):
    """`settings`: profile and learning on or off."""

    t: int
    signal: Personalize


class Change(msgspec.Struct, gc=False):
    """A valid catalogue change on its way."""

    t: int
    change: NoteChange
    note: str


class Intake:
    """The stage. `lookups` names the notes whose facts `fold` wants."""

    name: ClassVar[str] = "intake"
    topics: ClassVar[tuple[str, ...]] = ("events", "notes")
    families: Mapping[str, Family] = {}
    shared: ClassVar[str | None] = None
    followed: ClassVar[str | None] = None
    timed: ClassVar[bool] = False
    wants_facts: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        events = settings.events
        self.rules = EventRules(events.aliases, events.max_record_bytes)
        self.settings_hash = digest(events)

    # ---------------------------------------------------------------------------------------------------------- decode

    def decode(self, record: Record) -> Batch:
        """A public record, split: the places of its array in order, and the notes of a batched impression one by one."""
        signals: list[Any] = self.changes(record) if record.topic == "notes" else self.acts(record)
        beat = len(signals) == 1 and type(signals[0]) is Probe
        return new(Batch, (signals, None, None, None, 0, 0 if beat else record.timestamp, None))

    def acts(self, record: Record) -> list[Any]:
        if record.key == probe.USER:
            beat = probe.probe_of(record.value or b"")
            if beat is not None:
                return [beat]
        if record.value is None:
            return [Rejected("not_json", "an empty record")]
        appended = record.timestamp
        latest = appended + AHEAD_MS
        kinds = self.rules.kinds
        signals: list[Any] = []
        for index, event in enumerate(decode_events(record.value, appended, self.rules)):
            if type(event) is not Event:
                signals.append(event)
                continue
            event_id = event.event_id
            if event_id is None:
                event_id = id_of(event, f"{place_of(record)}/{index}") if event.timestamp is None else id_of(event, "")
            kind = kinds[event.type or ""]
            time: Any = event.timestamp
            if time is None:
                time = appended
            elif time > latest:
                time = latest
            user = event.user_id
            if user is None:
                user = user_of(event)
            position = event.position
            if kind == SETTINGS and event.personalized is not None:
                signals.append(Switch(time, Personalize(0, 0, 0, user, time, hash64(event_id), event.personalized)))
            elif kind == IMPRESSION and event.items:
                signals.extend(shown(event, user, time, event_id, index))
            else:
                act = Act(
                    0, 0, 0, user, kind, time, hash64(event_id), -1, event.request_id or "", -1 if position is None else position,
                    TRAFFIC_INDEX[event.traffic], extra_of(event),
                )  # fmt: skip
                note = event.note_id
                signals.append(Arrival(time, act) if note is None else Arrival(time, act, note, digest_of(note), index))
        return signals

    def changes(self, record: Record) -> list[Any]:
        appended = record.timestamp
        if record.value is None:
            note_id = deleted_note(record.key)
            if type(note_id) is not str:
                return [Rejected(*note_id)]
            event_id = hash64(f"{note_id}\0{place_of(record)}")
            return [Change(appended, NoteChange(0, 0, 0, 0, appended, event_id, {}, True), note_id)]
        signals: list[Any] = []
        for index, note in enumerate(decode_notes(record.value, appended, self.rules.max_record_bytes)):
            signals.append(note if isinstance(note, Rejected) else change_of(note, appended, f"{place_of(record)}/{index}"))
        return signals

    def reads(self, signal: Any, table: Any) -> tuple[StateKey, ...]:
        return ()

    def lookups(self, batch: Batch) -> Sequence[int]:
        """Hashes of the notes that acts of the batch name, each once."""
        signals = batch.signals
        if len(signals) == 1:  # most records hold one
            signal = signals[0]
            return (signal.h,) if type(signal) is Arrival and signal.note else ()
        return list({signal.h: None for signal in signals if type(signal) is Arrival and signal.note})

    # ------------------------------------------------------------------------------------------------------------ fold

    def fold(self, part: Part, out: Out, signal: Any, table: Any, *states: Any) -> None:
        kind = type(signal)
        if kind is Arrival:
            act, note = signal.act, signal.note
            if not note:
                out.tell("by-user", digest_of(act.u), act)
                out.count(TYPES[act.k], "applied")
                return
            facts = part.facts.get(signal.h)
            if facts is None:
                out.tell("by-user", digest_of(act.u), act, Facts(note))
                out.count(TYPES[act.k], "unknown_note")
            elif facts.id == note:
                out.tell("by-user", digest_of(act.u), act, facts)
                out.count(TYPES[act.k], "applied")
            else:
                out.dead("hash_collision", f"note_id: has the hash of {facts.id}", signal.index)
                out.count(TYPES[act.k], "rejected")
        elif kind is Change:
            out.tell("by-note", hash64(signal.note), signal.change, signal.note)
            out.count("note", "applied")
        elif kind is Switch:
            out.tell("by-user", hash64(signal.signal.u), signal.signal)
            out.count("settings", "applied")
        elif kind is Probe:
            out.tell("by-user", signal.k, signal)
            out.count("probe", "applied")
        else:
            out.dead(signal.code, signal.message, signal.index)
            # Only known names become labels: the outside must not make time series.
            out.count(signal.type if signal.type in TYPE_NAMES else "other", "rejected")

    def fire(self, part: Part, out: Out, deadline: int, family: str, key: bytes, state: Any) -> None:
        raise NotImplementedError("intake sets no timers")


def place_of(record: Record) -> str:
    """Where the record stood at its first try: what ids are derived from when neither id nor timestamp was given."""
    first = first_try(record)
    return first.decode(errors="replace") if first is not None else f"{record.topic}/{record.partition}/{record.offset}"


def shown(event: Event, user: str, time: int, event_id: str, index: int) -> list[Arrival]:
    """The acts of a batched impression, one per item; a `note_id` beside the items is not another one."""
    traffic, request, common = TRAFFIC_INDEX[event.traffic], event.request_id or "", extra_of(event)
    arrivals = []
    for place, item in enumerate(event.items or ()):
        extra = common
        if item.visible_ms is not None:
            extra = Extra() if common is None else msgspec.structs.replace(common)
            extra.dwell_ms = item.visible_ms
        position = -1 if item.position is None else item.position
        digest = hash64(f"{event_id}\0{place}")
        act = Act(0, 0, 0, user, IMPRESSION, time, digest, -1, request, position, traffic, extra)
        arrivals.append(Arrival(time, act, item.note_id, hash64(item.note_id), index))
    return arrivals


def extra_of(event: Event) -> Extra | None:
    """What few events carry; None when there is nothing of it: one chain of tests, since most have none."""
    if (
        event.surface is None and event.dwell_ms is None and event.completion is None and event.author_id is None
        and event.comment_id is None and event.scope is None and event.reason is None and event.tags is None and event.lat is None
        and event.lon is None and event.city is None and event.query is None and event.product_id is None and event.order_id is None
        and event.quantity is None and event.value is None and event.currency is None
    ):  # fmt: skip
        return None
    return Extra(
        event.dwell_ms, event.completion, event.author_id, event.comment_id, event.scope, event.reason, tuple(event.tags or ()),
        event.lat, event.lon, event.city, event.query, event.surface, event.product_id, event.order_id, event.quantity, event.value,
        event.currency,
    )  # fmt: skip


def change_of(note: Note, appended: int, place: str) -> Change:
    """A valid change, dated."""
    given: Any = note.timestamp
    time = appended if given is None else min(given, appended + AHEAD_MS)
    note_id = note.note_id or ""
    return Change(time, NoteChange(0, 0, 0, 0, time, hash64(note_change_id(note, place)), patch_of(note)), note_id)
