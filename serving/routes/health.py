"""For those who operate: alive, ready, metrics."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from serving.routes.reading import answer, service_of

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="Alive", response_class=Response)
async def healthz() -> Response:
    """The process answers; says nothing of what it depends on."""
    return answer({"status": "ok"})


STATE: dict[str, Any] = {
    "type": "object",
    "required": ["status", "reasons"],
    "properties": {
        "status": {"enum": ["ready", "degraded", "starting", "stopping"]},
        "reasons": {"type": "array", "items": {"type": "string"}},
    },
}
STATES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": STATE}}}
    for status, text in ((200, "ready, or degraded"), (503, "starting, or stopping"))
}


@router.get("/readyz", summary="Ready for traffic", responses=STATES, response_class=Response)
async def readyz(request: Request) -> Response:
    """503 before the first snapshot and while stopping, else `ready` or `degraded` with the reasons."""
    service = service_of(request)
    state = dict(service.snapshot.state())
    if service.producer.reason is not None:
        state["reasons"] = sorted([*state["reasons"], f"kafka: {service.producer.reason}"])
        state["status"] = "degraded"
    if service.stopping or not service.snapshot.ready:
        state["status"] = "stopping" if service.stopping else "starting"
        return Response(orjson.dumps(state), 503, {"Cache-Control": "no-store", "Retry-After": "1"}, "application/json")
    return answer(state)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def prometheus() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
