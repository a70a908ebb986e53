"""Which workers live: one value in the store, in which every worker renews its line every few seconds.

For people and pages only. Who owns a partition is Kafka's to say, and who may write is the checkpoint's: nothing here is relied on.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from config.keys import workers_key
from store.base import Store

FORGET_S = 600.0
"""A line that was not renewed for so long leaves: a worker that was killed can be seen for a while."""

TRIES = 8
"""Of one renewal: others renew their lines in the same value."""


class Present(msgspec.Struct, frozen=True):
    """What a worker says of itself."""

    id: str
    """of this process, new at every start"""
    at: float
    """when this was said, epoch seconds"""
    started: float
    host: str
    pid: int
    metrics: str
    """URL of its Prometheus endpoint"""
    release: str
    partitions: dict[str, list[int]]
    """stage -> partitions of its (first) input topic that it holds now"""


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(list[Present]).decode


def decoded(value: bytes | None) -> list[Present]:
    """Nobody, for a value that is none of ours: the next renewal replaces it."""
    try:
        return [] if value is None else _decode(value)
    except msgspec.DecodeError:
        return []


async def present(store: Store, prefix: str) -> list[Present]:
    """Everybody who said something lately, in the order of their start."""
    (value,) = await store.read([workers_key(prefix)])
    return decoded(value)


async def renew(store: Store, prefix: str, line: Present) -> bool:
    """Writes a worker's line; False when others were in the way all the time (the next renewal is seconds away)."""
    return await _replace(store, prefix, line.id, [line], line.at)


async def leave(store: Store, prefix: str, id: str, now: float) -> bool:
    """Takes a worker's line away: it ends in good order."""
    return await _replace(store, prefix, id, [], now)


async def _replace(store: Store, prefix: str, id: str, by: Iterable[Present], now: float) -> bool:
    key = workers_key(prefix)
    for _ in range(TRIES):
        (value,) = await store.read([key])
        lines = [line for line in decoded(value) if line.id != id and now - line.at < FORGET_S]
        lines = sorted([*lines, *by], key=lambda line: (line.started, line.id))
        if await store.put(key, _encode(lines), value, check=True):
            return True
    return False
