"""Who asks: the parts of a user's record that a feed needs, read at once and made ready for arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from config.keys import hash64
from models.interest import Interests, Taste
from models.user import LEDGER_PARTS, SEEN_PARTS, all_follows, decode_hot, ledger_rows, seen_hashes
from serving.stages import NO_HASHES, Query, Viewer

PARTS = ("hot", *SEEN_PARTS, *LEDGER_PARTS, "follows")
"""What the first round trip reads of a user, before the partition's clock."""

STRONGEST = 32
"""So many names of each kind are known to sources at most."""

_NO_WEIGHTS = np.empty(0, np.float32)
NO_TASTE = Taste(NO_HASHES, _NO_WEIGHTS, NO_HASHES, _NO_WEIGHTS, NO_HASHES, _NO_WEIGHTS)


def viewer_from(query: Query, values: Sequence[bytes | None], now: int, interests: Interests) -> Viewer:
    """From the values of `PARTS`; all None: somebody new. Without personalisation the profile stays shut, wishes still hold."""
    hot = decode_hot(values[0])
    seen_end = 1 + len(SEEN_PARTS)
    seen = np.sort(seen_hashes(values[1:seen_end]))
    ledger = ledger_rows(values[seen_end : seen_end + len(LEDGER_PARTS)])
    follows = list(all_follows(hot, values[seen_end + len(LEDGER_PARTS)]))[::-1]
    followed = np.sort(np.fromiter(map(hash64, follows), np.uint64)) if follows else NO_HASHES
    personal = hot.personalized
    lat, lon, city = query.lat, query.lon, query.city
    if lat is None and personal and hot.place is not None:
        lat, lon, city = hot.place.lat, hot.place.lon, city or hot.place.city
    return Viewer(
        hot,
        personal,
        now,
        *(interests.strongest(hot, now, STRONGEST) if personal else ([], [], [])),
        interests.taste(hot, now) if personal else NO_TASTE,
        seen,
        ledger,
        follows,
        followed,
        lat,
        lon,
        city,
    )
