"""What was engaged with beside the user's recent notes: many neighbour heads as one table.

sim(i, j) = together / (sqrt(n_i n_j) + shrink)          score(j) = Σ over recent i: keep^age · sim(i, j)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.asker import Joined, join
from models.neighbours import SUMS, read
from models.rows import Floats, Hashes

TOGETHER = SUMS.index("together")


class Beside(NamedTuple):
    """The neighbours of the user's recent notes."""

    joined: Joined
    """the head of each recent note, newest first"""
    hashes: Hashes
    """each neighbour once, ascending …"""
    scores: Floats
    """… and its score"""


def beside(values: Sequence[bytes | None], keep: float, shrink: float) -> Beside | None:
    """From heads, the newest note's first; one that is absent or no head has no rows. None without any neighbour."""
    joined = join([read(value) for value in values])
    if not joined.hashes.size:
        return None
    engaged = np.array([max(front.engaged, 1) for front in joined.fronts], np.float32)
    norm = np.sqrt(engaged[joined.owner] * np.maximum(joined.counts, 1))
    weighed = (keep ** np.arange(len(joined.fronts)))[joined.owner] * (joined.sums[TOGETHER] / (norm + np.float32(shrink)))
    return Beside(joined, joined.hashes, np.bincount(joined.place, weighed, joined.hashes.size).astype(np.float32))
