"""How well pool notes fit who asks: taste, place and language, in log-odds.

    taste      what the scorer says of the user's own tags, authors and channels (`Scored.own`)
    place      1 at the user's place, fading over `feed.nearby_km`; 0 where either place is unknown
    language   log of the share of the user's recent engagements that were in the note's language, one engagement in it added;
               0 where the note names none, or the user's recent notes do

A match leans the draw of `allotment.py`; no note is impossible for it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from config.settings import Feed
from serving.scorers.prior import distance_km
from serving.stages import Viewer


def match(
    viewer: Viewer, notes: npt.NDArray[np.void], own: npt.NDArray[np.float32], rules: Feed, km: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float64]:
    """One number a note. `km`: how far they are, where that is known already."""
    return own.astype(np.float64) + near(viewer, notes, rules.nearby_km, km) + rules.pool_language * language(viewer, notes)


def near(viewer: Viewer, notes: npt.NDArray[np.void], fade_km: float, km: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float64]:
    if viewer.lat is None:
        return np.zeros(notes.size)
    if km is None:
        km = distance_km(viewer.lat, viewer.lon, notes)
    known = np.exp(-km.astype(np.float64) / fade_km)
    return np.where(np.isnan(known), 0.0, known)


def language(viewer: Viewer, notes: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    spoken = viewer.recent["language"]
    spoken = spoken[spoken != b""]
    told = notes["language"]
    if not spoken.size or not (told != b"").any():
        return np.zeros(notes.size)
    same = np.count_nonzero(told[:, None] == spoken[None, :], axis=1)
    return np.where(told != b"", np.log((same + 1.0) / (spoken.size + 1.0)), 0.0)
