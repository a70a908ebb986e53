"""Feeds: what to show somebody now."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from serving.problems import Problem, documented
from serving.response import feed_body
from serving.routes.reading import (
    After,
    Channel,
    City,
    Count,
    Cursor,
    Exclude,
    Explain,
    Lat,
    Lon,
    UserId,
    answer,
    digest_of,
    ids,
    service_of,
)
from serving.routes.shapes import FEED

router = APIRouter(tags=["feeds"])
RESPONSES: dict[int | str, dict[str, Any]] = {200: {"description": "what to show", "content": {"application/json": {"schema": FEED}}}}
RESPONSES |= documented(400, 401, 422)


async def feed(
    request: Request,
    user_id: str,
    surface: str,
    n: int,
    cursor: str | None,
    channel: str,
    city: str,
    lat: float | None,
    lon: float | None,
    exclude: list[str],
    explain: bool,
    after: str | None,
) -> Response:
    """Every surface: wait, decide, hand the slate over, answer."""
    service = service_of(request)
    digest = digest_of(user_id, "user_id") if user_id else 0
    query, scope, shown = service.query(user_id, surface, n, cursor, channel, city, lat, lon, ids(exclude), explain)
    if after and user_id:
        await service.wait(after, "users", digest)
    decided = await service.answer(query)
    viewer = decided.page.viewer
    if surface == "nearby" and viewer.lat is None and not viewer.city and not decided.page.degraded:
        raise Problem(422, "location_required", "nearby needs a place: lat and lon, or a user who told one")
    service.log_slate(decided)
    return answer(feed_body(decided, service.next_cursor(decided, scope, shown)))


@router.get("/v1/feed/{user_id}", summary="The feed", responses=RESPONSES, response_class=Response)
async def main(
    request: Request,
    user_id: UserId,
    n: Count = 20,
    cursor: Cursor = None,
    channel: Channel = "",
    lat: Lat = None,
    lon: Lon = None,
    exclude: Exclude = [],  # noqa: B006 (FastAPI copies it)
    explain: Explain = False,
    after: After = None,
) -> Response:
    """What to show this user now. Somebody unknown gets a first feed, not an error."""
    return await feed(request, user_id, "feed", n, cursor, channel, "", lat, lon, exclude, explain, after)


@router.get("/v1/feed/{user_id}/following", summary="New notes of followed authors", responses=RESPONSES, response_class=Response)
async def following(
    request: Request,
    user_id: UserId,
    n: Count = 20,
    cursor: Cursor = None,
    exclude: Exclude = [],  # noqa: B006
    explain: Explain = False,
    after: After = None,
) -> Response:
    """Notes of those whom the user follows and that were not seen yet."""
    return await feed(request, user_id, "following", n, cursor, "", "", None, None, exclude, explain, after)


@router.get("/v1/feed/{user_id}/nearby", summary="Notes near a place", responses=RESPONSES, response_class=Response)
async def nearby(
    request: Request,
    user_id: UserId,
    n: Count = 20,
    cursor: Cursor = None,
    lat: Lat = None,
    lon: Lon = None,
    exclude: Exclude = [],  # noqa: B006
    explain: Explain = False,
    after: After = None,
) -> Response:
    """Around lat and lon, or where the user was last; without any place 422 `location_required`."""
    return await feed(request, user_id, "nearby", n, cursor, "", "", lat, lon, exclude, explain, after)


@router.get("/v1/hot", summary="What is hot", responses=RESPONSES, response_class=Response)
async def hot(
    request: Request,
    n: Count = 20,
    cursor: Cursor = None,
    channel: Channel = "",
    city: City = "",
    exclude: Exclude = [],  # noqa: B006
    explain: Explain = False,
    user_id: Annotated[str, Query(max_length=128, description="who asks: leaves out what he blocked or hid, and logs the slate")] = "",
) -> Response:
    """Hot notes of all channels, one channel, or one city: the same for everybody but for what `user_id` does not want."""
    return await feed(request, user_id, "hot", n, cursor, channel, city, None, None, exclude, explain, None)
