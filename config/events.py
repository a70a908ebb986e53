"""The public schema: event types, actions, and how bytes become valid events.

TYPES, ACTIONS and the other tuples are indexed by small integers in internal records: append to them, never reorder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from config.decode import (
    BYTES,
    DAY_MS,
    Fault,
    Id,
    Latitude,
    Longitude,
    OwnId,
    Reader,
    Rejected,
    Tag,
    Time,
    milliseconds,
    oversize,
    reserved,
)
from config.keys import hash64
from config.settings import SettingsError

TYPES = (
    "impression", "click", "view", "like", "unlike", "collect", "uncollect", "comment", "uncomment", "share", "unshare",
    "hide", "unhide", "report", "follow", "unfollow", "block", "unblock", "profile_view", "signup", "locate", "search",
    "settings", "product_click", "add_to_cart", "order", "purchase",
)  # fmt: skip
"""Public event types."""

RESERVED_TYPES = ("served", "forget", "erase")
"""Written by the API into by-user; refused from outside."""

ACTIONS = (
    "impression", "click", "view", "finish", "like", "collect", "comment", "share", "follow", "hide", "report",
    "product_click", "add_to_cart", "purchase",
)  # fmt: skip
"""What is counted of a note: distinct users per action. At most 16: the ledger keeps one bit for each."""

PREDICTED = ("click", "finish", "like", "collect", "comment", "share", "follow", "hide")
"""The actions a scorer predicts, in the order of `Slate.predictions` and `NoteAct.e`: rates per exposure."""

ENGAGEMENTS = ("click", "view", "like", "collect", "comment", "share")
"""Actions that say a user took a note: what evaluation predicts and neighbours link."""

Traffic = Literal["user", "test", "bot"]
TRAFFIC: tuple[str, ...] = get_args(Traffic)

Surface = Literal["feed", "following", "nearby", "hot", "search", "similar", "profile", "note", "push", "external"]
SURFACES: tuple[str, ...] = get_args(Surface)

Scope = Literal["note", "author", "tag"]
SCOPES: tuple[str, ...] = get_args(Scope)

# What a type cannot do without, by its place in TYPES.
NOTHING, NOTE, ITEMS, AUTHOR, PLACE = range(5)
_NEEDS = {
    "impression": ITEMS, "locate": PLACE,
    **dict.fromkeys(("click", "view", "like", "unlike", "collect", "uncollect", "comment", "uncomment", "share", "unshare"), NOTE),
    **dict.fromkeys(("hide", "unhide", "report"), NOTE),
    **dict.fromkeys(("follow", "unfollow", "block", "unblock", "profile_view"), AUTHOR),
}  # fmt: skip
NEEDS = tuple(_NEEDS.get(name, NOTHING) for name in TYPES)

MAX_PROPERTIES = 4_096
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Short = Annotated[str, Meta(max_length=128)]
Long = Annotated[str, Meta(max_length=512)]
Amount = Annotated[float, Meta(ge=-1e15, le=1e15)]
Raw = msgspec.Raw
UNSET = msgspec.UNSET


class Item(msgspec.Struct, omit_defaults=True, gc=False):
    """A note of a batched impression."""

    note_id: OwnId
    position: Count | None = None
    visible_ms: Count | None = None


class Device(msgspec.Struct, omit_defaults=True, gc=False):
    id: Short | None = None
    platform: Short | None = None
    os: Short | None = None
    app_version: Short | None = None


class Event(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """What a user did. `null` counts as absent, and unknown fields are ignored; in the order in which events usually name them.

    `type` may be an alias until it has been read; `timestamp` and `sent_at` are epoch milliseconds from then on.
    """

    type: str | None = None
    user_id: OwnId | None = None
    note_id: OwnId | None = None
    event_id: OwnId | None = None
    timestamp: Time | None = None
    request_id: Id | None = None
    position: Annotated[Count, Meta(description="place in the response named by request_id")] | None = None
    surface: Surface | None = None
    session_id: Id | None = None
    dwell_ms: Count | None = None
    completion: Annotated[float, Meta(ge=0, le=1)] | None = None
    anonymous_id: Annotated[OwnId, Meta(description="instead of user_id: the user is anon:<anonymous_id>")] | None = None
    sent_at: Annotated[Time, Meta(description="the device's clock at sending; POST /v1/events corrects timestamp by it")] | None = None
    items: Annotated[list[Item], Meta(max_length=50, description="with impression: many notes at once")] | None = None
    author_id: OwnId | None = None
    comment_id: Id | None = None
    scope: Annotated[Scope, Meta(description="with hide")] | None = None
    reason: Annotated[Long, Meta(description="with report")] | None = None
    tags: Annotated[list[Tag], Meta(max_length=64, description="with signup: the interests chosen")] | None = None
    lat: Latitude | None = None
    lon: Longitude | None = None
    city: Short | None = None
    query: Long | None = None
    personalized: Annotated[bool, Meta(description="with settings")] | None = None
    device: Device | None = None
    locale: Short | None = None
    product_id: Id | None = None
    order_id: Id | None = None
    quantity: Count | None = None
    value: Amount | None = None
    currency: Annotated[str, Meta(max_length=16)] | None = None
    traffic: Traffic | None = None
    properties: (
        Annotated[Raw, Meta(description="an object of at most 4 KB: the app's own, kept and ignored", extra_json_schema={"type": "object"})]
        | msgspec.UnsetType
    ) = UNSET


_IN_BYTES = (
    "user_id", "note_id", "event_id", "request_id", "session_id", "anonymous_id", "author_id", "comment_id", "product_id", "order_id",
)  # fmt: skip
_reader = Reader(Event)
encode_event = msgspec.json.Encoder().encode
"""A valid event as it goes to Kafka: its `properties` verbatim, without fields unknown here."""


class EventRules:
    """What the settings say about events: names of types, and how large a record may be."""

    def __init__(self, aliases: Mapping[str, str] = {}, max_record_bytes: int = 1_048_576) -> None:
        for alias, name in aliases.items():
            if alias in RESERVED_TYPES or name not in TYPES:
                raise SettingsError(f"setting events.aliases.{alias}: {name!r} is no type that an app may send")
        self.max_record_bytes = max_record_bytes
        self.kinds = {name: index for index, name in enumerate(TYPES)}
        self.kinds |= {alias: self.kinds[name] for alias, name in aliases.items()}

    def kind(self, event: Event) -> int:
        """The index in TYPES of a valid event's type."""
        return self.kinds[event.type]  # type: ignore[index]


def decode_events(raw: bytes, now_ms: int, rules: EventRules, collect: bool = False) -> list[Event | Rejected]:
    """What a record holds, place by place in its order: valid events, and what is wrong with the others.

    `now_ms` is append time, or the time of receiving at the collector, which also asks to `collect`: an event that leaves it has a
    timestamp (by the device's clock as far as `sent_at` tells how it is off) and an id. A record that cannot be read at all is one
    `Rejected` without index.
    """
    places, plain = _reader.read(raw, rules.max_record_bytes)
    kinds, limit = rules.kinds, now_ms + DAY_MS
    for index, event in enumerate(places):
        if type(event) is Event:
            fault = wrong(event, kinds, plain)
            if fault is None:
                if collect:
                    stamp(event, index, now_ms)
                if event.timestamp is None or event.timestamp <= limit:  # type: ignore[operator]
                    continue
                fault = "future_timestamp", f"timestamp: {event.timestamp} is more than a day ahead of {now_ms}"
            places[index] = Rejected(*fault, index, event.event_id, event.type or "")
    return places


def wrong(event: Event, kinds: Mapping[str, int], plain: bool) -> Fault | None:
    """What types alone do not say; makes times milliseconds and the type's alias its name on the way."""
    name = event.type
    if name is None:
        return "missing_field", "type"
    kind = kinds.get(name)
    if kind is None:
        if name in RESERVED_TYPES:
            return "reserved_type", f"type: {name} is written by the API only"
        return "unknown_type", f"type: {name[:64]}"
    event.type = TYPES[kind]
    user, note = event.user_id, event.note_id
    if user is None:
        anonymous = event.anonymous_id
        if anonymous is None:
            return "missing_field", "user_id"
        if anonymous[0] == "_":
            return reserved("anonymous_id")
    elif user[0] == "_":
        return reserved("user_id")
    if note is not None and note[0] == "_":
        return reserved("note_id")
    need = NEEDS[kind]
    if need == ITEMS:
        items = event.items
        if items:
            for place, item in enumerate(items):
                if item.note_id[0] == "_":
                    return reserved(f"items[{place}].note_id")
        elif note is None:
            return "missing_field", "note_id"
    elif need == NOTE:
        if note is None:
            return "missing_field", "note_id"
    elif need == AUTHOR:
        if event.author_id is None:
            return "missing_field", "author_id"
    elif need == PLACE and event.lat is None and event.lon is None and not event.city:
        return "missing_field", "lat"
    time = event.timestamp
    if time is not None and type(time) is not int:
        event.timestamp = time = milliseconds(time)
        if time < 0:
            return "bad_field", "timestamp: before 1970"
    given = event.event_id
    if given is not None and given[0] == "_":
        return reserved("event_id")
    if plain and event.sent_at is None and event.author_id is None and event.lat is event.lon and event.properties is UNSET:
        return None
    return wrong_rarely(event, plain)


def wrong_rarely(event: Event, plain: bool) -> Fault | None:
    """The checks of fields that few events have, and of bytes where characters are not bytes."""
    sent = event.sent_at
    if sent is not None:
        event.sent_at = sent = milliseconds(sent)
        if sent < 0:
            return "bad_field", "sent_at: before 1970"
    author = event.author_id
    if author is not None and author[0] == "_":
        return reserved("author_id")
    if (event.lat is None) != (event.lon is None):
        return "missing_field", "lat" if event.lat is None else "lon"
    if event.properties is not UNSET:
        body = bytes(event.properties)
        if body[:1] == b"n":
            event.properties = UNSET
        elif body[:1] != b"{":
            return "bad_field", "properties: expected an object"
        elif len(body) > MAX_PROPERTIES:
            return "bad_field", f"properties: {len(body)} bytes, at most {MAX_PROPERTIES}"
    if not plain:
        fault = oversize(event, _IN_BYTES)
        for place, item in enumerate(event.items or ()):
            if fault is None and len(item.note_id.encode()) > BYTES:
                fault = "bad_field", f"items[{place}].note_id: longer than {BYTES} bytes"
        for place, tag in enumerate(event.tags or ()):
            if fault is None and len(tag.encode()) > BYTES:
                fault = "bad_field", f"tags[{place}]: longer than {BYTES} bytes"
        return fault
    return None


def user_of(event: Event) -> str:
    """Whose event it is."""
    return event.user_id if event.user_id is not None else f"anon:{event.anonymous_id}"


def id_of(event: Event, place: str) -> str:
    """The id given, or one derived from what the event says, so that a repeat of the same bytes is recognised.

    Without a timestamp two likes in a row would look the same, and the second be taken for a repeat: then `place`, where the event
    stands in its log, takes the timestamp's part. Such an event is told apart from all others but its own copies in the log, and a client
    that sends it again sends another one; who wants retries without a trace sends an `event_id` or a `timestamp`.
    What an author, comment, product or order is named by belongs to it too, since the other five fields do not tell two follows apart.
    """
    given = event.event_id
    if given is not None:
        return given
    when = event.timestamp if event.timestamp is not None else place
    what = f"{event.type}\0{user_of(event)}\0{event.note_id}\0{event.request_id}\0{when}"
    if event.author_id or event.comment_id or event.product_id or event.order_id or event.items:
        items = ",".join(item.note_id for item in event.items or ())
        what = f"{what}\0{event.author_id}\0{event.comment_id}\0{event.product_id}\0{event.order_id}\0{items}"
    return f"{hash64(what):016x}"


def stamp(event: Event, index: int, received_ms: int) -> None:
    """The collector's part: id, timestamp, and the device's clock put right.

    The id comes first, from the timestamp as sent: a client that sends again has another `sent_at`, and must get the same id. Only the
    collector corrects, and drops `sent_at` then: it alone knows when the device spoke. A record in Kafka may have lain in
    a file for years, and a replay must stay in its own time.
    """
    event.event_id = id_of(event, f"{received_ms}/{index}")
    sent, time = event.sent_at, event.timestamp
    if time is None:
        event.timestamp = received_ms
    elif sent is not None:
        event.timestamp = max(0, time + received_ms - sent)  # type: ignore[operator]
    event.sent_at = None


def schema_event(aliases: Iterable[str] = ()) -> dict[str, Any]:
    """JSON Schema of an event (one object; an array of up to 500 is accepted too), from the Structs above."""
    schema = msgspec.json.schema(Event, ref_template="#/$defs/{name}")
    definitions = schema.pop("$defs")
    event = definitions.pop("Event")
    event["properties"]["type"] = {"type": "string", "enum": [*TYPES, *sorted(aliases)]}

    def when(needs: tuple[int, ...], then: Mapping[str, Any]) -> dict[str, Any]:
        names = [name for name, need in zip(TYPES, NEEDS, strict=True) if need in needs]
        return {"if": {"properties": {"type": {"enum": names}}, "required": ["type"]}, "then": then}

    def has(*names: str) -> dict[str, Any]:
        return {"required": list(names), "properties": {name: {"not": {"type": "null"}} for name in names}}

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Event",
        "description": "What a user did. Unknown fields are ignored; null counts as absent.",
        **{key: value for key, value in event.items() if key not in ("title", "description", "required")},
        "required": ["type"],
        "allOf": [
            {"anyOf": [has("user_id"), has("anonymous_id")]},
            {"if": has("lat"), "then": has("lon")},
            {"if": has("lon"), "then": has("lat")},
            when((NOTE,), has("note_id")),
            when((ITEMS,), {"anyOf": [has("note_id"), {"required": ["items"], "properties": {"items": {"minItems": 1}}}]}),
            when((AUTHOR,), has("author_id")),
            when((PLACE,), {"anyOf": [has("lat", "lon"), has("city")]}),
        ],
        "$defs": definitions,
    }
