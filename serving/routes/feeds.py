"""Feeds: what to show somebody now."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.problems import Problem, documented
from serving.response import feed_body
from serving.routes.params import AFTER, ASKER, CHANNEL, CITY, COUNT, CURSOR, EXCLUDE, EXPLAIN, LAT, LON, Params
from serving.routes.reading import answer, digest_of, named, service_of
from serving.routes.shapes import FEED

router = APIRouter(tags=["feeds"])
RESPONSES: dict[int | str, dict[str, Any]] = {200: {"description": "what to show", "content": {"application/json": {"schema": FEED}}}}
RESPONSES |= documented(400, 401, 422)
USER = {"user_id": "user id, or anon:<anonymous_id>"}

MAIN = Params(COUNT, CURSOR, CHANNEL, LAT, LON, EXCLUDE, EXPLAIN, AFTER)
FOLLOWING = Params(COUNT, CURSOR, EXCLUDE, EXPLAIN, AFTER)
NEARBY = Params(COUNT, CURSOR, LAT, LON, EXCLUDE, EXPLAIN, AFTER)
SIMILAR = Params(COUNT, EXCLUDE, EXPLAIN, ASKER)
HOT = Params(COUNT, CURSOR, CHANNEL, CITY, EXCLUDE, EXPLAIN, ASKER)


async def feed(request: Request, surface: str, user_id: str, asked: dict[str, Any], note: int = 0) -> Response:
    """Every surface: wait, decide, hand the slate over, answer."""
    service = service_of(request)
    digest = digest_of(user_id, "user_id") if user_id else 0
    get = asked.get
    query, scope = service.query(
        user_id,
        surface,
        asked["n"],
        get("cursor"),
        get("channel", ""),
        get("city", ""),
        get("lat"),
        get("lon"),
        asked["exclude"],
        asked["explain"],
    )
    if note:
        query = msgspec.structs.replace(query, note=note)
    if user_id and (after := get("after")):
        await service.wait(after, "users", digest)
    decided = await service.answer(query)
    viewer = decided.page.viewer
    if surface == "nearby" and viewer.lat is None and not viewer.city and not decided.page.degraded:
        raise Problem(422, "location_required", "nearby needs a place: lat and lon, or a user who told one")
    service.log_slate(decided)
    # What is like a note has one page: its neighbours are few.
    return answer(feed_body(decided, None if note else service.next_cursor(decided, scope)))


@router.get("/v1/feed/{user_id}", summary="The feed", responses=RESPONSES, response_class=Response, openapi_extra=MAIN.document(USER))
async def main(request: Request) -> Response:
    """What to show this user now. Somebody unknown gets a first feed, not an error."""
    return await feed(request, "feed", named(request.path_params["user_id"]), MAIN.read(request))


@router.get(
    "/v1/feed/{user_id}/following",
    summary="New notes of followed authors",
    responses=RESPONSES,
    response_class=Response,
    openapi_extra=FOLLOWING.document(USER),
)
async def following(request: Request) -> Response:
    """Notes of those whom the user follows and that were not seen yet, newest first."""
    return await feed(request, "following", named(request.path_params["user_id"]), FOLLOWING.read(request))


@router.get(
    "/v1/feed/{user_id}/nearby",
    summary="Notes near a place",
    responses=RESPONSES,
    response_class=Response,
    openapi_extra=NEARBY.document(USER),
)
async def nearby(request: Request) -> Response:
    """Around lat and lon, or where the user was last; without any place 422 `location_required`."""
    return await feed(request, "nearby", named(request.path_params["user_id"]), NEARBY.read(request))


@router.get("/v1/hot", summary="What is hot", responses=RESPONSES, response_class=Response, openapi_extra=HOT.document({}))
async def hot(request: Request) -> Response:
    """Hot notes of all channels, one channel, or one city: the same for everybody but for what `user_id` does not want."""
    asked = HOT.read(request)
    return await feed(request, "hot", asked["user_id"], asked)


@router.get(
    "/v1/notes/{note_id}/similar",
    summary="Notes like this one",
    responses=RESPONSES,
    response_class=Response,
    openapi_extra=SIMILAR.document({"note_id": "note id"}),
)
async def similar(request: Request) -> Response:
    """What was engaged with beside this note, the most similar first; nothing where nobody has yet, or there is no such note."""
    asked, note_id = SIMILAR.read(request), request.path_params["note_id"]
    digest = digest_of(note_id, "note_id")
    asked["exclude"] = [*asked["exclude"], note_id]
    return await feed(request, "similar", asked["user_id"], asked, digest)
