"""uvicorn's HTTP protocol, with bounds on what happens before there is a request: connections, the size of a head, and the time it takes.

httptools itself bounds none of them: a client could send a head without end, or open connections and say nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from config import metrics
from config.settings import Api
from serving.problems import MEDIA_TYPE, problem_body

HEAD_BYTES = 65_536
"""Of request line and headers; cursors and positions in an address are the largest part."""


class Wire(HttpToolsProtocol):
    """One connection. `bounded` makes the class for given settings."""

    most = 4096
    """connections"""
    patience_s = 10.0
    """for a head"""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.in_head, self.head_bytes = True, 0
        self.late: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most:
            metrics.HTTP_SHED.labels("connections").inc()
            self.connections.discard(self)
            transport.abort()
            return
        self.late = self.loop.call_later(self.patience_s, self.give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self.rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.in_head:  # seldom: a head mostly comes in one piece
            self.head_bytes += len(data)
            if self.late is None:
                self.late = self.loop.call_later(self.patience_s, self.give_up)
            if self.head_bytes > HEAD_BYTES:
                self.refuse(431, "head_too_large", f"request line and headers have at most {HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        self.in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.in_head, self.head_bytes = False, 0
        self.rest()
        super().on_headers_complete()

    def rest(self) -> None:
        if self.late is not None:
            self.late.cancel()
            self.late = None

    def give_up(self) -> None:
        self.late = None
        if self.in_head and not self.transport.is_closing():
            self.refuse(408, "request_timeout", "the request did not come")

    def send_400_response(self, msg: str) -> None:
        """uvicorn's, for what is no HTTP."""
        self.refuse(400, "bad_request", msg)

    def refuse(self, status: int, code: str, detail: str) -> None:
        self.rest()
        body = problem_body(status, code, detail)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"content-type: {MEDIA_TYPE}",
            f"content-length: {len(body)}",
            "cache-control: no-store",
            f"x-request-id: {secrets.token_hex(8)}",
            "x-content-type-options: nosniff",
            "connection: close",
        )
        self.transport.write("\r\n".join((*head, "", "")).encode() + body)
        self.transport.close()


def bounded(api: Api) -> type[Wire]:
    """The protocol under these settings: uvicorn wants a class."""
    attributes: dict[str, Any] = {"most": api.connections, "patience_s": api.request_s}
    return type("BoundedWire", (Wire,), attributes)
