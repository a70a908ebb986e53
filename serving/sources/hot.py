"""What is hot now: everywhere, in the channel or the city that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from models.lists import channels
from serving.stages import Ask, Query, Viewer, worn


class HotSource:
    """The one source that needs nothing of the user: it carries the first feed, and the feed without a profile."""

    name: ClassVar[str] = "hot"

    def __init__(self, rules: Feed) -> None:
        self.rules = rules

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        places = self.rules.hot_places
        if query.channel:
            deepest = channels(query.channel)[-1]
            return [Ask(f"hot:channel:{deepest}", 2 * places, inside=deepest == query.channel)]
        if query.city:
            return [Ask(f"hot:city:{query.city}", 2 * places)]
        # Without any interests there is little else to show.
        asks = [Ask("hot", places if viewer.tags or viewer.channels else 3 * places)]
        if query.surface == "feed" and worn(query, viewer, places):
            asks.append(Ask("hot", self.rules.reserve_places, start=asks[0].places, reserve=True))
        return asks
