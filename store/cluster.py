"""Which server of a Redis Cluster holds which slot."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError

from store.base import StoreError
from store.node import Node, sibling


class Topology:
    """The slot map of a cluster, read from any of its servers and read again when an answer shows that it is old."""

    def __init__(self, seeds: list[Node]) -> None:
        self._seeds = seeds
        self._owners: list[Node | None] = []
        self._masters: list[Node] = []
        self._known: dict[str, Node] = {}
        self._slots: dict[bytes, int] = {}
        self._reading: asyncio.Task[None] | None = None
        self.stale = True

    def owner(self, key: bytes) -> Node:
        """The server that holds `key`; call `fresh` first."""
        node = self._owners[self.slot(key)]
        if node is None:
            self.stale = True
            raise StoreError("the cluster is down: no server holds this slot")
        return node

    def slot(self, key: bytes) -> int:
        """The slot of a key. Keys are many, hash tags few: the answer is remembered by tag."""
        end = key.find(b"}")
        tag = key[: end + 1] if end > 0 and key[0] == 123 else key
        slot = self._slots.get(tag)
        if slot is None:
            if len(self._slots) > 10_000:
                self._slots.clear()
            slot = self._slots[tag] = key_slot(key)
        return slot

    async def masters(self) -> list[Node]:
        await self.fresh()
        return self._masters

    async def fresh(self) -> None:
        """Reads the slot map if it is not known or known to be old; callers at the same time share one reading."""
        if not self.stale:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        errors = []
        for node in [*self._masters, *self._seeds, *self._known.values()]:
            try:
                [answer] = await node.run([("CLUSTER", "SLOTS")])
            except StoreError as error:
                errors.append(str(error))
                continue
            if isinstance(answer, RedisError):
                raise StoreError(f"{node.address}: {answer} (redis.cluster is set: is this a cluster?)")
            self._learn(node, answer)
            return
        raise StoreError("; ".join(dict.fromkeys(errors)) or "no server of the cluster is known")

    def _learn(self, asked: Node, answer: list[Any]) -> None:
        owners: list[Node | None] = [None] * 16_384
        masters: dict[str, Node] = {}
        for first, last, master, *_ in answer:
            host = (master[0] or b"").decode() or asked.address.rpartition(":")[0]
            address = f"{host}:{master[1]}"
            node = self._known.get(address)
            if node is None:
                node = self._known[address] = sibling(asked, host, master[1])
            masters[address] = node
            owners[first : last + 1] = [node] * (last + 1 - first)
        self._owners, self._masters, self.stale = owners, list(masters.values()), False

    async def close(self) -> None:
        for node in [*self._seeds, *self._known.values()]:
            await node.forget()
