"""The published schemas, generated from the code that validates."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from config.events import schema_event
from config.notes import schema_note
from serving.routes.reading import answer, service_of

router = APIRouter(prefix="/v1/schema", tags=["schema"])


@router.get("/event", summary="JSON Schema of an event", response_class=Response)
async def event(request: Request) -> Response:
    return answer(schema_event(service_of(request).settings.events.aliases))


@router.get("/note", summary="JSON Schema of a note", response_class=Response)
async def note() -> Response:
    return answer(schema_note())
