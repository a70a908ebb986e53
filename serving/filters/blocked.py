"""Notes of blocked authors."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from config.keys import hash64
from serving.stages import Candidates, Mask, Query, Viewer


class BlockedFilter:
    name: ClassVar[str] = "blocked"

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Mask:
        if not viewer.hot.blocks:
            return np.ones(notes.shape, np.bool_)
        return ~np.isin(notes["author"], np.fromiter(map(hash64, viewer.hot.blocks), np.uint64))
