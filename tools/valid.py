"""What intake would say of one line, before it is sent."""

from __future__ import annotations

from collections.abc import Iterable

from config.decode import Rejected
from config.events import EventRules, decode_events
from config.notes import decode_notes
from config.settings import Settings


def event_fault(body: bytes, now_ms: int, settings: Settings) -> str | None:
    """``code: message`` of the first place that would be dead-lettered; None for a good one."""
    events = settings.events
    return first(decode_events(body, now_ms, EventRules(events.aliases, events.max_record_bytes)))


def note_fault(body: bytes, now_ms: int, settings: Settings) -> str | None:
    return first(decode_notes(body, now_ms, settings.events.max_record_bytes))


def first(places: Iterable[object]) -> str | None:
    for place in places:
        if isinstance(place, Rejected):
            return f"{place.code}: {place.message}"
    return None
