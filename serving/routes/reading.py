"""What several routes read from a request."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import Path, Query, Request
from starlette.responses import Response

from config.keys import hash64
from serving.edge import SLASH
from serving.problems import Problem
from serving.service import Service

NO_STORE = {"Cache-Control": "no-store"}

UserId = Annotated[str, Path(description="user id, or anon:<anonymous_id>", min_length=1, max_length=128, examples=["u1"])]
NoteId = Annotated[str, Path(description="note id", min_length=1, max_length=128, examples=["n1"])]
After = Annotated[str | None, Query(description="`position` of a POST: waits up to 250 ms until the answer contains it", max_length=16384)]


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def named(text: str) -> str:
    """An id or a tag from a path, with its slashes."""
    return text.replace(SLASH, "/") if SLASH in text else text


def digest_of(name: str, what: str) -> int:
    """The hash of an id. Raises a 422 for one that cannot exist."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise Problem(422, "invalid", f"{what}: not UTF-8") from None
    if size > 128:
        raise Problem(422, "invalid", f"{what}: longer than 128 bytes")
    if name[0] == "_":
        raise Problem(422, "invalid", f"{what}: ids that begin with _ are reserved")
    return hash64(name)


def answer(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, NO_STORE, "application/json")
