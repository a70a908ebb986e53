"""Nothing twice: what the user was shown or engaged with."""

from __future__ import annotations

from typing import ClassVar

from serving.stages import Candidates, Mask, Query, Viewer, member


class SeenFilter:
    """The last 2,000 exposures, and whatever was engaged with unseen (the ring of the user record holds both)."""

    name: ClassVar[str] = "seen"

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates) -> Mask:
        return ~member(candidates.hashes, viewer.seen)
