"""New notes of followed authors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from models.lists import author_name
from serving.stages import Ask, Query, Viewer


class FollowSource:
    """The head of each followed author's list, newest follows first; `/following` asks more of them than a feed does."""

    name: ClassVar[str] = "follow"

    def __init__(self, rules: Feed, authors: int | None = None) -> None:
        self.places = rules.follow_places
        self.authors = rules.follow_authors if authors is None else authors

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        return [Ask(author_name(author), self.places) for author in viewer.follows[: self.authors]]
