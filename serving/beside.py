"""What was engaged with beside the user's recent notes: many neighbour heads as one table.

sim(i, j) = together / (sqrt(n_i n_j) + shrink)          score(j) = Σ over recent i: keep^age · sim(i, j)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.neighbours import HEAD, read
from serving.stages import Floats, Hashes


class Beside(NamedTuple):
    """All neighbours of the notes that were read: a row is one neighbour of one of them."""

    rows: npt.NDArray[np.void]
    """`models.neighbours.HEAD`"""
    age: npt.NDArray[np.intp]
    """how many engagements ago the note was taken, 0 the newest"""
    norm: Floats
    """sqrt(n_i n_j)"""
    fronts: npt.NDArray[np.float64]
    """[notes read, 3]: engagements, landmark and half-life (ms) of each head"""

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> Beside:
        """From heads, the newest note's first; one that is absent or no head has no rows."""
        fronts = [read(value) for value in values]
        if not any(len(front.rows) for front in fronts):
            return NOTHING
        sizes = [len(front.rows) for front in fronts]
        rows = np.concatenate([front.rows for front in fronts])
        age = np.repeat(np.arange(len(fronts)), sizes)
        facts = np.array([(front.engaged, front.landmark, front.half_life_ms) for front in fronts])
        norm = np.sqrt(np.maximum(facts[:, 0], 1.0)[age] * np.maximum(rows["count"], 1)).astype(np.float32)
        return cls(rows, age, norm, facts)

    def near(self, keep: float, shrink: float) -> tuple[Hashes, Floats]:
        """Each neighbour once, ascending, with its score."""
        sim = self.rows["together"] / (self.norm + np.float32(shrink))
        hashes, at = np.unique(self.rows["hash"], return_inverse=True)
        score = np.bincount(at, keep**self.age * sim, hashes.size)
        return hashes, score.astype(np.float32)


NOTHING = Beside(np.empty(0, HEAD), np.empty(0, np.intp), np.empty(0, np.float32), np.empty((0, 3)))
