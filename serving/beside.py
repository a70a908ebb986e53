"""What was engaged with beside the user's recent notes: many neighbour heads as one table.

sim(i, j) = together / (sqrt(n_i n_j) + shrink)          score(j) = Σ over recent i: keep^age · sim(i, j)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.neighbours import SUMS, Front, read
from serving.stages import Floats, Hashes

TOGETHER = SUMS.index("together")


class Beside(NamedTuple):
    """The neighbours of the user's recent notes."""

    fronts: Sequence[Front]
    """the head of each recent note, newest first"""
    hashes: Hashes
    """each neighbour once, ascending …"""
    scores: Floats
    """… and its score"""


def beside(values: Sequence[bytes | None], keep: float, shrink: float) -> Beside | None:
    """From heads, the newest note's first; one that is absent or no head has no rows. None without any neighbour."""
    fronts = [read(value) for value in values]
    sizes = [front.hashes.size for front in fronts]
    if not any(sizes):
        return None
    hashes = np.concatenate([front.hashes for front in fronts])
    together = np.concatenate([front.sums[TOGETHER] for front in fronts])
    engaged = np.repeat(np.array([max(front.engaged, 1) for front in fronts], np.float32), sizes)
    norm = np.sqrt(engaged * np.maximum(np.concatenate([front.counts for front in fronts]), 1))
    weighed = np.repeat(keep ** np.arange(len(fronts)), sizes) * (together / (norm + np.float32(shrink)))
    order = np.argsort(hashes, kind="stable")
    found = hashes[order]
    first = np.flatnonzero(np.concatenate([[True], found[1:] != found[:-1]]))
    scores = np.add.reduceat(weighed[order], first).astype(np.float32)
    return Beside(fronts, found[first], scores)
