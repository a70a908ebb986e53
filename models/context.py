"""What is known of a request besides the features of its notes. No kernel in here: the users stage needs it, and starts without numba."""

from __future__ import annotations

from math import log1p
from struct import Struct
from typing import NamedTuple, Self

import numpy as np

VERSION = 1
"""Of a context in bytes."""

_LAYOUT = Struct("<BxHIfq")


class Context(NamedTuple):
    """Logged with the slate, in bytes."""

    history: int = 0
    """notes engaged with, ever"""
    gap: int = -1
    """ms since the last engagement, -1 without one"""
    rank: float = 2.0
    """running mean of log(1 + rank of what the user took)"""
    recent: tuple[int, ...] = ()
    """hashes of notes engaged with, newest first"""

    def encode(self) -> bytes:
        n = len(self.recent)
        return _LAYOUT.pack(VERSION, n, min(self.history, 2**32 - 1), self.rank, self.gap) + np.array(self.recent, "<u8").tobytes()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Raises `ValueError` on anything `encode` did not write."""
        if len(value) < _LAYOUT.size or value[0] != VERSION:
            raise ValueError("not a context in this version")
        _, n, history, rank, gap = _LAYOUT.unpack_from(value)
        if len(value) != _LAYOUT.size + 8 * n or not np.isfinite(rank):
            raise ValueError("a context that is cut or no number")
        return cls(history, gap, rank, tuple(np.frombuffer(value, "<u8", n, _LAYOUT.size).tolist()))


def moved_rank(rank: float, place: int) -> float:
    """The running mean after the user took what stood at `place` (from 0) of the ranked candidates.

    >>> round(moved_rank(2.0, 0), 2)
    1.6
    """
    return 0.8 * rank + 0.2 * log1p(place)
