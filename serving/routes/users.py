"""A user's say: what the platform believes about one, and how to change it."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, StrictBool
from starlette.responses import Response

from config.events import TYPES
from config.records import Erase, Forget, Personalize
from models.user import decode_hot
from serving.clock import partition_state
from serving.problems import Problem, documented
from serving.response import iso
from serving.routes.reading import After, UserId, answer, digest_of, named, service_of
from serving.routes.shapes import INTERESTS
from serving.text import facts_from

router = APIRouter(prefix="/v1/users/{user_id}", tags=["users"])

POSITION: dict[str, Any] = {"type": "object", "properties": {"position": {"type": "string"}}, "required": ["position"]}
TOLD: dict[int | str, dict[str, Any]] = {
    202: {"description": "in the log; `after=` waits for it", "content": {"application/json": {"schema": POSITION}}}
}
TOLD |= documented(401, 422, 503)
READ: dict[int | str, dict[str, Any]] = {
    200: {"description": "strongest first", "content": {"application/json": {"schema": INTERESTS}}},
    **documented(401, 422, 503),
}


@router.get("/interests", summary="What the platform believes about you", responses=READ, response_class=Response)
async def interests(request: Request, user_id: UserId, after: After = None) -> Response:
    """Weights on tags, authors and channels as of now, strongest first, and what last moved each of them."""
    service = service_of(request)
    user_id = named(user_id)
    digest = digest_of(user_id, "user_id")
    await service.wait(after, "users", digest)
    keys = service.keys
    value, partition = await service.read([*keys.user(user_id, digest, ("hot",)), keys.clocks[digest % keys.users]])
    state = partition_state(partition)
    if state is not None:
        service.clock.saw(state.clock, state.appended)
    found = service.feed.interests.strengths(decode_hot(value), service.clock.now)
    movers = sorted({i.note for i in found if i.note})
    facts = await service.read(keys.note("facts", movers)) if movers else []
    names = {h: f.id for h, f in zip(movers, map(facts_from, facts), strict=True) if f is not None}
    return answer(
        {
            "user_id": user_id,
            "as_of": iso(state.clock) if state is not None else None,
            "interests": [
                {
                    "kind": i.kind,
                    "value": i.value,
                    "weight": round(i.weight, 6),
                    "short": round(i.short, 6),
                    "long": round(i.long, 6),
                    "moved_by": {"type": TYPES[i.by], "note_id": names.get(i.note), "at": iso(i.at)} if i.at else None,
                }
                for i in found
            ],
        }
    )


@router.delete("/interests/{tag}", summary="Forget one interest", status_code=202, responses=TOLD, response_class=Response)
async def forget(request: Request, user_id: UserId, tag: Annotated[str, Path(min_length=1, max_length=128)]) -> Response:
    """The weight on the tag is gone; it can be learned anew."""
    service = service_of(request)
    user_id = named(user_id)
    digest = digest_of(user_id, "user_id")
    signal = Forget(u=user_id, t=service.clock.stamp(), id=secrets.randbits(63), tag_name=named(tag))
    return answer({"position": await service.tell_user(user_id, digest, signal)}, 202)


class UserSettings(BaseModel):
    """What a user decides about himself."""

    model_config = ConfigDict(extra="forbid")
    personalized: StrictBool


@router.put("/settings", summary="Personalised or not", status_code=202, responses=TOLD | documented(413), response_class=Response)
async def settings(request: Request, user_id: UserId, wanted: UserSettings) -> Response:
    """With `personalized: false` the next feed uses no profile, and nothing is learned from what follows."""
    service = service_of(request)
    user_id = named(user_id)
    digest = digest_of(user_id, "user_id")
    signal = Personalize(u=user_id, t=service.clock.stamp(), id=secrets.randbits(63), on=wanted.personalized)
    return answer({"position": await service.tell_user(user_id, digest, signal)}, 202)


@router.delete("", summary="Erase a user", status_code=202, responses=TOLD, response_class=Response)
async def erase(request: Request, user_id: UserId) -> Response:
    """All state of the user goes; events dated before, late or replayed, do not bring it back."""
    service = service_of(request)
    user_id = named(user_id)
    digest = digest_of(user_id, "user_id")
    stamp = service.clock.stamp()
    if not stamp:
        raise Problem(503, "not_ready", "the stream's time is not known yet", {"Retry-After": "1"})
    signal = Erase(u=user_id, t=stamp, id=secrets.randbits(63))
    return answer({"position": await service.tell_user(user_id, digest, signal)}, 202)
