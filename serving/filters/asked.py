"""What the request itself leaves out: `exclude=`, and the earlier pages that its cursor remembers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from serving.stages import Candidates, Mask, Query, Viewer, member


class AskedFilter:
    """Earlier pages are known by the lower halves of their hashes: a cursor stays short, and one note in ten million is kept out wrongly."""

    name: ClassVar[str] = "asked"

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates) -> Mask:
        keep = np.ones(candidates.hashes.shape, np.bool_)
        if query.exclude is not None:
            keep &= ~member(candidates.hashes, query.exclude)
        if query.shown is not None:
            keep &= ~np.isin(candidates.hashes.astype(np.uint32), query.shown)
        return keep
