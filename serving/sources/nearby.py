"""Notes with a place near the user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from models.lists import covering
from serving.stages import Ask, Query, Viewer


class NearbySource:
    """The cells around the place that was given, or where the user was last (fine ones up to 10 km); a city alone gives its list."""

    name: ClassVar[str] = "nearby"

    def __init__(self, rules: Feed, cells: int | None = None) -> None:
        self.rules, self.cells = rules, cells

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        if viewer.lat is None or viewer.lon is None:
            return [Ask(f"city:{viewer.city}", 5 * self.rules.nearby_places)] if viewer.city else []
        radius = self.rules.nearby_km
        names = covering(viewer.lat, viewer.lon, radius, level=0 if radius <= 10.0 else 1)
        return [Ask(name, self.rules.nearby_places) for name in names[: self.cells]]
