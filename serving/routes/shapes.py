"""JSON Schemas of answers, for the documents. Answers are built as plain data: a test holds them against these."""

from __future__ import annotations

from typing import Any

from config.events import ACTIONS
from config.records import SOURCES
from serving.reasons import CODES
from store.layout import STATUSES

Schema = dict[str, Any]


def obj(**properties: Schema) -> Schema:
    """An object with all of these fields."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
COUNTS: Schema = {"type": "object", "additionalProperties": INTEGER, "description": "distinct users by action"}

REASON: Schema = {
    "type": "object",
    "required": ["code"],
    "properties": {
        "code": {"enum": list(CODES)},
        **{name: STRING if kind is str else INTEGER for parameters in CODES.values() for name, kind in parameters.items()},
    },
}

ITEM = obj(
    note_id=STRING,
    author_id=STRING,
    title=STRING,
    cover_url=maybe(STRING),
    media=maybe({"enum": ["image", "video"]}),
    tags=listed(STRING),
    channel=maybe(STRING),
    published_at=maybe(TIME),
    position=INTEGER,
    score=NUMBER,
    source={"enum": list(SOURCES)},
    pool={**maybe(INTEGER), "description": "tier of the traffic pools, null outside of them"},
    sponsored=BOOLEAN,
    liked=BOOLEAN,
    collected=BOOLEAN,
    distance_m=maybe(INTEGER),
    counts=COUNTS,
    reasons=listed(REASON),
)
ITEM["properties"]["explain"] = {
    "type": "object",
    "description": "with explain=true; the contributions add up to the score; `moved` tells how many places up from where that puts it a note stands, by diversity and by slots",
}

FEED = obj(
    request_id=STRING,
    user_id=maybe(STRING),
    surface=STRING,
    took_ms=NUMBER,
    state_as_of=maybe(TIME),
    model_version=STRING,
    variants={"type": "object", "additionalProperties": STRING},
    degraded={**maybe(STRING), "description": "null, or what was missing"},
    items=listed(ITEM),
    next_cursor=maybe(STRING),
)

COLLECTED = obj(
    accepted=INTEGER,
    rejected=listed(obj(index=maybe(INTEGER), event_id=maybe(STRING), code=STRING, message=STRING)),
    position={**maybe(STRING), "description": "opaque; for after="},
)

MOVE = {
    "type": "object",
    "required": ["seq", "at", "from", "to", "verdict", "evidence", "bar"],
    "properties": {
        "seq": INTEGER, "at": TIME, "from": maybe(INTEGER), "to": INTEGER, "verdict": STRING,
        "evidence": {
            "type": "object",
            "description": "exposures, actions observed and expected of them, quality {mean, low, high}, probability of passing the bar",
        },
        "bar": {
            "type": "object",
            "properties": {
                "value": {**NUMBER, "description": "engagement score per exposure"},
                "channel": {**STRING, "description": "whose bars; empty: all notes'"},
                "version": {**INTEGER, "description": "their publication; 0: the settings'"},
            },
        },
    },
}  # fmt: skip

NOTE = obj(
    note_id=STRING,
    author_id=STRING,
    status={"enum": list(STATUSES)},
    title=STRING,
    tags=listed(STRING),
    channel=maybe(STRING),
    published_at=maybe(TIME),
    counts={"type": "object", "properties": dict.fromkeys(ACTIONS, INTEGER), "required": list(ACTIONS)},
    exposures=obj(organic=INTEGER, paid=INTEGER, by_source=COUNTS),
    pool=obj(tier=maybe(INTEGER), state=STRING, quota=INTEGER, left=INTEGER),
    quality=obj(mean=NUMBER, low=NUMBER, high=NUMBER),
    history=listed(MOVE),
)

INTERESTS = obj(
    user_id=STRING,
    as_of=maybe(TIME),
    interests=listed(
        obj(
            kind={"enum": ["tag", "author", "channel"]},
            value=STRING,
            weight=NUMBER,
            short=NUMBER,
            long=NUMBER,
            moved_by=maybe(obj(type=STRING, note_id=maybe(STRING), at=maybe(TIME))),
        )
    ),
)

POOLS = obj(
    tiers=listed(
        obj(
            tier=INTEGER,
            name=STRING,
            quota=INTEGER,
            notes=INTEGER,
            exposures=INTEGER,
            promoted=INTEGER,
            held=INTEGER,
            stopped=INTEGER,
            owed=INTEGER,
        )
    )
)
