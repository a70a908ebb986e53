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
    hashes: Hashes
    """each neighbour once, ascending …"""
    scores: Floats
    """… and its score"""


def beside(values: Sequence[bytes | None], keep: float, shrink: float) -> Beside | None:
    """From heads, the newest note's first; one that is absent or no head has no rows. None without any neighbour."""
    fronts = [read(value) for value in values]
    sizes = [len(front.rows) for front in fronts]
    if not any(sizes):
        return None
    # Bytes are joined, since concatenating structured arrays compares their fields one by one.
    rows = np.frombuffer(b"".join([front.rows.tobytes() for front in fronts]), HEAD)
    age = np.repeat(np.arange(len(fronts)), sizes)
    facts = np.array([(front.engaged, front.landmark, front.half_life_ms) for front in fronts])
    norm = np.sqrt(np.maximum(facts[:, 0], 1.0)[age] * np.maximum(rows["count"], 1)).astype(np.float32)
    weighed = (keep ** np.arange(len(fronts)))[age] * (rows["together"] / (norm + np.float32(shrink)))
    order = np.argsort(rows["hash"], kind="stable")
    found = rows["hash"][order]
    first = np.flatnonzero(np.concatenate([[True], found[1:] != found[:-1]]))
    scores = np.add.reduceat(weighed[order], first).astype(np.float32)
    return Beside(rows, age, norm, facts, found[first], scores)
