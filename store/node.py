"""One Redis server: a few connections, and pipelined commands on them without any retry.

redis-py brings the connection (address, TLS, login), and `link.py` has it from then on. Its clients are not used: they repeat a command whose
answer was lost, which would hide a write, and their pipelines cost 9 µs a command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import hiredis
from redis.asyncio.connection import Connection, UnixDomainSocketConnection, parse_url
from redis.exceptions import RedisError

from config.settings import Redis, SettingsError
from store.base import StoreError
from store.link import Link, Table

CONNECTIONS = 64
"""Of one process to one server at most; the next caller waits for one."""

Command = tuple[Any, ...] | bytes
"""Of bytes, str and int, as RESP takes them, the first being the command's name; or packed already."""


class Node:
    """A server at one address.

    Parameters
    ----------
    kind, options
        redis-py's connection class and its arguments
    timeout_s
        for connecting, sending and all answers together
    """

    def __init__(self, kind: type[Connection], options: dict[str, Any], timeout_s: float) -> None:
        self._kind, self._options, self._timeout_s = kind, options, timeout_s
        self._idle: list[Link] = []
        self._permits = asyncio.Semaphore(CONNECTIONS)
        self.address = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    async def run(self, commands: Sequence[Command], table: Table | None = None) -> list[Any]:
        """Sends all in one write and reads all answers; an error answer of a command stands in its place. `table`: as `Link.ask` has it.

        Raises `StoreError` when an answer is missing: what was sent may have been executed.
        """
        pack = hiredis.pack_command
        payload = b"".join([command if isinstance(command, bytes) else pack(command) for command in commands])
        async with self._permits:
            link: Link | None = None
            try:
                link = await self._at_hand()
                seconds = self._timeout_s
                if link is None:
                    async with asyncio.timeout(seconds) as limit:
                        link = await self._connected()
                    seconds = max(0.0, (limit.when() or 0.0) - asyncio.get_running_loop().time())
                answers = await link.ask(payload, len(commands), seconds, table)
            except TimeoutError:
                raise StoreError(f"{self.address}: no answer within {self._timeout_s:g} s") from None
            except (RedisError, OSError) as error:
                await self.forget()  # its other connections most likely died with it
                raise StoreError(f"{self.address}: {str(error).rstrip('.')}") from error
            else:
                self._idle.append(link)
                link = None
                return answers
            finally:
                if link is not None:  # half read: never used again
                    await link.close()

    async def _at_hand(self) -> Link | None:
        """An idle connection that the server has not closed."""
        while self._idle:
            link = self._idle.pop()
            if link.usable:
                return link
            await link.close()
        return None

    async def _connected(self) -> Link:
        """A new one."""
        connection = self._kind(**self._options)
        await connection.connect()  # type: ignore[no-untyped-call]
        return Link(connection)

    async def forget(self) -> None:
        """Closes the idle connections."""
        idle, self._idle = self._idle, []
        for link in idle:
            await link.close()


def nodes_from(settings: Redis) -> list[Node]:
    """The servers that the URL names: one, or several separated by commas (nodes of one cluster)."""
    head, separator, rest = settings.url.partition("://")
    credentials, at, rest = rest.rpartition("@") if "@" in rest else ("", "", rest)
    ends = [place for place in (rest.find("/"), rest.find("?")) if place >= 0]
    tail = rest[min(ends) :] if ends and head != "unix" else ""
    hosts = rest[: len(rest) - len(tail)].split(",")
    return [node_from(f"{head}{separator}{credentials}{at}{host}{tail}", settings) for host in hosts]


def node_from(url: str, settings: Redis) -> Node:
    try:
        options: dict[str, Any] = dict(parse_url(url))
        port = urlsplit(url).port
    except ValueError as error:
        # never the URL itself: it may hold a password
        raise SettingsError(f"redis.url cannot be used ({error}): redis://host:port/0 or rediss://… is the form") from None
    kind = options.pop("connection_class", Connection)
    if kind is not UnixDomainSocketConnection and not options.get("host"):
        raise SettingsError("redis.url names no host: redis://host:port/0 is the form")
    if port == 0:
        raise SettingsError("redis.url: 0 is no port")
    if settings.ssl_cafile and url.startswith("rediss://"):
        options["ssl_ca_certs"] = settings.ssl_cafile
    if settings.cluster:
        options.pop("db", None)  # a cluster has database 0 only
    options |= {"protocol": 2, "socket_timeout": None, "socket_connect_timeout": settings.timeout_s, "client_name": "upwell"}
    options |= {"driver_info": None, "decode_responses": False}
    return Node(kind, options, settings.timeout_s)


def sibling(node: Node, host: str, port: int) -> Node:
    """Another server reached in the same way (credentials, TLS)."""
    return Node(node._kind, {**node._options, "host": host, "port": port}, node._timeout_s)
