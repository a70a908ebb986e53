"""What was engaged with beside the user's recent notes: many neighbour heads as one table.

sim(i, j) = together / (sqrt(n_i n_j) + shrink)          score(j) = Σ over recent i: keep^age · sim(i, j)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.asker import Joined, join
from models.gathering import Floats, Hashes, score


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
    joined = join(values)
    if not joined.hashes.size:
        return None
    scores = np.empty(joined.hashes.size, np.float32)
    score(joined.place, joined.owner, joined.sums, joined.counts, joined.engaged, keep, shrink, scores)
    return Beside(joined, joined.hashes, scores)
