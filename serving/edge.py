"""What happens to every request before and after its route: trace id, key, size, room, time, count. Plain ASGI, since it is on every hot path.

    trace id ─► key and role ─► size of the body ─► room for one more ─► time limit ─► route

In this order, so that whoever has no key costs least, and so that what is turned away was never read.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from config import metrics
from serving.gate import Bodies, Gate
from serving.guard import Guard, needed
from serving.problems import MEDIA_TYPE, problem_body

log = structlog.get_logger("serving")

SLASH = "\ufdd0"
"""Stands for an encoded slash in a path until its id is read: a noncharacter, which Unicode keeps for such use inside of programs."""

_SLASH = re.compile(rb"%2[fF]").split
_TRACE = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch
NOSNIFF = (b"x-content-type-options", b"nosniff")
METHODS = b"GET, POST, PUT, DELETE"
ASKED = b"X-API-Key, Content-Type, X-Request-Id, traceparent"
TOLD = b"X-Request-Id, Retry-After"
PREFLIGHT_S = b"600"
GONE = 499
"""How a request is counted whose client went away before it was whole: as nginx has it."""


class Edge:
    """Wraps the application.

    Parameters
    ----------
    guard
        who may ask for what
    reads, writes
        room for requests that ask, and for those that send; probes, pages and `/ops` always have room
    bodies
        room for bodies
    body_bytes
        of a request at most
    request_s
        after which a request is given up
    origins
        web origins whose scripts may call (CORS)
    """

    def __init__(
        self,
        app: ASGIApp,
        guard: Guard,
        reads: Gate,
        writes: Gate,
        bodies: Bodies,
        body_bytes: int,
        request_s: float,
        origins: Sequence[str] = (),
    ) -> None:
        self.app, self.guard, self.reads, self.writes, self.bodies = app, guard, reads, writes, bodies
        self.body_bytes, self.request_s = body_bytes, request_s
        self.origins = frozenset(origin.encode() for origin in origins)
        self.counted: dict[tuple[str, int], Any] = {}
        self.shed = {what: metrics.HTTP_SHED.labels(what) for what in ("reads", "writes", "bodies")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace = parent = key = length = origin = asks = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                trace = value
            elif name == b"traceparent":
                parent = value
            elif name == b"x-api-key":
                key = value
            elif name == b"content-length":
                length = value
            elif name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                asks = value
        raw = scope.get("raw_path")
        if raw is not None and b"%2" in raw and len(parts := _SLASH(raw)) > 1:
            scope["path"] = SLASH.join(unquote(part.decode("latin-1")) for part in parts)
        if not trace or _TRACE(trace) is None:
            trace = secrets.token_hex(8).encode()
        extra = [(b"x-request-id", trace), NOSNIFF]
        if parent and _TRACE(parent) is None:
            parent = b""
        if parent:
            extra.append((b"traceparent", parent))
        if self.origins:
            extra += self.shared(origin)
        state = scope.setdefault("state", {})
        state["traceparent"] = parent
        answer = Answer(send, extra)
        gone = False
        try:
            if self.origins and asks and origin and scope["method"] == "OPTIONS":
                await preflight(answer)
            elif refused := self.refused(scope["method"], scope["path"], key, length):
                await refuse(answer, *refused)
            else:
                bind_contextvars(request_id=trace.decode())
                await self.admitted(scope, receive, answer, length)
        except ClientDisconnect:
            gone = True  # in the middle of what it sent: nobody is left to answer, and nothing is wrong here
        except Exception as error:
            # Told loudly in the log, and without its inside to the client. The route, not the path: ids of people are no matter of logs.
            log.error("unhandled error", method=scope["method"], route=route_of(scope), exc_info=error)
            if not answer.status:
                await refuse(answer, 500, "internal", "something is wrong on our side; X-Request-Id names this request in the log")
        finally:
            self.count(route_of(scope), answer.status or (GONE if gone else 500))

    def refused(self, method: str, path: str, key: bytes, length: bytes) -> tuple[int, str, str] | None:
        """Status, code and detail for a request that is not looked at further."""
        if self.guard:
            role = needed(method, path)
            if role is not None:
                who = self.guard.who(key)
                if who is None:
                    return 401, "unauthorized", "X-API-Key is missing or wrong"
                if role not in who[1]:
                    return 403, "forbidden", f"this takes a key with the role {role}"
        if length and (not length.isdigit() or int(length[:20]) > self.body_bytes):
            return 413, "too_large", f"a request has at most {self.body_bytes} bytes"
        return None

    async def admitted(self, scope: Scope, receive: Receive, answer: Answer, length: bytes) -> None:
        """If there is room for the request and its body."""
        method = scope["method"]
        role = needed(method, scope["path"])
        gate = self.reads if role == "read" else self.writes if role == "produce" else None
        bodied = method not in ("GET", "HEAD", "DELETE", "OPTIONS")
        size = (int(length) if length else self.body_bytes) if bodied else 0
        if gate is not None and not gate.enter():
            await self.turned_away(answer, "reads" if gate is self.reads else "writes")
            return
        try:
            if not size:
                await self.timed(scope, receive, answer, None)
            elif self.bodies.take(size):
                try:
                    await self.timed(scope, receive, answer, Limited(receive, self.body_bytes))
                finally:
                    self.bodies.give(size)
            else:
                await self.turned_away(answer, "bodies")
        finally:
            if gate is not None:
                gate.leave()

    async def timed(self, scope: Scope, receive: Receive, answer: Answer, limited: Limited | None) -> None:
        """Under the time limit."""
        try:
            async with asyncio.timeout(self.request_s) as limit:
                await self.app(scope, receive if limited is None else limited, answer)
        except TimeoutError:
            if not limit.expired():
                raise
            log.warning("request given up", route=route_of(scope), after_s=self.request_s)
            if answer.status:
                return  # its reader is too slow: what is left of the answer is not sent, and the server closes the connection
            if limited is not None and not limited.whole:
                close = ((b"connection", b"close"),)
                await refuse(answer, 408, "request_timeout", f"the body did not come within {self.request_s:g} s", close)
            else:
                await refuse(answer, 503, "timeout", f"no answer within {self.request_s:g} s", RETRY)

    async def turned_away(self, answer: Answer, what: str) -> None:
        self.shed[what].inc()
        await refuse(answer, 503, "overloaded", "too much at once: come back in a moment", RETRY)

    def shared(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        """What tells a browser that a page of `origin` may read the answer."""
        vary = [(b"vary", b"Origin")]
        if origin not in self.origins and b"*" not in self.origins:
            return vary
        return [*vary, (b"access-control-allow-origin", origin or b"*"), (b"access-control-expose-headers", TOLD)]

    def count(self, route: str, status: int) -> None:
        child = self.counted.get((route, status))
        if child is None:
            child = self.counted[route, status] = metrics.HTTP_REQUESTS.labels(route, str(status))
        child.inc()


def route_of(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "other")


class Answer:
    """`send` that adds what every answer carries, and remembers what it was."""

    def __init__(self, send: Send, extra: Sequence[tuple[bytes, bytes]]) -> None:
        self.send, self.extra = send, extra
        self.status = 0
        """0 until the answer began"""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self.extra]
        await self.send(message)


class Limited:
    """`receive` for requests with a body: knows whether it is whole, and bounds one that does not tell its length."""

    def __init__(self, receive: Receive, most: int) -> None:
        self.receive, self.most, self.left = receive, most, most
        self.whole = False

    async def __call__(self) -> Message:
        message = await self.receive()
        self.whole = not message.get("more_body", False)
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise HTTPException(413, f"a request has at most {self.most} bytes")
        return message


RETRY = ((b"retry-after", b"1"),)


async def refuse(send: Send, status: int, code: str, detail: str, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    body = problem_body(status, code, detail)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store"), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def preflight(send: Send) -> None:
    headers = [
        (b"access-control-allow-methods", METHODS), (b"access-control-allow-headers", ASKED), (b"access-control-max-age", PREFLIGHT_S),
        (b"content-length", b"0"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
