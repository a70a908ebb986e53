"""Notes with the tags and of the authors that the user's weights favour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from models.lists import author_name
from serving.stages import Ask, Query, Viewer, worn

RESERVES = 4
"""The strongest so many tags have one."""


class InterestSource:
    """Tags share the places by their weight, so that a strong interest brings more notes and a new one is heard at once."""

    name: ClassVar[str] = "interest"

    def __init__(self, rules: Feed) -> None:
        self.rules = rules

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        rules = self.rules
        asks = []
        if viewer.tags:
            strongest = viewer.tags[0][1]
            for tag, weight in viewer.tags[: rules.interest_tags]:
                asks.append(Ask(f"tag:{tag}", round(rules.interest_places * max(0.25, weight / strongest))))
            if worn(query, viewer, rules.hot_places):
                asks += [Ask(ask.name, rules.reserve_places, start=ask.places, reserve=True) for ask in asks[:RESERVES]]
        asks += [Ask(author_name(author), rules.author_places) for author, _ in viewer.authors[: rules.interest_authors]]
        return asks
