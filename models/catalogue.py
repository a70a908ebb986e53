"""A catalogue record changes a note, field by field: whatever it does not name stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from config.settings import Notes
from models.note import DELETED, MEDIA, PUBLISHED, RECORDS, STATUSES, UNKNOWN, VISIBILITIES, Note, Rules, Text
from models.ring import find


def repeated(note: Note, id: int) -> bool:
    """Whether the catalogue record of that id was here; if not, it now was."""
    key = id.to_bytes(8, "little")
    if find(note.records, key, 8) >= 0:
        return True
    note.records = (note.records + key)[-8 * RECORDS :]
    return False


def number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def change(note: Note, patch: Mapping[str, Any], deleted: bool, t: int, rules: Rules) -> None:
    """A catalogue record: the fields it has are set, null clears (RFC 7396); what cannot be empty (author, status) stays."""
    note.changed_at = t
    if deleted:
        note.status = DELETED
    elif (status := patch.get("status")) in STATUSES[1:]:
        note.status = STATUSES.index(status)
    elif note.status == UNKNOWN:
        note.status = PUBLISHED
    if "visibility" in patch:
        note.visibility = VISIBILITIES.index(patch["visibility"] or "public")
    if "media" in patch:
        note.media = MEDIA.index(patch["media"] or "")
    if patch.get("author_id"):
        note.author = patch["author_id"]
    if "channel" in patch:
        note.channel = (patch["channel"] or "").strip("/")
    if "tags" in patch:
        note.tags = tuple(dict.fromkeys(patch["tags"] or ()))[: rules.tags]
    if "city" in patch:
        note.city = patch["city"] or ""
    if "lat" in patch or "lon" in patch:
        note.lat, note.lon = patch.get("lat", note.lat), patch.get("lon", note.lon)
    if "language" in patch:
        note.language = patch["language"] or ""
    if "author_notes" in patch:
        note.author_notes = number(patch["author_notes"])
    if "author_followers" in patch:
        note.author_followers = number(patch["author_followers"])
    if note.status == PUBLISHED and not note.published_at:
        note.published_at = t


def cut(value: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, whole characters."""
    if len(value) * 4 <= limit:
        return value
    data = value.encode()
    return value if len(data) <= limit else data[:limit].decode("utf-8", "ignore")


def rewrite(text: Text, patch: Mapping[str, Any], bounds: Notes) -> bool:
    """The text's part of a catalogue record; says whether anything changed."""
    before = msgspec.structs.astuple(text)
    if "title" in patch:
        text.title = cut(patch["title"] or "", bounds.title_bytes)
    if "body" in patch:
        text.body = cut(patch["body"] or "", bounds.body_bytes)
    if "cover_url" in patch:
        text.cover_url = cut(patch["cover_url"] or "", bounds.url_bytes)
    if "images" in patch:
        text.images = [cut(image, bounds.url_bytes) for image in (patch["images"] or ())[: bounds.images]]
    if "duration_s" in patch:
        text.duration_s = None if patch["duration_s"] is None else float(patch["duration_s"])
    if "place" in patch:
        text.place = cut(patch["place"] or "", bounds.title_bytes)
    if "products" in patch:
        text.products = [cut(product, bounds.url_bytes) for product in (patch["products"] or ())[: bounds.products]]
    return before != msgspec.structs.astuple(text)
