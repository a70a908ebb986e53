"""What happens to every request before and after its route: trace id, key, size, count. Plain ASGI, since it is on every hot path."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Sequence
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import metrics
from serving.problems import MEDIA_TYPE, Problem, problem_body

OPEN = ("/", "/ops", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/redoc")
"""Paths that need no key: probes and scrapers have none, and the documents and pages are no secret."""
OPEN_BELOW = "/web/"

SLASH = "\ufdd0"
"""Stands for an encoded slash in a path until its id is read: a noncharacter, which Unicode keeps for such use inside of programs."""

_SLASH = re.compile(rb"%2[fF]").split
_TRACE = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch


class Edge:
    """Wraps the application.

    Parameters
    ----------
    keys
        accepted `X-API-Key` values; none: no key is asked
    body_bytes
        of a request at most
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str] = (), body_bytes: int = 2_097_152) -> None:
        self.app, self.body_bytes = app, body_bytes
        self.keys = tuple(key.encode() for key in keys)
        self.counted: dict[tuple[str, int], object] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace = parent = key = length = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                trace = value
            elif name == b"traceparent":
                parent = value
            elif name == b"x-api-key":
                key = value
            elif name == b"content-length":
                length = value
        raw = scope.get("raw_path")
        if raw is not None and b"%2" in raw and len(parts := _SLASH(raw)) > 1:
            scope["path"] = SLASH.join(unquote(part.decode("latin-1")) for part in parts)
        if not trace or _TRACE(trace) is None:
            trace = secrets.token_hex(8).encode()
        extra = [(b"x-request-id", trace)]
        if parent and _TRACE(parent) is not None:
            extra.append((b"traceparent", parent))
        scope.setdefault("state", {})
        scope["state"]["traceparent"] = parent
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        try:
            if self.keys and not self.allowed(key) and scope["path"] not in OPEN and not scope["path"].startswith(OPEN_BELOW):
                await refuse(answer, 401, "unauthorized", "X-API-Key is missing or wrong")
            elif length and (not length.isdigit() or int(length) > self.body_bytes):
                await refuse(answer, 413, "too_large", f"a request has at most {self.body_bytes} bytes")
            elif length or scope["method"] in ("GET", "HEAD", "DELETE"):
                await self.app(scope, receive, answer)
            else:
                limited = Limited(receive, self.body_bytes)
                await self.app(scope, limited, answer)
        finally:
            route = scope.get("route")
            self.count(getattr(route, "path", "other"), status)

    def allowed(self, key: bytes) -> bool:
        """Every key is compared, in constant time, so that timing tells neither which nor how far."""
        matches = [hmac.compare_digest(key, known) for known in self.keys]
        return any(matches)

    def count(self, route: str, status: int) -> None:
        child = self.counted.get((route, status))
        if child is None:
            child = self.counted[route, status] = metrics.HTTP_REQUESTS.labels(route, str(status))
        child.inc()  # type: ignore[attr-defined]


class Limited:
    """`receive` for bodies that do not tell their length."""

    def __init__(self, receive: Receive, most: int) -> None:
        self.receive, self.most, self.left = receive, most, most

    async def __call__(self) -> Message:
        message = await self.receive()
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise Problem(413, "too_large", f"a request has at most {self.most} bytes")
        return message


async def refuse(send: Send, status: int, code: str, detail: str) -> None:
    body = problem_body(status, code, detail)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
