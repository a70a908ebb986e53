"""The collector: events and notes come in over HTTP and are in Kafka when the answer is 202."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from config.decode import Rejected
from config.events import Event, decode_events, encode_event, schema_event, user_of
from config.keys import hash64
from config.notes import Note, decode_notes, encode_note, schema_note
from serving.position import Place, position_text
from serving.problems import documented
from serving.producer import NotAcknowledged
from serving.routes.reading import answer, service_of
from serving.routes.shapes import COLLECTED
from serving.service import Service, not_acknowledged

router = APIRouter(tags=["events and notes"])

RECORD_BYTES = 256 * 1024
"""A record ends when it is about so large: far below what brokers take at most."""


class Parcel(NamedTuple):
    """One record on its way: what belongs to one key, in the order it came."""

    key: str
    value: bytes


def parcels(keyed: Iterable[tuple[str, bytes]]) -> list[Parcel]:
    """Records by key: an object alone, several as an array, several arrays when they are large."""
    by_key: dict[str, list[list[bytes]]] = {}
    sizes: dict[str, int] = {}
    for key, value in keyed:
        groups = by_key.setdefault(key, [[]])
        size = sizes.get(key, 0) + len(value) + 1
        if size > RECORD_BYTES and groups[-1]:
            groups.append([])
            size = len(value) + 1
        groups[-1].append(value)
        sizes[key] = size
    return [
        Parcel(key, group[0] if len(group) == 1 else b"[%s]" % b",".join(group))
        for key, groups in by_key.items()
        for group in groups
        if group
    ]


async def collected(
    request: Request,
    service: Service,
    topic: str,
    stage: Literal["users", "notes"],
    good: Sequence[tuple[str, bytes]],
    bad: Sequence[Rejected],
) -> Response:
    """Sends what is good, says what is not. Raises a 503 when any of it was not acknowledged: sending all again is safe."""
    rejected = [{"index": r.index, "event_id": r.event_id, "code": r.code, "message": r.message} for r in bad]
    if not good:
        return answer({"accepted": 0, "rejected": rejected, "position": None}, 422)
    parent = request.state.traceparent if hasattr(request.state, "traceparent") else b""
    headers = [("traceparent", parent)] if parent else []
    sent = parcels(good)
    results = await asyncio.gather(
        *(service.producer.send(topic, p.key.encode(), p.value, None, headers) for p in sent), return_exceptions=True
    )
    failed = next((r for r in results if isinstance(r, BaseException)), None)
    if isinstance(failed, NotAcknowledged):
        raise not_acknowledged(failed)
    if failed is not None:
        raise failed
    keys = service.snapshot.keys
    places = []
    if keys is not None:
        count = keys.manifest.count(stage)
        places = [
            Place(stage, hash64(p.key) % count, topic, ack.partition, ack.offset)
            for p, ack in zip(sent, results, strict=True)
            if not isinstance(ack, BaseException)
        ]
    return answer({"accepted": len(good), "rejected": rejected, "position": position_text(places)}, 202)


def body_of(schema: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """OpenAPI of a body that is decoded by our own decoder: one object, or an array of up to 500."""
    one = schema()
    definitions = one.pop("$defs", {})
    one.pop("$schema", None)
    inlined = {"oneOf": [one, {"type": "array", "maxItems": 500, "items": one}]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": resolved(inlined, definitions)}}}}


def resolved(schema: Any, definitions: dict[str, Any]) -> Any:
    """`schema` with its references put in: OpenAPI has its own place for definitions."""
    if isinstance(schema, dict):
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        if name in definitions:
            return resolved(definitions[name], definitions)
        return {key: resolved(value, definitions) for key, value in schema.items()}
    return [resolved(value, definitions) for value in schema] if isinstance(schema, list) else schema


RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {"description": "in Kafka, acknowledged", "content": {"application/json": {"schema": COLLECTED}}},
    **documented(401, 413, 503),
    422: {"description": "nothing was accepted", "content": {"application/json": {"schema": COLLECTED}}},
}


@router.post(
    "/v1/events",
    summary="What users did",
    status_code=202,
    responses=RESPONSES,
    response_class=Response,
    openapi_extra=body_of(schema_event),
)
async def events(request: Request) -> Response:
    """One event or an array of up to 500, of any users. Safe to repeat. One bad record neither sinks nor silences the others."""
    service = service_of(request)
    places = decode_events(await request.body(), int(service.wall() * 1000), service.event_rules, collect=True)
    good = [(user_of(event), encode_event(event)) for event in places if isinstance(event, Event)]
    return await collected(request, service, "events", "users", good, [r for r in places if isinstance(r, Rejected)])


@router.post(
    "/v1/notes", summary="The catalogue", status_code=202, responses=RESPONSES, response_class=Response, openapi_extra=body_of(schema_note)
)
async def notes(request: Request) -> Response:
    """One change of a note or an array of up to 500: publish, update, review, delete. Absent fields stay, null clears."""
    service = service_of(request)
    body = await request.body()
    places = decode_notes(body, int(service.wall() * 1000), service.settings.events.max_record_bytes, collect=True)
    good = [(note.note_id or "", encode_note(note)) for note in places if isinstance(note, Note)]
    return await collected(request, service, "notes", "notes", good, [r for r in places if isinstance(r, Rejected)])
