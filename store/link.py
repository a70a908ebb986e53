"""An established connection to a Redis server: what is sent goes out in one write, and one future waits for all answers to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
from redis._parsers import BaseParser
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import InvalidResponse

NOTHING = object()
"""There is no whole answer yet."""


class Link(asyncio.Protocol):
    """Takes a connection over from redis-py once it has connected, secured and logged in.

    Its streams cost a feed 0.2 ms of CPU: each of forty answers goes through three coroutines, and every byte through a buffer more. Here the
    transport gives the bytes to hiredis, and the caller wakes up once. One caller at a time.
    """

    def __init__(self, connection: Connection) -> None:
        assert connection._writer is not None
        self.connection = connection
        self.transport: asyncio.WriteTransport = connection._writer.transport
        self.transport.set_protocol(self)
        self.reader = hiredis.Reader(protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=NOTHING)
        self.answers: list[Any] = []
        self.wanted = 0
        self.waiter: asyncio.Future[None] | None = None
        self.lost = False

    @property
    def usable(self) -> bool:
        """Whether another caller may have it: the server has not closed it, and nothing came that nobody asked for."""
        return not (self.lost or self.transport.is_closing() or self.answers or self.reader.has_data())

    async def ask(self, payload: bytes, count: int, seconds: float) -> list[Any]:
        """Sends commands and returns their `count` answers; an error answer stands in its place.

        Raises `TimeoutError`, `RedisError` or `OSError` when answers are missing; the link is not usable then, nor when the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        self.wanted = count
        self.waiter = waiter = loop.create_future()
        late = loop.call_later(seconds, self.fail, TimeoutError())
        try:
            self.transport.write(payload)
            await waiter
        finally:
            late.cancel()
            self.waiter = None
        answers, self.answers = self.answers, []
        return answers

    def fail(self, error: Exception) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error)

    def data_received(self, data: bytes) -> None:
        reader, answers = self.reader, self.answers
        reader.feed(data)
        try:
            while (answer := reader.gets(False)) is not NOTHING:
                if isinstance(answer, Lost):  # the server says that it is not there for us: loading, too many clients
                    self.fail(answer)
                answers.append(answer)
        except InvalidResponse as error:
            self.fail(error)
            self.transport.close()
            return
        if len(answers) == self.wanted and self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.fail(exc if isinstance(exc, OSError) else Lost("Connection closed by server."))

    async def close(self) -> None:
        await self.connection.disconnect(nowait=True)


def mget(keys: Sequence[bytes]) -> bytes:
    """MGET as the server reads it. Hundreds of keys are mostly of one length: then they are joined, not packed one by one.

    >>> mget([b"a", b"b"])
    b'*3\\r\\n$4\\r\\nMGET\\r\\n$1\\r\\na\\r\\n$1\\r\\nb\\r\\n'
    """
    if len(set(map(len, keys))) == 1:
        between = b"\r\n$%d\r\n" % len(keys[0])
        return b"".join((b"*%d\r\n$4\r\nMGET" % (len(keys) + 1), between, between.join(keys), b"\r\n"))
    packed: bytes = hiredis.pack_command(("MGET", *keys))  # type: ignore[arg-type]
    return packed
