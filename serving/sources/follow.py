"""New notes of followed authors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from models.lists import author_name
from serving.stages import Ask, Query, Viewer


class FollowSource:
    """The head of each followed author's list, newest follows first.

    Parameters
    ----------
    authors
        `/following` asks all of so many authors, the deeper the fewer there are, and takes what is newest of all of it; None: a feed's
        few, of each a little
    """

    name: ClassVar[str] = "follow"

    def __init__(self, rules: Feed, authors: int | None = None) -> None:
        self.places, self.all, self.candidates = rules.follow_places, authors is not None, rules.candidates
        self.authors = rules.follow_authors if authors is None else authors

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        authors = viewer.follows[: self.authors]
        places = max(self.places, 2 * self.candidates // len(authors)) if self.all and authors else self.places
        return [Ask(author_name(author), places, by_score=self.all) for author in authors]
