"""A slate as its user's stage keeps it: what one response showed and what it passed over, while its items may still be seen."""

from __future__ import annotations

from math import isnan
from struct import Struct as Layout
from struct import pack, unpack

import msgspec

from config.records import Slate

VERSION = 1


class Standing(msgspec.Struct, array_like=True, gc=False):
    """A slate that stands open, without its body: what its exposures change."""

    until: int
    """epoch ms at which it is settled"""
    marks: bytes
    """a byte per shown item: 0 not seen yet, else what `models.interest` remembers of its exposure"""
    pooled: bytes = b""
    """of the notes in places reserved for pools the low 4 bytes of their hashes, little-endian: a feed gives them no second one meanwhile"""


HALF = Layout("<e")
PLACED = Layout("<hBbbf")
"""A row of `Open.placed`: position (-1 passed over), slot, first source (-1 none), pool tier (-1 none), propensity or weight."""
TIER = 4
"""Where the tier stands in it."""
FURTHEST = 2**15 - 1
"""Position from which on places are told apart no more: who pages on and on comes there."""


class Open(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The body: shown items first, then those passed over."""

    v: int
    r: str
    """request id"""
    t: int
    shown: int
    """how many of the rows were shown"""
    hashes: bytes
    """note hashes, 8 bytes each, little-endian"""
    placed: bytes
    """PLACED rows"""
    feature_set: str
    features: bytes
    """float16 [rows, features]"""
    predictions: bytes
    """float16 [shown, len(PREDICTED)]"""
    context: bytes

    def row(self, key: bytes) -> int:
        """Row of a shown note by its 8-byte key, -1 when it was not shown."""
        hashes = self.hashes
        at = hashes.find(key)
        while at >= 0 and at & 7:
            at = hashes.find(key, at + 1)
        return at >> 3 if 0 <= at < self.shown << 3 else -1

    def digest(self, row: int) -> int:
        """The note hash of a row."""
        return int.from_bytes(self.hashes[row << 3 : (row + 1) << 3], "little")

    def digests(self) -> tuple[int, ...]:
        return unpack(f"<{len(self.hashes) >> 3}Q", self.hashes)

    def weights(self) -> tuple[float, ...]:
        """Sampling weight of each row: 1 for what was shown."""
        passed = self.placed[self.shown * PLACED.size :]
        return (*(1.0,) * self.shown, *[row[4] for row in PLACED.iter_unpack(passed)])

    def place(self, row: int) -> tuple[int, int, int, int, float]:
        """(position, slot, source, tier, propensity) of a row."""
        return PLACED.unpack_from(self.placed, row * PLACED.size)

    def pooled(self) -> list[tuple[int, int, int]]:
        """(row, slot, tier) of what was shown from the pools."""
        tiers = self.placed[TIER : self.shown * PLACED.size : PLACED.size]
        return [(row, self.place(row)[1], tier) for row, tier in enumerate(tiers) if tier < 128]  # a signed byte: the others are below 0

    def features_of(self, row: int) -> bytes:
        rows = len(self.hashes) >> 3
        width = len(self.features) // rows if rows else 0
        return self.features[row * width : (row + 1) * width]

    def engage(self, row: int) -> float | None:
        """p(engage) as predicted: the first of PREDICTED."""
        width = len(self.predictions) // self.shown
        p = HALF.unpack_from(self.predictions, row * width)[0] if width >= HALF.size else None
        return None if p is None or isnan(p) else p

    def expectation(self, row: int) -> bytes:
        """float16 × len(PREDICTED), empty when none was logged."""
        width = len(self.predictions) // self.shown if self.shown else 0
        return self.predictions[row * width : (row + 1) * width]


def opened(slate: Slate, t: int) -> Open:
    """What is kept of a slate that left the API at `t`."""
    items = [*slate.items, *slate.passed]
    return Open(
        VERSION,
        slate.request_id,
        t,
        len(slate.items),
        pack(f"<{len(items)}Q", *[item.h for item in items]),
        b"".join([PLACED.pack(min(i.p, FURTHEST), i.slot, (i.sources & -i.sources).bit_length() - 1, i.tier, i.propensity) for i in items]),
        slate.feature_set,
        slate.features,
        slate.predictions,
        slate.context,
    )
