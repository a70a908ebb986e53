"""The user's own notes: nobody is recommended to himself."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from serving.stages import Candidates, Mask, Query, Viewer


class OwnFilter:
    name: ClassVar[str] = "own"

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Mask:
        keep: Mask = notes["author"] != np.uint64(query.user)
        return keep
