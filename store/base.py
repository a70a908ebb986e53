"""What a store must do. Two implementations (`memory.py`, `redis.py`), one test suite over both.

Stages write only through `commit`, one atomic step on the keys of one slot. Everybody reads through `read`, one parallel scatter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from config.keys import Slot

Range = tuple[bytes, int, int]
"""(key, first byte, last byte inclusive), both from 0: the two implementations need not agree on negative ones"""


Names = Sequence[bytes] | npt.NDArray[np.bytes_]
"""Keys; as an array when all are of one length"""


class StoreError(Exception):
    """The store did not answer, or answered something that is no answer. Whoever may wait waits; a feed degrades."""


class Store(Protocol):
    round_trips: int
    """Parallel scatters so far, for the test that counts them."""

    async def read(self, keys: Sequence[bytes], ranges: Sequence[Range] = ()) -> list[bytes | None]:
        """Values of `keys`, then of `ranges` (an absent range is b"" in Redis: given here as None), in order; one round trip.

        Keys of any slots; on a cluster one command per node, all at once.
        """

    async def table(self, keys: Names, size: int) -> bytes:
        """Values of `keys` one behind the other, each of `size` bytes: zeros for one that is absent, or of another size; one round trip."""

    async def commit(
        self,
        slot: Slot,
        expected: bytes | None,
        checkpoint: bytes,
        values: Mapping[bytes, bytes | None],
        timers: Mapping[bytes, int | None] | None = None,
    ) -> bool:
        """If the slot's checkpoint still is `expected` (None: absent), write all and set it to `checkpoint`; atomic.

        `values` are full keys of this slot (None deletes); `timers` are members of `slot.timers` with their deadline in ms (None
        removes). Returns False, having written nothing, when the checkpoint is another one. Raises `ValueError` when `checkpoint`
        would not grow (checkpoints of one log compare as bytes), `StoreError` when no answer came: the write may have happened.
        """

    async def due(self, slot: Slot, limit: int, after: tuple[int, bytes] | None = None) -> list[tuple[int, bytes]]:
        """The first `limit` timers of the slot in (deadline, member) order, beyond `after`."""

    async def put(self, key: bytes, value: bytes | None, expected: bytes | None = None, check: bool = False) -> bool:
        """Set (None: delete) one key outside any slot, such as the manifest; with `check`, only if it still is `expected`."""

    def scan(self, pattern: bytes) -> AsyncIterator[bytes]:
        """Keys that match a glob, on all nodes; for tools (doctor, rebuild, tests), never for serving."""

    async def delete(self, keys: Sequence[bytes]) -> None:
        """For tools: drop keys of an old generation."""

    async def ping(self) -> None:
        """Raises `StoreError` when the store does not answer."""

    async def close(self) -> None: ...


def each(keys: Names) -> Sequence[bytes]:
    """Keys one by one."""
    return keys.tolist() if isinstance(keys, np.ndarray) else keys


def laid(values: Iterable[bytes | None], size: int) -> bytes:
    """What `Store.table` gives, from values as `Store.read` gives them."""
    none = bytes(size)
    return b"".join([value if value is not None and len(value) == size else none for value in values])


def checked_growth(expected: bytes | None, checkpoint: bytes) -> None:
    """Raises `ValueError` for a checkpoint that would not grow."""
    if expected is not None and checkpoint <= expected:
        raise ValueError(f"a checkpoint must grow: {expected!r} is not below {checkpoint!r}")
