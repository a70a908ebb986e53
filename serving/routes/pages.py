"""The pages, and what they are made of: files of `serving/web` and Swagger UI's, served as they are, under headers that let nothing else in.

The pages hold no data: they ask the API for it, with a key where keys are configured. So the files themselves need none.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from importlib.resources import files as package
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from config.settings import Api
from serving.ops.watch import Watch
from serving.problems import Problem, documented
from serving.routes.reading import service_of

WEB = Path(__file__).parent.parent / "web"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")
"""Files of the package `fastapi-offline`. Its application is not used: that one's page holds a script, which our headers forbid."""

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Asked for again every time and answered with 304: a new release is seen at once.
    "Cache-Control": "no-cache",
}

COVERS = HEADERS | {"Content-Security-Policy": HEADERS["Content-Security-Policy"].replace("img-src 'self'", "img-src 'self' https:")}
"""For the demo page alone: a note's own cover may stand on another host."""

DRAWN = HEADERS | {"Content-Security-Policy": HEADERS["Content-Security-Policy"].replace("img-src 'self'", "img-src 'self' data:")}
"""For the documents alone: Swagger UI's style sheet holds its icons."""


class File(NamedTuple):
    body: bytes
    media_type: str
    tag: str


@lru_cache
def files() -> dict[str, File]:
    """Everything in the folder, and what the documents need, by name; nothing else can be asked for."""
    found = {}
    theirs = package("fastapi_offline") / "static"
    for path in (*sorted(WEB.iterdir()), *(theirs / name for name in SWAGGER)):
        suffix = Path(path.name).suffix
        if suffix in TYPES:
            body = path.read_bytes()
            found[path.name] = File(body, TYPES[suffix], f'"{sha256(body).hexdigest()[:20]}"')
    return found


def page(request: Request, name: str, headers: dict[str, str], without: bytes = b"") -> Response:
    """`without`: a link to leave out, since what it leads to is switched off."""
    file = files().get(name)
    if file is None:
        raise Problem(404, "not_found", "Not Found")
    if without:
        file = file._replace(body=file.body.replace(without, b""), tag=file.tag[:-1] + '-"')
    told = {**headers, "ETag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=told)
    return Response(file.body, headers=told, media_type=file.media_type)


def settings_of(request: Request) -> Api:
    return service_of(request).settings.api


web = APIRouter(include_in_schema=False)
demo = APIRouter(include_in_schema=False)
ops = APIRouter(tags=["operation"])


@web.get("/web/{name}")
async def part(request: Request, name: str) -> Response:
    """A script, a style sheet or a picture."""
    if name.endswith(".html"):
        raise Problem(404, "not_found", "Not Found")
    return page(request, name, HEADERS)


@web.get("/docs")
async def documents(request: Request) -> Response:
    """Every route, to read and to try."""
    return page(request, "docs.html", DRAWN)


@demo.get("/")
async def demo_page(request: Request) -> Response:
    """The feed of one person, with what moves behind it."""
    return page(request, "demo.html", COVERS, b"" if settings_of(request).ops_page else b'<a href="/ops">Operations</a>')


@ops.get("/ops", include_in_schema=False)
async def ops_page(request: Request) -> Response:
    """How the system is."""
    return page(request, "ops.html", HEADERS, b"" if settings_of(request).demo_page else b'<a href="/">Feed</a>')


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "everything the page shows", "content": {"application/json": {"schema": {"type": "object"}}}},
    **documented(401, 503),
}


@ops.get("/ops/data", summary="What the page /ops shows", responses=RESPONSES, response_class=Response)
async def ops_data(request: Request) -> Response:
    """Lag and freshness by partition with their last hour, events, dead letters, timings, pools, model, feeds, workers, and what is wrong.

    Looked at every few seconds in the background and told as it was then. For pages and people: fields may be added and moved.
    """
    watch: Watch = request.app.state.watch
    if not watch.body:
        raise Problem(503, "not_ready", "nothing was looked at yet", {"Retry-After": "1"})
    return Response(watch.body, 200, {"Cache-Control": "no-store"}, "application/json")
