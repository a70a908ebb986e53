"""Notes with a place near the user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from models.lists import FINE, NEAR, WIDE, covering
from serving.stages import Ask, Query, Viewer

NEAR_KM = 10.0
"""Beyond this radius cells of 5 km are too many."""
FINE_KM = 1.0
"""Up to this distance cells of 500 m are read, since 5 km of a city hold more than one feed can score."""
DEEPER = 2
"""So much deeper than the others are they read: a place is gone to because it is near."""


class NearbySource:
    """The cells around the place that was given, or where the user was last; a city alone gives its list.

    Parameters
    ----------
    wide
        the few cells of 40 km, for a feed in which nearness is one thing of many; else cells of 5 km as far as they reach, and finer ones
        close by
    """

    name: ClassVar[str] = "nearby"

    def __init__(self, rules: Feed, wide: bool = False) -> None:
        self.rules, self.wide = rules, wide

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        lat, lon, places, radius = viewer.lat, viewer.lon, self.rules.nearby_places, self.rules.nearby_km
        if lat is None or lon is None:
            return [Ask(f"city:{viewer.city}", 5 * places)] if viewer.city else []
        asks = [Ask(name, places) for name in covering(lat, lon, radius, WIDE if self.wide or radius > NEAR_KM else NEAR)]
        if not self.wide:
            asks += [Ask(name, DEEPER * places) for name in covering(lat, lon, min(radius, FINE_KM), FINE)]
        return asks
