"""What stands though nothing that it waits for is away: a worker that cannot explain that ends, and its supervisor starts it anew.

A stall that shows as lag and nothing else costs a night. A process that ends says which partition stood, is started again, begins where
the store stands, and loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Standing(Generic[Key]):
    """Counts for how many looks in a row each thing has shown the same mark."""

    def __init__(self) -> None:
        self.marks: dict[Key, object] = {}
        self.looks: dict[Key, int] = {}

    def look(self, marks: Mapping[Key, object]) -> None:
        """`marks`: by thing what changes when it moves; None: it has nothing to do. Things that are not named are forgotten."""
        self.looks = {
            key: self.looks.get(key, 0) + 1 if mark is not None and self.marks.get(key) == mark else 0 for key, mark in marks.items()
        }
        self.marks = dict(marks)

    def stood(self, least: int) -> list[Key]:
        """Things that stood for at least so many looks, the longest first."""
        return sorted((key for key, looks in self.looks.items() if looks >= least), key=self.order, reverse=True)

    @property
    def order(self) -> Callable[[Key], int]:
        return self.looks.__getitem__

    def excuse(self, key: Key) -> None:
        """What it waits for is away: counted anew from here."""
        self.looks[key] = 0
