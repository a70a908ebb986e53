"""Who asks, as features see him: made from the viewer, once the records of his recent notes are read."""

from __future__ import annotations

import numpy as np

from models.asker import Asker, join
from models.user import recent_engagements
from serving.stages import NO_HASHES, NO_NOTES, Hashes, Viewer
from serving.viewer import NO_TASTE
from store.layout import NOTE

NO_HEADS = join(())
NEW_RANK = 2.0
"""Of whom nothing is known, as `models.user.Hot` has it."""


def recent_hashes(viewer: Viewer) -> Hashes:
    """Notes engaged with lately, newest first; none when the profile must not be used."""
    if not viewer.personal:
        return NO_HASHES
    return recent_engagements(viewer.hot)["hash"][::-1].astype(np.uint64)


def asker_from(viewer: Viewer) -> Asker:
    """Without personalisation: nobody in particular, who follows whom he follows."""
    if not viewer.personal:
        none = np.empty(0, np.int64)
        return Asker(viewer.now, 0, NEW_RANK, NO_HASHES, none, none, NO_NOTES, NO_HEADS, NO_TASTE, viewer.lat, viewer.lon, viewer.followed)
    hot, rows = viewer.hot, recent_engagements(viewer.hot)[::-1]
    return Asker(
        viewer.now,
        hot.engagements,
        hot.rank,
        rows["hash"].astype(np.uint64),
        rows["at"].astype(np.int64),
        rows["action"].astype(np.intp),
        viewer.recent if len(viewer.recent) == len(rows) else np.zeros(len(rows), NOTE),
        viewer.beside.joined if viewer.beside is not None else NO_HEADS,
        viewer.taste,
        viewer.lat,
        viewer.lon,
        viewer.followed,
    )
