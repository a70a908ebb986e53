"""Who asks, as features see him: what he took lately, with the neighbour heads of that as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.interest import Taste
from models.neighbours import NOBODY, Front
from models.ranker import Context
from models.sorting import ascending

Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]
Notes = npt.NDArray[np.void]
"""Note records: fields hash, author, channel, tags [8] (hashes, 0 empty), counts (by ACTIONS), heat [4] (log2 of engagement points
at four half-lives, -inf none), lat, lon (NaN none), published_at, engaged_at (epoch ms), organic (exposures), quality [3] (mean, low,
high). An absent record is a row of zeros."""


class Joined(NamedTuple):
    """Neighbour heads of a user's recent notes, the newest first, as one table: a row for each neighbour of each head, by neighbour."""

    fronts: Sequence[Front]
    hashes: Hashes
    """each neighbour once, ascending"""
    place: npt.NDArray[np.intp]
    """row -> its neighbour in `hashes`: ascending"""
    owner: npt.NDArray[np.intp]
    """row -> its head"""
    sums: Floats
    """shape [len(SUMS), rows]"""
    counts: npt.NDArray[np.uint32]
    """engagements of the row's neighbour"""


def join(fronts: Sequence[Front]) -> Joined:
    """Heads as one table; a head that is absent has no rows."""
    fronts_of = fronts or [NOBODY]
    found = np.concatenate([front.hashes for front in fronts_of])
    order = ascending(found)
    ordered = found[order]
    first = np.empty(len(found), np.bool_)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return Joined(
        fronts,
        ordered[first],
        np.cumsum(first) - 1,
        np.repeat(np.arange(len(fronts_of)), [len(front.hashes) for front in fronts_of])[order],
        np.concatenate([front.sums for front in fronts_of], axis=1)[:, order],
        np.concatenate([front.counts for front in fronts_of])[order],
    )


class Asker(NamedTuple):
    """The user and the request; sequences over recent notes are newest first and of one length."""

    now: int
    """epoch ms, the stream's clock"""
    engagements: int
    """notes engaged with, ever"""
    rank: float
    """running mean of log(1 + rank), see `models.ranker.moved_rank`"""
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
