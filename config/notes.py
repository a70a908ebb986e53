"""The catalogue's schema: how bytes become valid changes of notes.

A record changes the fields it has (RFC 7396: absent = unchanged, null = cleared); a Kafka tombstone deletes. Whether a first record names
its author is for the notes stage to say, which knows what came before.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from config.decode import BYTES, DAY_MS, Fault, Latitude, Longitude, OwnId, Reader, Rejected, Tag, Time, milliseconds, oversize, reserved
from config.keys import hash64

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Address = Annotated[str, Meta(max_length=2_048)]
Total = Annotated[int, Meta(ge=0, le=2**53)]


class Note(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A change of a note. Unknown fields are ignored; absent fields stay as they are, null clears."""

    note_id: OwnId | None = None
    event_id: Annotated[OwnId, Meta(description="of this change: idempotency key")] | None = None
    timestamp: Annotated[Time, Meta(description="of this change")] | None = None
    author_id: OwnId | UnsetType = UNSET
    status: Literal["published", "under_review", "rejected", "deleted"] | None | UnsetType = UNSET
    visibility: Literal["public", "followers", "private"] | None | UnsetType = UNSET
    title: Annotated[str, Meta(max_length=500)] | None | UnsetType = UNSET
    body: Annotated[str, Meta(max_length=20_000)] | None | UnsetType = UNSET
    tags: Annotated[list[Tag], Meta(max_length=64)] | None | UnsetType = UNSET
    channel: Annotated[Name, Meta(description="category, with slashes: beauty/skincare")] | None | UnsetType = UNSET
    media: Literal["image", "video"] | None | UnsetType = UNSET
    cover_url: Address | None | UnsetType = UNSET
    images: Annotated[list[Address], Meta(max_length=50)] | None | UnsetType = UNSET
    duration_s: Annotated[float, Meta(ge=0, le=1e7)] | None | UnsetType = UNSET
    place: Name | None | UnsetType = UNSET
    city: Name | None | UnsetType = UNSET
    lat: Latitude | None | UnsetType = UNSET
    lon: Longitude | None | UnsetType = UNSET
    language: Annotated[str, Meta(max_length=35)] | None | UnsetType = UNSET
    products: Annotated[list[Name], Meta(max_length=50)] | None | UnsetType = UNSET
    author_notes: Annotated[Total, Meta(description="how many notes the author has")] | None | UnsetType = UNSET
    author_followers: Total | None | UnsetType = UNSET


FIELDS = tuple(name for name in Note.__struct_fields__ if name not in ("note_id", "event_id", "timestamp"))
"""What a patch may hold."""

_IN_BYTES = ("note_id", "event_id", "author_id", "channel", "city", "place")
_reader = Reader(Note)
encode_note = msgspec.json.Encoder().encode
"""A valid change as it goes to Kafka, without fields unknown here."""


def decode_notes(raw: bytes, now_ms: int, max_bytes: int, collect: bool = False) -> list[Note | Rejected]:
    """What a record holds, place by place: valid changes, and what is wrong with the others. See `config.events.decode_events`."""
    places, plain = _reader.read(raw, max_bytes)
    for index, note in enumerate(places):
        if isinstance(note, Note):
            fault = wrong(note, now_ms, plain)
            if fault is not None:
                places[index] = Rejected(*fault, index, note.event_id)
            elif collect:
                note.event_id = id_of(note, f"{now_ms}/{index}")
                if note.timestamp is None:
                    note.timestamp = now_ms
    return places


def wrong(note: Note, now_ms: int, plain: bool) -> Fault | None:
    """What types alone do not say; makes the timestamp milliseconds on the way."""
    if note.note_id is None:
        return "missing_field", "note_id"
    for name in ("note_id", "event_id", "author_id"):
        value = getattr(note, name)
        if value and value[0] == "_":
            return reserved(name)
    channel = note.channel
    if type(channel) is str and "" in channel.split("/"):
        return "bad_field", "channel: names between slashes, none of them empty"
    lat, lon = note.lat, note.lon
    if (lat is UNSET) != (lon is UNSET) or (lat is None) != (lon is None):
        return "missing_field", "lon: lat and lon change together" if lon is UNSET or lon is None else "lat: lat and lon change together"
    if note.timestamp is not None:
        note.timestamp = time = milliseconds(note.timestamp)
        if time < 0:
            return "bad_field", "timestamp: before 1970"
        if time > now_ms + DAY_MS:
            return "future_timestamp", f"timestamp: {time} is more than a day ahead of {now_ms}"
    if not plain:
        for field, texts in (("tags", note.tags), ("products", note.products)):
            for place, text in enumerate(texts or ()):
                if len(text.encode()) > BYTES:
                    return "bad_field", f"{field}[{place}]: longer than {BYTES} bytes"
        return oversize(note, _IN_BYTES)
    return None


def deleted_note(key: bytes | None) -> str | Fault:
    """The note a tombstone deletes: its key; or what is wrong with it."""
    if not key:
        return "missing_field", "note_id: a tombstone needs it as its key"
    try:
        note_id = key.decode()
    except UnicodeDecodeError as error:
        return "not_utf8", f"note_id (the key): byte {error.start}: {error.reason}"
    if len(key) > BYTES:
        return "bad_field", f"note_id (the key): longer than {BYTES} bytes"
    return reserved("note_id") if note_id[0] == "_" else note_id


def patch_of(note: Note) -> dict[str, Any]:
    """The fields the change has; None clears."""
    return {name: value for name in FIELDS if (value := getattr(note, name)) is not UNSET}


def id_of(note: Note, place: str) -> str:
    """The id given, or one derived from what the change says and when (without a timestamp: from where it stands in its log)."""
    if note.event_id is not None:
        return note.event_id
    what = encode_note(note) if note.timestamp is not None else f"{note.note_id}\0{place}".encode()
    return f"{hash64(what):016x}"


def schema_note() -> dict[str, Any]:
    """JSON Schema of a change of a note, from the Struct above."""
    schema = msgspec.json.schema(Note)
    note = schema.pop("$defs").pop("Note")
    note["properties"]["note_id"] = note["properties"]["note_id"]["anyOf"][0]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **note,
        "required": ["note_id"],
        "dependentRequired": {"lat": ["lon"], "lon": ["lat"]},
    }
