"""Who asks, as features see him: what he took lately, with the neighbour heads of that as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.context import Context
from models.gathering import ROW, WORD, collect
from models.interest import Taste
from models.neighbours import SUMS

Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]
Notes = npt.NDArray[np.void]
"""Note records: fields hash, author, channel, tags [8] (hashes, 0 empty), counts (by ACTIONS), heat [4] (log2 of engagement points
at four half-lives, -inf none), lat, lon (NaN none), published_at, engaged_at (epoch ms), organic (exposures), quality [3] (mean, low,
high). An absent record is a row of zeros."""


class Joined(NamedTuple):
    """Neighbour heads of a user's recent notes, the newest first, as one table: a row for each neighbour of each head, by neighbour."""

    hashes: Hashes
    """each neighbour once, ascending"""
    place: npt.NDArray[np.intp]
    """row -> its neighbour in `hashes`: ascending"""
    owner: npt.NDArray[np.intp]
    """row -> its head"""
    sums: Floats
    """shape [rows, len(SUMS)]"""
    counts: npt.NDArray[np.uint32]
    """engagements of the row's neighbour"""
    engaged: Floats
    """by head: engagements of its note, at least 1 …"""
    landmark: npt.NDArray[np.float64]
    half_life_ms: npt.NDArray[np.float64]
    """… and `models.neighbours.Front`'s"""


def join(heads: Sequence[bytes | None]) -> Joined:
    """Heads as they are stored, as one table; one that is absent, cut or of another version has no rows."""
    whole = [head if head is not None and not len(head) % WORD else b"" for head in heads]
    sizes = np.array([len(head) // WORD for head in whole], np.intp)
    words = np.frombuffer(bytearray().join(whole), np.uint32)
    n, most = len(whole), words.size // ROW
    hashes, place, owner = np.empty(most, np.uint64), np.empty(most, np.intp), np.empty(most, np.intp)
    sums, counts = np.empty((most, len(SUMS)), np.float32), np.empty(most, np.uint32)
    engaged, landmark, half_life_ms = np.empty(n, np.float32), np.empty(n), np.empty(n)
    rows, distinct = collect(words, sizes, hashes, place, owner, sums, counts, engaged, landmark, half_life_ms)
    return Joined(hashes[:distinct], place[:rows], owner[:rows], sums[:rows], counts[:rows], engaged, landmark, half_life_ms)


class Asker(NamedTuple):
    """The user and the request; sequences over recent notes are newest first and of one length."""

    now: int
    """epoch ms, the stream's clock"""
    engagements: int
    """notes engaged with, ever"""
    rank: float
    """running mean of log(1 + rank), see `models.context.moved_rank`"""
    hashes: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int64]
    actions: npt.NDArray[np.intp]
    """strongest action on each, index in ACTIONS"""
    recent: Notes
    """their records"""
    joined: Joined
    """their neighbour heads; there may be fewer, of the newest"""
    taste: Taste
    lat: float | None = None
    lon: float | None = None
    followed: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
    """hashes of followed authors"""

    def context(self, recent: int) -> Context:
        """What the ranker's weights depend on, and so many recent notes: what it makes the user's factors of."""
        gap = max(0, self.now - int(self.times[0])) if len(self.times) else -1
        return Context(self.engagements, gap, float(np.float32(self.rank)), tuple(self.hashes[:recent].tolist()))
