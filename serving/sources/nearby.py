"""Notes with a place near the user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from models.lists import covering
from serving.stages import Ask, Query, Viewer

FINE_KM = 10.0
"""Beyond this radius fine cells are too many."""


class NearbySource:
    """The cells around the place that was given, or where the user was last; a city alone gives its list.

    Parameters
    ----------
    wide
        the few cells of 40 km, for a feed in which nearness is one thing of many; else fine ones as far as they reach
    """

    name: ClassVar[str] = "nearby"

    def __init__(self, rules: Feed, wide: bool = False) -> None:
        self.rules, self.level = rules, 1 if wide or rules.nearby_km > FINE_KM else 0

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        if viewer.lat is None or viewer.lon is None:
            return [Ask(f"city:{viewer.city}", 5 * self.rules.nearby_places)] if viewer.city else []
        return [Ask(name, self.rules.nearby_places) for name in covering(viewer.lat, viewer.lon, self.rules.nearby_km, self.level)]
