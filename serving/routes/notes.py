"""One note: what was counted, how good it is, and how it fared in the pools."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from config.events import ACTIONS
from config.records import SOURCES
from config.settings import Settings
from models import note as notes
from models.note import Note, Transition
from models.quality import Quality
from serving.problems import Problem, documented
from serving.response import iso
from serving.routes.reading import After, NoteId, answer, digest_of, named, service_of
from serving.routes.shapes import NOTE
from serving.text import text_from
from store.layout import STATUSES

router = APIRouter(tags=["notes"])

RESPONSES: dict[int | str, dict[str, Any]] = {200: {"description": "the note", "content": {"application/json": {"schema": NOTE}}}}
RESPONSES |= documented(401, 404, 422, 503)
_to_plain = msgspec.to_builtins


@router.get("/v1/notes/{note_id}", summary="A note and its pool history", responses=RESPONSES, response_class=Response)
async def note(request: Request, note_id: NoteId, after: After = None) -> Response:
    """Counts are distinct users by action, exact. What is deleted says so, and shows no text."""
    service = service_of(request)
    note_id = named(note_id)
    digest = digest_of(note_id, "note_id")
    await service.wait(after, "notes", digest)
    keys = service.keys
    state, moves, text = await service.read([key for kind in ("state", "moves", "text") for key in keys.note(kind, [digest])])
    known = notes.decode(state) if state is not None else None
    if known is None or known.id != note_id or known.status == notes.UNKNOWN:
        raise Problem(404, "unknown_note", f"no note {note_id} was published")
    history = notes.decode_moves(moves) if moves is not None else []
    return answer(body(known, history, text_from(text).title, service.settings))


def body(note: Note, history: list[Transition], title: str, settings: Settings) -> dict[str, Any]:
    deleted = STATUSES[note.status] == "deleted"
    paid = note.paid[0] if note.paid else 0
    by_source = note.by_source or [0] * (len(SOURCES) + 1)
    found = Quality(*note.quality) if note.quality is not None else None
    return {
        "note_id": note.id,
        "author_id": note.author,
        "status": STATUSES[note.status],
        "title": "" if deleted else title,
        "tags": note.tags,
        "channel": note.channel or None,
        "published_at": iso(note.published_at),
        "counts": {action: max(0, n) for action, n in zip(ACTIONS, note.counts, strict=True)},
        "exposures": {
            "organic": note.counted[0],
            "paid": paid,
            "by_source": {name: n for name, n in zip((*SOURCES, "elsewhere"), by_source, strict=True) if n},
        },
        "pool": pool_of(note, settings),
        "quality": {
            "mean": rounded(found.mean if found else math.exp(note.prior) if note.prior else 0.0),
            "low": rounded(found.low if found else 0.0),
            "high": rounded(found.high if found else 0.0),
        },
        "history": [{**_to_plain(move), "at": iso(move.at)} for move in history],
    }


def pool_of(note: Note, settings: Settings) -> dict[str, Any]:
    """Where the note stands: the exposures its tier gives, and how many of them are left."""
    place = note.pool
    if place is None:
        return {"tier": None, "state": "none", "quota": 0, "left": 0}
    ends = place.base if place.tier == 0 else place.start + settings.pool.tiers[place.tier].quota
    left = max(0, math.ceil(ends) - note.counted[0]) if place.state == "open" else 0
    return {
        "tier": place.tier,
        "state": "running" if place.state == "open" else place.state,
        "quota": math.ceil(ends - place.start),
        "left": left,
    }


def rounded(value: float) -> float:
    return round(value, 6)
