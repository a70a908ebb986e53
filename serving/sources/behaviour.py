"""Notes that were engaged with beside those that the user engaged with lately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np

from config.settings import Feed
from models.user import RECENT, RECENT_ROW
from serving.beside import Beside
from serving.keys import Keys
from serving.stages import NO_HASHES, Hashes, Query, Viewer


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
        beside = Beside.of(values)
        if not beside.rows.size:
            return viewer, NO_HASHES
        hashes, score = beside.near(self.keep, self.shrink)
        # Half of a feed's candidates may have been seen: they must not take the places of those that were not.
        score[np.isin(hashes, viewer.seen)] = 0.0
        best = np.argsort(-score, kind="stable")[: self.places]
        return msgspec.structs.replace(viewer, beside=beside), hashes[best]


class SimilarSource:
    """Neighbours of the one note that was asked for, the most similar first."""

    name: ClassVar[str] = "behaviour"

    def wants(self, query: Query, viewer: Viewer, keys: Keys) -> Sequence[bytes]:
        return keys.neighbours([query.note])

    def finds(self, query: Query, viewer: Viewer, values: Sequence[bytes | None]) -> tuple[Viewer, Hashes]:
        return viewer, Beside.of(values).rows["hash"]
