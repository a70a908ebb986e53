"""The traffic pools as a whole."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from models.note import Tally, decode_tallies
from serving.problems import documented
from serving.routes.reading import answer, service_of
from serving.routes.shapes import POOLS
from serving.service import Service

NAMES = Tally.__struct_fields__
router = APIRouter(tags=["pools"])
RESPONSES: dict[int | str, dict[str, Any]] = {200: {"description": "all tiers", "content": {"application/json": {"schema": POOLS}}}}
RESPONSES |= documented(401, 503)


@router.get("/v1/pools", summary="The traffic pools", responses=RESPONSES, response_class=Response)
async def pools(request: Request) -> Response:
    """By tier: its quota, the notes running in it now; and of stays that ended, their exposures and how they ended. `owed`: promised exposures that are overdue."""
    return answer({"tiers": await totals(service_of(request))})


async def totals(service: Service) -> list[dict[str, Any]]:
    """All partitions' tallies by tier."""
    tiers = service.settings.pool.tiers
    totals = [[0] * len(NAMES) for _ in tiers]
    for value in await service.read(service.keys.pools):
        for total, tally in zip(totals, decode_tallies(value) if value is not None else (), strict=False):
            for i, n in enumerate(msgspec.structs.astuple(tally)):
                total[i] += n
    return [
        {"tier": i, "name": tier.name, "quota": tier.quota, **dict(zip(NAMES, total, strict=True))}
        for i, (tier, total) in enumerate(zip(tiers, totals, strict=True))
    ]
