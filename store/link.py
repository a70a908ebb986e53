"""An established connection to a Redis server: what is sent goes out in one write, and one future waits for all answers to it."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
import numpy as np
from redis._parsers import BaseParser
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import InvalidResponse

from store.base import Names

NOTHING = object()
"""There is no whole answer yet."""
END, PING, PONG = b"\r\n", b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"


class Table:
    """The answers to an MGET and a PING, as long as all values are there and of one size: half a thousand of them without an object for each. The
    second tells that the first is over.

    Parameters
    ----------
    count, size
        of the values
    """

    def __init__(self, count: int, size: int) -> None:
        self.head, self.mark = b"*%d\r\n" % count, b"$%d\r\n" % size
        self.row = np.dtype([("mark", f"S{len(self.mark)}"), ("value", f"V{size}"), ("end", f"S{len(END)}")])
        self.count = count
        self.came: list[bytes] = []
        self.last = b""

    def take(self, data: bytes) -> bool:
        """What came; whether it is time to look at all of it."""
        self.came.append(data)
        self.last = (self.last + data[-len(PONG) :])[-len(PONG) :]
        return self.last == PONG or not self.came[0].startswith(b"*")

    def values(self, came: bytes) -> bytes | None:
        """One behind the other; None where these are other answers, or a part of them."""
        if len(came) != len(self.head) + self.count * self.row.itemsize + len(PONG) or not came.startswith(self.head):
            return None
        rows = np.frombuffer(came, self.row, self.count, len(self.head))
        return rows["value"].tobytes() if (rows["mark"] == self.mark).all() and (rows["end"] == END).all() else None


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
        self.table: Table | None = None
        """what the answer is taken for"""

    @property
    def usable(self) -> bool:
        """Whether another caller may have it: the server has not closed it, and nothing came that nobody asked for."""
        return not (self.lost or self.transport.is_closing() or self.answers or self.reader.has_data())

    async def ask(self, payload: bytes, count: int, seconds: float, table: Table | None = None) -> list[Any]:
        """Sends commands and returns their `count` answers; an error answer stands in its place. With a `table` the first is the bytes of its values
        where that can be.

        Raises `TimeoutError`, `RedisError` or `OSError` when answers are missing; the link is not usable then, nor when the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        self.wanted, self.table = count, table
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
        if (table := self.table) is not None:
            if not table.take(data):
                return
            self.table, data = None, b"".join(table.came)
            if (values := table.values(data)) is not None:
                answers += values, b"PONG"
                self.answered()
                return  # else something is absent, or wrong: hiredis knows
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
        self.answered()

    def answered(self) -> None:
        """Wakes the caller up if all is there."""
        if len(self.answers) == self.wanted and self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.fail(exc if isinstance(exc, OSError) else Lost("Connection closed by server."))

    async def close(self) -> None:
        await self.connection.disconnect(nowait=True)


def mget(keys: Names) -> bytes:
    """MGET as the server reads it. Hundreds of keys are mostly of one length: then they are joined, not packed one by one, and an array of them not
    even taken apart.

    >>> mget([b"a", b"b"])
    b'*3\\r\\n$4\\r\\nMGET\\r\\n$1\\r\\na\\r\\n$1\\r\\nb\\r\\n'
    >>> mget(np.array([b"a", b"b"])) == mget([b"a", b"b"])
    True
    """
    if isinstance(keys, np.ndarray):
        between = b"\r\n$%d\r\n" % keys.dtype.itemsize
        packed_keys = np.empty(len(keys), [("between", f"V{len(between)}"), ("key", keys.dtype)])
        packed_keys["between"], packed_keys["key"] = np.void(between), keys
        return b"".join((b"*%d\r\n$4\r\nMGET" % (len(keys) + 1), packed_keys.tobytes(), END))
    if len(set(map(len, keys))) == 1:
        between = b"\r\n$%d\r\n" % len(keys[0])
        return b"".join((b"*%d\r\n$4\r\nMGET" % (len(keys) + 1), between, between.join(keys), END))
    packed: bytes = hiredis.pack_command(("MGET", *keys))  # type: ignore[arg-type]
    return packed
