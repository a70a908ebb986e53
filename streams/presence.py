"""A worker says that it lives, and where its metrics are, so that pages can list the workers and read them."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import structlog

from store.base import Store, StoreError
from store.workers import Present, leave, renew

log = structlog.get_logger("upwell.worker")

EVERY_S = 3.0

Held = Callable[[], Mapping[str, Sequence[int]]]
"""stage -> partitions held now"""


def release() -> str:
    try:
        return version("upwell")
    except PackageNotFoundError:
        return "unknown"


class Presence:
    """Renews a worker's line until it is cancelled. A store that is away is nothing to complain of here: the owners do."""

    def __init__(self, store: Store, prefix: str, metrics: str, held: Held, wall: Callable[[], float] = time.time) -> None:
        self.store, self.prefix, self.metrics, self.held, self.wall = store, prefix, metrics, held, wall
        self.host, self.pid, self.started = socket.gethostname(), os.getpid(), wall()
        self.id = f"{self.host}:{self.pid}:{secrets.token_hex(3)}"
        self.release = release()

    def line(self) -> Present:
        held = {stage: sorted(partitions) for stage, partitions in self.held().items()}
        return Present(self.id, self.wall(), self.started, self.host, self.pid, self.metrics, self.release, held)

    async def run(self) -> None:
        while True:
            try:
                await renew(self.store, self.prefix, self.line())
            except StoreError as error:
                log.debug("presence not renewed", error=str(error))
            await asyncio.sleep(EVERY_S)

    async def stop(self) -> None:
        """This worker ends in good order."""
        try:
            async with asyncio.timeout(1):
                await leave(self.store, self.prefix, self.id, self.wall())
        except (StoreError, TimeoutError) as error:
            log.debug("presence not taken back", error=str(error))
