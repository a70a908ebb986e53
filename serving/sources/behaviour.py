"""Notes that were engaged with beside those that the user engaged with lately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np

from config.settings import Feed
from models.neighbours import read
from models.sorting import descending
from models.user import RECENT, RECENT_ROW
from serving.beside import beside
from serving.keys import Keys
from serving.stages import NO_HASHES, Hashes, Query, Viewer, member


class BehaviourSource:
    """Neighbours of the user's last notes, the newest counting most: moves with every engagement, and needs no tags.

    Parameters
    ----------
    shrink
        of a similarity, as in `models/neighbours.py`
    """

    name: ClassVar[str] = "behaviour"

    def __init__(self, rules: Feed, shrink: float) -> None:
        self.notes, self.places, self.keep, self.shrink = rules.behaviour_notes, rules.behaviour_places, rules.behaviour_keep, shrink

    def wants(self, query: Query, viewer: Viewer, keys: Keys) -> Sequence[bytes]:
        recent = viewer.hot.recent[-self.notes * RECENT_ROW.size :]
        if not viewer.personal or not recent:
            return ()
        return keys.neighbours(np.frombuffer(recent, RECENT)["hash"][::-1])

    def finds(self, query: Query, viewer: Viewer, values: Sequence[bytes | None]) -> tuple[Viewer, Hashes]:
        found = beside(values, self.keep, self.shrink)
        if found is None:
            return viewer, NO_HASHES
        # What was seen must not take the places of what was not.
        new = np.flatnonzero(~member(found.hashes, viewer.seen))
        best = new[descending(found.scores[new])[: self.places]]
        return msgspec.structs.replace(viewer, beside=found), found.hashes[best]


class SimilarSource:
    """Neighbours of the one note that was asked for, the most similar first."""

    name: ClassVar[str] = "behaviour"

    def wants(self, query: Query, viewer: Viewer, keys: Keys) -> Sequence[bytes]:
        return keys.neighbours([query.note])

    def finds(self, query: Query, viewer: Viewer, values: Sequence[bytes | None]) -> tuple[Viewer, Hashes]:
        return viewer, read(values[0]).hashes
