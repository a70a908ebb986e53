"""Notes with the tags and of the authors that the user's weights favour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from models.lists import author_name
from serving.stages import Ask, Query, Viewer


class InterestSource:
    """Tags share the places by their weight, so that a strong interest brings more notes and a new one is heard at once."""

    name: ClassVar[str] = "interest"

    def __init__(self, rules: Feed) -> None:
        self.rules = rules

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        rules = self.rules
        tags = [i for i in viewer.interests if i.kind == "tag" and i.weight > 0.0][: rules.interest_tags]
        authors = [i.value for i in viewer.interests if i.kind == "author" and i.weight > 0.0][: rules.interest_authors]
        asks = []
        if tags:
            strongest = tags[0].weight
            for interest in tags:
                share = max(0.25, interest.weight / strongest)
                asks.append(Ask(f"tag:{interest.value}", round(rules.interest_places * share)))
        asks += [Ask(author_name(author), rules.author_places) for author in authors]
        return asks
