"""Errors as RFC 9457 `application/problem+json`.

`Problem` is what routes raise; everything else that can go wrong on the way to a route (validation, an unknown path) is brought into the
same form. What nobody expected is `serving.edge`'s to answer. `code` is what a program looks at; `detail` is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail, self.headers, self.more = status, code, detail, dict(headers or {}), more


def problem_body(status: int, code: str, detail: str, **more: Any) -> bytes:
    return orjson.dumps(
        {"type": f"urn:upwell:problem:{code}", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "code": code, **more}
    )


def problem_response(problem: Problem) -> Response:
    body = problem_body(problem.status, problem.code, problem.detail, **problem.more)
    return Response(body, problem.status, {"Cache-Control": "no-store", **problem.headers}, MEDIA_TYPE)


async def on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def on_http(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, and a body that was too large after all."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # FastAPI's word for a body that is not even text
        return problem_response(Problem(422, "invalid", "the body cannot be read"))
    code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "error")
    return problem_response(Problem(error.status_code, code, str(error.detail), error.headers))


async def on_invalid(request: Request, error: Exception) -> Response:
    """A parameter or a body that does not fit."""
    assert isinstance(error, RequestValidationError)
    errors = [{"field": ".".join(str(part) for part in e["loc"]), "message": e["msg"]} for e in error.errors()]
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors[:3])
    return problem_response(Problem(422, "invalid", detail, errors=errors[:20]))


def install(app: FastAPI) -> None:
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these errors; a route that takes a key may also be closed to it, and turned away."""
    every = sorted({*statuses, *((403, 503) if 401 in statuses else ()), *((408,) if 413 in statuses else ())})
    return {s: {"description": HTTPStatus(s).phrase, "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}} for s in every}
