"""Weights by name, as bytes: what a user thinks of tags, authors or channels.

As Python objects 128 weights take 30 KB of memory and as long to decode as a frame of events; as bytes they are a fifth of that and lie in memory as
the store has them. Hashes lie together, apart from the rows: a search among 128 then takes less than 0.1 µs.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from functools import lru_cache
from struct import Struct as Layout
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from config.keys import hash64
from models.ring import find

KEY = 8
"""Bytes of a name's hash."""
WEIGHT_ROW = Layout("<ddqQB")
WEIGHT = np.dtype([("short", "<f8"), ("long", "<f8"), ("at", "<i8"), ("note", "<u8"), ("by", "u1")])
"""What is thought of one name: the two components, forward-decayed (`models/interest.py` reads them); what moved it last: epoch ms,
hash of the note (0 without one), index in `config.events.TYPES`. An impression stands here only until something was done."""

SEPARATOR = "\0"


class Weighed(NamedTuple):
    """A row of a `Table`, with its name."""

    name: str
    short: float
    long: float
    at: int
    note: int
    by: int


class Table(msgspec.Struct, array_like=True, gc=False):
    """Names with their rows, in order of arrival."""

    keys: bytearray = msgspec.field(default_factory=bytearray)
    """hashes of the names"""
    rows: bytearray = msgspec.field(default_factory=bytearray)
    """WEIGHT rows"""
    names: str = ""
    """each followed by SEPARATOR; only readers and evictions need them"""

    def __len__(self) -> int:
        return len(self.keys) // KEY

    def __contains__(self, name: str) -> bool:
        return find(self.keys, key_of(name), KEY) >= 0

    def __iter__(self) -> Iterator[Weighed]:
        for name, row in zip(self.names.split(SEPARATOR), WEIGHT_ROW.iter_unpack(self.rows), strict=False):
            yield Weighed(name, *row)

    def bring(self, name: str, key: bytes, short: float, long: float, at: int, note: int, by: int) -> None:
        """A last row, for a name that is not there yet; one that cannot be kept is passed over."""
        if SEPARATOR not in name:
            self.keys += key
            self.rows += WEIGHT_ROW.pack(short, long, at, note, by)
            self.names += name + SEPARATOR

    def drop(self, gone: Container[str]) -> bool:
        """Without the rows of these names; whether there were any."""
        kept = [weighed for weighed in self if weighed.name not in gone]
        if len(kept) == len(self):
            return False
        self.keys = bytearray(b"".join([key_of(w.name) for w in kept]))
        self.rows = bytearray(b"".join([WEIGHT_ROW.pack(*w[1:]) for w in kept]))
        self.names = "".join([w.name + SEPARATOR for w in kept])
        return True

    def arrays(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.void]]:
        """Hashes and WEIGHT rows, for who reads all of them."""
        return np.frombuffer(bytes(self.keys), "<u8"), np.frombuffer(bytes(self.rows), WEIGHT)


@lru_cache(65_536)
def key_of(name: str) -> bytes:
    """The hash of a name as it stands in `keys`. Cached: tags and authors come back all the time."""
    return hash64(name).to_bytes(KEY, "little")
